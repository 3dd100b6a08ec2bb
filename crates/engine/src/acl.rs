//! What of Redis CoreFn needs, as rules of Redis' ACL (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>):
//! its keys, its channel and the commands that it uses, and nothing else.

use corefn_core::keys::Keys;

/// The commands, those that scripts call included, and those by which a client begins.
const COMMANDS: [&str; 60] = [
    "auth",
    "del",
    "evalsha",
    "exec",
    "exists",
    "get",
    "hdel",
    "hello",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hkeys",
    "hlen",
    "hmget",
    "hscan",
    "hset",
    "hvals",
    "incr",
    "info",
    "lpush",
    "lrange",
    "ltrim",
    "multi",
    "pexpire",
    "ping",
    "pttl",
    "publish",
    "pubsub|numsub",
    "role",
    "sadd",
    "scan",
    "scard",
    "script|load",
    "select",
    "set",
    "sismember",
    "smembers",
    "srandmember",
    "srem",
    "subscribe",
    "sunion",
    "time",
    "unsubscribe",
    "xack",
    "xadd",
    "xdel",
    "xgroup|create",
    "xlen",
    "xpending",
    "xrange",
    "xreadgroup",
    "zadd",
    "zcard",
    "zrange",
    "zrangebyscore",
    "zrem",
    "zrevrange",
    "zscan",
    "zscore",
];

/// What a user may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Patterns of keys.
    pub keys: Vec<String>,
    /// Channels.
    pub channels: Vec<String>,
    /// Commands; after a bar, those of which only this part is needed.
    pub commands: Vec<String>,
}

impl Rules {
    /// What an installation needs.
    pub fn of(namespace: &str) -> Self {
        let keys = Keys::new(namespace);
        Self {
            keys: keys.patterns(),
            channels: vec![keys.events()],
            commands: COMMANDS.map(str::to_owned).to_vec(),
        }
    }

    /// They as a file of users has them, without a password.
    pub fn line(&self, user: &str) -> String {
        let words = |before: &str, all: &[String]| {
            let all: Vec<_> = all.iter().map(|one| format!("{before}{one}")).collect();
            all.join(" ")
        };
        format!(
            "user {user} on resetkeys {} resetchannels {} -@all {}",
            words("~", &self.keys),
            words("&", &self.channels),
            words("+", &self.commands)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn as_redis_reads_them() {
        let keys = Keys::new("ns");
        let line = Rules::of("ns").line("me");
        let (begin, _) = line.split_once('~').unwrap();
        assert_eq!(begin, "user me on resetkeys ");
        let words: Vec<_> = line.split(' ').collect();
        for word in [
            &*format!("~{}", keys.epoch()),
            &*format!("~{}*", keys.lease_prefix()),
            &*format!("&{}", keys.events()),
            "-@all",
            "+evalsha",
            "+pubsub|numsub",
        ] {
            assert_eq!(words.iter().filter(|it| **it == word).count(), 1, "{word}");
        }
        assert!(!line.contains("~*") && !line.contains("&*") && !line.contains("+@"));
    }

    /// What a client begins with, and what the client library says for itself.
    const OF_CLIENTS: [&str; 11] = [
        "exec",
        "multi",
        "auth",
        "evalsha",
        "hello",
        "ping",
        "script|load",
        "select",
        "subscribe",
        "unsubscribe",
        "publish",
    ];

    #[test]
    fn commands_are_those_that_are_used() {
        let mut text = String::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("acl.rs") => {}
                    false => text.push_str(&fs::read_to_string(path).unwrap()),
                }
            }
        }
        let name = |rest: &str| {
            let end = rest.find(|char: char| !char.is_ascii_uppercase());
            rest[..end.unwrap_or(rest.len())].to_lowercase()
        };
        let after = |begin| text.split(begin).skip(1).map(name);
        let used: BTreeSet<_> = after("redis.call('").chain(after("cmd(\"")).collect();
        let is_of = |command: &str, used: &str| command.split('|').next() == Some(used);
        for used in &used {
            assert!(
                COMMANDS.iter().any(|it| is_of(it, used)),
                "{used} is missing"
            );
        }
        // (Those that the library has a function for would not be found, so none is used.)
        for part in text.split("pipeline.").skip(1) {
            let end = part.find('(').unwrap_or(0);
            let known = ["arg", "atomic", "cmd", "query_async"];
            assert!(
                known.contains(&&part[..end]),
                "say cmd, not {}",
                &part[..end]
            );
        }
        for command in COMMANDS {
            // (Some are chosen by what is to be read.)
            let quoted = format!("\"{}\"", command.to_uppercase());
            let is_used = used.iter().any(|used| is_of(command, used)) || text.contains(&quoted);
            assert!(
                is_used || OF_CLIENTS.contains(&command),
                "nobody uses {command}"
            );
        }
    }
}
