//! What can be said of a Redis, for whoever looks after it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Store, StoreError};

/// What a Redis is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: String,
    /// What it removes when its memory is full (`maxmemory-policy`); nothing where its memory has no bound.
    pub evicts: Option<String>,
    /// Its wall clock.
    pub clock: SystemTime,
    /// How many workers of nginx hear of what happens.
    pub routers: u64,
    /// Whether a cleaner is at work.
    pub is_cleaned: bool,
    /// Whether a dispatcher is at work.
    pub is_dispatched: bool,
}

impl Store {
    /// What Redis is like, and who is connected with it for this installation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn facts(&self) -> Result<Facts, StoreError> {
        let info: String = self.command(&redis::cmd("INFO")).await?;
        let (seconds, micros): (u64, u64) = self.command(&redis::cmd("TIME")).await?;
        let mut subscribers = redis::cmd("PUBSUB");
        subscribers.arg("NUMSUB").arg(self.keys.events());
        let (_, routers): (String, u64) = self.command(&subscribers).await?;
        Ok(Facts {
            version: field(&info, "redis_version").unwrap_or_default().to_owned(),
            evicts: evicts(&info).map(ToOwned::to_owned),
            clock: UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros),
            routers,
            is_cleaned: self.has_any(&self.keys.watch("*")).await?,
            is_dispatched: self.has_any(&self.keys.dispatcher("*")).await?,
        })
    }

    /// Whether there is a key of this pattern.
    async fn has_any(&self, pattern: &str) -> Result<bool, StoreError> {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern);
            let (next, found): (u64, Vec<String>) =
                self.command(scan.arg("COUNT").arg(1000)).await?;
            if !found.is_empty() {
                return Ok(true);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(false);
            }
        }
    }
}

/// A field of what `INFO` says.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn evicts(info: &str) -> Option<&str> {
    let has_bound = field(info, "maxmemory").is_some_and(|bytes| bytes != "0");
    let policy = field(info, "maxmemory_policy")?;
    (has_bound && policy != "noeviction").then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_info_says() {
        let info = |bytes: &str, policy: &str| {
            format!(
                "# Memory\r\nmaxmemory:{bytes}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
            )
        };
        let bounded = info("100", "allkeys-lru");
        assert_eq!(field(&bounded, "maxmemory"), Some("100"));
        assert_eq!(field(&bounded, "maxmem"), None);
        assert_eq!(evicts(&bounded), Some("allkeys-lru"));
        assert_eq!(evicts(&info("100", "noeviction")), None);
        assert_eq!(evicts(&info("0", "allkeys-lru")), None);
        assert_eq!(evicts(""), None);
    }
}
