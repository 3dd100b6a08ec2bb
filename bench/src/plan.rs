//! How much is measured.

use clap::Parser;

/// Measures CoreFn against plain nginx and against the bare Docker API
#[derive(Debug, Parser)]
#[command(name = "corefn-bench", version)]
pub struct Args {
    /// Only see that it works: few and short measurements, whose figures mean little
    #[arg(long)]
    quick: bool,
    /// How many pairs of warm loads for each number of connections
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    warm: Option<u32>,
    /// How many turns of cold starts
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    cold: Option<u32>,
    /// How long each warm load takes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Another system's address, which must answer GET with success: it gets the warm loads too, in turns with CoreFn
    #[arg(long, value_name = "URL", value_parser = http)]
    peer: Option<String>,
    /// Measure this alone, of what warm requests feel of other work, and print its ratios: no report is written
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<Beside>,
}

/// What warm requests may feel, in the order in which it is measured: bombs leave behind what has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Beside {
    /// That a crowd comes.
    Crowd,
    /// That they go over a unix socket.
    Socket,
    /// That sandboxes are made.
    Refill,
    /// That another function uses all that it gets.
    Bombs,
}

/// What wrk can request.
fn http(url: &str) -> Result<String, String> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(url.to_owned()),
        _ => Err("write an address such as http://127.0.0.1:8081/function/hello".to_owned()),
    }
}

/// How much is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whether the figures mean little.
    pub quick: bool,
    /// How many connections the warm loads have, one after the other.
    pub connections: Vec<u32>,
    /// How many pairs of warm loads each number of connections gets.
    pub warm_repeats: u32,
    /// Seconds of each load. Short loads in many pairs see less of the machine's moods than long
    /// ones in few.
    pub seconds: u32,
    /// How many turns of cold starts there are.
    pub cold_repeats: u32,
    /// How many bursts of them.
    pub burst_repeats: u32,
    /// How many times instances are frozen, and thawed.
    pub thaw_repeats: u32,
    /// How many pairs of loads there are, of which one meets the making of sandboxes.
    pub refill_repeats: u32,
    /// How many pairs of loads there are for each thing that a function can use up.
    pub bomb_repeats: u32,
    /// How many crowds there are.
    pub crowd_repeats: u32,
    /// Seconds of each.
    pub crowd_seconds: u32,
    /// With how much of what the growth of costs is measured.
    pub growth: Counts,
    /// How many pairs of warm loads each of these gets.
    pub growth_repeats: u32,
    /// How many times sandboxes are made for those that were taken, with nothing else to do.
    pub rate_repeats: u32,
    /// Another system's address, if one gets the warm loads too.
    pub peer: Option<String>,
    /// What alone is measured; all if empty.
    pub only: Vec<Beside>,
}

/// How much of something there is, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Connections.
    pub connections: Vec<u32>,
    /// Functions that are deployed.
    pub functions: Vec<u32>,
    /// Instances that run.
    pub instances: Vec<u32>,
}

impl Args {
    /// What they ask for.
    pub fn plan(mut self) -> Plan {
        self.only.sort_unstable();
        self.only.dedup();
        let (warm, seconds, cold, burst, thaw, refill) = if self.quick {
            (3, 1, 3, 2, 1, 2)
        } else {
            (24, 2, 40, 10, 3, 10)
        };
        let growth = if self.quick {
            Counts {
                connections: vec![10, 100],
                functions: vec![10, 1_000],
                instances: vec![1, 10],
            }
        } else {
            Counts {
                connections: vec![10, 100, 1_000, 10_000],
                functions: vec![10, 100, 1_000, 10_000],
                instances: vec![1, 10, 100, 200],
            }
        };
        let (crowd_repeats, crowd_seconds, rate_repeats) =
            if self.quick { (1, 2, 1) } else { (5, 10, 3) };
        Plan {
            quick: self.quick,
            connections: vec![1, 32],
            warm_repeats: self.warm.unwrap_or(warm),
            seconds: self.seconds.unwrap_or(seconds),
            cold_repeats: self.cold.unwrap_or(cold),
            burst_repeats: burst,
            thaw_repeats: thaw,
            refill_repeats: refill,
            bomb_repeats: if self.quick { 1 } else { 5 },
            crowd_repeats,
            crowd_seconds,
            growth,
            growth_repeats: if self.quick { 1 } else { 5 },
            rate_repeats,
            peer: self.peer,
            only: self.only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Plan {
        Args::try_parse_from([&["corefn-bench"], args].concat())
            .unwrap()
            .plan()
    }

    #[test]
    fn quick_is_less_of_all() {
        let (full, quick) = (plan(&[]), plan(&["--quick"]));
        assert_eq!(full.connections, quick.connections);
        assert!(full.warm_repeats >= 5 && full.cold_repeats >= 10);
        assert!(quick.warm_repeats < full.warm_repeats && quick.cold_repeats < full.cold_repeats);
        assert_eq!(plan(&["--quick", "--warm", "7"]).warm_repeats, 7);
    }

    #[test]
    fn peers() {
        let peer = plan(&["--peer", "http://[::1]:81/f"]).peer;
        assert_eq!(peer.as_deref(), Some("http://[::1]:81/f"));
        assert_eq!(plan(&[]).peer, None);
        for bad in ["", "localhost:80", "http://", "http:///f", "ftp://h/"] {
            let args = ["corefn-bench", "--peer", bad];
            let error = Args::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains("such as http://"), "{error}");
        }
    }

    #[test]
    fn some_alone() {
        let only = plan(&["--only", "bombs,refill,bombs"]).only;
        assert_eq!(only, [Beside::Refill, Beside::Bombs]);
        assert!(Args::try_parse_from(["corefn-bench", "--only", "nothing"]).is_err());
    }

    #[test]
    fn nothing_is_no_measurement() {
        for args in [["--warm", "0"], ["--cold", "0"], ["--seconds", "0"]] {
            assert!(Args::try_parse_from([&["corefn-bench"], &args[..]].concat()).is_err());
        }
    }
}
