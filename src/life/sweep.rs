//! `hostel gc`: what dead commands and guests that ended by themselves have left.
//!
//! Everything that hostel puts on a host carries the number of its context, so what is left over is found in the
//! kernel by that number, and is left over when nothing of it runs and nobody holds its lock.

use serde::Serialize;

use super::host::Host;
use super::launch::claim;
use super::stop;
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, VolumeName, Xid};
use crate::storage::lock::{self, Wait};
use crate::storage::{Home, driver, files, image, layer, state, unify, volume, xid};
use crate::sys::cgroup::Group;
use crate::sys::netlink::Netlink;

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// What it was.
    pub what: String,
}

/// Takes away what is left over. What a running guest or command uses is not touched.
pub fn sweep(host: &Host) -> Result<Vec<Swept>> {
    let mut swept = Vec::new();
    let mut note = |what: String| swept.push(Swept { what });
    for path in image::sweep(&host.layout)? {
        note(format!("scratch directory `{}`", path.display()));
    }
    sweep_builds(host, &mut note)?;
    for id in layer::sweep(&host.layout)? {
        note(format!("layer `{id}`, which no guest uses"));
    }
    if let (files @ 1.., bytes) = unify::sweep(&host.layout)? {
        note(format!(
            "{files} files of the store, which no layer has ({bytes} bytes)"
        ));
    }
    sweep_names(host, &mut note)?;
    sweep_volumes(host, &mut note)?;
    if let Some(root) = host.existing_root()? {
        for name in root.groups()? {
            let Some(number) = number_of(&name) else { continue };
            let Some(group) = Group::open(root, &name)? else {
                continue;
            };
            if group.is_populated()? {
                continue;
            }
            let Some(_claim) = claim(&group)? else { continue };
            stop::clear_number(host, number)?;
            note(format!("cgroup `{name}`"));
        }
    }
    if let Some(fence) = host.existing_fence()? {
        for entry in fence.entries()? {
            let xid = entry.rule.xid;
            if super::observe::group(host, xid)?.is_none() {
                fence.forget_xid(xid)?;
                note(format!("BPF entry of context {xid}"));
            }
        }
    }
    for address in Netlink::open()?.owned_addresses()? {
        let Some(owner) = address.owner else { continue };
        let is_used = match host.existing_root()? {
            Some(root) => Group::open(root, &owner.0.cgroup_name())?.is_some(),
            None => false,
        };
        // Another hostel on this host, with another cgroup, may have put it there; ours are known by their xid.
        if !is_used && xid::owner(&host.layout, owner.0)?.is_some() {
            Netlink::open()?.del_address(address.index, address.net)?;
            note(format!("address `{}` on `{}`", address.net, address.device));
        }
    }
    Ok(swept)
}

/// Numbers of guests that are not there, and their locks, which go when they are given up: what a build that was killed had taken before it made files.
fn sweep_names(host: &Host, note: &mut dyn FnMut(String)) -> Result<()> {
    let names = |dir: std::path::PathBuf, is_link: bool| -> Vec<GuestName> {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Vec::new();
        };
        let name = |entry: std::fs::DirEntry| {
            if is_link {
                std::fs::read_link(entry.path()).ok()?.to_str()?.parse().ok()
            } else {
                entry.file_name().to_str()?.parse().ok()
            }
        };
        entries.flatten().filter_map(name).collect()
    };
    let mut all = names(host.layout.xids(), true);
    all.extend(names(host.layout.locks(), false));
    all.sort();
    all.dedup();
    for name in all {
        let _lock = match lock::acquire(&host.layout, &name, Wait::No) {
            Ok(lock) => lock,
            Err(err) if err.kind() == Kind::Busy => continue,
            Err(err) => return Err(err),
        };
        if state::read(&host.layout, &name)?.is_none() {
            for number in xid::of_guest(&host.layout, &name)? {
                note(format!("context id {number} of `{name}`, which is not there"));
            }
            xid::release(&host.layout, &name)?;
        }
    }
    Ok(())
}

/// What volumes that were being made, removed or changed have left.
fn sweep_volumes(host: &Host, note: &mut dyn FnMut(String)) -> Result<()> {
    let layout = &host.layout;
    let attempt = |name: &VolumeName| match lock::acquire_volume(layout, name, Wait::No) {
        Ok(lock) => Ok(Some(lock)),
        Err(err) if err.kind() == Kind::Busy => Ok(None),
        Err(err) => Err(err),
    };
    for name in volume::list(layout)? {
        let Some(_lock) = attempt(&name)? else { continue };
        let home = Home::of_volume(layout, &name);
        // A guest that runs may have the old tree mounted, and keeps it.
        if volume::read(layout, &name)?.is_some()
            && driver::finish(layout, &home, &files::read_in(home.dir())?)?
        {
            note(format!("what was in the volume `{name}` before it was changed"));
        }
    }
    for name in volume::sweep_numbers(layout, &|name| Ok(attempt(name)?.is_none()))? {
        note(format!("number of the volume `{name}`, which is not there"));
    }
    let Ok(entries) = std::fs::read_dir(layout.locks()) else {
        return Ok(());
    };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("volume:")?.parse().ok()
    });
    for name in names.collect::<Vec<VolumeName>>() {
        // Given up, it takes its file away where there is no such volume.
        drop(attempt(&name)?);
    }
    Ok(())
}

/// Files without a specification: a build or a destroy that was killed.
fn sweep_builds(host: &Host, note: &mut dyn FnMut(String)) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(host.layout.guests()) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Some(name) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<GuestName>().ok())
        else {
            continue;
        };
        let _lock = match lock::acquire(&host.layout, &name, Wait::No) {
            Ok(lock) => lock,
            Err(err) if err.kind() == Kind::Busy => continue,
            Err(err) => return Err(err),
        };
        if state::read(&host.layout, &name)?.is_none() {
            super::build::undo(host, &name)?;
            note(format!("unfinished guest `{name}`"));
        } else if driver::finish(
            &host.layout,
            &Home::of_guest(&host.layout, &name),
            &files::read(&host.layout, &name)?,
        )? {
            note(format!("files of `{name}` from before it was converted"));
        }
    }
    Ok(())
}

fn number_of(cgroup: &str) -> Option<Xid> {
    match cgroup.strip_prefix('x')? {
        "1" => Some(Xid::SPECTATOR),
        number => number.parse().ok(),
    }
}

/// Takes hostel's own cgroup and BPF programs from the host, and the BPF file system that hostel mounted for them.
/// Refused while a guest or context runs.
pub fn clear_host(host: &Host) -> Result<()> {
    sweep(host)?;
    if let Some(root) = host.existing_root()? {
        let left = root.groups()?;
        if !left.is_empty() {
            return Err(Error::new(
                Kind::State,
                format!("{} guests or contexts run: {}", left.len(), left.join(", ")),
            )
            .with_hint("`hostel stop --all` stops the guests"));
        }
    }
    // Without the cgroup, too: programs whose cgroup was removed by hand are attached to nothing and still pinned.
    if let Some(pins) = host.existing_pins() {
        crate::bpf::Fence::clear(&pins)?;
    }
    if let Some(root) = host.existing_root()? {
        root.clone().remove()?;
    }
    host.clear_pins()
}
