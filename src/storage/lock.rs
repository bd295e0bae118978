//! One command a guest at a time: `flock(2)` on `lock/NAME`; the same for a volume, which guests that start share.
//!
//! The kernel releases the lock when its holder dies, however it dies, so there is no stale lock to clean up.
//! The descriptor is close-on-exec: neither a guest's init nor a hook keeps the lock by inheriting it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Layout;
use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, Span, VolumeName};
use crate::sys;

/// Whether a command waits for another one that works on the same guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It is refused at once.
    No,
    /// It waits that long.
    UpTo(Span),
}

/// How long a wait stays silent.
const SILENT: Duration = Duration::from_secs(1);

/// The right to change one guest, or one volume. Dropping it, or dying, gives it up.
#[derive(Debug)]
pub struct GuestLock(#[expect(dead_code, reason = "kept for its drop")] Held);

/// The right to use a volume as it is: several have it at once, and nobody changes it meanwhile.
#[derive(Debug)]
pub struct Use(#[expect(dead_code, reason = "kept for its drop")] Held);

/// What a lock is for: its file, what is locked by it, and its name.
struct Place {
    file: PathBuf,
    home: PathBuf,
    name: String,
}

/// A lock. Where there is nothing to lock when it is given up (it was not made, or is gone), its file goes too.
#[derive(Debug)]
struct Held {
    lock: Flock<File>,
    file: PathBuf,
    home: PathBuf,
}

impl Place {
    fn of_guest(layout: &Layout, name: &GuestName) -> Self {
        Self {
            file: layout.lock(name),
            home: layout.guest_dir(name),
            name: name.to_string(),
        }
    }

    fn of_volume(layout: &Layout, name: &VolumeName) -> Self {
        Self {
            file: layout.volume_lock(name),
            home: layout.volume_dir(name),
            name: name.to_string(),
        }
    }

    fn hold(self, how: FlockArg, wait: Wait, tell: &mut dyn FnMut(&str)) -> Result<Held> {
        let lock = once_free(&self.file, &self.name, wait, tell, || {
            try_lock_as(&self.file, how)
        })?;
        tracing::debug!("holds the lock `{}`", self.file.display());
        Ok(Held {
            lock,
            file: self.file,
            home: self.home,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_gone = fs::symlink_metadata(&self.home).is_err_and(|err| err.kind() == ErrorKind::NotFound);
        // Others who have the file open notice that it is no longer the one in the directory, and start over; who
        // shares it does not, and keeps it.
        if is_gone
            && self.lock.relock(FlockArg::LockExclusiveNonblock).is_ok()
            && is_there(&self.lock, &self.file).unwrap_or(false)
        {
            // Whatever stays is taken away by `gc`.
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Locks the guest.
pub fn acquire(layout: &Layout, name: &GuestName, wait: Wait) -> Result<GuestLock> {
    acquire_telling(layout, name, wait, &mut |_| {})
}

/// Locks the guest; after a second of waiting, `tell` is called once with what it waits for.
pub fn acquire_telling(
    layout: &Layout,
    name: &GuestName,
    wait: Wait,
    tell: &mut dyn FnMut(&str),
) -> Result<GuestLock> {
    GuestLock::hold(Place::of_guest(layout, name), wait, tell)
}

/// Locks a volume, to change it. Whoever holds locks of guests too has taken those first, in the order of their names.
pub fn acquire_volume(layout: &Layout, name: &VolumeName, wait: Wait) -> Result<GuestLock> {
    GuestLock::hold(Place::of_volume(layout, name), wait, &mut |_| {})
}

/// Keeps a volume from being changed.
pub fn use_volume(layout: &Layout, name: &VolumeName, wait: Wait) -> Result<Use> {
    let place = Place::of_volume(layout, name);
    place
        .hold(FlockArg::LockSharedNonblock, wait, &mut |_| {})
        .map(Use)
}

/// Asks `attempt` until it has something, for as long as `wait` allows.
fn once_free<T>(
    path: &Path,
    name: &str,
    wait: Wait,
    tell: &mut dyn FnMut(&str),
    attempt: impl Fn() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let mut told = false;
    // flock(2) cannot be given a deadline without a signal, and a signal handler belongs to the program, not to
    // a library. So it is asked again, at first often: most commands hold the lock for milliseconds.
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(had) = attempt()? {
            return Ok(had);
        }
        sys::interrupt::check()?;
        let waited = begun.elapsed();
        let limit = match wait {
            Wait::No => Duration::ZERO,
            Wait::UpTo(span) => span.duration(),
        };
        if waited >= limit {
            return Err(busy(path, name));
        }
        if waited >= SILENT && !told {
            tell(&format!("waiting for {} on `{name}`", holder(path)));
            told = true;
        }
        std::thread::sleep(pause.min(limit.saturating_sub(waited)));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Waits until nobody works on the guest, without taking the lock for longer than to see that. A command that was
/// killed works on until the last of its processes is gone: what it was about to start shows until then.
pub fn settle(layout: &Layout, name: &GuestName, wait: Wait) -> Result<()> {
    let path = layout.lock(name);
    once_free(&path, name.as_str(), wait, &mut |_| {}, || {
        // Not made here: a guest that is being destroyed must not get its lock's file back.
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
        {
            Ok(file) => file,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Some(())),
            Err(err) => return Err(err).context(|| format!("open lock `{}`", path.display())),
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(Some(())),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(Error::os(format!("lock `{}`", path.display()), errno)),
        }
    })
}

impl GuestLock {
    fn hold(place: Place, wait: Wait, tell: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut held = place.hold(FlockArg::LockExclusiveNonblock, wait, tell)?;
        held.sign()?;
        Ok(Self(held))
    }
}

impl Held {
    /// Writes who holds it, for the error message of the others. What is in the file is never trusted for more.
    fn sign(&mut self) -> Result<()> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut self.lock).context(|| format!("write `{}`", self.file.display()))
    }
}

/// Locks the file at `path`, made when missing, if nobody else has.
pub(super) fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    try_lock_as(path, FlockArg::LockExclusiveNonblock)
}

fn try_lock_as(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .context(|| format!("open lock `{}`", path.display()))?;
        let file = match Flock::lock(file, how) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, Errno::EINTR)) => continue,
            Err((_, errno)) => return Err(Error::os(format!("lock `{}`", path.display()), errno)),
        };
        // Its last holder may have removed it between the open and the lock; then this lock protects nothing.
        if is_there(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Whether the open `file` is the one at `path`.
fn is_there(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().context(|| format!("stat `{}`", path.display()))?;
    let is_same = |there: fs::Metadata| there.ino() == ours.ino() && there.dev() == ours.dev();
    Ok(fs::symlink_metadata(path).is_ok_and(is_same))
}

fn busy(path: &Path, name: &str) -> Error {
    Error::new(Kind::Busy, format!("{} works on `{name}`", holder(path)))
        .with_hint("wait for it, or end it: whatever it was doing is undone or resumed by the next command")
}

/// The holder as a person would name it: ``pid 812 (`hostel apply web.lua`)``.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(32).read_to_string(&mut text));
    let Some(pid) = read.ok().and_then(|_| text.trim().parse::<u32>().ok()) else {
        return "another hostel command".to_owned();
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command
        .split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    match words.split_first() {
        None => format!("pid {pid}"),
        Some((program, rest)) => {
            let program = program.rsplit('/').next().unwrap_or(program);
            let line = std::iter::once(program).chain(rest.iter().map(String::as_str));
            let line: String = line.collect::<Vec<_>>().join(" ").chars().take(120).collect();
            format!("pid {pid} (`{line}`)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        (dir, layout)
    }

    #[test]
    fn a_second_command_is_refused_by_the_name_of_the_first() {
        let (_dir, layout) = layout();
        let web = "web".parse().unwrap();
        let _held = acquire(&layout, &web, Wait::No).unwrap();
        let err = acquire(&layout, &web, Wait::UpTo(Span::from_millis(5))).unwrap_err();
        assert_eq!(err.kind(), Kind::Busy);
        let expected = format!("pid {} (`", std::process::id());
        assert!(err.to_string().starts_with(&expected), "{err}");
        assert!(err.to_string().ends_with(") works on `web`"), "{err}");
        assert!(acquire(&layout, &"db".parse().unwrap(), Wait::No).is_ok());
    }

    #[test]
    fn waits_until_the_first_is_done() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        let held = acquire(&layout, &web, Wait::No).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| acquire(&layout, &web, Wait::UpTo(Span::from_secs(20))));
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_removed_lock_file_is_not_mistaken_for_the_lock() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        let held = acquire(&layout, &web, Wait::No).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| acquire(&layout, &web, Wait::UpTo(Span::from_secs(20))).unwrap());
            fs::remove_file(layout.lock(&web)).unwrap();
            drop(held);
            let _second = waiter.join().unwrap();
            assert!(layout.lock(&web).exists());
            assert_eq!(acquire(&layout, &web, Wait::No).unwrap_err().kind(), Kind::Busy);
        });
    }

    #[test]
    fn the_lock_of_what_is_not_there_leaves_no_file() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        let held = acquire(&layout, &web, Wait::No).unwrap();
        acquire(&layout, &web, Wait::No).unwrap_err();
        assert!(layout.lock(&web).exists());
        drop(held);
        assert!(!layout.lock(&web).exists());
        fs::create_dir(layout.guest_dir(&web)).unwrap();
        drop(acquire(&layout, &web, Wait::No).unwrap());
        assert!(layout.lock(&web).exists());

        let data: VolumeName = "data".parse().unwrap();
        let first = use_volume(&layout, &data, Wait::No).unwrap();
        let second = use_volume(&layout, &data, Wait::No).unwrap();
        drop(first);
        // Somebody has it yet.
        assert!(layout.volume_lock(&data).exists());
        assert_eq!(
            acquire_volume(&layout, &data, Wait::No).unwrap_err().kind(),
            Kind::Busy
        );
        drop(second);
        assert!(!layout.volume_lock(&data).exists());
    }
}
