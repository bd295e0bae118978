//! Acting as another user for one system call: `setresuid(2)`, `capabilities(7)`.
//!
//! Whoever makes a user namespace owns it, and pays for it: what the kernel counts by user (inotify instances and watches,
//! pending signals, bytes of message queues, namespaces) is counted in every user namespace and then again for its owner in
//! the one outside (`namespaces(7)`, `/proc/sys/user`). Made by the host's root, all guests would share what root has, and
//! take it from the host. So each is made as the first id of its own range.
//!
//! The owner of a namespace has every capability over it, from outside. No process of the host has an id of a guest's range
//! (`storage::ids` sees to it), and a process inside is measured by its capabilities and not by its id.

use nix::errno::Errno;
use nix::unistd::getppid;

use super::{caps, clone};
use crate::error::{Context as _, Result};

/// Until it is dropped, the effective user of this process is another, with the capabilities that root has. The real one
/// stays: with it the limits of `setrlimit(2)` stay root's.
#[derive(Debug)]
#[must_use]
pub struct Acting {
    is_dumpable: bool,
    death_signal: libc::c_int,
    parent: nix::unistd::Pid,
}

/// Begins to act as `id`, a number of the host's.
fn act_as(id: u32) -> Result<Acting, Errno> {
    let mut death_signal: libc::c_int = 0;
    // SAFETY: PR_GET_PDEATHSIG writes one int to a valid pointer.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death_signal) })?;
    // SAFETY: PR_GET_DUMPABLE takes nothing and touches no memory.
    let dumpable = Errno::result(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) })?;
    let acting = Acting {
        is_dumpable: dumpable == 1,
        death_signal,
        parent: getppid(),
    };
    set(id)?;
    // To leave user 0 takes them away.
    caps::raise_permitted()?;
    Ok(acting)
}

/// Acts as the owner of a user namespace, where there is one: who may do there, without capabilities in the host's, what
/// takes them.
pub fn act_as_owner(owner: Option<u32>) -> Result<Option<Acting>> {
    owner
        .map(act_as)
        .transpose()
        .context(|| "act as the owner of its user namespace")
}

impl Drop for Acting {
    fn drop(&mut self) {
        // The saved user is root, so this is always permitted; the kernel makes the capabilities effective again. Should
        // there be no memory for it, nothing of hostel's may go on as the user of a guest.
        if set(0).is_err() {
            std::process::abort();
        }
        // A change of the effective user has made the process undumpable, and taken the signal away that it is to get
        // when its parent ends. Neither call fails with what they said themselves before.
        let _ = clone::set_dumpable(self.is_dumpable);
        if self.death_signal != 0 {
            // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, self.death_signal) };
            if getppid() != self.parent {
                // It ended meanwhile.
                // SAFETY: raise(3) takes a signal number.
                unsafe { libc::raise(self.death_signal) };
            }
        }
    }
}

fn set(id: u32) -> Result<(), Errno> {
    // The raw call: glibc's wrapper would signal other threads, of which there are none.
    // SAFETY: setresuid(2) takes three numbers; -1 leaves one as it is.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, u32::MAX, id, u32::MAX) }).map(drop)
}
