//! The figures as a person reads them.

use std::collections::BTreeMap;
use std::fmt;

use super::{Report, STEADY, WarmReport};
use crate::cold::Parts;
use crate::cpu::Pinning;
use crate::crowd::{CONCURRENCY, CONNECTIONS, INSTANCES, SERVICE};
use crate::site::BURST;
use crate::stats::Compared;

/// What is wanted of CoreFn.
const WANTED_THROUGHPUT: f64 = 0.98;
const WANTED_UNIX_THROUGHPUT: f64 = 1.05;
const WANTED_P50: f64 = 1.03;
const WANTED_P99: f64 = 1.1;
const WANTED_COLD: f64 = 0.03;
const WANTED_COLD_P99: f64 = 0.08;
const WANTED_COLD_IMAGE: f64 = 0.5;
const WANTED_COLD_RUNTIME: f64 = 0.08;
const WANTED_GATE_COLD: f64 = 1.1;
const WANTED_GATE_COLD_IMAGE: f64 = 1.02;
const WANTED_BURST: f64 = 60.0;
const WANTED_REFILL_P99: f64 = 1.5;
const WANTED_BOMB_P99: f64 = 1.5;
const WANTED_THAW: f64 = 15.0;
const WANTED_CROWD_P99: f64 = 3.0;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CoreFn's cost, {}", self.time)?;
        writeln!(f, "{}", self.machine)?;
        if self.quick {
            writeln!(
                f,
                "A quick run: it shows that all of it works, and little else."
            )?;
        }
        if self.noisy {
            writeln!(
                f,
                "The machine was busy with something else: plain nginx's own figures differ by a factor of more than {STEADY}."
            )?;
        }
        writeln!(f, "Each figure is a median (min–max).")?;
        self.show_warm(f)?;
        self.show_cold(f)?;
        self.show_growth(f)?;
        writeln!(f, "\nWanted")?;
        let wanted = [
            (
                "throughput",
                self.warm_throughput_ratio,
                WANTED_THROUGHPUT,
                true,
            ),
            (
                "on a socket",
                self.warm_unix_throughput_ratio,
                WANTED_UNIX_THROUGHPUT,
                true,
            ),
            ("p50", self.warm_p50_ratio, WANTED_P50, false),
            ("p99", self.warm_p99_ratio, WANTED_P99, false),
            ("cold start", self.cold_ratio, WANTED_COLD, false),
            ("its p99", self.cold_p99_ratio, WANTED_COLD_P99, false),
            (
                "of an image",
                self.cold_image_ratio,
                WANTED_COLD_IMAGE,
                false,
            ),
            (
                "a runtime",
                self.cold_runtime_ratio,
                WANTED_COLD_RUNTIME,
                false,
            ),
            ("gate, cold", self.gate_cold_ratio, WANTED_GATE_COLD, false),
            (
                "gate, image",
                self.gate_cold_image_ratio,
                WANTED_GATE_COLD_IMAGE,
                false,
            ),
            ("burst, ms", self.cold_burst_ms, WANTED_BURST, false),
            (
                "p99, refill",
                self.warm_refill_p99_ratio,
                WANTED_REFILL_P99,
                false,
            ),
            (
                "p99, bombs",
                self.warm_bomb_p99_ratio,
                WANTED_BOMB_P99,
                false,
            ),
            ("thaw, ms", self.thaw_ms, WANTED_THAW, false),
            ("crowd's p99", self.crowd_p99_ratio, WANTED_CROWD_P99, false),
        ];
        for (at, (what, have, limit, at_least)) in wanted.into_iter().enumerate() {
            let (sign, reached) = match at_least {
                true => ("≥", have >= limit),
                false => ("≤", have <= limit),
            };
            let verdict = if reached { "reached" } else { "MISSED" };
            let end = if at + 1 < wanted.len() { "\n" } else { "" };
            write!(f, "  {what:<12} {sign} {limit:<5} {have:.3} {verdict}{end}")?;
        }
        Ok(())
    }
}

