//! The attached set of programs and its maps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use nix::time::{ClockId, clock_gettime};

use super::install::{self, explain, install, is_alone, maps_name, set_name};
use super::state::{GuestWords, Owned, OwnerWords, Rule, decode, encode, key4, key6, owned};
use crate::error::Context;
use crate::guest::Xid;
use crate::{Error, Kind, Result};

/// Creates and never replaces (`BPF_NOEXIST`).
const NOEXIST: u64 = 1;

type Table<K, V> = RefCell<HashMap<MapData, K, V>>;

/// The attached set of programs.
///
/// Order makes every change safe to be killed in: the entry of a guest names all addresses that it may own, so
/// it is written before they are claimed and removed after they are released.
pub struct Fence {
    pins: PathBuf,
    guests: Table<u64, GuestWords>,
    contexts: Table<u32, u64>,
    owners4: Table<u32, OwnerWords>,
    owners6: Table<[u32; 4], OwnerWords>,
    epoch: RefCell<Array<MapData, u64>>,
}

/// A guest that the programs know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id of its cgroup.
    pub cgroup_id: u64,
    /// What it may do.
    pub rule: Rule,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

impl Fence {
    /// The set at `root`, hostel's root cgroup, with its pins in `pins`, a directory of a BPF file system (see
    /// [`pins_dir`](super::pins_dir)); made if it is not there yet. `level` is the depth of the guests' cgroups,
    /// that of `root` and one more; the hierarchy's own root has depth 0.
    ///
    /// A set of another version, or one whose cgroup is gone, is replaced; guests and their sockets stay known.
    /// The steering of listeners is attached to the network namespace of the caller.
    pub fn ensure(root: BorrowedFd<'_>, level: u32, pins: &Path) -> Result<Fence> {
        let set = set_name(root, level)?;
        if !is_alone(pins, &set)? {
            install(root, level, pins, &set)?;
        }
        Self::open_maps(pins)
    }

    /// The set whose pins are in `pins`, whichever version it has; `None` if there is none. It is not said to be
    /// attached: only [`Fence::ensure`] sees to that.
    pub fn open(pins: &Path) -> Result<Option<Fence>> {
        if install::has_maps(pins)? {
            Self::open_maps(pins).map(Some)
        } else {
            Ok(None)
        }
    }

    fn open_maps(pins: &Path) -> Result<Fence> {
        let maps = pins.join(maps_name());
        Ok(Self {
            pins: pins.to_owned(),
            guests: table(&maps, "guests")?,
            contexts: table(&maps, "contexts")?,
            owners4: table(&maps, "owners4")?,
            owners6: table(&maps, "owners6")?,
            epoch: RefCell::new(epoch(&maps)?),
        })
    }

    /// Makes the guest in this cgroup known, or changes what it may do. The cgroup can be empty still: to be
    /// safe it must be, for a process in it is denied everything until then.
    ///
    /// A context has one cgroup: an entry of the same context for another cgroup is forgotten. An address of
    /// another context is an error of [`Kind::Exists`] that names it, and changes nothing.
    pub fn admit(&self, cgroup_id: u64, rule: &Rule) -> Result<()> {
        let words = encode(rule)?;
        if let Some(old) = get(&self.contexts, &rule.xid.get())?
            && old != cgroup_id
        {
            self.forget(old)?;
        }
        let before = self.rule_of(cgroup_id)?;
        if let Some(before) = &before
            && before.xid != rule.xid
        {
            return Err(Error::new(
                Kind::Exists,
                format!("cgroup {cgroup_id} belongs to context {}", before.xid),
            ));
        }
        let wanted = owned(rule);
        for address in &wanted {
            self.check_free(*address, rule.xid)?;
        }
        put(&self.contexts, rule.xid.get(), cgroup_id, 0)?;
        put(&self.guests, cgroup_id, words, 0)?;
        for address in &wanted {
            if let Err(err) = self.claim(*address, rule.xid) {
                // Another command was faster. What was there before is put back, or nothing.
                let undone = match &before {
                    Some(before) => {
                        let kept = owned(before);
                        self.release(rule.xid, wanted.iter().filter(|a| !kept.contains(a)))
                            .and_then(|()| put(&self.guests, cgroup_id, encode(before)?, 0))
                    }
                    None => self.forget(cgroup_id),
                };
                return Err(match undone {
                    Ok(()) => err,
                    Err(other) => err.and_also(other),
                });
            }
        }
        let dropped = before.as_ref().map(owned).unwrap_or_default();
        self.release(rule.xid, dropped.iter().filter(|a| !wanted.contains(a)))?;
        self.new_epoch()
    }

    /// Forgets the guest in this cgroup; from then on it is denied everything. No error if it is not known.
    pub fn forget(&self, cgroup_id: u64) -> Result<()> {
        let Some(rule) = self.rule_of(cgroup_id)? else {
            return Ok(());
        };
        let known = get(&self.contexts, &rule.xid.get())?;
        // A later cgroup of the same context keeps the addresses.
        if known.is_none_or(|known| known == cgroup_id) {
            self.release(rule.xid, owned(&rule).iter())?;
            remove(&self.contexts, &rule.xid.get())?;
        }
        remove(&self.guests, &cgroup_id)?;
        self.new_epoch()
    }

    /// Forgets the guest of this context, whose cgroup may be gone. No error if it is not known.
    pub fn forget_xid(&self, xid: Xid) -> Result<()> {
        match get(&self.contexts, &xid.get())? {
            Some(cgroup_id) => {
                self.forget(cgroup_id)?;
                // Killed between the two writes of `admit`, the context is known and its cgroup is not.
                remove(&self.contexts, &xid.get())
            }
            None => Ok(()),
        }
    }

