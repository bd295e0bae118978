//! `hostel clone SOURCE NAME`

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Parser;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cli::args::{self, Address};
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{GuestName, Hostname, Storage, Xid};
use crate::life::clone::{self, CloneOptions};
use crate::life::{Host, start};
use crate::storage::files;
use crate::{Error, Kind, Result};

/// How many are made at once. They take turns at the source, and wait for the disk together.
const AT_ONCE: usize = 4;

/// Make guests like one that is there
///
/// The source may run: its processes stand still while its files are copied, and its hooks for snapshots run around
/// that. A clone has its own name, hostname, addresses, machine id and ssh host keys; it has the limits, mounts and
/// services of its source, and none of its hooks. It does not start at boot.
#[derive(Debug, Parser)]
pub(crate) struct Clone {
    /// The guest to be cloned
    #[arg(value_name = "SOURCE", add = args::guests())]
    source: GuestName,
    /// The new guest; with --count the first, and the others are counted on from it: web2, web3 ...
    #[arg(value_name = "NAME")]
    name: GuestName,
    /// Make this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// An address of the clone, where its source has any; may be repeated. With --count that of the first, and each
    /// further clone has the next
    #[arg(short, long = "address", value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Its hostname; its name without
    #[arg(long, value_name = "HOSTNAME", conflicts_with = "count")]
    hostname: Option<Hostname>,
    /// Its context id; allocated without
    #[arg(long, value_name = "N", conflicts_with = "count")]
    xid: Option<Xid>,
    /// How its files are kept: btrfs, reflink, overlay, dir or image; as its source's without
    #[arg(long, value_name = "STORAGE")]
    storage: Option<Storage>,
    /// Start it
    #[arg(short, long)]
    start: bool,
    /// Print JSON: an array of `name`, `xid` and `storage` of each clone
    #[arg(long)]
    json: bool,
}

impl Verb for Clone {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel clone web web2 --address 10.0.0.12/24 --start",
            "a second server like the first",
        ),
        ("hostel clone base lab1 --count 10", "lab1 to lab10"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let hooks = hooks::runner(session);
        let names = names(&self.name, self.count)?;
        let paint = session.paint_err;
        let clone = |name: &GuestName| {
            let at = names.iter().position(|other| other == name).unwrap_or(0);
            let addresses = self.addresses.iter().map(|address| next(address.0, at));
            let options = CloneOptions {
                xid: self.xid,
                hostname: self.hostname.clone(),
                addresses: addresses.collect::<Result<_>>()?,
                storage: self.storage,
            };
            let progress = if names.len() == 1 {
                Progress::new(paint)
            } else {
                Progress::of_one_of_several(paint)
            };
            let applied = clone::clone(&host, &self.source, name, options, &hooks, &progress)?;
            drop(progress);
            if self.start {
                start::start(&host, name, &hooks)?;
            }
            Ok(Made {
                name: name.clone(),
                xid: applied.xid,
                storage: files::read(&host.layout, name)?.storage(),
            })
        };
        let did = if self.start {
            "cloned and started"
        } else {
            "cloned"
        };
        let mut made = Vec::new();
        // Most of the time of several goes into flushes, which the kernel makes one of.
        let exit = super::each_at_once(
            session,
            &names,
            &BTreeMap::new(),
            AT_ONCE,
            clone,
            |session, _, one: Made| {
                if !self.json {
                    session.line(&format!("{did} {}", one.name))?;
                }
                made.push(one);
                Ok(())
            },
        )?;
        if self.json {
            session.json(&made)?;
        }
        Ok(exit)
    }
}

/// A clone that was made.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    name: GuestName,
    xid: Xid,
    storage: Storage,
}

/// `count` names from the first on: `web2`, `web3`; a name without a number at its end gets one.
fn names(first: &GuestName, count: u32) -> Result<Vec<GuestName>> {
    if count == 1 {
        return Ok(vec![first.clone()]);
    }
    let text = first.as_str();
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &text[stem.len()..];
    let begin = if digits.is_empty() {
        Some(1)
    } else {
        digits.parse::<u32>().ok()
    };
    (0..count)
        .map(|at| {
            let number = begin.and_then(|begin| begin.checked_add(at));
            let number = number.ok_or_else(|| {
                Error::new(
                    Kind::Usage,
                    format!("`{first}` ends in a number that cannot be counted on"),
                )
            })?;
            let width = digits.len();
            Ok(format!("{stem}{number:0width$}").parse()?)
        })
        .collect()
}

/// The address `by` further on, in its network.
fn next(address: IpNet, by: usize) -> Result<IpNet> {
    let too_far = || {
        Error::new(
            Kind::Usage,
            format!("the network of `{address}` has not that many addresses"),
        )
        .with_hint("take a larger one, or a lower first address")
    };
    let by = u32::try_from(by).map_err(|source| too_far().with_source(source))?;
    let addr = match address.addr() {
        IpAddr::V4(v4) => u32::from(v4).checked_add(by).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(v6) => u128::from(v6)
            .checked_add(u128::from(by))
            .map(|n| IpAddr::V6(n.into())),
    };
    let addr = addr.ok_or_else(too_far)?;
    // One that was typed without a prefix is a network of one: then it is only counted.
    let is_alone = address.prefix_len() == address.max_prefix_len();
    if by > 0 && !is_alone && (!address.contains(&addr) || addr == address.broadcast()) {
        return Err(too_far());
    }
    IpNet::new(addr, address.prefix_len()).map_err(|source| too_far().with_source(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_on() {
        let names = |first: &str, count| -> Vec<String> {
            let names = super::names(&first.parse().unwrap(), count).unwrap();
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("web", 1), ["web"]);
        assert_eq!(names("web", 2), ["web1", "web2"]);
        assert_eq!(names("web9", 3), ["web9", "web10", "web11"]);
        assert_eq!(names("shop007", 2), ["shop007", "shop008"]);
        assert!(super::names(&"web99999999999".parse().unwrap(), 2).is_err());
    }

    #[test]
    fn addresses_stay_in_their_network() {
        let at = |text: &str, by| next(text.parse().unwrap(), by).map(|net| net.to_string());
        assert_eq!(at("10.0.0.20/24", 0).unwrap(), "10.0.0.20/24");
        assert_eq!(at("10.0.0.20/24", 3).unwrap(), "10.0.0.23/24");
        assert_eq!(at("127.9.0.1/32", 3).unwrap(), "127.9.0.4/32");
        assert_eq!(at("fd00::1/64", 15).unwrap(), "fd00::10/64");
        assert!(at("10.0.0.250/24", 5).is_err());
        assert!(at("10.0.0.250/24", 9).is_err());
    }
}
