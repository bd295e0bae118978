//! `clone:GUEST`: a copy of another guest's files, taken while nothing of it runs.
//!
//! A copy of files that are being written is the state of no instant: a database in it may not start. So a running
//! guest is refused, and one that is stopped is kept from starting by its lock while it is copied.

use std::path::Path;

use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, Span};
use crate::storage::{GuestLock, Inside, Layout, Progress, Wait, lock, xid};
use crate::sys::cgroup::{Group, Host, Root};

/// How long a clone waits for another command that works on its source.
const PATIENCE: Span = Span::from_secs(10);

/// Keeps the source as it is until the lock is dropped.
pub(super) fn hold(layout: &Layout, source: &GuestName, progress: &dyn Progress) -> Result<GuestLock> {
    let mut tell = |what: &str| progress.stage(what);
    let held = lock::acquire_telling(layout, source, Wait::UpTo(PATIENCE), &mut tell)
        .context(|| format!("clone `{source}`"))?;
    if is_running(layout, source)? {
        return Err(Error::new(
            Kind::State,
            format!("`{source}` runs, so its files cannot be cloned"),
        )
        .with_hint(format!("hostel stop {source}")));
    }
    Ok(held)
}

/// Gives the clone what it must not have in common with its source, as far as hostel can without running a program
/// of the guest: an empty /etc/machine-id is filled at the first start (`machine-id(5)`).
pub(super) fn personalise(root: &Path, source: &GuestName, progress: &dyn Progress) -> Result<()> {
    let inside = Inside::open(root, source.as_str())?;
    for id in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        if inside.exists(Path::new(id))? {
            inside.remove(Path::new(id))?;
            if id.starts_with("/etc") {
                inside.write_file(Path::new(id), b"", 0o644, 0, 0)?;
            }
        }
    }
    if inside.exists(Path::new("/etc/ssh/ssh_host_ed25519_key"))? {
        progress.warning(&format!(
            "the clone has the ssh host keys of `{source}`; in it, `rm /etc/ssh/ssh_host_*` and `ssh-keygen -A` make new ones"
        ));
    }
    Ok(())
}

/// Whether a process is in the guest's cgroup. Asked of the kernel; where it cannot be asked, nothing can run.
fn is_running(layout: &Layout, name: &GuestName) -> Result<bool> {
    let xids = xid::of_guest(layout, name)?;
    if xids.is_empty() {
        return Ok(false);
    }
    let path = std::env::var("HOSTEL_CGROUP").unwrap_or_else(|_| "hostel".to_owned());
    let Some(root) = Root::open(&Host::detect()?, &path)? else {
        return Ok(false);
    };
    for xid in xids {
        if let Some(group) = Group::open(&root, &xid.cgroup_name())?
            && group.is_populated()?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