    /// Every guest that the programs know, by the id of its cgroup.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let guests = self.guests.borrow();
        // A map that changes while it is read can give a key twice.
        let mut entries = BTreeMap::new();
        for pair in guests.iter() {
            let (cgroup_id, words) = pair.map_err(|err| explain("read the map of guests", err))?;
            entries.insert(
                cgroup_id,
                Entry {
                    cgroup_id,
                    rule: decode(&words)?,
                },
            );
        }
        Ok(entries.into_values().collect())
    }

    /// Whose address this is.
    pub fn owner(&self, address: IpAddr) -> Result<Option<Xid>> {
        let words = match address {
            IpAddr::V4(a) => get(&self.owners4, &key4(a))?,
            IpAddr::V6(a) => get(&self.owners6, &key6(a))?,
        };
        words.map(|[xid, _]| Ok(Xid::read(xid)?)).transpose()
    }

    /// Detaches the programs and removes the maps. Guests in bind mode that still run are not confined from then
    /// on, so none may: an entry is an error of [`Kind::State`].
    pub fn remove(self) -> Result<()> {
        Self::clear(&self.pins)
    }

    /// The same by the pins, of which what a command that was killed has left may be all that is there.
    pub fn clear(pins: &Path) -> Result<()> {
        if let Some(fence) = Self::open(pins)?
            && let Some(entry) = fence.entries()?.first()
        {
            return Err(Error::new(
                Kind::State,
                format!(
                    "context {} is still confined by hostel's BPF programs",
                    entry.rule.xid
                ),
            )
            .with_hint("stop every guest first"));
        }
        install::uninstall(pins)
    }

    /// Makes the programs forget what they concluded from the maps before. A clock and not a counter: two commands
    /// that count at once could bring back a number that was used before.
    fn new_epoch(&self) -> Result<()> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context(|| "read the monotonic clock")?;
        let now = u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap_or(u64::MAX);
        let set = self.epoch.borrow_mut().set(0, now, 0);
        set.map_err(|err| explain("write a BPF map", err))
    }

    fn rule_of(&self, cgroup_id: u64) -> Result<Option<Rule>> {
        get(&self.guests, &cgroup_id)?
            .map(|words| decode(&words))
            .transpose()
    }

    fn check_free(&self, address: Owned, xid: Xid) -> Result<()> {
        match self.owner(address.address)? {
            Some(other) if other != xid => Err(Error::new(
                Kind::Exists,
                format!("`{}` belongs to context {other}", address.address),
            )
            .with_hint("give each guest addresses of its own; a stopped guest's are freed by `hostel gc`")),
            _ => Ok(()),
        }
    }

    fn claim(&self, address: Owned, xid: Xid) -> Result<()> {
        let value = address.value(xid);
        let claimed = match address.address {
            IpAddr::V4(a) => put(&self.owners4, key4(a), value, NOEXIST),
            IpAddr::V6(a) => put(&self.owners6, key6(a), value, NOEXIST),
        };
        match claimed {
            Err(err) if err.errno() == Some(nix::errno::Errno::EEXIST) => self.check_free(address, xid),
            other => other,
        }
    }

    fn release<'a>(&self, xid: Xid, addresses: impl Iterator<Item = &'a Owned>) -> Result<()> {
        for address in addresses {
            if self.owner(address.address)? == Some(xid) {
                match address.address {
                    IpAddr::V4(a) => remove(&self.owners4, &key4(a))?,
                    IpAddr::V6(a) => remove(&self.owners6, &key6(a))?,
                }
            }
        }
        Ok(())
    }
}

fn table<K: Pod, V: Pod>(dir: &Path, name: &str) -> Result<Table<K, V>> {
    let path = dir.join(name);
    let fail = |err: MapError| explain(format!("open BPF map `{}`", path.display()), err);
    let data = MapData::from_pin(&path).map_err(fail)?;
    HashMap::try_from(Map::HashMap(data))
        .map(RefCell::new)
        .map_err(fail)
}

fn epoch(dir: &Path) -> Result<Array<MapData, u64>> {
    let path = dir.join("epoch");
    let fail = |err: MapError| explain(format!("open BPF map `{}`", path.display()), err);
    Array::try_from(Map::Array(MapData::from_pin(&path).map_err(fail)?)).map_err(fail)
}

fn get<K: Pod, V: Pod>(table: &Table<K, V>, key: &K) -> Result<Option<V>> {
    match table.borrow().get(key, 0) {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(err) => Err(explain("read a BPF map", err)),
    }
}

fn put<K: Pod, V: Pod>(table: &Table<K, V>, key: K, value: V, flags: u64) -> Result<()> {
    table.borrow_mut().insert(key, value, flags).map_err(|err| {
        let err = explain("write a BPF map", err);
        match err.errno() {
            Some(nix::errno::Errno::E2BIG) => err.with_hint("at most 4096 guests can run at once"),
            _ => err,
        }
    })
}

/// Removes a key; one that is not there is as good.
fn remove<K: Pod, V: Pod>(table: &Table<K, V>, key: &K) -> Result<()> {
    match table.borrow_mut().remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(err) => {
            let err = explain("remove from a BPF map", err);
            if err.errno() == Some(nix::errno::Errno::ENOENT) {
                Ok(())
            } else {
                Err(err)
            }
        }
    }
}
