//! The files of a guest, whether it runs or not.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, stat};

use super::host::Host;
use super::observe;
use crate::error::{Context as _, Result};
use crate::storage::Inside;
use crate::storage::files::{self, Access};
use crate::storage::state::Applied;
use crate::sys::cgroup::Group;

/// The guest's tree. A plain one is where it is; layers are mounted for the caller alone, and while the guest runs they
/// are seen through its own mount: a second one that writes would undo what the first has done.
pub(super) fn open(host: &Host, applied: &Applied, access: Access) -> Result<Inside> {
    let name = &applied.spec.name;
    let files = files::read(&host.layout, name)?;
    if files.stack().is_some()
        && let Some(group) = observe::group(host, applied.xid)?
        && group.is_populated()?
    {
        return of_running(applied, &group);
    }
    files::open_as(&host.layout, name, &files, access)
}

fn of_running(applied: &Applied, group: &Group) -> Result<Inside> {
    let spec = applied.started.as_ref().unwrap_or(&applied.spec);
    let first = || observe::first(&spec.name, group);
    let pid = first()?;
    let path = format!("/proc/{pid}/root");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(path.as_str(), flags, Mode::empty()).context(|| format!("open `{path}`"))?;
    // Numbers are used again: it must still be the guest's.
    if first()? != pid {
        return of_running(applied, group);
    }
    // Until it has made the guest's root its own it is still at the host's.
    if is_same(&root, c"/")? {
        return Err(observe::no_init(&spec.name));
    }
    Ok(Inside::of_running(
        root,
        spec.name.as_str(),
        if spec.userns { applied.xid.id_base() } else { 0 },
    ))
}

fn is_same(root: &OwnedFd, path: &CStr) -> Result<bool> {
    let stats = fstat(root).and_then(|one| Ok((one, stat(path)?)));
    let (one, other) = stats.context(|| "compare the guest's root with the host's")?;
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
