//! Who has which context id: the link `xid/101 -> web`.
//!
//! `symlink(2)` either makes the link or says that it is there, so two commands never get one number, and there
//! is no table to lock or to lose. A number whose guest is gone is taken back, but only under that guest's lock:
//! a guest that is just being made has a number before it has a directory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use super::Layout;
use super::lock::{self, Wait};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::ranges::Taken;
use crate::guest::{GuestName, Invalid, Xid};

/// Gives the guest a number: the wanted one, else the one it has, else the lowest free from
/// [`Xid::FIRST_AUTOMATIC`]. The caller holds the guest's lock.
///
/// A number whose ids are among those that somebody else has is refused by name when it is wanted, and passed over
/// otherwise.
pub fn allocate(layout: &Layout, name: &GuestName, want: Option<Xid>, taken: &Taken) -> Result<Xid> {
    if let Some(xid) = want {
        taken.require_free(xid).map_err(refused)?;
        return match claim(layout, name, xid)? {
            Claim::Ours => Ok(xid),
            Claim::Taken(other) => Err(Error::new(
                Kind::Exists,
                format!("the context id {xid} belongs to `{other}`, not to `{name}`"),
            )
            .with_hint("choose another `xid`, or leave it out")),
        };
    }
    if let Some(xid) = of_guest(layout, name)?.first() {
        return Ok(*xid);
    }
    for number in Xid::FIRST_AUTOMATIC.get()..=Xid::MAX.get() {
        let xid = Xid::new(number)?;
        if taken.conflict(xid).is_some() {
            continue;
        }
        if matches!(claim(layout, name, xid)?, Claim::Ours) {
            return Ok(xid);
        }
    }
    Err(
        Error::new(Kind::State, format!("no context id is free for `{name}`"))
            .with_hint("destroy guests that are no longer used"),
    )
}

/// Refuses to go on with a number that the guest does not have, or whose ids are somebody else's too: both were seen
/// to when it was given, and may have changed since.
pub fn confirm(layout: &Layout, name: &GuestName, xid: Xid, taken: &Taken) -> Result<()> {
    match owner(layout, xid)? {
        Some(owner) if owner == *name => taken.require_free(xid).map_err(refused),
        other => {
            let whose = other.map_or("nobody's".to_owned(), |other| format!("`{other}`'s"));
            let message = format!("the context id {xid} is {whose}, not `{name}`'s");
            Err(Error::new(Kind::State, message)
                .with_hint("apply its recipe again: it gets a number of its own"))
        }
    }
}

fn refused(invalid: Invalid) -> Error {
    // As a number that another guest has.
    Error::from(invalid).with_kind(Kind::Exists)
}

/// Gives back every number of the guest. The caller holds the guest's lock.
pub fn release(layout: &Layout, name: &GuestName) -> Result<()> {
    for xid in of_guest(layout, name)? {
        release_one(layout, name, xid)?;
    }
    Ok(())
}

/// Gives back one number, if it is the guest's: for a guest whose recipe now names another one.
pub fn release_one(layout: &Layout, name: &GuestName, xid: Xid) -> Result<()> {
    if owner(layout, xid)?.as_ref() == Some(name) {
        let link = layout.xid(xid);
        fs::remove_file(&link).context(|| format!("remove `{}`", link.display()))?;
    }
    Ok(())
}

/// Whose number this is.
pub fn owner(layout: &Layout, xid: Xid) -> Result<Option<GuestName>> {
    let link = layout.xid(xid);
    let target = match fs::read_link(&link) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("read link `{}`", link.display()))?,
    };
    match target.to_str().and_then(|text| text.parse().ok()) {
        Some(name) => Ok(Some(name)),
        None => Err(
            Error::new(Kind::Invalid, format!("`{}` names no guest", link.display()))
                .with_hint("remove the link"),
        ),
    }
}

/// The numbers of a guest, lowest first. It has more than one only while its recipe moves it to another.
pub fn of_guest(layout: &Layout, name: &GuestName) -> Result<Vec<Xid>> {
    let dir = layout.xids();
    let entries = match fs::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", dir.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("list `{}`", dir.display()))?;
        let is_ours = |target: std::path::PathBuf| target.as_os_str() == name.as_str();
        if let Some(xid) = entry.file_name().to_str().and_then(|text| text.parse().ok())
            && fs::read_link(entry.path()).is_ok_and(is_ours)
        {
            found.push(xid);
        }
    }
    found.sort();
    Ok(found)
}

enum Claim {
    Ours,
    Taken(GuestName),
}

