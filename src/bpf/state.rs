//! A guest as the programs see it: `struct guest` and `struct owner` of `state.bpf.h`, as words.
//!
//! Words instead of structures, because a map's value has to be plain old data, which only `unsafe` could promise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::guest::{Net, Xid};
use crate::{Error, Kind, Result};

/// Changes with the shape of a map. Sets of programs with the same layout share their maps, so that an update
/// keeps what is known of running guests and of their sockets.
pub(super) const LAYOUT: u32 = 3;

const OPEN: u32 = 1;
const RAW: u32 = 2;
const DEVICES: u32 = 4;
const FUSE: u32 = 8;

const ADDRESS: u32 = 0;
const LOOPBACK: u32 = 1;

const MAX: usize = Net::MAX_ADDRESSES;
const XID: usize = 0;
const FLAGS: usize = 1;
const N4: usize = 2;
const N6: usize = 3;
const LBACK4: usize = 4;
const ADDR4: usize = 5;
const LBACK6: usize = ADDR4 + MAX;
const ADDR6: usize = LBACK6 + 4;

/// `struct guest`.
pub(super) type GuestWords = [u32; ADDR6 + MAX * 4];
/// `struct owner`: the context id and what the address is to it.
pub(super) type OwnerWords = [u32; 2];

/// What a guest may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose rule it is.
    pub xid: Xid,
    /// What it may do on the network.
    pub mode: Mode,
    /// Which device nodes it may use.
    pub devices: Devices,
}

impl Rule {
    /// A rule with the usual devices.
    pub fn new(xid: Xid, mode: Mode) -> Self {
        Self {
            xid,
            mode,
            devices: Devices::Usual,
        }
    }
}

/// What a guest may do on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// On the host's network stack, confined to these addresses and its loopback; the first of a family is the
    /// one that ANY becomes and that it calls from. At most [`Net::MAX_ADDRESSES`] of a family.
    Bind {
        /// Its IPv4 addresses.
        v4: Vec<Ipv4Addr>,
        /// Its IPv6 addresses.
        v6: Vec<Ipv6Addr>,
        /// Whether it may make raw sockets. What they send still has to come from its addresses.
        raw: bool,
    },
    /// Everything: a guest with a network namespace of its own, or one that is trusted as the host is.
    Open,
}

/// Which device nodes a guest may use, of those that it can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// null, zero, full, random, urandom, tty, console, ptmx and pseudoterminals.
    #[default]
    Usual,
    /// Those, and the one of file systems in user space.
    Fuse,
    /// All of them.
    All,
}

/// An address that a guest owns, as a key of `owners4` or `owners6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    pub(super) address: IpAddr,
    kind: u32,
}

impl Owned {
    pub(super) fn value(self, xid: Xid) -> OwnerWords {
        [xid.get(), self.kind]
    }
}

/// The key of an IPv4 address: network order in memory.
pub(super) fn key4(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The key of an IPv6 address.
pub(super) fn key6(address: Ipv6Addr) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.octets().chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

fn address6(words: &[u32]) -> Ipv6Addr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(octets)
}

/// Refuses what the programs could not enforce.
fn check(rule: &Rule) -> Result<()> {
    let Mode::Bind { v4, v6, .. } = &rule.mode else {
        return Ok(());
    };
    let invalid = |message: String| Err(Error::new(Kind::Invalid, message));
    if v4.len() > MAX || v6.len() > MAX {
        return invalid(format!(
            "more than {MAX} addresses of a family for context {}",
            rule.xid
        ));
    }
    for (n, address) in v4.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            return invalid(format!("`{address}` is not an address that a guest can have"));
        }
        if v4[..n].contains(address) {
            return invalid(format!("`{address}` is listed twice for context {}", rule.xid));
        }
    }
    for (n, address) in v6.iter().enumerate() {
        // A link-local address needs the number of its link beside it, and the hooks see none; `::1` is what
        // the guest's own loopback address stands for.
        if address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some()
        {
            return invalid(format!("`{address}` is not an address that a guest can have"));
        }
        if v6[..n].contains(address) {
            return invalid(format!("`{address}` is listed twice for context {}", rule.xid));
        }
    }
    Ok(())
}

