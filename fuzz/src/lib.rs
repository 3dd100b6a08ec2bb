//! What is fuzzed: a module for each kind of text that CoreFn reads, whose `run` takes any input and
//! panics where something is wrong.
//!
//! `scripts/fuzz` has libFuzzer make inputs. Those that are kept, in `corpus/`, an ordinary test
//! tries.

pub mod archives;
pub mod container_labels;
pub mod docker_calls;
pub mod docker_events;
pub mod docker_images;
pub mod host;
pub mod image_labels;
pub mod invocations;
pub mod manifest;
pub mod modules;
pub mod names;
pub mod orders;
pub mod redis_values;
pub mod routes;
pub mod schedules;

/// A target: takes any input.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("archives", archives::run),
    ("container_labels", container_labels::run),
    ("docker_calls", docker_calls::run),
    ("docker_events", docker_events::run),
    ("docker_images", docker_images::run),
    ("host", host::run),
    ("image_labels", image_labels::run),
    ("invocations", invocations::run),
    ("manifest", manifest::run),
    ("modules", modules::run),
    ("names", names::run),
    ("orders", orders::run),
    ("redis_values", redis_values::run),
    ("routes", routes::run),
    ("schedules", schedules::run),
];
