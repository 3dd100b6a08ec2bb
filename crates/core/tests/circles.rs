//! No module of a crate imports, by way of others, itself: this fails on such a circle and shows it.
//!
//! What counts is a crate's modules at the top, with all that is below them, and the modules of each folder, as they
//! import each other by `super::`. Tests may import what they like.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Crates, from the workspace's root.
const CRATES: &[&str] = &[
    "bench",
    "crates/build",
    "crates/clean",
    "crates/cli",
    "crates/core",
    "crates/dispatch",
    "crates/engine",
    "crates/schedule",
    "crates/sync",
    "fuzz",
    "tests",
    // The nginx module.
    ".",
];

/// Which modules a module imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_circles() {
    for name in CRATES {
        let source = root().join(name).join("src");
        let imports = imports_of(&source);
        assert!(!imports.is_empty(), "{name} has no modules: has it moved?");
        let mut all = vec![(source.clone(), imports)];
        for folder in folders(&source) {
            let imports = siblings(&folder);
            all.push((folder, imports));
        }
        for (folder, imports) in all {
            if let Some(circle) = circle(&imports) {
                let circle = circle.join(" → ");
                panic!("{} has a circle of imports: {circle}", folder.display());
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn what_counts_as_an_import() {
    let text = r#"
        //! [`crate::documented`]
        use crate::{one, two::Two};
        use crate::three::{Three, four};
        fn f() { crate::five::g("crate::text") }
        #[cfg(test)]
        mod tests { use crate::tested; }
        #[cfg(test)]
        use crate::tested_too;
        fn h(_: crate::six::Six) {}
    "#;
    let mut found = BTreeSet::new();
    collect(text.parse().unwrap(), "crate", &mut found);
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["five", "one", "six", "three", "two"]);
    let mut found = BTreeSet::new();
    let text = "use super::{one, Two}; use super::super::three; use crate::four;";
    collect(text.parse().unwrap(), "super", &mut found);
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["Two", "one", "super"]);
}

#[test]
fn circles() {
    let of = |edges: &[(&str, &[&str])]| {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let imports: Imports = edges
            .iter()
            .map(|(from, to)| (from.to_string(), owned(to)))
            .collect();
        circle(&imports)
    };
    assert_eq!(of(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]), None);
    let found = of(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
    assert_eq!(found.unwrap(), ["b", "c", "b"]);
}

/// The imports of a crate whose sources are in a folder.
fn imports_of(folder: &Path) -> Imports {
    let mut imports = Imports::new();
    let mut files = Vec::new();
    sources(folder, &mut files);
    for file in files {
        let path = file.strip_prefix(folder).unwrap();
        let first = path.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        let is_test = path.to_str().unwrap().contains("tests");
        if is_test || matches!(module, "lib" | "main") {
            continue;
        }
        let tokens: TokenStream = fs::read_to_string(&file).unwrap().parse().unwrap();
        collect(
            tokens,
            "crate",
            imports.entry(module.to_owned()).or_default(),
        );
    }
    own(imports)
}

/// The imports of a folder's files among each other.
fn siblings(folder: &Path) -> Imports {
    let mut imports = Imports::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        if path.is_file() && !path.to_str().unwrap().contains("tests") {
            let tokens: TokenStream = fs::read_to_string(&path).unwrap().parse().unwrap();
            collect(
                tokens,
                "super",
                imports.entry(module.to_owned()).or_default(),
            );
        }
    }
    own(imports)
}

/// Without what is imported from elsewhere.
fn own(mut imports: Imports) -> Imports {
    let modules: BTreeSet<_> = imports.keys().cloned().collect();
    for (module, imported) in &mut imports {
        imported.retain(|name| name != module && modules.contains(name));
    }
    imports
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(folders(&path));
            found.push(path);
        }
    }
    found
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// The modules that follow `crate::`, or `super::`, but in what is only for tests.
fn collect(tokens: TokenStream, from: &str, found: &mut BTreeSet<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) if group.to_string().replace(' ', "") == "[cfg(test)]" => {
                // What it stands before ends with its block, or without one.
                for token in tokens.by_ref() {
                    let ends = match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(punct) => punct.as_char() == ';',
                        _ => false,
                    };
                    if ends {
                        break;
                    }
                }
            }
            TokenTree::Group(group) => collect(group.stream(), from, found),
            TokenTree::Ident(ident) if ident == from => {
                let colon =
                    |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
                while tokens.next_if(colon).is_some() {}
                match tokens.next() {
                    Some(TokenTree::Ident(module)) => {
                        found.insert(module.to_string());
                    }
                    Some(TokenTree::Group(several)) => firsts(several.stream(), found),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The first word of each part between commas.
fn firsts(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut is_first = true;
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => is_first = true,
            TokenTree::Ident(module) if is_first => {
                found.insert(module.to_string());
                is_first = false;
            }
            _ => is_first = false,
        }
    }
}

/// A circle, if there is one: its first module is its last as well.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|module| walk(imports, module, &mut Vec::new(), &mut done))
}

fn walk(
    imports: &Imports,
    module: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|passed| passed == module) {
        let mut circle = way[at..].to_vec();
        circle.push(module.to_owned());
        return Some(circle);
    }
    if done.contains(module) {
        return None;
    }
    way.push(module.to_owned());
    let found = imports[module]
        .iter()
        .find_map(|next| walk(imports, next, way, done));
    way.pop();
    done.insert(module.to_owned());
    found
}
