//! What the pages link to is there: files, and headings within them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no pages of the project's own.
const SKIPPED: [&str; 4] = ["target", ".git", "var", "node_modules"];

/// All pages below a folder.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !SKIPPED.contains(&name.to_str().unwrap_or_default()) {
                pages(&path, found);
            }
        } else if path.extension() == Some("md".as_ref()) {
            found.push(path);
        }
    }
}

/// A page without its blocks of code.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let outside = text.split("```").step_by(2);
    outside.collect()
}

/// Where the links lead to, in the order of the page.
fn targets(prose: &str) -> Vec<String> {
    let begins = prose.split("](").skip(1);
    let links = begins.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    links.collect()
}

/// The names of a page's headings, as renderers of Markdown make them.
fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let names = headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    });
    names.collect()
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let mut found = Vec::new();
    pages(&root, &mut found);
    assert!(found.len() > 15, "{found:?}");
    let mut dead = Vec::new();
    for page in found {
        let prose = prose(&page);
        for target in targets(&prose) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let is_there = to.exists()
                && (anchor.is_empty() || anchors(&self::prose(&to)).iter().any(|it| it == anchor));
            if !is_there {
                dead.push(format!(
                    "{}: {target}",
                    page.strip_prefix(&root).unwrap().display()
                ));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}
