//! Lines for nginx to check.

/// Where a row's lines are put.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Block {
    Main,
    Http,
    Server,
    Location,
    /// An upstream that is not used.
    Upstream,
}
pub use Block::{Http, Location, Main, Server, Upstream};

/// Lines that nginx takes.
pub const GOOD: &[(Block, &str)] = &[
    (Http, ""),
    (Http, "corefn_redis redis://127.0.0.1:6379/0;"),
    (
        Http,
        "corefn_redis redis://:secret@redis.example.com:6380/5;",
    ),
    (Http, "corefn_redis unix:///run/redis.sock;"),
    (Http, "corefn_docker unix:///var/run/docker.sock;"),
    (Http, "corefn_docker tcp://127.0.0.1:2375;"),
    (Http, "corefn_namespace corefn-2;"),
    (Http, "corefn_zone corefn 8m;"),
    (Http, "corefn_zone other 256k;"),
    (Http, "corefn on;"),
    (Http, "corefn off;"),
    (Server, "corefn on;"),
    (Location, "corefn on;"),
    (Http, "corefn_start_timeout 30s;"),
    (Server, "corefn_start_timeout 1ms;"),
    (Location, "corefn_start_timeout 10m;"),
    (Location, "corefn_start_timeout 500ms;"),
    (Http, "corefn_queue 0;"),
    (Server, "corefn_queue 1024;"),
    (Location, "corefn_queue 4294967295;"),
    (Http, "corefn_host_queue 0;"),
    (Http, "corefn_host_queue 4294967295;"),
    (Http, "corefn_max_starts 1;"),
    (Http, "corefn_sandboxes /var/lib/corefn/sandboxes;"),
    (Http, "corefn_secrets /var/lib/corefn/secrets;"),
    (Http, "corefn_invocations /var/lib/corefn/invocations;"),
    (Http, "corefn_traces http://127.0.0.1:4318;"),
    (Http, "corefn_max_starts 16;"),
    (Http, "corefn_idle 2s;"),
    (Server, "corefn_idle 60s;"),
    (Location, "corefn_idle 30d;"),
    // One at each level.
    (
        Http,
        "corefn_idle 60s; server { corefn_idle 30s; location / { corefn_idle 5s; } }",
    ),
    (Location, "corefn_status;"),
    (Location, "corefn on; corefn_status;"),
    (Upstream, "corefn_instances;"),
    (Upstream, "corefn_instances; keepalive 16;"),
];

