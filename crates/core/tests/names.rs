//! Names that the outside sees have one home, `crates/core/src/{names,keys,metrics,host}.rs`: this fails on
//! a string literal anywhere else in the workspace's sources that spells one.
//!
//! Comments and documentation may name them. Test and benchmark programs may hold nginx
//! configuration, so directives and variables are theirs to spell.
#![allow(clippy::unwrap_used)]

use std::ffi::CStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use corefn_core::function::RevisionId;
use corefn_core::instance::InstanceId;
use corefn_core::keys::Keys;
use corefn_core::names::{directive, env, header, label, variable};
use proc_macro2::{Literal, TokenStream, TokenTree};

/// Where the names are spelled.
const HOMES: &[&str] = &[
    "crates/core/src/names.rs",
    "crates/core/src/keys.rs",
    "crates/core/src/metrics.rs",
    "crates/core/src/metrics/tests.rs",
    "crates/core/src/host.rs",
];

/// Folders of sources, from the workspace's root. The stacks and examples are programs of others.
const FOLDERS: &[&str] = &["src", "crates", "tests", "bench"];

/// A program that stands on nothing but the standard library, and so can't use the names.
const ALONE: &str = "tests/probe/main.rs";

/// Folders whose programs may hold nginx configuration.
const HOLD_CONFIGURATION: &[&str] = &["tests/", "bench/"];

/// Words after `corefn.` that make it a file's name and no label.
const FILE_ENDINGS: &[&str] = &["toml", "conf", "log", "so", "sock", "pid", "fish", "json"];

#[test]
fn names_have_one_home() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut files);
    }
    assert!(
        files.len() > 20,
        "only {} source files found: have they moved?",
        files.len()
    );
    let mut found = String::new();
    for file in files {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if HOMES.contains(&name.as_str()) || name == ALONE {
            continue;
        }
        let holds_configuration = HOLD_CONFIGURATION
            .iter()
            .any(|folder| name.starts_with(folder));
        let tokens = fs::read_to_string(&file).unwrap().parse();
        let tokens: TokenStream = tokens.unwrap_or_else(|e| panic!("{name} is no Rust: {e}"));
        literals(tokens, &mut |literal| {
            let text = literal.to_string();
            let at = literal.span().start();
            for (what, instead) in spelled(&text, holds_configuration) {
                let column = at.column + 1;
                writeln!(
                    found,
                    "{name}:{}:{column}: {text} spells {what}: use {instead}",
                    at.line
                )
                .unwrap();
            }
        });
    }
    assert!(
        found.is_empty(),
        "names of the outside are spelled outside of their home:\n{found}"
    );
}

#[test]
fn what_counts_as_spelled() {
    let label = label::FUNCTION;
    let home = env::HOME;
    let error = header::ERROR.to_lowercase();
    let idle = directive::IDLE.to_str().unwrap();
    for (text, wanted) in [
        (format!("\"{label}\""), Some("FUNCTION")),
        (
            format!("\"x {label}y\""),
            Some("a constant of names::label"),
        ),
        (format!("\"{home}=\""), Some("HOME")),
        (format!("\"{home}S\""), Some("a constant of names::env")),
        (format!("\"{error}\""), Some("ERROR")),
        (format!("c\"{idle}\""), Some("IDLE")),
        (
            format!("\"${idle}_x\""),
            Some("a constant of names::directive"),
        ),
        (format!("{:?}", Keys::new("a").events()), Some("keys::Keys")),
        (
            format!("{:?}", Keys::new("{ns}").ready(&"a/b".parse().unwrap())),
            Some("keys::Keys"),
        ),
        (format!("\"{}toml\"", label_prefix()), None),
        (format!("\"my{idle}\""), None),
        ("\"corefn\"".to_owned(), None),
        ("\"urn:corefn:error\"".to_owned(), None),
    ] {
        let found = spelled(&text, false);
        match wanted {
            None => assert!(found.is_empty(), "{text}: {found:?}"),
            Some(wanted) => {
                assert!(
                    found.len() == 1 && found[0].1.contains(wanted),
                    "{text}: {found:?}"
                );
            }
        }
    }
    assert!(spelled(idle, true).is_empty());
}

/// Rust files of a folder and the folders in it, except for what was built.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Calls `each` for every literal that is no documentation.
fn literals(tokens: TokenStream, each: &mut impl FnMut(Literal)) {
    for token in tokens {
        match token {
            TokenTree::Literal(literal) => each(literal),
            // Documentation comments are attributes to the tokenizer: #[doc = "…"].
            TokenTree::Group(group) => match group.stream().into_iter().next() {
                Some(TokenTree::Ident(first)) if first == "doc" => {}
                _ => literals(group.stream(), each),
            },
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// What a literal spells of the outside's names, and what to write instead.
fn spelled(literal: &str, holds_configuration: bool) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let prefix = label_prefix();
    for word in words(literal, prefix, |c| c.is_ascii_lowercase()) {
        if !FILE_ENDINGS.contains(&&word[prefix.len()..]) {
            found.push(("a label", constant(word, LABELS, "label")));
        }
    }
    for word in words(literal, env::RESERVED_PREFIX, |c| {
        c.is_ascii_uppercase() || c == '_'
    }) {
        found.push(("a variable of the environment", constant(word, ENV, "env")));
    }
    if literal.to_lowercase().contains(&header_prefix()) {
        found.push(("a header", constant(header::ERROR, HEADERS, "header")));
    }
    if !holds_configuration {
        for word in words(literal, "corefn_", |c| c.is_ascii_lowercase() || c == '_') {
            found.push((
                "a directive or variable of nginx",
                directive_or_variable(word),
            ));
        }
    }
    if key_parts().iter().any(|part| literal.contains(part)) || literal.starts_with("\"corefn:") {
        found.push(("a key of Redis", "a method of keys::Keys".into()));
    }
    found
}

/// The words that start with `prefix`, have at least one more character, and don't go on from an
/// identifier.
fn words<'a>(text: &'a str, prefix: &str, more: impl Fn(char) -> bool) -> Vec<&'a str> {
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            let length = rest.find(|c| !more(c)).unwrap_or(rest.len());
            &text[at..at + prefix.len() + length]
        })
        .filter(|word| word.len() > prefix.len())
        .collect()
}

