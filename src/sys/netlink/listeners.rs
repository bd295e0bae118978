//! Who on the host listens on every address.
//!
//! A daemon of the host that holds 0.0.0.0:80 takes the port from every guest in bind mode: the guest's bind
//! fails with an EADDRINUSE that nobody inside can explain. Read from `/proc/net/tcp` (`proc(5)`).

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::error::{Context, Result};
use crate::guest::HostPid;

/// A process that listens on every address of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The process.
    pub pid: HostPid,
    /// Its command name (`comm`).
    pub command: String,
    /// 0.0.0.0 or ::.
    pub address: IpAddr,
}

/// `TCP_LISTEN`, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// The processes of the host that listen on TCP `port` of 0.0.0.0 or ::. Those in cgroups below `cgroup`, hostel's
/// own as a path from the cgroup2 root (`hostel`), are guests' and left out.
pub fn listeners(port: u16, cgroup: &str) -> Result<Vec<Listener>> {
    let mut sockets = BTreeMap::new();
    for (file, any) in [
        ("/proc/net/tcp", IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ("/proc/net/tcp6", IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ] {
        match fs::read_to_string(file) {
            Ok(table) => sockets.extend(listening(&table, port).map(|inode| (inode, any))),
            // A kernel without IPv6.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(err).context(|| format!("read `{file}`")),
        }
    }
    if sockets.is_empty() {
        // The walk over every process's descriptors is only worth it when somebody is to be named.
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context(|| "list `/proc`")? {
        let entry = entry.context(|| "list `/proc`")?;
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // A process that ends meanwhile listens no more: every failure below is that.
        let process = entry.path();
        for address in held(&process, &sockets) {
            if !is_below(&process, cgroup) {
                let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
                found.push(Listener {
                    pid: HostPid(pid),
                    command: command.trim_end().to_owned(),
                    address,
                });
            }
        }
    }
    found.sort_by_key(|l| (l.pid, l.address));
    found.dedup();
    Ok(found)
}

/// The inodes of the sockets of a table that listen on `port` of every address.
fn listening(table: &str, port: u16) -> impl Iterator<Item = u64> + '_ {
    table.lines().skip(1).filter_map(move |line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, at) = fields.next()?.split_once(':')?;
        let is_any = address.bytes().all(|b| b == b'0');
        let is_port = u16::from_str_radix(at, 16) == Ok(port);
        let is_listening = fields.nth(1)? == LISTEN;
        let inode = fields.nth(5)?.parse().ok()?;
        (is_any && is_port && is_listening).then_some(inode)
    })
}

/// The addresses that a process listens on by way of `sockets`.
fn held(process: &Path, sockets: &BTreeMap<u64, IpAddr>) -> Vec<IpAddr> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|descriptor| {
            let target = fs::read_link(descriptor.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            sockets.get(&inode.parse().ok()?).copied()
        })
        .collect()
}

fn is_below(process: &Path, cgroup: &str) -> bool {
    let listed = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    listed.lines().any(|line| {
        let path = line.strip_prefix("0::/").unwrap_or_default();
        path.strip_prefix(cgroup.trim_matches('/'))
            .is_some_and(|below| below.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reads_the_table_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
             1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n   \
             2: 00000000:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table, 80).collect::<Vec<_>>(), [4711]);
        assert_eq!(listening(table, 81).count(), 0);
    }

    #[test]
    fn names_this_process() {
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners(port, "hostel").unwrap();
        let me = HostPid(std::process::id().cast_signed());
        assert!(
            found.iter().any(|l| l.pid == me && l.address.is_ipv4()),
            "{found:?}"
        );
        drop(socket);
        assert_eq!(listeners(port, "hostel").unwrap(), []);
    }
}
