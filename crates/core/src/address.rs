//! Which address of a subnet an instance gets.
//!
//! Docker hands a freed address to the next container, while a router may still hold a route or a
//! kept-alive connection to the old one. So addresses are given out in turn: one comes back only
//! after all others of the subnet were used.

use std::net::Ipv4Addr;

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

impl Subnet {
    /// Reads `a.b.c.d/prefix`, as Docker writes it; the prefix is 8 to 29 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|p| (8..=29).contains(p))?;
        let mask = u32::MAX << (32 - prefix);
        Some(Self {
            network: u32::from(address) & mask,
            prefix,
        })
    }

    /// The address for the `turn`th container. Skips the network's, the gateway's (the first) and
    /// the broadcast address.
    pub fn address(self, turn: u64) -> Ipv4Addr {
        let size = (1u64 << (32 - self.prefix)) - 3;
        let offset = (turn % size) as u32 + 2;
        Ipv4Addr::from(self.network + offset)
    }

    /// The subnets a network of ours tries in turn until one overlaps nothing on the host.
    ///
    /// They are of 10.0.0.0/8 (RFC 1918), of the part that Docker's own default pools and common
    /// cloud networks leave alone.
    pub fn candidates() -> impl Iterator<Item = String> {
        (192..=254).map(|octet| format!("10.{octet}.0.0/16"))
    }
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
        assert!(Subnet::candidates().all(|text| Subnet::parse(&text).is_some()));
    }
}