fn claim(layout: &Layout, name: &GuestName, xid: Xid) -> Result<Claim> {
    let link = layout.xid(xid);
    loop {
        match symlink(name.as_str(), &link) {
            Ok(()) => return Ok(Claim::Ours),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(Error::io(format!("link `{}`", link.display()), err)),
        }
        match owner(layout, xid)? {
            // Given back in between: try again.
            None => {}
            Some(other) if other == *name => return Ok(Claim::Ours),
            Some(other) if reclaim(layout, &other, xid)? => {}
            Some(other) => return Ok(Claim::Taken(other)),
        }
    }
}

/// Takes the number of a guest back that is gone.
fn reclaim(layout: &Layout, gone: &GuestName, xid: Xid) -> Result<bool> {
    if fs::symlink_metadata(layout.guest_dir(gone)).is_ok() {
        return Ok(false);
    }
    let _lock = match lock::acquire(layout, gone, Wait::No) {
        Ok(lock) => lock,
        Err(err) if err.kind() == Kind::Busy => return Ok(false),
        Err(err) => return Err(err),
    };
    // Only now it cannot come back: whoever makes a guest holds its lock.
    let is_gone = fs::symlink_metadata(layout.guest_dir(gone)).is_err();
    if is_gone {
        release_one(layout, gone, xid)?;
    }
    Ok(is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        (dir, layout)
    }

    fn guest(layout: &Layout, name: &str) -> GuestName {
        let name: GuestName = name.parse().unwrap();
        fs::create_dir(layout.guest_dir(&name)).unwrap();
        name
    }

    #[test]
    fn the_lowest_free_and_the_same_again() {
        let (_dir, layout) = layout();
        let (web, db, dns) = (guest(&layout, "web"), guest(&layout, "db"), guest(&layout, "dns"));
        let first = Xid::FIRST_AUTOMATIC;
        assert_eq!(allocate(&layout, &web, None, &Taken::default()).unwrap(), first);
        assert_eq!(
            allocate(&layout, &db, None, &Taken::default()).unwrap().get(),
            first.get() + 1
        );
        assert_eq!(allocate(&layout, &web, None, &Taken::default()).unwrap(), first);
        release(&layout, &web).unwrap();
        assert_eq!(owner(&layout, first).unwrap(), None);
        assert_eq!(allocate(&layout, &dns, None, &Taken::default()).unwrap(), first);
        assert_eq!(owner(&layout, first).unwrap(), Some(dns));
    }

    #[test]
    fn a_wanted_number_is_had_or_refused() {
        let (_dir, layout) = layout();
        let (web, db) = (guest(&layout, "web"), guest(&layout, "db"));
        let xid = Xid::new(101).unwrap();
        assert_eq!(
            allocate(&layout, &web, Some(xid), &Taken::default()).unwrap(),
            xid
        );
        assert_eq!(
            allocate(&layout, &web, Some(xid), &Taken::default()).unwrap(),
            xid
        );
        assert_eq!(allocate(&layout, &web, None, &Taken::default()).unwrap(), xid);
        let err = allocate(&layout, &db, Some(xid), &Taken::default()).unwrap_err();
        assert_eq!(err.kind(), Kind::Exists);
        assert_eq!(
            err.to_string(),
            "the context id 101 belongs to `web`, not to `db`"
        );
        release_one(&layout, &db, xid).unwrap();
        assert_eq!(owner(&layout, xid).unwrap(), Some(web));
    }

    #[test]
    fn a_number_is_taken_back_only_from_a_guest_that_is_gone() {
        let (_dir, layout) = layout();
        let (web, db) = (guest(&layout, "web"), guest(&layout, "db"));
        let xid = allocate(&layout, &web, None, &Taken::default()).unwrap();
        fs::remove_dir(layout.guest_dir(&web)).unwrap();
        {
            // Its maker still works on it.
            let _lock = lock::acquire(&layout, &web, Wait::No).unwrap();
            assert_ne!(allocate(&layout, &db, None, &Taken::default()).unwrap(), xid);
            release(&layout, &db).unwrap();
        }
        assert_eq!(allocate(&layout, &db, None, &Taken::default()).unwrap(), xid);
        assert!(of_guest(&layout, &web).unwrap().is_empty());
    }

    #[test]
    fn two_at_once_never_get_one_number() {
        let (_dir, layout) = layout();
        let names: Vec<_> = (0..32).map(|n| guest(&layout, &format!("g{n}"))).collect();
        let mut xids: Vec<_> = std::thread::scope(|scope| {
            let layout = &layout;
            let running: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(move || allocate(layout, name, None, &Taken::default()).unwrap()))
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        xids.sort();
        xids.dedup();
        assert_eq!(xids.len(), 32);
    }
}
