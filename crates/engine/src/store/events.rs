//! The events channel.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use corefn_core::event::Event;

use super::{CONNECT_TIMEOUT, Store, StoreError};

impl Store {
    /// Subscribes to the events of the installation. The stream ends when the connection does;
    /// what was published meanwhile must be looked up. A message that can't be read is skipped: a
    /// newer version may have sent it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when Redis doesn't answer in time.
    pub async fn events(&self) -> Result<impl Stream<Item = Event> + use<>, StoreError> {
        let subscribe = async {
            let client = self.servers.client().await;
            let mut channel = client.get_async_pubsub().await?;
            channel.subscribe(self.keys.events()).await?;
            Ok(channel)
        };
        let patience = CONNECT_TIMEOUT * self.servers.count() + Duration::from_secs(1);
        let channel = tokio::time::timeout(patience, subscribe)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
            .map_err(|cause| self.failed(cause))?;
        Ok(channel.into_on_message().filter_map(|message| {
            std::future::ready(serde_json::from_slice(message.get_payload_bytes()).ok())
        }))
    }
}
