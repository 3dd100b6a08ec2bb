//! What machine it was.

use std::fmt;
use std::fs;
use std::process::Command;

use corefn_tests::{Home, programs};
use serde::Serialize;

/// The machine and what ran on it. What can't be found out is left empty.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processors' model.
    pub cpu: String,
    /// How many of them this process may use.
    pub cores: usize,
    /// Mebibytes of memory.
    pub memory_mib: u64,
    /// The kernel's version.
    pub kernel: String,
    /// nginx's version.
    pub nginx: String,
    /// Docker's version.
    pub docker: String,
    /// Redis's version.
    pub redis: String,
    /// wrk's version.
    pub wrk: String,
    /// CoreFn's version.
    pub corefn: String,
    /// The commit that is checked out, with `-dirty` if there are changes to it; none without git.
    pub commit: Option<String>,
    /// How many processes wanted to run at the beginning, averaged over a minute: the benchmark
    /// wants the machine for itself.
    pub load_average: f64,
}

impl Machine {
    /// Describes this machine.
    pub async fn describe(home: &Home) -> Self {
        let docker = match home.docker.client().await {
            Ok(client) => client.version().await.ok(),
            Err(_) => None,
        };
        let redis: String = home.redis.command(&["INFO", "server"]).await;
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kibibytes(&field(&read("/proc/meminfo"), "MemTotal")) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            // nginx version: nginx/1.22.1
            nginx: said("/usr/sbin/nginx", &["-v"])
                .and_then(|text| Some(text.rsplit_once('/')?.1.to_owned()))
                .unwrap_or_default(),
            docker: docker.and_then(|docker| docker.version).unwrap_or_default(),
            redis: field(&redis, "redis_version"),
            // wrk debian/4.1.0-3+b2 [epoll] Copyright …
            wrk: said("wrk", &["-v"])
                .and_then(|text| Some(text.split(' ').nth(1)?.to_owned()))
                .unwrap_or_default(),
            corefn: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            load_average: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        }
    }
}

fn commit() -> Option<String> {
    let folder = programs::workspace();
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The first line that a program prints, whatever it thinks of being asked.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    Some(text.lines().next()?.trim().to_owned())
}

/// The value of the first line `name: value`.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}

fn kibibytes(value: &str) -> u64 {
    let number = value.strip_suffix("kB").unwrap_or(value).trim();
    number.parse().unwrap_or_default()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.as_deref().unwrap_or("no git");
        writeln!(
            f,
            "{} cores of {}, {} MiB, Linux {}, load average {}",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.load_average
        )?;
        write!(
            f,
            "nginx {}, Docker {}, Redis {}, wrk {}, CoreFn {} ({commit})",
            self.nginx, self.docker, self.redis, self.wrk, self.corefn
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), "Some CPU: fast");
        assert_eq!(field("redis_version:7.0.15\r\n", "redis_version"), "7.0.15");
        assert_eq!(field(text, "model"), "");
        assert_eq!(kibibytes("24683112 kB"), 24_683_112);
    }
}
