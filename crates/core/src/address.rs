//! Which address of a subnet an instance gets.
//!
//! Docker hands a freed address to the next container, while a router may still hold a route or a
//! kept-alive connection to the old one. So addresses are given out in turn: one comes back only
//! after all others of the subnet were used.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

impl fmt::Display for Subnet {
    /// As Docker writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

impl Subnet {
    /// Reads `a.b.c.d/prefix`, as Docker writes it; the prefix is 8 to 29 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|p| (8..=29).contains(p))?;
        Some(Self::of(u32::from(address), prefix))
    }

    fn of(address: u32, prefix: u8) -> Self {
        Self {
            network: address & mask(prefix),
            prefix,
        }
    }

    /// The address for the `number`th container. Skips the network's, the gateway's (the first) and
    /// the broadcast address.
    pub fn address(self, number: u64) -> Ipv4Addr {
        let offset = (number % self.size()) as u32 + 2;
        Ipv4Addr::from(self.network + offset)
    }

    /// The address for the `number`th container where `attempts` others were taken: each is far from those before, for those
    /// that are taken are often neighbours. (So it is for parts of a whole by the golden ratio: Knuth, "The Art of Computer
    /// Programming", volume 3, 6.4.)
    pub fn another_address(self, number: u64, attempts: u64) -> Ipv4Addr {
        let step = self.size() * 618 / 1000;
        self.address(number.wrapping_add(attempts.wrapping_mul(step)))
    }

    /// How many addresses containers may have.
    fn size(self) -> u64 {
        (1 << (32 - self.prefix)) - 3
    }

    /// The subnets that a network of ours may get, on a host with these routes.
    ///
    /// They are of 10.0.0.0/8 (RFC 1918), of the part that Docker's own default pools and common
    /// cloud networks leave alone.
    pub fn candidates(routes: &[Route]) -> Candidates {
        let all = (192..=254).map(|octet| Self::of(u32::from_be_bytes([10, octet, 0, 0]), 16));
        let (routed, others): (_, Vec<_>) =
            all.partition(|subnet| routes.iter().any(|route| route.leads_into(*subnet)));
        let (wider, free): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|subnet| routes.iter().any(|route| route.overlaps(*subnet)));
        let usable = free.into_iter().chain(wider).collect();
        Candidates { usable, routed }
    }
}

/// The subnets that a network of ours may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Those to try in turn until Docker has one free: first those that none of the host's routes
    /// leads to, then those that only wider routes lead to, as that of a VPN for all of 10.0.0.0/8
    /// does.
    pub usable: Vec<Subnet>,
    /// Those of which a route leads to all or a part. Packets for functions could go elsewhere.
    pub routed: Vec<Subnet>,
}

/// Where the host sends packets for a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    network: u32,
    prefix: u8,
}

impl Route {
    /// Reads the host's routes from the text of `/proc/net/route` (proc(5)), less the default one.
    /// What can't be read is left out.
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }

    /// A line has the destination in the second field and the mask in the eighth, both in
    /// hexadecimal and the host's byte order, of which the first byte of an address is the lowest.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let mut number = |at| {
            let digits = fields.nth(at)?;
            let number = u32::from_str_radix(digits, 16).ok()?;
            Some(u32::from_be_bytes(number.to_ne_bytes()))
        };
        let (network, mask) = (number(1)?, number(5)?);
        let prefix = mask.leading_ones() as u8;
        (prefix > 0).then_some(Self { network, prefix })
    }

    fn overlaps(self, subnet: Subnet) -> bool {
        let mask = mask(self.prefix.min(subnet.prefix));
        self.network & mask == subnet.network & mask
    }

    /// Whether it is for the subnet or a part of it.
    fn leads_into(self, subnet: Subnet) -> bool {
        self.prefix >= subnet.prefix && self.overlaps(subnet)
    }
}

