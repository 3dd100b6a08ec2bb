//! The table, and what failed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::checker::Verdict;
use crate::history::{History, Record, Recorder};
use crate::plan::Fault;

/// How many lines of what failed are printed.
const SHOWN: usize = 40;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// The table.
    pub table: String,
    /// What should not have been, a line each.
    pub wrong: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    sent: u32,
    answered: u32,
    refused: u32,
    cut_off: u32,
    failed: u32,
    longest: Duration,
}

impl Row {
    fn add(&mut self, record: &Record, verdict: &Verdict) {
        self.sent += 1;
        match verdict {
            Verdict::Answered => self.answered += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::CutOff => self.cut_off += 1,
            Verdict::Failed(_) => self.failed += 1,
        }
        self.longest = self.longest.max(waited(record));
    }
}

impl Report {
    /// Checks all requests. `busy` are stops of busy instances, `left` what was left over.
    pub fn new(
        recorder: &Recorder,
        history: &History,
        busy: Vec<String>,
        left: Vec<String>,
    ) -> Self {
        let (mut rows, mut all) = (BTreeMap::<&str, Row>::new(), Row::default());
        let mut codes = BTreeMap::<String, u32>::new();
        let mut failed = BTreeMap::<String, Vec<String>>::new();
        for record in &history.records {
            let verdict = history.check(record);
            rows.entry(record.kind).or_default().add(record, &verdict);
            all.add(record, &verdict);
            match verdict {
                Verdict::Refused(code) => *codes.entry(code).or_default() += 1,
                Verdict::Failed(why) => {
                    let group = format!(
                        "{} {}: {}",
                        record.kind,
                        history.meanwhile(record),
                        kind(&why)
                    );
                    failed
                        .entry(group)
                        .or_default()
                        .push(line(recorder, record, &why));
                }
                _ => {}
            }
        }
        let mut table = String::from("faults                     times\n");
        for fault in Fault::ALL {
            let times = history.faults.get(&fault).copied().unwrap_or(0);
            let skipped = match history.skipped.get(&fault) {
                Some(count) => format!("   ({count} without a victim)"),
                None => String::new(),
            };
            let _ = writeln!(table, "  {:<24} {times:>5}{skipped}", fault.name());
        }
        let _ = writeln!(
            table,
            "\nrequests                    sent answered refused cut off failed   longest wait"
        );
        for (kind, row) in rows.into_iter().chain([("all", all)]) {
            let _ = writeln!(
                table,
                "  {kind:<24} {:>6} {:>8} {:>7} {:>7} {:>6} {:>12.3} s",
                row.sent,
                row.answered,
                row.refused,
                row.cut_off,
                row.failed,
                row.longest.as_secs_f64()
            );
        }
        let codes: Vec<String> = codes
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        let mut fact = |what: &str, value: String| {
            let _ = writeln!(table, "{what:<40} {value}");
        };
        fact("\nrefused with the documented code", codes.join(", "));
        let (made, put_off) = history.deployed;
        fact("deployments", format!("{made}, {put_off} put off"));
        fact("failed that should not have", all.failed.to_string());
        fact("containers stopped while busy", busy.len().to_string());
        fact("left over", left.len().to_string());
        fact("other complaints", history.complaints.len().to_string());
        fact(
            "longest any client waited",
            format!("{:.3} s", all.longest.as_secs_f64()),
        );
        // The like of one failure is told once, with how many there are of it.
        let mut wrong: Vec<String> = failed
            .into_iter()
            .map(|(group, lines)| format!("{} × {group}: {}", lines.len(), lines[0].trim_start()))
            .collect();
        wrong.extend(busy);
        wrong.extend(left.into_iter().map(|what| format!("left over: {what}")));
        wrong.extend(history.complaints.iter().cloned());
        Self { table, wrong }
    }

    /// What should not have been, as much as anyone reads.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for line in self.wrong.iter().take(SHOWN) {
            let _ = writeln!(text, "{line}");
        }
        if self.wrong.len() > SHOWN {
            let _ = writeln!(text, "… and {} more", self.wrong.len() - SHOWN);
        }
        text
    }
}

/// How long a client waited for an answer's header, what the function was to take for it aside.
fn waited(record: &Record) -> Duration {
    let header = record.header.unwrap_or(record.end);
    header
        .duration_since(record.begin)
        .saturating_sub(record.work)
}

/// What is the same in all failures of a kind.
fn kind(why: &str) -> &str {
    why.rsplit(": ").next().unwrap_or(why)
}

fn line(recorder: &Recorder, record: &Record, why: &str) -> String {
    format!(
        "{:8.3} s to {:8.3} s: {}: {why}{}",
        recorder.second(record.begin),
        recorder.second(record.end),
        record.what,
        match &record.instance {
            Some(instance) => format!(" (instance {instance})"),
            None => String::new(),
        }
    )
}
