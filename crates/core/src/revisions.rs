//! A function's revisions: which one is meant, and which are kept.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::function::{FunctionName, RevisionId};
use crate::host::Revisions;

/// Why a text names no revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    /// There is none of that name.
    None,
    /// There are several.
    Several(Vec<RevisionId>),
}

/// The revision that a text means: its identifier, or a part of one that no other has, either its beginning or that of its
/// commit.
///
/// # Errors
/// [`FindError`] when it means none, or several.
pub fn find<'a>(
    all: impl IntoIterator<Item = &'a RevisionId>,
    text: &str,
) -> Result<&'a RevisionId, FindError> {
    let means = |id: &RevisionId| {
        let commit = id.0.split_once('-').map_or("", |(_, commit)| commit);
        // (A commit may be given in full; the identifier has its first digits.)
        id.0.starts_with(text)
            || commit.starts_with(text)
            || !commit.is_empty() && text.starts_with(commit)
    };
    let found: Vec<_> = all.into_iter().filter(|id| means(id)).collect();
    match found[..] {
        _ if text.is_empty() => Err(FindError::None),
        [] => Err(FindError::None),
        [one] => Ok(one),
        _ => match found.iter().find(|id| id.0 == text) {
            Some(one) => Ok(one),
            None => Err(FindError::Several(found.into_iter().cloned().collect())),
        },
    }
}

/// A revision that may be one too many.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Of which function.
    pub function: &'a FunctionName,
    /// Which one.
    pub revision: &'a RevisionId,
    /// Whether it is deployed, or was before the one that is.
    pub is_referred_to: bool,
    /// How long ago it was made.
    pub age: Duration,
    /// Bytes that are gone when it is.
    pub bytes: u64,
}

