//! How a guest meets the network.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A guest's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Net {
    /// On which network stack.
    pub mode: NetMode,
    /// Its addresses with their prefix lengths; the first of a family is its primary one. At most
    /// [`Net::MAX_ADDRESSES`] of a family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<IpNet>,
    /// The host's device that carries the addresses while the guest runs. `None`: they are on the host already,
    /// or are addresses of 127.0.0.0/8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// TCP ports that its services listen on; a host daemon that holds one on every address is named at start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Accept, in bind mode, that the host's abstract unix sockets can be reached where the kernel has no
    /// Landlock scoping (before Linux 6.12).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared_abstract_sockets: bool,
    /// In private mode, the host's bridge that its device joins; without one the pair is routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// In private mode, its default gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<IpAddr>,
}

impl Net {
    /// How many addresses of one family a guest may have, as Linux-VServer's `NB_IPV4ROOT`.
    pub const MAX_ADDRESSES: usize = 16;

    /// The addresses without their prefix lengths.
    pub fn addrs(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.address.iter().map(IpNet::addr)
    }
}

/// On which network stack a guest lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetMode {
    /// None but its own loopback.
    #[default]
    None,
    /// The host's own, confined to the guest's addresses by cgroup-BPF (chbind).
    Bind,
    /// One of its own, joined to the host's by a veth pair.
    Private,
    /// The host's own, unconfined. Only for guests that are trusted as the host is.
    Host,
}

impl std::fmt::Display for NetMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            NetMode::None => "none",
            NetMode::Bind => "bind",
            NetMode::Private => "private",
            NetMode::Host => "host",
        })
    }
}
