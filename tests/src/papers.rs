//! The papers, and the commands in them.

use std::fs;
use std::path::Path;

use crate::programs::workspace;

/// What is quoted in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The section, as its heading has it; empty before the first.
    pub section: String,
    /// The language.
    pub language: String,
    /// The text.
    pub text: String,
}

/// The pages of the book, by their paths in the workspace.
///
/// # Panics
/// When there is no list of them.
pub fn pages() -> Vec<String> {
    let list = read("docs/SUMMARY.md");
    let links = list.split("](").skip(1);
    let paths = links.map(|rest| rest.split(')').next().unwrap_or_default());
    let from_root = |path: &str| match path.strip_prefix("../") {
        Some(path) => path.to_owned(),
        None => format!("docs/{path}"),
    };
    paths.map(from_root).collect()
}

/// All that a page quotes.
///
/// # Panics
/// When there is no such page, or a quotation has no end.
pub fn quoted(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let text = read(page);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let mut block = String::new();
            loop {
                let line = lines
                    .next()
                    .unwrap_or_else(|| panic!("{page}: {line} has no end"));
                if line == "```" {
                    break;
                }
                block += line;
                block.push('\n');
            }
            blocks.push(Block {
                section: section.clone(),
                language: language.to_owned(),
                text: block,
            });
        } else if line.starts_with('#') {
            section = line.trim_start_matches('#').trim().to_owned();
        }
    }
    blocks
}

/// The commands in a section of a page, each block by itself. (A test says by this which blocks it runs.)
///
/// # Panics
/// When there are none.
pub fn blocks(page: &str, section: &str) -> Vec<String> {
    let quoted = quoted(page).into_iter();
    let found = quoted.filter(|block| block.section == section && block.language == "sh");
    let found: Vec<_> = found.map(|block| block.text).collect();
    assert!(!found.is_empty(), "{page} has no commands in {section:?}");
    found
}

fn read(page: &str) -> String {
    let path = workspace().join(Path::new(page));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
