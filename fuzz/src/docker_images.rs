//! What the gate makes of an image that is brought to Docker.

use std::collections::HashSet;

use bytes::Bytes;
use corefn_gate::image::{Image, rewritten};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("there is room for a runtime");
    let Some((name, written)) = runtime.block_on(written(bytes)) else {
        return;
    };
    // Whoever reads it finds the one image that it is said to be, and no other file.
    let mut archive = tar::Archive::new(&*written);
    let entries = archive.entries().expect("it is an archive");
    let mut found = HashSet::new();
    let mut wanted = HashSet::from(["manifest.json".to_owned(), "config.json".to_owned()]);
    for entry in entries {
        let entry = entry.expect("it is whole");
        assert!(entry.header().entry_type().is_file());
        let path = entry.path().expect("it has a name").display().to_string();
        if path == "manifest.json" {
            assert!(found.is_empty(), "it comes first");
            let manifest: Value = serde_json::from_reader(entry).expect("it is JSON");
            assert_eq!(manifest.as_array().map(Vec::len), Some(1));
            assert_eq!(manifest[0]["RepoTags"], serde_json::json!([name]));
            let layers = manifest[0]["Layers"].as_array().expect("it has a list");
            wanted.extend(layers.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        assert!(found.insert(path), "each is there once");
    }
    assert_eq!(found, wanted);
}

async fn written(bytes: &[u8]) -> Option<(String, Bytes)> {
    let body = Full::new(Bytes::copy_from_slice(bytes));
    let image = Image::read(body).await.ok()?;
    let name = image.name().to_owned();
    let all = rewritten(image, drop).collect().await.ok()?;
    Some((name, all.to_bytes()))
}
