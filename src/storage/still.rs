//! A guest's files as they are at one instant.
//!
//! A copy of files that are being written is the state of no instant: a database in it may not start. So a guest that
//! runs is held still while it is copied, by the freezer of its cgroup. A snapshot needs it not.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;

use super::files::Files;
use super::{Layout, xid};
use crate::error::{Context as _, Error, Kind, Result, report};
use crate::guest::{GuestName, Storage};
use crate::sys::cgroup::{Group, Host, Root};
use crate::sys::{clone, file, interrupt, pidfd};

/// A process in uninterruptible sleep freezes when it wakes.
const FREEZE: Duration = Duration::from_secs(10);

/// Guests whose locks the caller holds, and which do nothing but what they do themselves.
pub struct Source {
    running: Vec<(GuestName, Group)>,
    still: Vec<Still>,
}

/// Keeps the processes of a guest, if it runs, from running until the value is dropped. The caller holds its lock.
pub fn hold(layout: &Layout, name: &GuestName) -> Result<Source> {
    let mut source = Source::look(layout, name)?;
    source.keep_still(&Files::Dir, Storage::Dir)?;
    Ok(source)
}

impl Source {
    /// Looks whether it runs.
    pub fn look(layout: &Layout, name: &GuestName) -> Result<Self> {
        Self::of_all(layout, std::iter::once(name))
    }

    /// Looks which of them run: those that share a volume.
    pub fn of_all<'a>(layout: &Layout, names: impl IntoIterator<Item = &'a GuestName>) -> Result<Self> {
        let mut found = Vec::new();
        for name in names {
            if let Some(group) = running(layout, name)? {
                found.push((name.clone(), group));
            }
        }
        Ok(Self {
            running: found,
            still: Vec::new(),
        })
    }

    /// Whether one runs.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Keeps their processes from running until this value is dropped, however that comes about, where that is needed to
    /// make files of the one kind from those of the other.
    pub fn keep_still(&mut self, from: &Files, to: Storage) -> Result<()> {
        if (from.storage(), to) == (Storage::Btrfs, Storage::Btrfs) {
            return Ok(());
        }
        for (name, group) in &self.running {
            if !group.is_frozen()? {
                let still = Still::begin(group).context(|| format!("hold `{name}` still"))?;
                self.still.push(still);
            }
        }
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // The last first: each of those processes has a copy of the pipes of those before it, and would keep them waiting.
        while let Some(still) = self.still.pop() {
            drop(still);
        }
    }
}

/// A process that has frozen a cgroup and thaws it when hostel says so or dies: nobody else would.
struct Still {
    child: clone::Child,
    hold: Option<OwnedFd>,
}

impl Still {
    fn begin(group: &Group) -> Result<Self> {
        let (wait, hold) = file::pipe()?;
        let (told, tell) = file::pipe()?;
        let child = clone::spawn(CloneFlags::empty(), None, || {
            // Ctrl-C is for hostel: this one ends when hostel has. Also the one that came just before.
            let _ = nix::unistd::setsid();
            interrupt::forget();
            let _ = nix::unistd::close(hold.as_raw_fd());
            let frozen = group.freeze(Instant::now() + FREEZE);
            let is_frozen = frozen.is_ok();
            let _ = nix::unistd::write(&tell, &report::to_bytes(frozen));
            let _ = nix::unistd::close(tell.as_raw_fd());
            if is_frozen {
                // The end of hostel's interest, or of hostel.
                file::await_word(&wait);
            }
            i32::from(group.thaw(Instant::now() + FREEZE).is_err())
        })?;
        drop(tell);
        let still = Self {
            child,
            hold: Some(hold),
        };
        match Self::said(told) {
            Ok(()) => Ok(still),
            Err(err) => {
                // It may wait for them yet; where it has said why not, it is gone.
                let _ = pidfd::signal(&still.child.pidfd, Signal::SIGTERM as i32);
                Err(err)
            }
        }
    }

    /// What the process has to say of the freezing.
    fn said(told: OwnedFd) -> Result<()> {
        while let Err(errno) = interrupt::poll(&mut [PollFd::new(told.as_fd(), PollFlags::POLLIN)], None) {
            interrupt::heed()?;
            if errno != Errno::EINTR {
                return Err(Error::os("wait until its processes stand", errno));
            }
        }
        let mut said = Vec::new();
        File::from(told)
            .read_to_end(&mut said)
            .context(|| "read how its processes stand")?;
        let killed = || Error::new(Kind::System, "the process that was to freeze it was killed");
        report::from_bytes(&said).unwrap_or_else(|| Err(killed()))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        drop(self.hold.take());
        let _ = pidfd::wait(&self.child.pidfd);
    }
}

/// The cgroup of the guest, if a process is in it. Asked of the kernel; where it cannot be asked, nothing can run.
fn running(layout: &Layout, source: &GuestName) -> Result<Option<Group>> {
    let xids = xid::of_guest(layout, source)?;
    if xids.is_empty() {
        return Ok(None);
    }
    let path = std::env::var("HOSTEL_CGROUP").unwrap_or_else(|_| "hostel".to_owned());
    let Some(root) = Root::open(&Host::detect()?, &path)? else {
        return Ok(None);
    };
    for xid in xids {
        if let Some(group) = Group::open(&root, &xid.cgroup_name())?
            && group.is_populated()?
        {
            return Ok(Some(group));
        }
    }
    Ok(None)
}
