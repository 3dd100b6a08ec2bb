//! A TCP port before a unix socket, whose connections can vanish.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

use crate::folder::Folder;

/// The state of a connection that is open, in the kernel's table (Linux, `net/tcp_states.h`).
const OPEN: &str = "01";

/// The port.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Packets that get nowhere, for as long as this lives.
#[derive(Debug)]
pub struct Vanished {
    table: String,
}

impl Relay {
    /// Opens one before the socket at `to`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn open(to: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut tasks = JoinSet::new();
        let to = to.to_owned();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                if let Ok(mut server) = UnixStream::connect(&to).await {
                    connections.spawn(async move {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }

    /// The Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Has all packets of the connections that there are get lost, in both directions. Those that are made later are spared.
    ///
    /// # Panics
    /// When there is none, or the kernel takes no rules.
    pub fn vanish(&self, folder: &Folder) -> Vanished {
        let port = self.address.port();
        let clients = clients(port);
        assert!(!clients.is_empty(), "nobody is connected");
        let clients = clients.join(", ");
        let table = format!("ip {}", folder.name());
        let rules = format!(
            "table {table} {{ chain lost {{ type filter hook input priority 0; \
             tcp dport {port} tcp sport {{ {clients} }} drop; tcp sport {port} tcp dport {{ {clients} }} drop; }}; }}"
        );
        nft(&rules);
        Vanished { table }
    }
}

impl Drop for Vanished {
    fn drop(&mut self) {
        nft(&format!("delete table {}", self.table));
    }
}

/// The ports of those that are connected to one.
fn clients(port: u16) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let rows = table.lines().skip(1).filter_map(|row| {
        let mut words = row.split_whitespace().skip(1);
        let (own, other, state) = (words.next()?, words.next()?, words.next()?);
        let port_of = |address: &str| u16::from_str_radix(address.split(':').nth(1)?, 16).ok();
        (state == OPEN && port_of(other)? == port).then(|| port_of(own))?
    });
    rows.map(|port| port.to_string()).collect()
}

fn nft(rules: &str) {
    let done = Command::new("nft").arg(rules).status();
    assert!(done.is_ok_and(|status| status.success()), "nft {rules}");
}
