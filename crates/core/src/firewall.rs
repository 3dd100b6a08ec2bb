//! What functions and builds are kept from, as rules of nftables (nft(8)).
//!
//! Docker lets a container reach whatever the host listens on, and whatever the host reaches. It keeps networks apart, but
//! not in the moments in which it makes another one: then it takes the jump to its rules away and puts it back. These
//! rules know containers by the bridges of an installation's networks, whose names follow from its namespace: they can be
//! loaded before there is a network, and no rule of Docker's or of the host's own is touched.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::names;
use crate::network::{Network, NetworkKind, NetworkName};

/// Addresses that only the host's own network knows (RFC 3927), with the services by which clouds tell machines their
/// secrets: shut unless they are allowed.
const LINK_LOCAL: Destination = Destination {
    address: Ipv4Addr::new(169, 254, 0, 0),
    prefix: 16,
    port: None,
};

/// How what is not allowed ends: with an ICMP error, so that nobody waits for an answer.
const REJECT: &str = "reject with icmpx type admin-prohibited";

/// Where a packet goes: an IPv4 address or a range of them, and a port of TCP and UDP, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    address: Ipv4Addr,
    prefix: u8,
    port: Option<u16>,
}

impl Destination {
    /// A port of an address.
    pub fn new(address: Ipv4Addr, port: u16) -> Self {
        Self {
            address,
            prefix: 32,
            port: Some(port),
        }
    }

    /// As a condition of a rule.
    fn condition(self) -> String {
        let mut text = format!("ip daddr {}", self.address);
        if self.prefix < 32 {
            let _ = write!(text, "/{}", self.prefix);
        }
        if let Some(port) = self.port {
            let _ = write!(text, " meta l4proto {{ tcp, udp }} th dport {port}");
        }
        text
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.prefix < 32 {
            write!(f, "/{}", self.prefix)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no destination: write an IPv4 address, as in 10.0.0.5, 10.0.0.0/8 or 10.0.0.5:5432"
)]
pub struct DestinationError(String);

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let read = || {
            let (rest, port) = match text.split_once(':') {
                Some((rest, port)) => (rest, Some(port.parse().ok().filter(|&port| port > 0)?)),
                None => (text, None),
            };
            let (address, prefix) = match rest.split_once('/') {
                Some((address, prefix)) => (address, prefix.parse().ok()?),
                None => (rest, 32),
            };
            let address: Ipv4Addr = address.parse().ok()?;
            // (A range begins at its first address, or somebody has made a mistake.)
            let outside = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let is_range = prefix <= 32 && u32::from(address) & outside == 0;
            is_range.then_some(Self {
                address,
                prefix,
                port,
            })
        };
        read().ok_or_else(|| DestinationError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The rules of an installation.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The installation.
    pub namespace: String,
    /// The servers that containers ask for names.
    pub resolvers: Vec<Ipv4Addr>,
    /// What builds may reach in any case: their proxies.
    pub proxies: Vec<Destination>,
    /// What builds and functions may reach in any case.
    pub allow: Vec<Destination>,
    /// What they may not reach, though the host does.
    pub deny: Vec<Destination>,
    /// The networks that the settings have, on which nothing else is reached than what each allows.
    pub networks: Vec<(NetworkName, Vec<Destination>)>,
}

impl Rules {
    /// The text for `nft -f`: it puts the table in the place of a former one, or changes nothing.
    pub fn text(&self) -> String {
        let body = self.body();
        let removal = self.removal();
        let table = names::firewall(&self.namespace);
        let mark = mark(&body);
        format!("{removal}table inet {table} {{\n{body}\tchain {mark} {{}}\n}}\n")
    }

    /// The text for `nft -f` that removes the table, if there is one.
    pub fn removal(&self) -> String {
        let table = names::firewall(&self.namespace);
        format!("table inet {table}\ndelete table inet {table}\n")
    }

    /// A chain that is there, in the table, only if these very rules are loaded. It does nothing.
    pub fn mark(&self) -> String {
        mark(&self.body())
    }