impl Report {
    fn show_warm(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nWarm: CoreFn against plain proxy_pass with keepalive, same container, same nginx"
        )?;
        let pinning = match &self.setup.pinning {
            Pinning {
                nginx: Some(nginx),
                others: Some(others),
            } => format!("nginx on CPU {nginx}, wrk and the function on CPU {others}"),
            _ => "nobody pinned to a CPU".to_owned(),
        };
        writeln!(f, "(one worker, access_log off; {pinning})")?;
        show_loads(f, &self.warm, "plain")?;
        writeln!(
            f,
            "\nWarm: a function on a unix socket through CoreFn against plain proxy_pass to one at a port"
        )?;
        show_loads(f, &self.warm_unix, "plain")?;
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        writeln!(f, "\nWarm: CoreFn against {}", peer.url)?;
        show_loads(f, &peer.warm, "the other")
    }

    fn show_growth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let growth = &self.growth;
        writeln!(
            f,
            "\nGrowth: CoreFn's p50 in µs against plain nginx's under the same"
        )?;
        for (what, by_count) in [
            (
                format!("connections, {} requests/s", growth.rate),
                &growth.connections,
            ),
            ("functions deployed".to_owned(), &growth.functions),
            ("instances that run".to_owned(), &growth.instances),
        ] {
            let repeats = by_count.values().map(|warm| warm.repeats).max();
            let pairs = format!("{} pairs", repeats.unwrap_or_default());
            heading(f, "", "plain", &format!("{pairs}; {what}"))?;
            for (count, warm) in by_count {
                row(f, &count.to_string(), &warm.p50_us, 0)?;
            }
        }
        Ok(())
    }

    fn show_cold(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cold = &self.cold;
        writeln!(
            f,
            "\nCold: the first answer through CoreFn against the bare Docker API's create, start, answer"
        )?;
        heading(
            f,
            "nothing runs",
            "Docker",
            &format!("{} turns", cold.repeats),
        )?;
        row(f, "executable, ms", &cold.sandbox_ms, 1)?;
        row(f, "any image, ms", &cold.image_ms, 0)?;
        for (name, runtime) in &cold.runtimes_ms {
            row(f, &format!("{name}, ms"), runtime, 1)?;
        }
        let Parts {
            create_ms,
            start_ms,
            answer_ms,
        } = cold.docker;
        writeln!(
            f,
            "  (Docker: create {create_ms:.0}, start {start_ms:.0}, answer {answer_ms:.1})"
        )?;
        for (what, steps) in [
            ("Executable", &cold.sandbox_steps_ms),
            ("Any image", &cold.image_steps_ms),
        ] {
            let steps: Vec<_> = steps
                .iter()
                .map(|(name, step)| format!("{name} {step:.1}"))
                .collect();
            writeln!(f, "  ({what}: {})", steps.join(", "))?;
        }
        writeln!(
            f,
            "  {BURST} executables at once, {} times: the last answer after {:.0} ms",
            cold.bursts, cold.burst_ms
        )?;
        writeln!(
            f,
            "\nCold: nginx behind the gate against nginx with all of Docker"
        )?;
        heading(f, "gate", "without", &format!("{} pairs", cold.repeats))?;
        row(f, "executable, ms", &cold.gate.sandbox_ms, 1)?;
        row(f, "any image, ms", &cold.gate.image_ms, 0)?;
        writeln!(
            f,
            "\nWarm, p99 in µs while {BURST} sandboxes are made, against the same while none are"
        )?;
        heading(f, "", "none", &format!("{} pairs", cold.refills))?;
        let share = format!("{:.0} % of load", cold.refill_share * 100.0);
        row(f, &share, &cold.refill_p99_us, 0)?;
        row(f, "full load", &cold.refill_full_p99_us, 0)?;
        writeln!(
            f,
            "\nWarm, p99 in µs at {share} beside a function that uses up what it gets, against the same beside one that sleeps"
        )?;
        heading(f, "", "asleep", &format!("{} pairs", cold.bomb_pairs))?;
        for (what, p99) in &cold.bomb_p99_us {
            row(f, what, p99, 0)?;
        }
        writeln!(
            f,
            "\nFrozen: the first answer through CoreFn against Docker's call to go on, and an answer"
        )?;
        heading(f, "frozen", "Docker", &format!("{} times", cold.thaws))?;
        row(f, "thawed, ms", &cold.thaw_ms, 1)?;
        writeln!(
            f,
            "\nA crowd: {CONNECTIONS} connections for {} s to a function of which nothing runs, that takes {SERVICE} ms, {CONCURRENCY} at\n\
             once, with up to {INSTANCES} instances; against one request, of which nothing runs either",
            cold.crowd_seconds
        )?;
        heading(f, "crowd", "one", &format!("{} pairs", cold.crowds))?;
        row(f, "p99, ms", &cold.crowd_p99_ms, 0)?;
        let each = self.sandboxes_per_second;
        let [least, most] = self.sandboxes_per_second_spread;
        writeln!(
            f,
            "  (A sandbox for each request would be {each:.1} requests a second at the most, {least:.1} to {most:.1}: as many are made.)"
        )
    }
}

fn show_loads(
    f: &mut fmt::Formatter<'_>,
    loads: &BTreeMap<u32, WarmReport>,
    other: &str,
) -> fmt::Result {
    for (connections, warm) in loads {
        let plural = if *connections == 1 { "" } else { "s" };
        let title = format!("{connections} connection{plural}");
        let (repeats, seconds) = (warm.repeats, warm.seconds);
        heading(f, &title, other, &format!("{repeats} pairs of {seconds} s"))?;
        row(f, "requests/s", &warm.throughput, 0)?;
        row(f, "p50, µs", &warm.p50_us, 0)?;
        row(f, "p99, µs", &warm.p99_us, 0)?;
        if let Some(cpu) = &warm.nginx_cpu_us {
            row(f, "nginx CPU, µs", cpu, 1)?;
        }
    }
    Ok(())
}

fn heading(f: &mut fmt::Formatter<'_>, title: &str, other: &str, repeats: &str) -> fmt::Result {
    writeln!(
        f,
        "  {title:<16} {:<24} {other:<24} ratio, {repeats}",
        "CoreFn"
    )
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, figure: &Compared, precision: usize) -> fmt::Result {
    let Compared {
        corefn,
        other,
        ratio,
    } = figure;
    writeln!(
        f,
        "    {name:<14} {corefn:<24.precision$} {other:<24.precision$} {ratio:.3}"
    )
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn text_says_what_was_wanted() {
        let text = report().to_string();
        assert!(text.contains("nginx on CPU 0"), "{text}");
        assert!(text.contains("≥ 0.98  0.990 reached"), "{text}");
        assert!(text.contains("against http://peer/"), "{text}");
        assert!(text.contains("≤ 1.1   1.375 MISSED"), "{text}");
    }
}