/// Lines that nginx refuses, and what it says.
pub const BAD: &[(Block, &str, &[&str])] = &[
    (
        Http,
        "corefn_redis nowhere;",
        &[
            "\"nowhere\" names no Redis",
            "write redis://host:port/db, rediss://host:port/db for TLS, or unix:///path",
        ],
    ),
    (
        Http,
        "corefn_redis http://127.0.0.1;",
        &["names no Redis", "write redis://"],
    ),
    (
        Http,
        "corefn_redis;",
        &["invalid number of arguments", "corefn_redis"],
    ),
    (
        Http,
        "corefn_redis unix:///a; corefn_redis unix:///b;",
        &["corefn_redis is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_redis unix:///a;",
        &["\"corefn_redis\" directive is not allowed here"],
    ),
    (
        Location,
        "corefn_redis unix:///a;",
        &["\"corefn_redis\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_docker /var/run/docker.sock;",
        &["names no Docker", "write unix:///path or tcp://host:port"],
    ),
    (
        Http,
        "corefn_docker unix://;",
        &["names no Docker", "write unix:///path"],
    ),
    (
        Http,
        "corefn_docker unix:///a; corefn_docker unix:///b;",
        &["corefn_docker is set twice", "delete one"],
    ),
    (
        Location,
        "corefn_docker unix:///a;",
        &["\"corefn_docker\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_namespace No;",
        &["\"No\" is no name", "use 1 to 63 of a-z"],
    ),
    (
        Http,
        "corefn_namespace a/b;",
        &["is no name", "use 1 to 63 of a-z"],
    ),
    (
        Http,
        "corefn_namespace a; corefn_namespace b;",
        &["corefn_namespace is set twice"],
    ),
    (
        Server,
        "corefn_namespace a;",
        &["\"corefn_namespace\" directive is not allowed here"],
    ),
    (
        Location,
        "corefn_status on;",
        &["invalid number of arguments", "corefn_status"],
    ),
    (
        Location,
        "corefn_status; corefn_status;",
        &["corefn_status is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_status;",
        &["\"corefn_status\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_zone corefn;",
        &["invalid number of arguments", "corefn_zone"],
    ),
    (
        Http,
        "corefn_zone corefn big;",
        &[
            "\"big\" is no size for corefn_zone",
            "at least 256k, such as 8m",
        ],
    ),
    (
        Http,
        "corefn_zone corefn 255k;",
        &["\"255k\" is no size for corefn_zone", "at least 256k"],
    ),
    (
        Http,
        "corefn_zone corefn -8m;",
        &["is no size for corefn_zone"],
    ),
    (
        Http,
        "corefn_zone a 8m; corefn_zone b 8m;",
        &["corefn_zone is set twice"],
    ),
    (
        Http,
        "limit_req_zone $uri zone=corefn:8m rate=1r/s; corefn_zone corefn 8m;",
        &["the zone is another module's"],
    ),
    (
        Location,
        "corefn_zone corefn 8m;",
        &["\"corefn_zone\" directive is not allowed here"],
    ),
    (
        Location,
        "corefn yes;",
        &["\"yes\" is neither on nor off", "write corefn on or off"],
    ),
    (
        Location,
        "corefn;",
        &["invalid number of arguments", "corefn"],
    ),
    (Location, "corefn on; corefn off;", &["corefn is set twice"]),
    (
        Main,
        "corefn on;",
        &["\"corefn\" directive is not allowed here"],
    ),
    (
        Upstream,
        "corefn on;",
        &["\"corefn\" directive is not allowed here"],
    ),
    (
        Location,
        "corefn_start_timeout soon;",
        &[
            "\"soon\" is no time for corefn_start_timeout",
            "1ms to 10m, such as 30s",
        ],
    ),
    (
        Location,
        "corefn_start_timeout 0;",
        &["is no time for corefn_start_timeout"],
    ),
    (
        Location,
        "corefn_start_timeout 601s;",
        &["is no time for corefn_start_timeout"],
    ),
    (
        Location,
        "corefn_start_timeout -1s;",
        &["is no time for corefn_start_timeout"],
    ),
    (
        Server,
        "corefn_start_timeout 1s; corefn_start_timeout 1s;",
        &["corefn_start_timeout is set twice"],
    ),
    (
        Location,
        "corefn_queue many;",
        &[
            "\"many\" is no length for corefn_queue",
            "write a whole number",
        ],
    ),
    (
        Location,
        "corefn_queue -1;",
        &["is no length for corefn_queue"],
    ),
    (
        Location,
        "corefn_queue 4294967296;",
        &["is no length for corefn_queue"],
    ),
    (
        Http,
        "corefn_queue 1; corefn_queue 2;",
        &["corefn_queue is set twice"],
    ),
    (
        Http,
        "corefn_host_queue many;",
        &[
            "\"many\" is no length for corefn_host_queue",
            "write a whole number, 0 to 4294967295",
        ],
    ),
    (
        Http,
        "corefn_host_queue 4294967296;",
        &["is no length for corefn_host_queue"],
    ),
    (
        Http,
        "corefn_host_queue 1; corefn_host_queue 2;",
        &["corefn_host_queue is set twice", "delete one"],
    ),
    (
        Location,
        "corefn_host_queue 1;",
        &["\"corefn_host_queue\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_sandboxes here;",
        &[
            "\"here\" is no folder for corefn_sandboxes",
            "write its path from the root",
        ],
    ),
    (
        Http,
        "corefn_sandboxes /a; corefn_sandboxes /b;",
        &["corefn_sandboxes is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_sandboxes /a;",
        &["\"corefn_sandboxes\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_secrets here;",
        &[
            "\"here\" is no folder for corefn_secrets",
            "such as /var/lib/corefn/secrets",
        ],
    ),
    (
        Http,
        "corefn_secrets /a; corefn_secrets /b;",
        &["corefn_secrets is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_secrets /a;",
        &["\"corefn_secrets\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_traces https://h:4318;",
        &[
            "\"https://h:4318\" is no address of a collector of OpenTelemetry",
            "write http://host:port",
        ],
    ),
    (
        Http,
        "corefn_traces http://a; corefn_traces http://b;",
        &["corefn_traces is set twice", "delete one"],
    ),
    (
        Location,
        "corefn_traces http://a;",
        &["\"corefn_traces\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_invocations here;",
        &[
            "\"here\" is no folder for corefn_invocations",
            "such as /var/lib/corefn/invocations",
        ],
    ),
    (
        Http,
        "corefn_invocations /01234567890123456789012345678901234567890123456789/01234567890123456789012345678901234567890123456789;",
        &["is too long for a socket", "has 100 bytes at most"],
    ),
    (
        Http,
        "corefn_invocations /a; corefn_invocations /b;",
        &["corefn_invocations is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_invocations /a;",
        &["\"corefn_invocations\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_max_starts 0;",
        &[
            "\"0\" is no number of starts for corefn_max_starts",
            "write a whole number, 1 to 4294967295",
        ],
    ),
    (
        Http,
        "corefn_max_starts 1; corefn_max_starts 2;",
        &["corefn_max_starts is set twice", "delete one"],
    ),
    (
        Server,
        "corefn_max_starts 1;",
        &["\"corefn_max_starts\" directive is not allowed here"],
    ),
    (
        Location,
        "corefn_idle 1999ms;",
        &[
            "\"1999ms\" is no time for corefn_idle",
            "2s to 30d, such as 60s",
        ],
    ),
    (
        Location,
        "corefn_idle 31d;",
        &["is no time for corefn_idle"],
    ),
    (
        Location,
        "corefn_idle forever;",
        &["\"forever\" is no time for corefn_idle"],
    ),
    (
        Location,
        "corefn_idle 5s; corefn_idle 6s;",
        &["corefn_idle is set twice"],
    ),
    (
        Main,
        "corefn_idle 5s;",
        &["\"corefn_idle\" directive is not allowed here"],
    ),
    (
        Upstream,
        "corefn_instances on;",
        &["invalid number of arguments", "corefn_instances"],
    ),
    (
        Upstream,
        "corefn_instances; corefn_instances;",
        &[
            "corefn_instances is not the first",
            "write it once, before keepalive",
        ],
    ),
    (
        Upstream,
        "keepalive 16; corefn_instances;",
        &["corefn_instances is not the first", "before keepalive"],
    ),
    (
        Upstream,
        "least_conn; corefn_instances;",
        &["corefn_instances is not the first"],
    ),
    (
        Upstream,
        "corefn_instances; server 127.0.0.1:1;",
        &["corefn_instances", "delete the server"],
    ),
    (
        Upstream,
        "server 127.0.0.1:1; corefn_instances;",
        &["corefn_instances", "delete the server"],
    ),
    (
        Upstream,
        "zone shared 64k; corefn_instances;",
        &["corefn_instances", "delete the zone"],
    ),
    (
        Upstream,
        "corefn_instances; zone shared 64k;",
        &["corefn_instances", "delete the zone"],
    ),
    (
        Location,
        "corefn_instances;",
        &["\"corefn_instances\" directive is not allowed here"],
    ),
    (
        Http,
        "corefn_instances;",
        &["\"corefn_instances\" directive is not allowed here"],
    ),
];