/// The mask of a prefix of 1 to 32 bits.
fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_turn() {
        let subnet = Subnet::parse("10.200.0.0/16").unwrap();
        assert_eq!(subnet.address(0), Ipv4Addr::new(10, 200, 0, 2));
        assert_eq!(subnet.address(254), Ipv4Addr::new(10, 200, 1, 0));
        assert_eq!(subnet.address(65_532), Ipv4Addr::new(10, 200, 255, 254));
        assert_eq!(subnet.address(65_533), Ipv4Addr::new(10, 200, 0, 2));
    }

    #[test]
    fn none_twice_before_all_once() {
        let subnet = Subnet::parse("10.1.2.0/24").unwrap();
        let all: std::collections::HashSet<_> = (7..7 + 253).map(|n| subnet.address(n)).collect();
        assert_eq!(all.len(), 253);
    }

    #[test]
    fn neighbours_that_are_taken_are_left_behind() {
        let large = Subnet::parse("10.200.0.0/16").unwrap();
        assert_eq!(large.another_address(7, 1), large.address(7 + 40_499));
        for text in ["10.200.0.0/16", "10.1.2.0/24"] {
            let subnet = Subnet::parse(text).unwrap();
            assert_eq!(subnet.another_address(7, 0), subnet.address(7));
            let tried = (0..5).map(|attempts| u32::from(subnet.another_address(7, attempts)));
            let tried: Vec<_> = tried.collect();
            for (at, one) in tried.iter().enumerate() {
                let others = &tried[at + 1..];
                assert!(
                    others.iter().all(|other| one.abs_diff(*other) > 20),
                    "{tried:?}"
                );
            }
        }
    }

    #[test]
    fn other_texts() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/30",
            "fd00::/64",
            "x/16",
        ] {
            assert_eq!(Subnet::parse(bad), None);
        }
    }

    fn texts(subnets: &[Subnet]) -> Vec<String> {
        subnets.iter().map(ToString::to_string).collect()
    }

    fn usable(routes: &str) -> Vec<String> {
        texts(&Subnet::candidates(&Route::parse_all(routes)).usable)
    }

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn route(destination: [u8; 4], mask: [u8; 4]) -> String {
        let [destination, mask] = [destination, mask].map(u32::from_ne_bytes);
        format!("eth0\t{destination:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn candidates_that_no_route_leads_to_come_first() {
        let all = usable("");
        assert_eq!(all.len(), 63);
        assert_eq!(all[..2], ["10.192.0.0/16", "10.193.0.0/16"]);
        assert_eq!(all[62], "10.254.0.0/16");
        for text in &all {
            assert_eq!(
                Subnet::parse(text).map(|s| s.to_string()).as_ref(),
                Some(text)
            );
        }
        let table = [
            HEADER.to_owned(),
            route([0; 4], [0; 4]),
            route([172, 17, 0, 0], [255, 255, 0, 0]),
            // The subnet itself, parts of it, and a host in it.
            route([10, 192, 0, 0], [255, 255, 0, 0]),
            route([10, 194, 7, 0], [255, 255, 255, 0]),
            route([10, 195, 255, 255], [255, 255, 255, 255]),
            // Two, within a wider one.
            route([10, 196, 0, 0], [255, 254, 0, 0]),
            "eth0 nonsense\n".to_owned(),
        ]
        .concat();
        let routed = Subnet::candidates(&Route::parse_all(&table)).routed;
        assert_eq!(
            texts(&routed),
            ["10.192.0.0/16", "10.194.0.0/16", "10.195.0.0/16"]
        );
        let left = usable(&table);
        assert_eq!(left[..2], ["10.193.0.0/16", "10.198.0.0/16"]);
        assert_eq!(left[left.len() - 2..], ["10.196.0.0/16", "10.197.0.0/16"]);
        assert_eq!(left.len(), 60);
    }

    #[test]
    fn route_for_all_keeps_the_order() {
        let wide = route([10, 0, 0, 0], [255, 0, 0, 0]);
        assert_eq!(usable(&wide), usable(""));
        let other = route([11, 192, 0, 0], [255, 255, 0, 0]);
        assert_eq!(usable(&other), usable(""));
    }
}
