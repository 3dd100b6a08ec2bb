//! Waiting for Redis while it is out of reach.
//!
//! Redis is not asked again by requests, but by one task, with growing pauses; what was started
//! without it is registered before anyone else goes by it.

use std::sync::Arc;

use tracing::info;

use super::instances::Instances;
use super::redis::Redis;
use super::{Gauges, Service};
use crate::pauses::Pauses;

/// Waits for outages, and for each until it is over. Runs for as long as the thread does.
pub(super) async fn outages(redis: Arc<Redis>, gauges: Arc<dyn Gauges>, instances: Arc<Instances>) {
    loop {
        redis.outage().await;
        gauges.reached(Service::Redis, false);
        let mut pauses = Pauses::of_service();
        while instances.register_all(&redis).await.is_err() {
            tokio::time::sleep(pauses.grow()).await;
        }
        redis.on_return();
        gauges.reached(Service::Redis, true);
        info!("Redis can be used again");
    }
}
