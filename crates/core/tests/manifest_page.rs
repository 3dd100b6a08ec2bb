//! The page about the manifest is the one that the code makes, and what it says is what holds.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use corefn_core::config::FunctionConfig;
use corefn_core::manifest::keys::{KEYS, Without, page};
use corefn_core::manifest::{Found, Manifest};

/// The variable with which the page is written anew.
const UPDATE: &str = "UPDATE_DOCS";

fn config(text: &str) -> FunctionConfig {
    let manifest = Manifest::parse(text).unwrap_or_else(|error| panic!("{text}:\n{error}"));
    let mut functions = manifest.functions("demo", Some("hello")).unwrap();
    functions.remove(0).1.config(Found::default())
}

fn with(table: &str, line: &str) -> String {
    match table {
        "function" => format!("[function]\n{line}\n"),
        inner => format!("[function.{inner}]\n{line}\n"),
    }
}

#[test]
fn page_is_the_code_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/corefn-toml.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text == page(),
        "{} is not what keys.rs says: run the test with {UPDATE}=1",
        path.display()
    );
}

#[test]
fn examples_and_defaults_hold() {
    for key in KEYS {
        // (One needs the other.)
        let concurrency = match key.name {
            "max" => "concurrency = 10\n",
            _ => "",
        };
        let text = with(key.table, &format!("{concurrency}{}", key.example));
        Manifest::parse(&text).unwrap_or_else(|error| panic!("{text}:\n{error}"));
        if let Without::Value(value) = key.default {
            let mut without = config("");
            let with = config(&with(key.table, &format!("{} = {value}", key.name)));
            // (That there may be one is the same whether it is said or not.)
            without.max_instances = with.max_instances;
            assert_eq!(with, without, "{} = {value}", key.name);
            assert_eq!(without.most_instances(), 1);
        }
    }
}
