//! The labels of containers, a JSON object, from which an emptied Redis is filled.

use std::collections::HashMap;

use corefn_core::instance::Instance;
use corefn_core::names::label;
use corefn_engine::rebuild::instance_of;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(labels) = serde_json::from_slice::<HashMap<String, String>>(bytes) else {
        return;
    };
    let Some(instance) = instance_of("container", &labels) else {
        return;
    };
    assert_eq!(labels[label::FUNCTION], instance.function.as_str());
    assert_eq!(
        labels[label::INSTANCE].to_lowercase(),
        instance.id.to_string()
    );
    let value = serde_json::to_string(&instance).expect("an instance has a text");
    let read: Instance = serde_json::from_str(&value).expect("its text can be read");
    assert_eq!(instance, read);
}
