//! User namespaces that exist only to map ids: for mounts that are mapped before any guest runs.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;

use super::{clone, pidfd};
use crate::error::{Context, Result};
use crate::guest::HostPid;

/// The user namespace of a process, as a descriptor.
pub fn of(pid: HostPid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = std::fs::File::open(&path).context(|| format!("open `{path}`"))?;
    Ok(file.into())
}

/// A user namespace in which id 0 is the host's `base` and `count` ids follow.
///
/// It is made by a child that waits to be killed: the kernel has no call that makes one by itself.
pub fn namespace(base: u32, count: u32) -> Result<OwnedFd> {
    let child = clone::spawn(CloneFlags::CLONE_NEWUSER, None, || {
        // A parent that dies takes it along: SIGKILL, as it never leaves this loop.
        if clone::die_with_parent().is_err() {
            clone::exit_now(1);
        }
        loop {
            nix::unistd::pause();
        }
    })?;
    let made = clone::map_ids(child.pid, base, count).and_then(|()| of(child.pid));
    // Cannot fail: it is this process's own child and has not been waited for.
    let _ = pidfd::signal(&child.pidfd, libc::SIGKILL);
    pidfd::wait(&child.pidfd)?;
    made
}
