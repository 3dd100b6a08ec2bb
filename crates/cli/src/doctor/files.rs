//! What an installation has on its disk.

use std::path::Path;

use corefn_build::output::size;
use corefn_build::repository::Repository;
use corefn_build::stack;
use corefn_core::host::Host;
use corefn_engine::access;
use rustix::fs::statvfs;

use super::finding::Finding;
use crate::builds;
use crate::repository;

/// How much room a disk must have, or a build may find none: bytes.
const ROOM: u64 = 2_000_000_000;

/// How many repositories are named.
const NAMED: usize = 5;

/// The stacks.
pub fn stacks(home: &Path, host: &Host) -> Vec<Finding> {
    let (check, folder) = ("stacks", home.join(&host.stacks));
    let remedy = "correct stacks in host.toml: it is the folder stacks/ of CoreFn's sources";
    vec![match stack::all(&folder) {
        Ok(stacks) if stacks.is_empty() => Finding::wrong(
            check,
            format!("there are none in {}", folder.display()),
            remedy,
        ),
        Ok(stacks) => Finding::ok(check, stacks.into_keys().collect::<Vec<_>>().join(", ")),
        Err(error) => Finding::wrong(check, error.to_string(), remedy),
    }]
}

/// The repositories and their hooks, what was broken off in them, and the room for more.
pub fn repositories(home: &Path, host: &Host) -> Vec<Finding> {
    let (check, projects) = ("repositories", home.join(&host.projects));
    let names = match builds::repositories(&projects) {
        Ok(names) => names,
        Err(error) => {
            let remedy = "let this account read it, or run corefn doctor as root";
            return vec![Finding::wrong(check, error.to_string(), remedy)];
        }
    };
    let (mut without, mut broken_off) = (Vec::new(), Vec::new());
    for name in &names {
        let repository = Repository::open(&projects.join(name.path()), &projects).ok();
        if let Some(push) = repository.and_then(|repository| repository.broken_off()) {
            broken_off.push(Finding::warning(
                check,
                format!(
                    "a push to {name} was broken off when revision {} was about to be deployed, or was: its branch may be behind \
                     that",
                    push.revision
                ),
                format!("push to {name} again, which moves its branch there first if it was deployed"),
            ));
        }
        match repository::has_hook(&projects.join(name.path()), home) {
            Ok(true) => {}
            Ok(false) => without.push(name.to_string()),
            Err(error) => {
                let remedy = "install all of CoreFn's programs in one folder";
                return vec![Finding::wrong(check, error.to_string(), remedy)];
            }
        }
    }
    let mut findings = broken_off;
    if !without.is_empty() {
        let (count, first) = (without.len(), without[0].clone());
        without.truncate(NAMED);
        findings.push(Finding::wrong(
            check,
            format!(
                "{count} of {} have not the hook of this installation, so pushes to them deploy nothing, or elsewhere: {}",
                names.len(),
                without.join(", ")
            ),
            format!(
                "corefn repo create {first}, which refreshes the hook; a push over ssh does so too"
            ),
        ));
    }
    if findings.is_empty() {
        let says = format!("{} in {}", names.len(), projects.display());
        findings.push(Finding::ok(check, says));
    }
    findings.push(room("disk", home));
    findings
}

/// Whether a folder's disk has room.
pub fn room(check: &'static str, folder: &Path) -> Finding {
    match statvfs(folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let says = format!("{} free at {}", size(free), folder.display());
            if free < ROOM {
                let remedy = "make room, such as with corefn gc, or docker image prune for what is not CoreFn's";
                Finding::warning(check, says, remedy)
            } else {
                Finding::ok(check, says)
            }
        }
        Err(error) => Finding::warning(
            check,
            format!("{} can't be looked at: {error}", folder.display()),
            "run corefn doctor as root",
        ),
    }
}

/// Keys and grants.
pub fn access(home: &Path) -> Vec<Finding> {
    let check = "accounts";
    vec![match access::read(home) {
        Ok(access) => {
            let (keys, grants) = (access.keys().len(), access.grants().len());
            Finding::ok(check, format!("{keys} keys, {grants} grants"))
        }
        Err(error) => Finding::wrong(
            check,
            error.to_string(),
            "correct the file by hand, or restore it",
        ),
    }]
}
