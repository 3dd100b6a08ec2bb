//! `corefn firewall`: what functions and builds are kept from.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use url::{Host, Url};

use corefn_core::firewall::{Destination, Rules, resolvers};
use corefn_core::host;
use corefn_core::names;
use corefn_engine::home;

use crate::args::FirewallCommand;
use crate::error::Error;
use crate::print::{Printer, remark};

/// The program that changes the kernel's rules.
const NFT: &str = "nft";

/// Where the host's resolvers are written down. Docker goes by the second where the first names one that only the host
/// can ask.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Prints, loads or removes the rules. Returns the exit status.
pub fn run(home: &Path, printer: &Printer, command: FirewallCommand) -> Result<u8, Error> {
    let host: host::Host = home::read(home)?;
    let rules = rules(&host);
    let table = names::firewall(&host.namespace);
    match command {
        FirewallCommand::Print => {
            let text = rules.text();
            printer.one(&json!({ "table": table, "rules": text }), text.trim_end())?;
        }
        FirewallCommand::Load => {
            done(&nft(&["-f", "-"], &rules.text())?)?;
            told(printer, &table, true)?;
        }
        FirewallCommand::Remove => {
            done(&nft(&["-f", "-"], &rules.removal())?)?;
            told(printer, &table, false)?;
        }
        FirewallCommand::Check => return check(printer, &rules, &table),
    }
    Ok(0)
}

/// Says whether a table is loaded now.
fn told(printer: &Printer, table: &str, is_loaded: bool) -> Result<(), Error> {
    let word = if is_loaded { "loaded" } else { "removed" };
    printer.one(
        &json!({ "table": table, "loaded": is_loaded }),
        &format!("{word}: table inet {table}"),
    )
}

/// Whether the rules are loaded that the settings ask for.
///
/// # Errors
/// When the kernel can't be asked.
pub fn is_loaded(host: &host::Host) -> Result<bool, Error> {
    is_table_loaded(&rules(host), &names::firewall(&host.namespace))
}

fn is_table_loaded(rules: &Rules, table: &str) -> Result<bool, Error> {
    let found = nft(&["list", "chain", "inet", table, &rules.mark()], "")?;
    let is_absent = String::from_utf8_lossy(&found.stderr).contains("No such file or directory");
    if !is_absent {
        done(&found)?;
    }
    Ok(!is_absent)
}

/// Says whether the rules are loaded that the settings ask for.
fn check(printer: &Printer, rules: &Rules, table: &str) -> Result<u8, Error> {
    let is_loaded = is_table_loaded(rules, table)?;
    if !is_loaded && !printer.is_json() {
        return Err(Error::Refused(format!(
            "the firewall is not loaded as the settings want it (table inet {table}): run corefn firewall load"
        )));
    }
    told(printer, table, is_loaded)?;
    Ok(u8::from(!is_loaded))
}

/// What the settings ask for, with what the host's network needs.
fn rules(host: &host::Host) -> Rules {
    let mut servers: Vec<_> = RESOLVERS
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| resolvers(&text))
        .collect();
    servers.sort_unstable();
    servers.dedup();
    let mut proxies = Vec::new();
    for proxy in [&host.http_proxy, &host.https_proxy].into_iter().flatten() {
        match addresses(proxy) {
            Ok(found) => proxies.extend(found),
            // What is shut by mistake is noticed; what is open by mistake is not.
            Err(why) => remark(&format!(
                "warning: builds may not reach their proxy {proxy}: {why}; when that is mended, run corefn firewall load"
            )),
        }
    }
    Rules {
        namespace: host.namespace.clone(),
        resolvers: servers,
        proxies,
        allow: host.firewall.allow.clone(),
        deny: host.firewall.deny.clone(),
        networks: host
            .networks
            .iter()
            .map(|(name, reach)| (*name, reach.allow.clone()))
            .collect(),
    }
}

/// The addresses of a proxy.
fn addresses(proxy: &str) -> Result<Vec<Destination>, String> {
    let url = Url::parse(proxy).map_err(|error| format!("it is no URL: {error}"))?;
    let port = url.port_or_known_default().unwrap_or_default();
    let found = match url.host().ok_or("it names no host")? {
        Host::Domain(name) => {
            let found = (name, port).to_socket_addrs();
            found.map_err(|error| error.to_string())?.collect()
        }
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
    };
    let of = |address| match address {
        SocketAddr::V4(address) => Some(Destination::new(*address.ip(), port)),
        SocketAddr::V6(_) => None,
    };
    let found: Vec<_> = found.into_iter().filter_map(of).collect();
    if found.is_empty() {
        return Err("it has no IPv4 address".to_owned());
    }
    Ok(found)
}

/// Runs `nft` with something on its standard input.
fn nft(arguments: &[&str], input: &str) -> Result<Output, Error> {
    let failed = |cause| {
        let what = format!("{NFT} can't be run (Debian has it in the package nftables)");
        Error::Io(what, cause)
    };
    let mut child = Command::new(NFT)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // (Where it has ended before it has read all, what it says tells why.)
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}

/// What `nft` has said, if it has failed.
fn done(output: &Output) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Refused(format!(
        "{NFT} has failed; it must be run as root, or with the capability NET_ADMIN: {}",
        said.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let shown = |proxy| addresses(proxy).map(|found| found[0].to_string());
        assert_eq!(
            shown("http://me:secret@10.0.0.9:3128/").unwrap(),
            "10.0.0.9:3128"
        );
        assert_eq!(shown("http://10.0.0.9").unwrap(), "10.0.0.9:80");
        for (bad, says) in [
            ("10.0.0.9", "no URL"),
            ("http://[::1]:3128", "no IPv4 address"),
            ("unix:/x", "no host"),
        ] {
            let error = shown(bad).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
