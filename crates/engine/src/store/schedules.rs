//! What came of the functions' schedules, and who sees to them.

use std::collections::HashMap;

use corefn_core::keys::DISPATCHER_TTL;
use corefn_core::schedule::{Calls, Line};

use super::{Store, StoreError, json, millis, read};

impl Store {
    /// What came of a line, if anybody has seen it yet.
    ///
    /// # Errors
    /// [`StoreError`], as everything below.
    pub async fn calls(&self, line: &Line) -> Result<Option<Calls>, StoreError> {
        let key = self.keys.schedules();
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg(line.to_string());
        let text: Option<String> = self.command(&command).await?;
        text.map(|text| read(&key, &text)).transpose()
    }

    /// What came of all lines, by function and line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_calls(&self) -> Result<HashMap<String, Calls>, StoreError> {
        let key = self.keys.schedules();
        let found: HashMap<String, String> = self.command(redis::cmd("HGETALL").arg(&key)).await?;
        let read = |(line, text): (String, String)| Ok((line, read(&key, &text)?));
        found.into_iter().map(read).collect()
    }

    /// Notes what came of a line, if nobody else has noted anything since it was `from`. Returns whether it did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn swap_calls(
        &self,
        line: &Line,
        from: Option<&Calls>,
        to: &Calls,
    ) -> Result<bool, StoreError> {
        let mut script = self.scripts.swap_calls.prepare_invoke();
        script
            .key(self.keys.schedules())
            .arg(line.to_string())
            .arg(from.map(json).unwrap_or_default())
            .arg(json(to));
        self.invoke(&script).await
    }

    /// Forgets what came of lines that are in no schedule any more, as [`Store::all_calls`] names them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_calls(&self, lines: &[String]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("HDEL");
        command.arg(self.keys.schedules()).arg(lines);
        self.command(&command).await
    }

    /// Says that the dispatcher of a token is at work, for [`DISPATCHER_TTL`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_dispatching(&self, token: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.dispatcher(token)).arg(1);
        let ttl = millis(DISPATCHER_TTL);
        self.command(command.arg("PX").arg(ttl)).await
    }

    /// Says that it is no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_dispatching(&self, token: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("DEL");
        self.command(command.arg(self.keys.dispatcher(token))).await
    }

    /// Whether it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_dispatching(&self, token: &str) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EXISTS");
        self.command(command.arg(self.keys.dispatcher(token))).await
    }
}
