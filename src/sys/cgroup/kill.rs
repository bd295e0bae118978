//! Ending every process of a cgroup.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::group::Group;
use crate::error::{Error, Kind, Result};

/// A descriptor of process `pid`; `None` when there is none.
pub(super) fn open(pid: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(fd) {
        Ok(fd) => {
            let fd = i32::try_from(fd)
                .map_err(|source| Error::new(Kind::Internal, "pidfd_open").with_source(source))?;
            // SAFETY: the kernel just returned this descriptor (close-on-exec by itself), and nothing else has it.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        // EINVAL: a thread that leads no process; its leader is in the list as well.
        Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(Error::os(format!("open process {pid}"), errno)),
    }
}

/// SIGKILL to each process of `group`, one by one, until none is left that has not got it. The group must be
/// frozen, so that nothing in it can fork meanwhile. For threaded cgroups, which have no `cgroup.kill`.
pub(super) fn each(group: &Group) -> Result<()> {
    for pid in group.pids()? {
        let Some(fd) = open(pid.0)? else { continue };
        // The number may have got a new owner before it was opened; now it cannot any more, so ask again.
        if !group.pids()?.contains(&pid) {
            continue;
        }
        // SAFETY: the descriptor is open for the whole call; a null siginfo is what kill(2) would send.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os(format!("kill process {pid}"), errno)),
        }
    }
    Ok(())
}
