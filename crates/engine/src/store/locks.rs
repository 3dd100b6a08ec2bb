//! One starter a revision, one who rebuilds, and the turns of addresses.

use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::InstanceId;
use corefn_core::keys::START_LOCK_TTL;

use super::{Store, StoreError, millis};

impl Store {
    /// Takes the starter's lock of a revision, or renews it, without a permit. Returns whether
    /// `token` holds it now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock(
        &self,
        function: &FunctionName,
        revision: &RevisionId,
        token: &str,
    ) -> Result<bool, StoreError> {
        let key = self.keys.start_lock(function, revision);
        self.take(&key, token).await
    }

    /// Takes the lock of whoever rebuilds the index.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_rebuild(&self, token: &str) -> Result<bool, StoreError> {
        self.take(&self.keys.rebuild_lock(), token).await
    }

    /// Gives the lock of whoever rebuilds the index back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release_rebuild(&self, token: &str) -> Result<(), StoreError> {
        let mut script = self.scripts.release.prepare_invoke();
        script.key(self.keys.rebuild_lock()).arg(token);
        self.invoke(&script).await
    }

    /// Whether a start of the revision is under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_starting(
        &self,
        function: &FunctionName,
        revision: &RevisionId,
    ) -> Result<bool, StoreError> {
        let key = self.keys.start_lock(function, revision);
        self.command(redis::cmd("EXISTS").arg(key)).await
    }

    /// Keeps the cleaner from an instance that a push is starting, for [`START_LOCK_TTL`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_instance(&self, id: InstanceId) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        let ttl = millis(START_LOCK_TTL);
        command.arg(self.keys.claim(id)).arg(1).arg("PX").arg(ttl);
        self.command(&command).await
    }

    /// Whether a push is starting an instance.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_claimed(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.command(redis::cmd("EXISTS").arg(self.keys.claim(id)))
            .await
    }

    async fn take(&self, key: &str, token: &str) -> Result<bool, StoreError> {
        let mut script = self.scripts.lock.prepare_invoke();
        script.key(key).arg(token).arg(millis(START_LOCK_TTL));
        self.invoke(&script).await
    }

    /// Counts the containers that were given an address; the result says which is the next one's.
    ///
    /// A Redis that was emptied, or comes back as it was before, or takes over from another, has lost the count. It begins anew
    /// at random, for the addresses behind a fixed beginning, or behind an old count, are those of the containers that run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_address(&self) -> Result<u64, StoreError> {
        let begin = getrandom::u32().unwrap_or_default();
        let mut script = self.scripts.next_address.prepare_invoke();
        script.key(self.keys.addresses()).arg(begin);
        self.invoke(&script).await
    }
}
