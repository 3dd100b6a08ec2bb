//! Docker's events, as it sends them: one JSON object a line.

use std::collections::HashSet;

use bollard::models::EventMessage;
use corefn_core::names::label;
use corefn_engine::docker::InstanceEvent;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let mut ordered = HashSet::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let Ok(event) = serde_json::from_slice::<EventMessage>(line) else {
            continue;
        };
        let Some(read) = InstanceEvent::read("corefn", event.clone(), &mut ordered) else {
            continue;
        };
        let actor = event.actor.unwrap_or_default();
        let labels = actor.attributes.unwrap_or_default();
        // (That of a sandbox is in its name.)
        if labels.get(label::ROLE).map(String::as_str) != Some(label::ROLE_SANDBOX) {
            let function = read.function.as_ref().map(|name| name.as_str());
            assert_eq!(Some(&*labels[label::FUNCTION]), function);
        }
        let id = labels[label::INSTANCE].to_lowercase();
        assert_eq!(id, read.id.to_string());
    }
}
