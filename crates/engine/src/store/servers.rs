//! One Redis, or several of which one is the master.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, RedisError, Value};

use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, StoreError};

/// What a master answers to `ROLE`, as the first element
/// (<https://redis.io/docs/latest/commands/role/>).
const MASTER: &[u8] = b"master";

/// After how long without a word the kernel asks over TCP whether the other machine is there, how often it does, and after
/// how long without an answer the connection has ended. It would try for a quarter of an hour otherwise; and of events, for which
/// nobody asks, nobody would notice. (A Redis that hangs is there: its kernel answers.)
const QUIET: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_secs(10);

/// Of several, none was seen to be the master yet.
const NONE: usize = usize::MAX;

/// The servers, and which of them is used.
pub(super) struct Servers {
    all: Vec<Server>,
    current: AtomicUsize,
}

struct Server {
    client: Client,
    connection: OnceLock<ConnectionManager>,
}

impl Servers {
    /// Reads URLs, separated by spaces, and the files that they name. Does no other IO.
    pub fn open(urls: &str) -> Result<Self, StoreError> {
        let open = |url: &str| {
            let client = super::tls::client(url, tcp());
            let client = client.map_err(|cause| StoreError::Url {
                url: without_passwords(url),
                cause,
            })?;
            let connection = OnceLock::new();
            Ok(Server { client, connection })
        };
        let mut all: Vec<Server> = urls
            .split_whitespace()
            .map(open)
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            all.push(open(urls)?);
        }
        let current = AtomicUsize::new(if all.len() == 1 { 0 } else { NONE });
        Ok(Self { all, current })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// The connection to the server that is used, made on first use: that must be within a runtime.
    /// Clones share it.
    pub async fn connection(&self) -> Result<ConnectionManager, RedisError> {
        if self.current().is_none() {
            self.look_for_master().await;
        }
        self.used().connection()
    }

    /// The server that is used, for a connection of its own.
    pub async fn client(&self) -> &Client {
        if self.all.len() > 1 {
            self.look_for_master().await;
        }
        &self.used().client
    }

    /// Whether another server may do what this one could not: it is gone, or no master any more.
    pub fn may_other(&self, error: &RedisError) -> bool {
        let gone = error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
        let refuses = ["READONLY", "MASTERDOWN", "LOADING"];
        self.all.len() > 1 && (gone || error.code().is_some_and(|code| refuses.contains(&code)))
    }

    /// Uses the first of the servers that answers as a master, the one in use before the others.
    /// None does: then all stays as it is.
    pub async fn look_for_master(&self) {
        let first = self.current();
        let others = (0..self.all.len()).filter(|index| Some(*index) != first);
        for index in first.into_iter().chain(others) {
            if self.all[index].is_master().await {
                self.current.store(index, Ordering::Relaxed);
                return;
            }
        }
    }

    fn current(&self) -> Option<usize> {
        Some(self.current.load(Ordering::Relaxed)).filter(|index| *index != NONE)
    }

    fn used(&self) -> &Server {
        &self.all[self.current().unwrap_or(0)]
    }
}

/// URLs, separated by spaces, as they may be shown: to those who push, among others.
pub(super) fn without_passwords(urls: &str) -> String {
    let shown = |url: &str| {
        let (url, query) = url
            .split_once('?')
            .map_or((url, None), |(url, query)| (url, Some(query)));
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find('/').unwrap_or(rest.len());
        let mut text = format!("{scheme}{}", if scheme.is_empty() { "" } else { "://" });
        match rest[..end].rfind('@') {
            None => text.push_str(rest),
            Some(at) => {
                let user = rest[..at].split(':').next().unwrap_or_default();
                text.push_str(&format!("{user}:{HIDDEN}{}", &rest[at..]));
            }
        }
        let Some(query) = query else {
            return text;
        };
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some(("pass", _)) => format!("pass={HIDDEN}"),
            _ => pair.to_owned(),
        });
        format!("{text}?{}", shown.collect::<Vec<_>>().join("&"))
    };
    let all: Vec<_> = urls.split_whitespace().map(shown).collect();
    all.join(" ")
}

/// What is shown in place of a password.
const HIDDEN: &str = "***";

/// What the kernel is told of a TCP connection.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(PROBE)
        .with_retries(3);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(GONE)
}

impl Server {
    fn connection(&self) -> Result<ConnectionManager, RedisError> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_number_of_retries(0);
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        Ok(self.connection.get_or_init(|| made).clone())
    }

    async fn is_master(&self) -> bool {
        let ask = async {
            let mut connection = self.connection()?;
            redis::cmd("ROLE").query_async(&mut connection).await
        };
        let answer: Result<Result<Vec<Value>, RedisError>, _> =
            tokio::time::timeout(CONNECT_TIMEOUT, ask).await;
        match answer {
            Ok(Ok(role)) => match role.first() {
                Some(Value::BulkString(role)) => role == MASTER,
                Some(Value::SimpleString(role)) => role.as_bytes() == MASTER,
                _ => false,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("redis://:secret@host/0", "redis://:***@host/0"),
            ("rediss://me:sec:r@et@host:1", "rediss://me:***@host:1"),
            ("redis://me@host", "redis://me:***@host"),
            (
                "unix:///r.sock?db=1&user=me&pass=secret",
                "unix:///r.sock?db=1&user=me&pass=***",
            ),
            ("unix:///a@b:c/r.sock", "unix:///a@b:c/r.sock"),
            (
                "redis://:a@one redis://:b@two",
                "redis://:***@one redis://:***@two",
            ),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_passwords(url), shown);
        }
        let error = Servers::open("http://me:secret@host").err().unwrap();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
