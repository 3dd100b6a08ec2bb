//! How much of the processors' time is used, all of the machine's together.

use std::fs;

/// The time of all processors since the machine began, in units of the kernel's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    all: u64,
    idle: u64,
    stolen: u64,
}

/// Shares of a time, of all processors together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// In which something ran, or wanted to.
    pub busy: f64,
    /// Which the host of a virtual machine had while something here wanted to run.
    pub stolen: f64,
}

impl Times {
    /// Until now. Nothing has passed where the kernel doesn't say.
    pub fn now() -> Self {
        Self::read(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// Reads the first line: `cpu`, and eight numbers that don't overlap, of which the fourth and the fifth are idle, and the
    /// eighth is stolen; others follow (proc_stat(5)).
    fn read(text: &str) -> Self {
        let first = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("cpu "));
        let words = first.unwrap_or_default().split_whitespace();
        let numbers: Vec<u64> = words.take(8).flat_map(str::parse).collect();
        let [_, _, _, idle, waiting, _, _, stolen] = numbers[..] else {
            return Self::default();
        };
        Self {
            all: numbers.iter().sum(),
            idle: idle + waiting,
            stolen,
        }
    }

    /// What was used since `former`; nothing if no time has passed.
    pub fn since(self, former: Self) -> Shares {
        let all = self.all.saturating_sub(former.all);
        if all == 0 {
            return Shares::default();
        }
        let idle = self.idle.saturating_sub(former.idle).min(all);
        let stolen = self.stolen.saturating_sub(former.stolen);
        Shares {
            busy: (all - idle) as f64 / all as f64,
            stolen: stolen as f64 / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_time_since() {
        let former = Times::read("cpu  100 0 50 790 10 0 15 35 40 0\ncpu0 1 2 3\n");
        let now = Times::read("cpu 150 0 50 820 20 0 15 45 90 0\n");
        let shares = now.since(former);
        assert_eq!((shares.busy, shares.stolen), (0.6, 0.1));
        assert_eq!(now.since(now), Shares::default());
        assert_eq!(former.since(now), Shares::default());
    }

    #[test]
    fn kernels_that_say_nothing() {
        for text in ["", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8\n"] {
            assert_eq!(
                Times::read(text).since(Times::default()).stolen,
                0.0,
                "{text}"
            );
        }
        assert_eq!(Times::read("cpu 1 2 3\n"), Times::default());
    }

    #[test]
    fn this_machine_says_it() {
        assert_ne!(Times::now(), Times::default());
    }
}
