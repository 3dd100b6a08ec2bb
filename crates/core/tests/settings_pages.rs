//! The pages of nginx's directives and of `host.toml` have what there is, and nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use corefn_core::host::Host;

/// What a `host.toml` must have at least.
const LEAST: &str = "url = 'http://h'\nstacks = 's'\nprojects = 'p'\nredis = 'redis://h'\n";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The words between backticks in the first column of the tables of a section.
fn first_column(page: &str, section: &str) -> BTreeSet<String> {
    let found = page.split("\n## ").find(|part| part.starts_with(section));
    let found = found.unwrap_or_else(|| panic!("no section {section:?}"));
    let rows = found.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    let words = cells.flat_map(|cell| quoted(cell).map(str::to_owned).collect::<Vec<_>>());
    words.collect()
}

/// The names in a module of `names.rs`.
fn names(module: &str) -> BTreeSet<String> {
    let text = read("crates/core/src/names.rs");
    let found = text.split(&format!("pub mod {module} {{")).nth(1).unwrap();
    let found = found.split("\n}").next().unwrap();
    let texts = found.split("= c\"").skip(1);
    let names = texts.map(|rest| rest.split('"').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn each_directive_and_variable_has_a_row() {
    let page = read("nginx-conf/README.md");
    let directives = names("directive");
    assert!(directives.len() > 15, "{directives:?}");
    assert_eq!(first_column(&page, "Directives"), directives);
    let variables = names("variable");
    assert!(variables.len() > 10, "{variables:?}");
    // (Two are in the rows of those that are made of them.)
    let rows = page.split("\n## Variables").nth(1).unwrap();
    let rows = rows.split("\n## ").next().unwrap();
    let told: BTreeSet<String> = quoted(rows)
        .filter_map(|word| word.strip_prefix('$'))
        .filter(|word| word.starts_with("corefn_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, variables);
}

/// The keys that there are in a table of the settings, as the error of an unknown one says.
fn keys(table: &str) -> BTreeSet<String> {
    let text = format!("{LEAST}{table}unknown_key = 1\n");
    let error = Host::parse("f", &text).unwrap_err().to_string();
    let expected = error
        .split("expected ")
        .nth(1)
        .unwrap_or_else(|| panic!("{error}"));
    quoted(expected).map(str::to_owned).collect()
}

#[test]
fn each_key_of_the_settings_has_a_row() {
    let page = read("docs/host.md");
    // (What is a table has a section of its own.)
    let tables = [
        ("build", "What a build may use"),
        ("revisions", "Which revisions are kept"),
        ("firewall", "What functions and builds reach"),
        ("networks", "What functions and builds reach"),
        ("sandboxes", "Sandboxes"),
    ];
    let mut all = keys("");
    for (table, _) in tables {
        assert!(all.remove(table), "{table}");
        assert!(page.contains(&format!("[{table}")), "{table}");
    }
    let (top, _) = page.split_once("\n## ").unwrap();
    let top = format!("\n## Top\n{top}");
    assert_eq!(first_column(&top, "Top"), all);
    for (table, section) in tables {
        let header = match table {
            "networks" => "[networks.intern]\n".to_owned(),
            _ => format!("[{table}]\n"),
        };
        let told = first_column(&page, section);
        for key in keys(&header) {
            assert!(
                told.contains(&key),
                "{table}: {key} is not in {section:?}: {told:?}"
            );
        }
    }
}