    fn body(&self) -> String {
        let quoted = |kind| format!("\"{}\"", names::bridge(&self.namespace, kind));
        let bridges = NetworkKind::ALWAYS.map(quoted).join(", ");
        // (One that the settings have no more is among these: then nothing is reached on it.)
        let named = format!("\"{}*\"", names::named_bridges(&self.namespace));
        let mut allowed = String::new();
        let mut rule = |text: String| {
            let _ = writeln!(allowed, "\t\t{text}");
        };
        // (Answers to those who connect to a function are among these.)
        rule("ct state established,related accept".to_owned());
        rule(format!(
            "iifname {} {REJECT}",
            quoted(NetworkKind::Of(Network::None))
        ));
        for resolver in &self.resolvers {
            let server = Destination::new(*resolver, 53).condition();
            rule(format!("{server} accept"));
        }
        for proxy in &self.proxies {
            let build = quoted(NetworkKind::Build);
            rule(format!("iifname {build} {} accept", proxy.condition()));
        }
        for destination in &self.allow {
            rule(format!("{} accept", destination.condition()));
        }
        for (name, allow) in &self.networks {
            let bridge = quoted(NetworkKind::Of(Network::Named(*name)));
            for destination in allow {
                rule(format!(
                    "iifname {bridge} {} accept",
                    destination.condition()
                ));
            }
        }
        rule(format!("iifname {named} {REJECT}"));
        let mut denied = String::new();
        for destination in [LINK_LOCAL].iter().chain(&self.deny) {
            let condition = destination.condition();
            let _ = writeln!(denied, "\t\t{condition} {REJECT}");
        }
        format!(
            "\tset bridges {{\n\
             \t\ttype ifname\n\
             \t\telements = {{ {bridges} }}\n\
             \t}}\n\
             \tchain allowed {{\n\
             {allowed}\
             \t}}\n\
             \tchain input {{\n\
             \t\ttype filter hook input priority filter - 10; policy accept;\n\
             \t\tiifname @bridges jump to_host\n\
             \t\tiifname {named} jump to_host\n\
             \t}}\n\
             \tchain to_host {{\n\
             \t\tjump allowed\n\
             \t\t{REJECT}\n\
             \t}}\n\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter - 10; policy accept;\n\
             \t\tiifname @bridges jump beyond\n\
             \t\tiifname {named} jump beyond\n\
             \t}}\n\
             \tchain beyond {{\n\
             \t\toifname @bridges ct state new {REJECT}\n\
             \t\toifname {named} ct state new {REJECT}\n\
             \t\tjump allowed\n\
             \t\tmeta nfproto ipv6 {REJECT}\n\
             {denied}\
             \t}}\n\
             \tchain postrouting {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tiifname {named} oifname != {named} masquerade\n\
             \t}}\n"
        )
    }
}

/// A name that follows from the rules.
fn mark(body: &str) -> String {
    let digest = Sha256::digest(body);
    let number = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
    format!("rules-{number:016x}")
}

/// The servers that containers ask for names, from the text of the host's resolv.conf(5). Docker hands none to a
/// container that is reached by the host alone.
pub fn resolvers(text: &str) -> Vec<Ipv4Addr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let addresses = lines.filter_map(|word| word.parse::<Ipv4Addr>().ok());
    addresses.filter(|address| !address.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for good in [
            "10.0.0.5",
            "10.0.0.0/8",
            "10.0.0.5:5432",
            "10.1.0.0/16:80",
            "0.0.0.0/0",
        ] {
            assert_eq!(good.parse::<Destination>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "host",
            "host:80",
            "10.0.0.5/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "10.0.0.5:",
            "10.0.0.5:80:81",
            "fd00::1",
            "10.0.0.5 accept",
        ] {
            let error = bad.parse::<Destination>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{bad}' is no ")), "{error}");
        }
    }

    #[test]
    fn rules_say_what_was_set() {
        let parse = |text: &str| text.parse::<Destination>().unwrap();
        let rules = Rules {
            namespace: "ns".to_owned(),
            resolvers: vec![Ipv4Addr::new(10, 0, 0, 53)],
            proxies: vec![parse("10.0.0.9:3128")],
            allow: vec![parse("10.0.0.0/24"), parse("10.1.0.1:5432")],
            deny: vec![parse("10.0.0.0/8")],
            networks: vec![("database".parse().unwrap(), vec![parse("10.2.0.1:5432")])],
        };
        let text = rules.text();
        let named = NetworkKind::Of("database".parse().unwrap());
        let [build, none, named] = [NetworkKind::Build, NetworkKind::Of(Network::None), named]
            .map(|kind| names::bridge("ns", kind));
        let all_named = names::named_bridges("ns");
        for line in [
            "ip daddr 10.0.0.53 meta l4proto { tcp, udp } th dport 53 accept",
            &format!(
                "iifname \"{build}\" ip daddr 10.0.0.9 meta l4proto {{ tcp, udp }} th dport 3128 accept"
            ),
            &format!("iifname \"{none}\" reject with icmpx type admin-prohibited"),
            &format!(
                "iifname \"{named}\" ip daddr 10.2.0.1 meta l4proto {{ tcp, udp }} th dport 5432 accept"
            ),
            &format!("iifname \"{all_named}*\" reject with icmpx type admin-prohibited"),
            "ip daddr 10.0.0.0/24 accept",
            "ip daddr 10.1.0.1 meta l4proto { tcp, udp } th dport 5432 accept",
            "ip daddr 169.254.0.0/16 reject with icmpx type admin-prohibited",
            "ip daddr 10.0.0.0/8 reject with icmpx type admin-prohibited",
        ] {
            let found = text.lines().filter(|found| found.trim() == line).count();
            assert_eq!(found, 1, "{line}\n{text}");
        }
        assert!(text.starts_with("table inet corefn-ns\ndelete table inet corefn-ns\n"));
        assert!(text.contains(&format!("chain {} {{}}", rules.mark())));
        let others = Rules {
            deny: Vec::new(),
            ..rules.clone()
        };
        assert_ne!(others.mark(), rules.mark());
    }

    #[test]
    fn resolvers_of_the_host() {
        let text = "# nameserver 1.1.1.1\nsearch here\nnameserver 127.0.0.53\n\
                    nameserver 10.0.0.53 \nnameserver fd00::53\nnameserver\n\tnameserver 9.9.9.9\n";
        assert_eq!(
            resolvers(text),
            [Ipv4Addr::new(10, 0, 0, 53), Ipv4Addr::new(9, 9, 9, 9)]
        );
        assert!(resolvers("").is_empty());
    }
}