/// Those of all functions' revisions that are not kept, by their places.
///
/// Kept are those that are referred to and the newest of each function, which may be one that is just being deployed. Of
/// the others those go that are older than a function may have, then those that are too many of their function, and then the
/// oldest of all until the rest has room.
pub fn superfluous(candidates: &[Candidate<'_>], settings: &Revisions) -> Vec<usize> {
    let mut newest_first: Vec<usize> = (0..candidates.len()).collect();
    // (Revisions begin with their time.)
    newest_first.sort_by_key(|&at| Reverse(candidates[at].revision));
    let mut newer: HashMap<&FunctionName, usize> = HashMap::new();
    let mut superfluous = Vec::new();
    let mut may_go = Vec::new();
    let mut bytes = 0_u64;
    for at in newest_first {
        let candidate = &candidates[at];
        let newer = newer.entry(candidate.function).or_default();
        let is_kept = candidate.is_referred_to || *newer == 0;
        let is_old = settings.age.is_some_and(|age| candidate.age > age);
        if !is_kept && (is_old || *newer >= settings.keep) {
            superfluous.push(at);
        } else {
            bytes = bytes.saturating_add(candidate.bytes);
            if !is_kept {
                may_go.push(at);
            }
        }
        *newer += 1;
    }
    while settings.disk.is_some_and(|disk| bytes > disk)
        && let Some(oldest) = may_go.pop()
    {
        bytes = bytes.saturating_sub(candidates[oldest].bytes);
        superfluous.push(oldest);
    }
    superfluous
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(texts: &[&str]) -> Vec<RevisionId> {
        texts
            .iter()
            .map(|text| RevisionId((*text).into()))
            .collect()
    }

    #[test]
    fn which_one_is_meant() {
        let all = ids(&[
            "20231114T221320-0123456",
            "20231114T221321-0123457",
            "20240101T000000-abcdef0",
            "r1",
            "r10",
        ]);
        for (text, found) in [
            ("20231114T221320-0123456", 0),
            ("20231114T221321", 1),
            ("2024", 2),
            ("abc", 2),
            ("abcdef0123456789abcdef0123456789abcdef01", 2),
            ("0123457", 1),
            ("r1", 3),
            ("r10", 4),
        ] {
            assert_eq!(find(&all, text), Ok(&all[found]), "{text}");
        }
        for none in ["", "2025", "xyz", "abcdef1", "0123458", "r2", "T22", "-"] {
            assert_eq!(find(&all, none), Err(FindError::None), "{none:?}");
        }
        let several = FindError::Several(all[..2].to_vec());
        assert_eq!(find(&all, "2023"), Err(several.clone()));
        assert_eq!(find(&all, "012345"), Err(several));
        assert_eq!(find([], "r1"), Err(FindError::None));
    }

    /// Revisions from their function, whether they are referred to, their age in hours and their bytes, the oldest first.
    fn kept(rows: &[(&str, bool, u64, u64)], settings: &Revisions) -> Vec<usize> {
        let names: Vec<FunctionName> = rows.iter().map(|row| row.0.parse().unwrap()).collect();
        let ids: Vec<_> = (0..rows.len())
            .map(|number| RevisionId(format!("{number:03}")))
            .collect();
        let candidates: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| Candidate {
                function: &names[at],
                revision: &ids[at],
                is_referred_to: row.1,
                age: Duration::from_secs(row.2 * 3600),
                bytes: row.3,
            })
            .collect();
        let gone = superfluous(&candidates, settings);
        (0..rows.len()).filter(|at| !gone.contains(at)).collect()
    }

    fn settings(keep: usize, age: Option<u64>, disk: Option<u64>) -> Revisions {
        Revisions {
            keep,
            age: age.map(|hours| Duration::from_secs(hours * 3600)),
            disk,
        }
    }

    #[test]
    fn the_newest_of_each_function_are_kept() {
        let rows = [
            ("a/b", false, 9, 1),
            ("a/c", false, 8, 1),
            ("a/b", false, 7, 1),
            ("a/b", false, 6, 1),
            ("a/c", false, 5, 1),
        ];
        assert_eq!(kept(&rows, &settings(2, None, None)), [1, 2, 3, 4]);
        assert_eq!(kept(&rows, &settings(1, None, None)), [3, 4]);
        assert_eq!(kept(&rows, &Revisions::default()), [0, 1, 2, 3, 4]);
        assert!(kept(&[], &settings(1, None, Some(0))).is_empty());
    }

    #[test]
    fn what_is_referred_to_is_kept() {
        let rows = [
            ("a/b", true, 900, 9),
            ("a/b", false, 800, 9),
            ("a/b", true, 700, 9),
            ("a/b", false, 600, 9),
            ("a/b", false, 500, 9),
        ];
        // (The last may be one that is being deployed.)
        for tight in [
            settings(1, None, None),
            settings(9, Some(1), None),
            settings(9, None, Some(0)),
            settings(1, Some(1), Some(0)),
        ] {
            assert_eq!(kept(&rows, &tight), [0, 2, 4], "{tight:?}");
        }
    }

    #[test]
    fn age_and_room() {
        let rows = [
            ("a/b", false, 5, 10),
            ("a/c", false, 4, 10),
            ("a/b", false, 3, 10),
            ("a/c", true, 2, 10),
            ("a/b", false, 1, 10),
        ];
        assert_eq!(kept(&rows, &settings(9, Some(4), None)), [1, 2, 3, 4]);
        assert_eq!(kept(&rows, &settings(9, Some(3), None)), [2, 3, 4]);
        assert_eq!(kept(&rows, &settings(9, None, Some(50))), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&rows, &settings(9, None, Some(49))), [1, 2, 3, 4]);
        assert_eq!(kept(&rows, &settings(9, None, Some(30))), [2, 3, 4]);
        assert_eq!(kept(&rows, &settings(9, None, Some(0))), [3, 4]);
    }

    proptest! {
        /// Whatever there is and is wanted: nothing goes that is referred to or the newest of its function, and where
        /// something could go that is too much, it does.
        #[test]
        fn nothing_that_is_needed_goes(
            rows in prop::collection::vec((0..3_usize, any::<bool>(), 0..9_u64, 0..9_u64), 0..30),
            keep in 1..5_usize,
            age in prop::option::of(0..9_u64),
            disk in prop::option::of(0..99_u64),
        ) {
            let names = ["a/b", "a/c", "b/b"];
            let rows: Vec<_> = rows.into_iter().map(|(name, is, age, bytes)| (names[name], is, age, bytes)).collect();
            let kept = kept(&rows, &settings(keep, age, disk));
            let last = |name| rows.iter().rposition(|row| row.0 == name);
            let is_needed = |at: usize| rows[at].1 || last(rows[at].0) == Some(at);
            for at in 0..rows.len() {
                prop_assert!(kept.contains(&at) || !is_needed(at), "{at} went");
            }
            let needless: Vec<_> = kept.iter().copied().filter(|&at| !is_needed(at)).collect();
            for &at in &needless {
                let newer = (at + 1..rows.len()).filter(|&other| rows[other].0 == rows[at].0).count();
                prop_assert!(newer < keep, "{at} is one too many");
                prop_assert!(age.is_none_or(|age| rows[at].2 <= age), "{at} is too old");
            }
            let bytes: u64 = kept.iter().map(|&at| rows[at].3).sum();
            prop_assert!(needless.is_empty() || disk.is_none_or(|disk| bytes <= disk), "{bytes} bytes");
        }
    }
}