/// The rule as `struct guest`.
pub(super) fn encode(rule: &Rule) -> Result<GuestWords> {
    check(rule)?;
    let mut words = [0; ADDR6 + MAX * 4];
    words[XID] = rule.xid.get();
    words[FLAGS] |= match rule.devices {
        Devices::Usual => 0,
        Devices::Fuse => FUSE,
        Devices::All => DEVICES,
    };
    let (v4, v6) = match &rule.mode {
        Mode::Open => {
            words[FLAGS] |= OPEN;
            return Ok(words);
        }
        Mode::Bind { v4, v6, raw } => {
            if *raw {
                words[FLAGS] |= RAW;
            }
            (v4, v6)
        }
    };
    let (loop4, loop6) = (rule.xid.loopback4(), rule.xid.loopback6());
    let v4: Vec<_> = v4.iter().filter(|a| **a != loop4).collect();
    let v6: Vec<_> = v6.iter().filter(|a| **a != loop6).collect();
    // The programs compare with the first address before they ask for the number of addresses, so where there
    // is none, it is the loopback address.
    words[LBACK4] = key4(loop4);
    words[LBACK6..ADDR6].copy_from_slice(&key6(loop6));
    words[ADDR4] = words[LBACK4];
    words[ADDR6..ADDR6 + 4].copy_from_slice(&key6(loop6));
    for (n, address) in v4.iter().enumerate() {
        words[ADDR4 + n] = key4(**address);
        words[N4] += 1;
    }
    for (n, address) in v6.iter().enumerate() {
        words[ADDR6 + n * 4..ADDR6 + n * 4 + 4].copy_from_slice(&key6(**address));
        words[N6] += 1;
    }
    Ok(words)
}

/// The rule that an entry stands for.
pub(super) fn decode(words: &GuestWords) -> Result<Rule> {
    let flags = words[FLAGS];
    let mode = if flags & OPEN != 0 {
        Mode::Open
    } else {
        let n4 = (words[N4] as usize).min(MAX);
        let n6 = (words[N6] as usize).min(MAX);
        Mode::Bind {
            v4: words[ADDR4..ADDR4 + n4]
                .iter()
                .map(|word| Ipv4Addr::from(word.to_ne_bytes()))
                .collect(),
            v6: words[ADDR6..ADDR6 + n6 * 4]
                .chunks_exact(4)
                .map(address6)
                .collect(),
            raw: flags & RAW != 0,
        }
    };
    Ok(Rule {
        xid: Xid::read(words[XID])?,
        mode,
        devices: if flags & DEVICES != 0 {
            Devices::All
        } else if flags & FUSE != 0 {
            Devices::Fuse
        } else {
            Devices::Usual
        },
    })
}

/// Every address that a rule makes its guest the owner of.
pub(super) fn owned(rule: &Rule) -> Vec<Owned> {
    let Mode::Bind { v4, v6, .. } = &rule.mode else {
        return Vec::new();
    };
    let loops: [IpAddr; 2] = [rule.xid.loopback4().into(), rule.xid.loopback6().into()];
    let all = v4
        .iter()
        .copied()
        .map(IpAddr::from)
        .chain(v6.iter().copied().map(IpAddr::from));
    let address = |address| Owned {
        address,
        kind: ADDRESS,
    };
    let loopback = |address| Owned {
        address,
        kind: LOOPBACK,
    };
    let mut owned: Vec<Owned> = loops.into_iter().map(loopback).collect();
    owned.extend(all.filter(|a| !loops.contains(a)).map(address));
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(v4: Vec<Ipv4Addr>, v6: Vec<Ipv6Addr>) -> Rule {
        let mode = Mode::Bind { v4, v6, raw: true };
        Rule::new(Xid::new(0x1234).unwrap(), mode)
    }

    #[test]
    fn a_rule_survives_the_map() {
        let rules = [
            rule(vec![], vec![]),
            rule(
                (1..=16).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect(),
                vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()],
            ),
            Rule::new(Xid::MIN, Mode::Open),
            Rule {
                devices: Devices::All,
                ..Rule::new(Xid::MAX, Mode::Open)
            },
            Rule {
                devices: Devices::Fuse,
                ..Rule::new(Xid::MAX, Mode::Open)
            },
        ];
        for rule in rules {
            assert_eq!(decode(&encode(&rule).unwrap()).unwrap(), rule);
        }
    }

    #[test]
    fn addresses_lie_in_memory_as_on_the_wire() {
        let words = encode(&rule(vec![Ipv4Addr::new(192, 0, 2, 7)], vec![])).unwrap();
        assert_eq!(words[ADDR4].to_ne_bytes(), [192, 0, 2, 7]);
        assert_eq!(words[LBACK4].to_ne_bytes(), [127, 0x12, 0x34, 1]);
        assert_eq!(words[LBACK6].to_ne_bytes(), [0xfd, 0x68, 0x6f, 0x73]);
        // Without an address of the family the first one is the loopback, never 0.
        assert_eq!(words[ADDR6..ADDR6 + 4], words[LBACK6..ADDR6]);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let v4 = |text: &str| vec![text.parse().unwrap()];
        for bad in ["0.0.0.0", "224.0.0.1", "255.255.255.255"] {
            assert!(encode(&rule(v4(bad), vec![])).is_err(), "{bad}");
        }
        for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            assert!(
                encode(&rule(vec![], vec![bad.parse().unwrap()])).is_err(),
                "{bad}"
            );
        }
        let twice = vec![Ipv4Addr::new(192, 0, 2, 1); 2];
        assert!(encode(&rule(twice, vec![])).is_err());
        let many = (1..=17).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
        assert!(encode(&rule(many, vec![])).is_err());
    }
}
