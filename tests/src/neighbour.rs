//! A machine beside this one.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitStatus};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What the names of all of them begin with; `scripts/sweep` looks for it.
const NAME: &str = "cfn";

/// Where the system keeps named network namespaces (ip-netns(8)).
const NAMESPACES: &str = "/run/netns";

/// A network namespace that this machine has a route to, with two addresses, on both of which somebody listens. Of other machines it knows
/// this one alone: nobody behind it gets an answer who does not send with its address.
#[derive(Debug)]
pub struct Neighbour {
    name: String,
    number: u16,
    listener: Option<TcpListener>,
}

impl Neighbour {
    /// Makes one.
    ///
    /// # Panics
    /// When that fails.
    pub fn create() -> Self {
        let random = getrandom::u32().expect("the system has random bits");
        let name = format!("{NAME}{random:08x}");
        let mut neighbour = Self {
            number: (random % (1 << 14)) as u16,
            listener: None,
            name,
        };
        let Self { name, .. } = &neighbour;
        let (gateway, address) = (neighbour.gateway(), neighbour.address());
        let link_local = neighbour.link_local();
        for command in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name eth0 netns {name}"),
            format!("address add {gateway}/30 dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} address add {address}/30 dev eth0"),
            format!("-n {name} address add {link_local}/32 dev lo"),
            format!("-n {name} link set eth0 up"),
            format!("route add {link_local}/32 via {address}"),
        ] {
            let status = ip(&command);
            assert!(status.is_ok_and(|status| status.success()), "ip {command}");
        }
        neighbour.listener = neighbour.listen().ok();
        neighbour
    }

    /// This machine's address in its network.
    pub fn gateway(&self) -> Ipv4Addr {
        // Of the block for tests between networks (RFC 2544), in subnets of four addresses.
        let [a, b] = (self.number << 2).to_be_bytes();
        Ipv4Addr::new(198, 18, a, b + 1)
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.gateway()) + 1)
    }

    fn link_local(&self) -> Ipv4Addr {
        let [a, b] = self.number.to_be_bytes();
        Ipv4Addr::new(169, 254, 128 + a, b)
    }

    /// Where it listens, as others know it.
    pub fn global(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), self.port())
    }

    /// Where it listens at an address of the kind by which clouds tell their machines secrets.
    pub fn local(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.link_local(), self.port())
    }

    fn port(&self) -> u16 {
        let address = self.listener.as_ref().map(TcpListener::local_addr);
        address.expect("it listens").expect("it is bound").port()
    }

    /// A socket stays in the namespace of the thread that has made it.
    fn listen(&self) -> io::Result<TcpListener> {
        let namespace = File::open(format!("{NAMESPACES}/{}", self.name))?;
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpListener::bind("0.0.0.0:0")
        });
        thread.join().expect("it does not panic")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // (The interface goes with it, and the routes with that; at once, though the namespace may live on for a while.)
        for command in [
            format!("link delete {}", self.name),
            format!("netns delete {}", self.name),
        ] {
            if !ip(&command).is_ok_and(|status| status.success()) {
                let _ = writeln!(io::stderr(), "ip {command} has failed");
            }
        }
    }
}

fn ip(command: &str) -> io::Result<ExitStatus> {
    Command::new("ip").args(command.split_whitespace()).status()
}
