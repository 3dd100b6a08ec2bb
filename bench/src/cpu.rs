//! Who runs on which processors, and how much of them nginx uses.

use std::fs;

use serde::Serialize;

/// Which processors nginx's only worker gets, and which the load and the function.
///
/// Where the scheduler moves three busy processes about on two processors, equal loads differ by a
/// tenth. With nginx alone on one, nginx is what limits the throughput, so that its cost shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Pinning {
    /// The worker's processor; none if there are too few to choose from.
    pub nginx: Option<usize>,
    /// A list of the other processors, as `taskset` and Docker read it.
    pub others: Option<String>,
}

impl Pinning {
    /// For the processors that this process may use.
    pub fn of_this_machine() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self::of(&allowed.and_then(cpus).unwrap_or_default())
    }

    fn of(cpus: &[usize]) -> Self {
        match cpus {
            [nginx, others @ ..] if !others.is_empty() => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                Self {
                    nginx: Some(*nginx),
                    others: Some(others.join(",")),
                }
            }
            _ => Self::default(),
        }
    }

    /// nginx's directive for it; empty without.
    pub fn directive(&self) -> String {
        // The mask's last digit is processor 0.
        self.nginx
            .map(|cpu| format!("worker_cpu_affinity 1{};", "0".repeat(cpu)))
            .unwrap_or_default()
    }
}

/// Reads a list such as `0-2,5`.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        all.extend(first..=last);
    }
    Some(all)
}

/// The microseconds that the threads of a process were on a processor, until now; none if the
/// kernel doesn't count them.
///
/// The first field of `schedstat` is nanoseconds (Linux, `Documentation/scheduler/sched-stats`).
pub fn used(process: u32) -> Option<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // (A thread may have ended since.)
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (nanoseconds > 0).then_some(nanoseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpus("\t0-1\n").unwrap(), [0, 1]);
        assert_eq!(cpus("2,4-6,9").unwrap(), [2, 4, 5, 6, 9]);
        assert_eq!(cpus("3").unwrap(), [3]);
        assert_eq!(cpus("x"), None);
    }

    #[test]
    fn nginx_gets_one_of_its_own() {
        let pinning = Pinning::of(&[2, 3, 7]);
        assert_eq!(
            (pinning.nginx, pinning.others.as_deref()),
            (Some(2), Some("3,7"))
        );
        assert_eq!(pinning.directive(), "worker_cpu_affinity 100;");
        assert_eq!(Pinning::of(&[0, 1]).directive(), "worker_cpu_affinity 1;");
        let single = Pinning::of(&[0]);
        assert_eq!(
            (single.others.as_deref(), single.directive()),
            (None, String::new())
        );
    }

    #[test]
    fn this_process_has_used_some() {
        if fs::exists("/proc/self/schedstat").unwrap() {
            assert!(used(std::process::id()).unwrap() > 0.0);
        }
    }
}
