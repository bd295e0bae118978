//! Waiting for what a cgroup says of itself: populated, frozen; and taking it apart.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::dir::{Dir, read_from_start};
use crate::error::{Error, Kind, Result};
use crate::guest::HostPid;
use crate::sys::{interrupt, pidfd};

/// How long removal waits for processes that are already dying to be gone from their cgroup.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether `cgroup.events` says 1 for `key`.
pub(super) fn is(dir: &Dir, key: &str) -> Result<bool> {
    Ok(dir.read_if("cgroup.events")?.is_some_and(|text| flag(&text, key)))
}

fn flag(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.split_once(' ') == Some((key, "1")))
}

/// Waits until `cgroup.events` says `wanted` for `key`; false when it did not before `deadline`. A signal that
/// asks hostel to end is [`Kind::Interrupted`], once: see [`interrupt::heed`].
pub(super) fn wait(dir: &Dir, key: &str, wanted: bool, deadline: Instant) -> Result<bool> {
    let what = || format!("wait for `{}`", dir.path().join("cgroup.events").display());
    let file = dir.watch("cgroup.events")?;
    loop {
        // Read first: the read arms the notification, so a change after it is not missed.
        let text = match read_from_start(&file) {
            Ok(text) => text,
            // Removed meanwhile: nobody is in it.
            Err(source) if source.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(!wanted),
            Err(source) => return Err(Error::io(what(), source)),
        };
        if flag(&text, key) == wanted {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match interrupt::poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], Some(left)) {
            Ok(_) => {}
            Err(Errno::EINTR) => interrupt::heed()?,
            Err(errno) => return Err(Error::os(what(), errno)),
        }
    }
}

/// Removes the child cgroup `name` and all below it, waiting for dying processes; whether it was there.
///
/// A cgroup with living processes is [`Kind::Busy`], and nothing of it is removed but its empty children.
pub(super) fn remove_tree(parent: &Dir, name: &str) -> Result<bool> {
    // The usual case: it is empty.
    if let Ok(was_there) = parent.remove(name) {
        return Ok(was_there);
    }
    let Some(dir) = parent.child(name)? else {
        return Ok(false);
    };
    // Children first. Their depth is bounded by `cgroup.max.depth`, set when the group was made.
    for child in dir.children()? {
        remove_tree(&dir, &child)?;
    }
    let deadline = Instant::now() + SETTLE;
    loop {
        match parent.remove(name) {
            Ok(was_there) => return Ok(was_there),
            Err(Errno::EBUSY) if Instant::now() < deadline => settle(&dir, deadline)?,
            Err(errno) => {
                let err = Error::os(format!("remove cgroup `{}`", dir.path().display()), errno);
                return Err(if errno == Errno::EBUSY {
                    err.with_kind(Kind::Busy).with_hint(format!(
                        "processes are still in it: {}",
                        dir.read_if("cgroup.procs")?
                            .unwrap_or_default()
                            .replace('\n', " ")
                            .trim()
                    ))
                } else {
                    err
                });
            }
        }
    }
}

/// Waits until `dir` may be empty. Not ended by a signal: removal is what undoes the rest after one.
fn settle(dir: &Dir, deadline: Instant) -> Result<()> {
    if dir.read_if("cgroup.events")?.is_some() {
        return match wait(dir, "populated", false, deadline) {
            // Empty, and yet EBUSY: the last task is between leaving the count and leaving the list.
            Ok(true) => {
                pause();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(err) if err.kind() == Kind::Interrupted => Ok(()),
            Err(err) => Err(err),
        };
    }
    // v1 tells nothing: wait for the first of its processes to end, then look again.
    let procs = dir.read_if("cgroup.procs")?.unwrap_or_default();
    let first = procs
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .map(HostPid);
    let fd = match first {
        Some(pid) => super::kill::open(pid)?,
        None => None,
    };
    match fd.map(|fd| pidfd::wait_until(fd.as_fd(), Some(deadline))) {
        Some(Err(err)) if err.kind() != Kind::Interrupted => Err(err),
        Some(_) => Ok(()),
        None => {
            pause();
            Ok(())
        }
    }
}

/// Gives the kernel a millisecond for what has no event.
fn pause() {
    // A failure (EINTR) only makes the pause shorter.
    let _ = poll(&mut [], PollTimeout::from(1_u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_by_key() {
        assert!(flag("populated 1\nfrozen 0\n", "populated"));
        assert!(!flag("populated 1\nfrozen 0\n", "frozen"));
        assert!(!flag("", "populated"));
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("cgroup.events"), "populated 1\n").unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        assert!(
            !wait(
                &dir,
                "populated",
                false,
                Instant::now() + Duration::from_millis(20)
            )
            .unwrap()
        );
        assert!(wait(&dir, "populated", true, Instant::now()).unwrap());
    }

    #[test]
    fn a_tree_is_removed_children_first() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("x/a/b")).unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        assert!(remove_tree(&dir, "x").unwrap());
        assert!(!remove_tree(&dir, "x").unwrap());
        assert!(!temp.path().join("x").exists());
    }
}