fn constant(word: &str, known: &[(&str, &str)], module: &str) -> String {
    match known.iter().find(|(value, _)| *value == word) {
        Some((_, name)) => format!("names::{module}::{name}"),
        None => format!("a constant of names::{module} (add it)"),
    }
}

fn directive_or_variable(word: &str) -> String {
    let named = |names: &[(&CStr, &'static str)]| {
        let found = names.iter().find(|(value, _)| value.to_str() == Ok(word));
        found.map(|(_, name)| *name)
    };
    match (named(DIRECTIVES), named(VARIABLES)) {
        (Some(name), _) => format!("names::directive::{name}"),
        (_, Some(name)) => format!("names::variable::{name}"),
        _ => "a constant of names::directive or names::variable (add it)".into(),
    }
}

/// What labels start with, with the full stop.
fn label_prefix() -> &'static str {
    label::FUNCTION.strip_suffix("function").unwrap()
}

/// What headers start with, in lower case.
fn header_prefix() -> String {
    header::ERROR.strip_suffix("-Error").unwrap().to_lowercase()
}

/// What Redis keys hold behind their namespace.
fn key_parts() -> Vec<String> {
    let keys = Keys::new("");
    let function = "a/b".parse().unwrap();
    let instance = InstanceId::from_random(1);
    let less = |key: String, end: &str| key.strip_suffix(end).unwrap().to_owned();
    vec![
        keys.epoch(),
        keys.functions(),
        keys.routes(),
        keys.instances(),
        keys.rebuild_lock(),
        keys.addresses(),
        keys.events(),
        keys.starting(),
        keys.waiting(),
        keys.turn_prefix(),
        less(keys.failures(&function), "a/b"),
        less(keys.pause(&function), "a/b"),
        less(keys.young(instance), &instance.to_string()),
        less(keys.ready(&function), "a/b"),
        less(
            keys.start_lock(&function, &RevisionId("r".to_owned())),
            "a/b:r",
        ),
        less(keys.lease(instance), &instance.to_string()),
        less(keys.frozen(&function), "a/b"),
        keys.kept_prefix(),
    ]
}

const LABELS: &[(&str, &str)] = &[
    (label::NAMESPACE, "NAMESPACE"),
    (label::FUNCTION, "FUNCTION"),
    (label::REVISION, "REVISION"),
    (label::CONFIG, "CONFIG"),
    (label::COMMIT, "COMMIT"),
    (label::REPOSITORY, "REPOSITORY"),
    (label::INSTANCE, "INSTANCE"),
    (label::ADDRESS, "ADDRESS"),
    (label::ROLE, "ROLE"),
    (label::STACK, "STACK"),
    (label::HOLDER, "HOLDER"),
];

const ENV: &[(&str, &str)] = &[
    (env::FUNCTION, "FUNCTION"),
    (env::NAME, "NAME"),
    (env::REVISION, "REVISION"),
    (env::INSTANCE, "INSTANCE"),
    (env::SOCKET, "SOCKET"),
    (env::HOME, "HOME"),
];

const HEADERS: &[(&str, &str)] = &[(header::ERROR, "ERROR")];

const DIRECTIVES: &[(&CStr, &str)] = &[
    (directive::REDIS, "REDIS"),
    (directive::DOCKER, "DOCKER"),
    (directive::NAMESPACE, "NAMESPACE"),
    (directive::ZONE, "ZONE"),
    (directive::COREFN, "COREFN"),
    (directive::START_TIMEOUT, "START_TIMEOUT"),
    (directive::QUEUE, "QUEUE"),
    (directive::HOST_QUEUE, "HOST_QUEUE"),
    (directive::MAX_STARTS, "MAX_STARTS"),
    (directive::IDLE, "IDLE"),
    (directive::INSTANCES, "INSTANCES"),
];

const VARIABLES: &[(&CStr, &str)] = &[
    (variable::FUNCTION, "FUNCTION"),
    (variable::REVISION, "REVISION"),
    (variable::INSTANCE, "INSTANCE"),
    (variable::START, "START"),
    (variable::WAIT, "WAIT"),
    (variable::URI, "URI"),
    (variable::PREFIX, "PREFIX"),
    (variable::CONNECTION, "CONNECTION"),
];
