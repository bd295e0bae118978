//! Signals to every process of a cgroup, through descriptors, so that none reaches a process that got the number
//! of one that ended.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::group::Group;
use crate::error::{Error, Result};
use crate::guest::HostPid;
use crate::sys::pidfd;

/// How many processes are held by descriptor at once: below any limit of open files.
const AT_ONCE: usize = 256;

/// A descriptor of process `pid`; `None` when it has ended.
pub(super) fn open(pid: HostPid) -> Result<Option<OwnedFd>> {
    match pidfd::open(pid) {
        Ok(fd) => Ok(Some(fd)),
        // EINVAL: reaped between the look-ups that the kernel makes.
        Err(err) if matches!(err.errno(), Some(Errno::ESRCH | Errno::EINVAL)) => Ok(None),
        Err(err) => Err(err),
    }
}

/// `signal` to each process that is in `group` now; how many there were. What they fork meanwhile gets none.
pub(super) fn each(group: &Group, signal: Signal) -> Result<usize> {
    let mut sent = 0;
    for pids in group.pids()?.chunks(AT_ONCE) {
        let mut open_pids = Vec::with_capacity(pids.len());
        for pid in pids {
            open_pids.extend(open(*pid)?.map(|fd| (*pid, fd)));
        }
        // A number may have got a new owner before it was opened; now it cannot any more, so ask again who is in.
        let members: BTreeSet<HostPid> = group.pids()?.into_iter().collect();
        for (pid, fd) in open_pids.iter().filter(|(pid, _)| members.contains(pid)) {
            match pidfd::signal(fd, signal as i32) {
                Ok(()) => sent += 1,
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::os(format!("send {signal} to process {pid}"), errno)),
            }
        }
    }
    Ok(sent)
}
