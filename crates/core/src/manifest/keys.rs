//! The manifest's keys: which there are, how each is written, and what it is for. `docs/corefn-toml.md` is made of it.

use std::fmt::Write as _;

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The table that it is in: `function`, or one within that.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub example: &'static str,
    /// What holds without it: a value, in TOML, or else in words.
    pub default: Without,
    /// What it is for, and what it may be.
    pub meaning: &'static str,
}

/// What holds without a key.
#[derive(Debug, Clone, Copy)]
pub enum Without {
    /// The same as with this value.
    Value(&'static str),
    /// What no value says.
    Words(&'static str),
}

use Without::{Value, Words};

/// All of them, in the order in which people are told of them.
pub const KEYS: &[Key] = &[
    Key {
        table: "function",
        name: "name",
        example: r#"name = "hello""#,
        default: Words("the second segment of the repository's path"),
        meaning: "the second segment of the function's name. A repository of one segment has none, and needs it",
    },
    Key {
        table: "function",
        name: "stack",
        example: r#"stack = "rust""#,
        default: Words("found by the files"),
        meaning: "which stack builds it: a folder of the host's, mostly [`stacks/`](../stacks/README.md)",
    },
    Key {
        table: "function",
        name: "path",
        example: r#"path = "services/hello""#,
        default: Words("all of the repository"),
        meaning: "the folder with the function's files, from the repository's root",
    },
    Key {
        table: "function",
        name: "routes",
        example: r#"routes = ["api.example.com/v1"]"#,
        default: Value("[]"),
        meaning: "where it answers besides `/<account>/<name>`: a path's first segments, behind a host or not. Nobody else may have one of them",
    },
    Key {
        table: "function",
        name: "health",
        example: r#"health = "/healthz""#,
        default: Words("ready when its port accepts a connection"),
        meaning: "a path that must answer below 400 before an instance gets requests",
    },
    Key {
        table: "function",
        name: "env",
        example: r#"env = { GREETING = "hi" }"#,
        default: Value("{}"),
        meaning: "variables of its environment, 32 KiB at most; those of `corefn env set` come before them. `PORT` and `COREFN_*` are the platform's",
    },
    Key {
        table: "function",
        name: "secrets",
        example: r#"secrets = ["DATABASE_URL"]"#,
        default: Value("[]"),
        meaning: "variables whose values `corefn secret set` has given to the host, which a push is rejected without; their values are never here",
    },
    Key {
        table: "function",
        name: "network",
        example: r#"network = "none""#,
        default: Value(r#""outbound""#),
        meaning: "what it reaches: `outbound` what the host reaches, less what the firewall shuts; `none` nothing; the name of a network of the host's settings what those say of it. Never another function",
    },
    Key {
        table: "function",
        name: "sticky",
        example: r#"sticky = "cookie:session""#,
        default: Words("each request by itself"),
        meaning: "a cookie, or a header as in `header:X-User`, by whose value requests are told apart where `corefn release` has split them among revisions: those of one value get the same one",
    },
    Key {
        table: "function",
        name: "schedule",
        example: r#"schedule = ["*/5 * * * *", "0 4 * * MON Europe/Berlin /report"]"#,
        default: Value("[]"),
        meaning: "when it is called though nobody asks: five cron fields (minute, hour, day of the month, month, day of the week) or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`; perhaps a time zone, else it is the host's; perhaps a path, else it is `/`. 20 lines at the most; one alone may stand without brackets",
    },
    Key {
        table: "function",
        name: "limits",
        example: r#"limits = { memory = "128M" }"#,
        default: Value("{}"),
        meaning: "what it may use: the table below",
    },
    Key {
        table: "function",
        name: "scale",
        example: r#"scale = { idle = "60s" }"#,
        default: Value("{}"),
        meaning: "how many instances there are, and for how long: the table below",
    },
    Key {
        table: "limits",
        name: "memory",
        example: r#"memory = "128M""#,
        default: Value(r#""256M""#),
        meaning: "of an instance, in bytes; `K`, `M` and `G` are powers of 1024. At least 6M. There is no swap beyond it",
    },
    Key {
        table: "limits",
        name: "cpus",
        example: "cpus = 0.5",
        default: Value("1"),
        meaning: "processors of an instance, at least 0.01",
    },
    Key {
        table: "limits",
        name: "pids",
        example: "pids = 64",
        default: Value("512"),
        meaning: "processes and threads of an instance",
    },
    Key {
        table: "limits",
        name: "timeout",
        example: r#"timeout = "60s""#,
        default: Words("as long as it takes"),
        meaning: "until it begins to answer a request that it has, an hour at the most. Then 504 `function-timeout`",
    },
    Key {
        table: "limits",
        name: "body",
        example: r#"body = "10M""#,
        default: Words("nginx's `client_max_body_size`"),
        meaning: "of a request, in bytes. Beyond it 413 `too-large`",
    },
    Key {
        table: "limits",
        name: "requests",
        example: "requests = 100",
        default: Words("any number"),
        meaning: "that are under way at the function on one host, those that wait included. Beyond it 429 `too-many-requests`",
    },
    Key {
        table: "scale",
        name: "idle",
        example: r#"idle = "60s""#,
        default: Words("what nginx's configuration says, or 60s"),
        meaning: "how long an instance outlives its last request: 2 s at least, a year at the most",
    },
    Key {
        table: "scale",
        name: "freeze",
        example: r#"freeze = "10s""#,
        default: Words("never"),
        meaning: "how long after its last request an instance is frozen: 2 s at least, less than `idle`, which is 60s then unless it is set",
    },
    Key {
        table: "scale",
        name: "concurrency",
        example: "concurrency = 10",
        default: Words("any number"),
        meaning: "how many requests an instance has at once. The others wait in the order in which they came, or get another instance",
    },
    Key {
        table: "scale",
        name: "max",
        example: "max = 4",
        default: Value("1"),
        meaning: "how many instances there may be, 1000 at the most. Another is started when all have as many requests as `concurrency` allows, so that more than one need that",
    },
    Key {
        table: "scale",
        name: "min",
        example: "min = 1",
        default: Value("0"),
        meaning: "how many instances there are though nobody asks for them, `max` at the most",
    },
];

/// What the page says of each table.
const TABLES: [(&str, &str); 3] = [
    (
        "function",
        "A repository of two segments has one, which may be left out, as may all of its keys. One of a single segment has one for \
         each of its functions: `[[function]]`, 100 at the most.",
    ),
    (
        "limits",
        "Written as `limits = { … }`, or below `[function.limits]`.",
    ),
    (
        "scale",
        "Written as `scale = { … }`, or below `[function.scale]`.",
    ),
];

/// The names of a table's keys, in the order of the alphabet.
pub(super) fn names(table: &str) -> Vec<&'static str> {
    let keys = KEYS.iter().filter(|key| key.table == table);
    let mut names: Vec<_> = keys.map(|key| key.name).collect();
    names.sort_unstable();
    names
}

/// How a key is written.
///
/// # Panics
/// When there is none of that name.
pub(super) fn example(name: &str) -> &'static str {
    let key = KEYS.iter().find(|key| key.name == name);
    key.expect("each key that is read is in the table").example
}

/// The page of the documentation.
pub fn page() -> String {
    let mut page = String::from(
        "# `corefn.toml`\n\n\
         What a repository says about its functions. The file lies in its root, and need not be there. A key that isn't known, or\n\
         a value that is wrong, rejects the push, with its line, its column and what to write.\n\n\
         (This page is made of the table in `crates/core/src/manifest/keys.rs`.)\n",
    );
    for (table, about) in TABLES {
        let path = match table {
            "function" => table.to_owned(),
            inner => format!("function.{inner}"),
        };
        let _ = write!(
            page,
            "\n## `[{path}]`\n\n{about}\n\n| key | default | meaning |\n|---|---|---|\n"
        );
        for key in KEYS.iter().filter(|key| key.table == table) {
            let default = match key.default {
                Value(value) => format!("`{value}`"),
                Words(words) => words.to_owned(),
            };
            let _ = writeln!(page, "| `{}` | {default} | {} |", key.example, key.meaning);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_in_the_table_it_belongs_to() {
        let page = page();
        let mut parts = page.split("\n## `[");
        assert!(
            parts
                .next()
                .is_some_and(|part| part.starts_with("# `corefn.toml`\n"))
        );
        for ((table, about), part) in TABLES.iter().zip(parts) {
            let path = part.split_once("]`\n").unwrap().0;
            assert_eq!(path.rsplit('.').next(), Some(*table));
            assert!(part.contains(about));
            let rows = part.lines().filter(|line| line.starts_with("| `")).count();
            assert_eq!(rows, KEYS.iter().filter(|key| key.table == *table).count());
        }
        assert_eq!(page.matches("\n## ").count(), TABLES.len());
    }
}
