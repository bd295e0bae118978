//! Waiting until something changes in directories: `inotify(7)`.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{Context as _, Result};
use crate::sys::interrupt;

/// Directories that are watched.
pub struct Watch {
    inotify: Inotify,
}

impl Watch {
    /// Watches `dirs` themselves, not what is below them. One that is gone by now is left out.
    pub fn new<'a>(dirs: impl IntoIterator<Item = &'a Path>) -> Result<Self> {
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context(|| "watch for changes")?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR;
        for dir in dirs {
            match inotify.add_watch(dir, flags) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(errno).context(|| format!("watch `{}`", dir.display())),
            }
        }
        Ok(Self { inotify })
    }

    /// Waits until `is_wanted` holds for the name of something that changed, and then until `quiet` has passed without
    /// a change: an editor writes more than one file. The names, as they are in their directories.
    ///
    /// # Errors
    /// [`crate::Kind::Interrupted`] when a signal asks for the end.
    pub fn wait(&self, quiet: Duration, is_wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
        let mut seen = Vec::new();
        let mut deadline: Option<Instant> = None;
        loop {
            interrupt::check()?;
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(seen);
                    }
                    PollTimeout::from(u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1))
                }
            };
            let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno).context(|| "wait for changes"),
            }
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context(|| "read what changed"),
            };
            for name in events.into_iter().filter_map(|event| event.name) {
                let name = PathBuf::from(name);
                if is_wanted(&name) {
                    seen.push(name);
                    deadline = Some(Instant::now() + quiet);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_and_what_is_not_wanted_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new([dir.path(), Path::new("/nonexistent")]).unwrap();
        std::fs::write(dir.path().join("a.swp"), "").unwrap();
        std::fs::write(dir.path().join("a.lua"), "").unwrap();
        let is_lua = |name: &Path| name.extension().is_some_and(|e| e == "lua");
        let seen = watch.wait(Duration::from_millis(1), is_lua).unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|name| name == Path::new("a.lua")));
    }
}
