//! Which connections a process holds, as the kernel knows it.

use std::collections::HashSet;
use std::fs;

/// The clients' ports of the connections to `port` that a process has accepted.
///
/// Format: "proc/net/tcp" in Linux' documentation of networking; the ninth field behind the
/// address is the inode, which `/proc/<pid>/fd` names.
pub fn held(process: u32, port: u16) -> HashSet<u16> {
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    let inodes: HashSet<String> = files
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, remote, inode) = (fields.get(1)?, fields.get(2)?, fields.get(9)?);
            (port_of(local)? == port && inodes.contains(*inode)).then(|| port_of(remote))?
        })
        .collect()
}

fn port_of(address: &str) -> Option<u16> {
    u16::from_str_radix(address.split_once(':')?.1, 16).ok()
}
