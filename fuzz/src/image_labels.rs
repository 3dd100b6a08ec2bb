//! The labels of images, a JSON object: anyone who may build images on the machine writes them.
//!
//! What is deployed by them must be of the namespace, and fit into Redis.

use std::collections::HashMap;

use corefn_core::deployment::Deployment;
use corefn_core::names;
use corefn_engine::docker::deployment;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(labels) = serde_json::from_slice::<HashMap<String, String>>(bytes) else {
        return;
    };
    let Some(deployed) = deployment("corefn", &labels) else {
        return;
    };
    assert!(
        deployed
            .image
            .starts_with(&names::image("corefn", &deployed.function))
    );
    let value = serde_json::to_string(&deployed).expect("a deployment has a text");
    let read: Deployment = serde_json::from_str(&value).expect("its text can be read");
    assert_eq!(deployed, read);
}
