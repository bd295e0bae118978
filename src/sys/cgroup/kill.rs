//! Signals to every process of a cgroup, through descriptors, so that none reaches a process that got the number
//! of one that ended.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::group::Group;
use crate::error::{Error, Kind, Result};
use crate::guest::HostPid;

/// How many processes are held by descriptor at once: below any limit of open files.
const AT_ONCE: usize = 256;

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

/// `signal` to each process that is in `group` now; how many there were. What they fork meanwhile gets none.
pub(super) fn each(group: &Group, signal: Signal) -> Result<usize> {
    let mut sent = 0;
    for pids in group.pids()?.chunks(AT_ONCE) {
        let mut open_pids = Vec::with_capacity(pids.len());
        for pid in pids {
            open_pids.extend(open(pid.0)?.map(|fd| (*pid, fd)));
        }
        // A number may have got a new owner before it was opened; now it cannot any more, so ask again who is in.
        let members: BTreeSet<HostPid> = group.pids()?.into_iter().collect();
        for (pid, fd) in open_pids.iter().filter(|(pid, _)| members.contains(pid)) {
            // SAFETY: the descriptor is open for the whole call; a null siginfo means what kill(2) would send.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    fd.as_raw_fd(),
                    signal as i32,
                    std::ptr::null::<libc::siginfo_t>(),
                    0,
                )
            };
            match Errno::result(done) {
                Ok(_) => sent += 1,
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::os(format!("send {signal} to process {pid}"), errno)),
            }
        }
    }
    Ok(sent)
}
