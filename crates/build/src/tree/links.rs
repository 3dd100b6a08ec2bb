//! Symbolic links: none may lead out of the tree.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::error::BuildError;

/// How many links one path may go through, as in Linux (`MAXSYMLINKS`).
const MAX_HOPS: usize = 40;

/// Checks the links of a tree, which people call `tree`, given with their targets.
///
/// # Errors
/// [`BuildError::Rejected`] that names the first link that is absolute or leads out of the tree.
pub(super) fn check(links: BTreeMap<PathBuf, PathBuf>, tree: &str) -> Result<(), BuildError> {
    for (link, target) in &links {
        if leaves(&links, link) {
            return Err(BuildError::rejected(format!(
                "the symbolic link {} leads to {}, out of {tree}: remove it, or let it lead to a path \
                 within",
                link.display(),
                target.display()
            )));
        }
    }
    Ok(())
}

/// Whether a link leads out of the tree, where other links on the way count as well: `a/b` is
/// another folder's if `a` is a link.
fn leaves(links: &BTreeMap<PathBuf, PathBuf>, link: &Path) -> bool {
    let mut place = PathBuf::new();
    let mut way: VecDeque<OsString> = link.iter().map(OsString::from).collect();
    let mut hops = 0;
    while let Some(step) = way.pop_front() {
        match Path::new(&step).components().next() {
            Some(Component::Normal(name)) => place.push(name),
            Some(Component::ParentDir) if !place.pop() => return true,
            Some(Component::RootDir) => return true,
            _ => {}
        }
        if let Some(target) = links.get(&place) {
            hops += 1;
            if hops > MAX_HOPS {
                // A circle leads nowhere.
                return false;
            }
            place.pop();
            for step in target.iter().rev() {
                way.push_front(step.to_owned());
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a tree of links, `link target` each.
    fn bad(links: &[(&str, &str)]) -> Option<String> {
        let links = links
            .iter()
            .map(|(link, target)| (link.into(), target.into()));
        check(links.collect(), "the repository")
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn within() {
        for links in [
            &[("a", "b")][..],
            &[("a/b/c", "../../d")],
            &[("a", "a")],
            &[("a", "b"), ("b", "a")],
            &[("x", "."), ("y", "x/x/x/z")],
            &[("p/q/x", "../r"), ("l", "p/q/x/../../f")],
            &[("a", "")],
        ] {
            assert_eq!(bad(links), None, "{links:?}");
        }
    }

    #[test]
    fn out() {
        for (links, names) in [
            (&[("a", "/etc/passwd")][..], "a leads to /etc/passwd"),
            (&[("a", "..")], "a leads to .."),
            (&[("d/a", "../../x")], "d/a"),
            (&[("d/a", "b/../../../d/x")], "d/a"),
            // By name alone this stays in p/q, but p/q/x is the root.
            (&[("p/q/x", "../.."), ("p/q/y", "x/../f")], "p/q/y"),
            (&[("a", "b/c"), ("b/c", "/")], "a leads"),
        ] {
            assert!(
                bad(links).is_some_and(|error| error.contains(names)),
                "{links:?}"
            );
        }
    }
}
