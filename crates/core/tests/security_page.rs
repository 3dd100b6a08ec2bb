//! What `docs/security.md` says is shown by tests that there are.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether there is what a line names: a part of the proof, or an end-to-end test.
fn is_there(name: &str) -> bool {
    if let Some(part) = name.strip_prefix("make proof ONLY=") {
        let proof = fs::read_to_string(root().join("scripts/proof")).unwrap();
        return proof
            .lines()
            .any(|line| line.split_whitespace().next() == Some(part));
    }
    let Some((module, test)) = name.split_once("::") else {
        return false;
    };
    let file = root().join(format!("tests/tests/e2e/{module}.rs"));
    let text = fs::read_to_string(file).unwrap_or_default();
    text.contains(&format!("async fn {test}()"))
}

#[test]
fn each_line_has_its_tests() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, table) = page.split_once("| shown by |").unwrap();
    let rows: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("|--"))
        .collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(is_there(name), "there is no {name}: {row}");
        }
    }
}
