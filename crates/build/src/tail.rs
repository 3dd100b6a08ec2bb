//! The end of what a build has printed, for those who look at it meanwhile.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use corefn_core::survey::LOG_SIZE;

/// The end of what a build has printed.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<Printed>);

#[derive(Debug, Default)]
struct Printed {
    bytes: VecDeque<u8>,
    /// How many bytes there were before.
    dropped: u64,
    /// Whether something was added since it was last read.
    is_new: bool,
}

impl Tail {
    /// Adds to it.
    pub fn add(&self, bytes: &[u8]) {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        printed.bytes.extend(bytes);
        let surplus = printed.bytes.len().saturating_sub(LOG_SIZE);
        printed.bytes.drain(..surplus);
        printed.dropped += surplus as u64;
        printed.is_new = true;
    }

    /// The text, if something was added or it is wanted in any case. Other bytes than UTF-8 are replaced.
    pub fn text(&self, in_any_case: bool) -> Option<String> {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut printed.is_new) && !in_any_case {
            return None;
        }
        let dropped = printed.dropped;
        let text = String::from_utf8_lossy(printed.bytes.make_contiguous());
        if dropped == 0 {
            return Some(text.into_owned());
        }
        let (part, rest) = text.split_once('\n').unwrap_or(("", &text));
        let before = dropped + part.len() as u64;
        Some(format!(
            "(the {before} bytes before are in the log of corefn builds)\n{rest}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept_by_whole_lines() {
        let tail = Tail::default();
        assert_eq!(tail.text(false), None);
        tail.add(b"first\n");
        assert_eq!(tail.text(false).as_deref(), Some("first\n"));
        assert_eq!(tail.text(false), None, "nothing new");
        assert_eq!(tail.text(true).as_deref(), Some("first\n"));
        let line = "é".repeat(50) + "\n";
        let count = LOG_SIZE / line.len() + 7;
        for _ in 0..count {
            tail.add(line.as_bytes());
        }
        let text = tail.text(false).unwrap();
        let (note, rest) = text.split_once('\n').unwrap();
        assert!(rest.lines().all(|it| it == line.trim_end()), "{note}");
        let before: usize = note.split(' ').nth(1).unwrap().parse().unwrap();
        // (Of the line that was cut in the middle, a half of a letter is replaced.)
        let all = "first\n".len() + count * line.len();
        assert!((before + rest.len() + 1).abs_diff(all) <= 2, "{note}");
        tail.add(b"\xff\n");
        assert!(tail.text(false).unwrap().ends_with("\u{fffd}\n"));
    }
}
