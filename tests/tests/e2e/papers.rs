//! What the papers quote is what works: each command is run by a test, each line of nginx's configuration is taken by nginx, and
//! each setting is read.

use std::collections::BTreeSet;
use std::fs;

use corefn_core::host::Host;
use corefn_core::manifest::Manifest;
use corefn_tests::folder::Folder;
use corefn_tests::nginx::{self, check};
use corefn_tests::papers::{pages, quoted};
use corefn_tests::programs::{module, workspace};

/// Sections whose commands are run by scripts: by a part of `scripts/proof`, or by the gate.
const BY_SCRIPTS: [(&str, &str, &str); 7] = [
    ("README.md", "Try it", "scripts/proof part_demo"),
    (
        "docs/packages.md",
        "Another nginx",
        "scripts/proof part_newest",
    ),
    (
        "compose/README.md",
        "A host in containers",
        "scripts/proof part_compose",
    ),
    (
        "compose/README.md",
        "A first push",
        "scripts/proof part_compose",
    ),
    (
        "compose/README.md",
        "Upgrading, and the end",
        "scripts/proof part_compose",
    ),
    (
        "stacks/rust/README.md",
        "Testing a function on one's own machine",
        "scripts/check patch.crates-io.",
    ),
    ("CONTRIBUTING.md", "Set up", "scripts/test nextest"),
];

/// The sections that have commands.
fn sections() -> BTreeSet<(String, String)> {
    let mut sections = BTreeSet::new();
    for page in pages() {
        for block in quoted(&page) {
            if ["sh", "console", "bash"].contains(&block.language.as_str()) {
                sections.insert((page.clone(), block.section));
            }
        }
    }
    sections
}

/// The sections whose commands a test asks for: `blocks("page", "section")`.
fn run() -> BTreeSet<(String, String)> {
    let mut run = BTreeSet::new();
    let folder = workspace().join("tests/tests/e2e/proof");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("rs".as_ref()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in text.split("blocks(").skip(1) {
            let mut texts = call.split(')').next().unwrap().split('"');
            if let (Some(page), Some(section)) = (texts.nth(1), texts.nth(1)) {
                run.insert((page.to_owned(), section.to_owned()));
            }
        }
    }
    run
}

#[test]
fn each_command_is_run_by_a_test() {
    let mut run = run();
    for (page, section, by) in BY_SCRIPTS {
        let (script, what) = by.split_once(' ').unwrap();
        let text = fs::read_to_string(workspace().join(script)).unwrap();
        assert!(text.contains(what), "{script} has no {what}");
        run.insert((page.to_owned(), section.to_owned()));
    }
    let sections = sections();
    assert!(sections.len() > 20, "{sections:?}");
    let not_run: Vec<_> = sections.difference(&run).collect();
    assert!(
        not_run.is_empty(),
        "no test runs the commands of {not_run:?}"
    );
}

#[test]
fn each_configuration_of_nginx_is_taken() {
    let folder = Folder::create("papers");
    nginx::include_files(&folder);
    let head = format!(
        "load_module {};\npid checked.pid;\nevents {{}}\n",
        module().display()
    );
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path temp-{kind};"))
        .join(" ");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        for block in quoted(&page)
            .into_iter()
            .filter(|it| it.language == "nginx")
        {
            count += 1;
            let text = &block.text;
            let installed = "include corefn/http.conf;";
            let docker = "corefn_docker unix:///nowhere/router/docker.sock;";
            // (What a page shows belongs to a server, or beside one, or to what there is one of.)
            let said: Vec<_> = [
                format!("{installed} server {{ listen 127.0.0.1:1; {text} }}"),
                format!("{installed} {text}"),
                format!("{docker} {text}"),
                text.clone(),
            ]
            .into_iter()
            .map(|http| {
                check(
                    &folder,
                    &format!("{head}http {{ {temporary} access_log off; {http}\n}}"),
                )
            })
            .collect();
            if !said
                .iter()
                .any(|it| it.accepted && !it.output.contains("[warn]"))
            {
                wrong.push(format!(
                    "{page}, {}:\n{text}{}",
                    block.section, said[0].output
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 10, "{count}");
}

/// How settings of other programs begin: cargo's, and a Python package's; and those of the command line, where there is no home.
const OTHERS: [&str; 5] = [
    "[dependencies]",
    "[dev-dependencies]",
    "[patch.crates-io]",
    "[tool.corefn]",
    "remote = ",
];

#[test]
fn each_setting_is_read() {
    const LEAST: &str = "url = 'http://h'\nstacks = 's'\nprojects = 'p'\nredis = 'redis://h'\n";
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        for block in quoted(&page).into_iter().filter(|it| it.language == "toml") {
            count += 1;
            let text = &block.text;
            let manifest = Manifest::parse(text);
            let host = Host::parse("host.toml", &format!("{LEAST}{text}"));
            let is_of_others = OTHERS.iter().any(|begin| text.starts_with(begin));
            if let (Err(one), Err(other), false) = (manifest, host, is_of_others) {
                wrong.push(format!("{page}, {}:\n{text}{one}\n{other}", block.section));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 10, "{count}");
}
