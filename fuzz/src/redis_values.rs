//! Values that are read from Redis: whatever they are, they are read or refused, and what is read
//! is written so that it is read again as the same.

use std::fmt::Debug;

use corefn_core::deployment::Deployment;
use corefn_core::event::Event;
use corefn_core::instance::Instance;
use corefn_core::schedule::Calls;
use corefn_core::table::Table;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    if let Some(deployment) = round_trip::<Deployment>(bytes) {
        serves(deployment);
    }
    round_trip::<Instance>(bytes);
    round_trip::<Calls>(bytes);
    if let Some(Event::Deployed { deployment }) = round_trip::<Event>(bytes) {
        serves(*deployment);
    }
}

/// What is deployed is found by its name, whatever its configuration says, and can go again.
fn serves(deployment: Deployment) {
    let mut table = Table::<()>::default();
    let function = deployment.function.clone();
    table.on_deployed(deployment);
    let path = format!("/{function}/");
    assert!(table.find(b"", path.as_bytes()).is_some());
    table.on_removed(&function);
    assert!(table.find(b"", path.as_bytes()).is_none());
}

fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&value).expect("it has a text");
    let read: T = serde_json::from_str(&text).expect("its text can be read");
    assert_eq!(value, read);
    Some(value)
}
