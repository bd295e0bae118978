//! Where the self-test plays: a hostel of its own beside the user's, with a state directory, a cgroup, context ids, a
//! network stack and mounts that nobody else has.
//!
//! | what | where | goes with |
//! |---|---|---|
//! | files, canaries | `HOSTEL_ROOT/selftest/N` | [`Place::clear`] |
//! | cgroup | `HOSTEL_CGROUP-selftest-N` | [`Place::clear`] |
//! | addresses, listeners | a network namespace | the last process in it |
//! | BPF programs, pinned in a BPF file system | a mount namespace | the last process in it |
//!
//! Two processes watch each other: the one that was called waits, the other does the work ([`watched`]). Whichever is
//! killed, the other clears the place. When both are, the next `hostel selftest` or `hostel gc` does ([`sweep`]): the
//! lock on the directory tells that nobody is there.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sched::CloneFlags;

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::Xid;
use crate::life::Host;
use crate::storage::{Layout, tree, xid};
use crate::sys::cgroup::Group;
use crate::sys::mount::{self, Attr};
use crate::sys::{clone, interrupt, netlink, pidfd};

/// How many self-tests may run at once on one state directory.
const AT_ONCE: u32 = 32;
/// The context ids of a self-test, and where they begin: in the middle, for guests get theirs from below and contexts
/// from above.
const IDS: u32 = 8;
const FIRST_ID: u32 = 24_000;
/// Where BPF programs are pinned, in the place.
const PINS: &str = "run/bpf";
/// How long a killed guest may take to be gone.
const KILL: Duration = Duration::from_secs(10);

/// A place that this self-test has for itself.
#[derive(Debug)]
pub struct Place {
    /// Where its files are.
    pub(super) dir: PathBuf,
    /// Its cgroup.
    pub(super) cgroup: String,
    /// The first of its context ids.
    pub(super) first: u32,
    /// Held as long as somebody is there: both processes have it.
    _lock: Flock<File>,
}

impl Place {
    /// Takes a place, after what dead self-tests have left was cleared.
    pub(super) fn take() -> Result<Self> {
        let host = Host::open()?;
        host.layout.ensure()?;
        sweep(&host)?;
        let all = directory(&host);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&all) {
            Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(err).context(|| format!("make `{}`", all.display()));
            }
            _ => {}
        }
        for number in 0..AT_ONCE {
            let dir = all.join(number.to_string());
            match builder.create(&dir) {
                Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made.context(|| format!("make `{}`", dir.display()))?,
            }
            let Some(lock) = lock(&dir)? else { continue };
            return Ok(Self {
                first: free_ids(&host)?,
                cgroup: cgroup(&host, number),
                dir,
                _lock: lock,
            });
        }
        Err(Error::new(
            Kind::Busy,
            format!("{AT_ONCE} self-tests run at once"),
        ))
    }

    /// Kills what is left in the place and takes everything of it from the host.
    pub(super) fn clear(&self) -> Result<()> {
        clear(&self.dir, &self.cgroup)
    }
}

/// The self-tests' own directory.
fn directory(host: &Host) -> PathBuf {
    host.layout.root().join("selftest")
}

fn cgroup(host: &Host, number: u32) -> String {
    format!("{}-selftest-{number}", host.cgroup_path().trim_end_matches('/'))
}

fn lock(dir: &Path) -> Result<Option<Flock<File>>> {
    let file = match File::open(dir) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.context(|| format!("open `{}`", dir.display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // Cleared and removed by another between the two calls: what is locked is no place any more.
        Ok(lock) => Ok(same(&lock, dir).then_some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::os(format!("lock `{}`", dir.display()), errno)),
    }
}

fn same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let found = fs::symlink_metadata(path).map(of);
    found.is_ok_and(|found| file.metadata().map(of).is_ok_and(|own| own == found))
}

/// Numbers that no guest of the user's has.
fn free_ids(host: &Host) -> Result<u32> {
    // Begins where no other process does, so that self-tests of several hostels at once differ.
    let offset = std::process::id() % 1_000;
    for round in 0..1_000 {
        let first = FIRST_ID + (offset + round) % 1_000 * IDS;
        let mut is_free = true;
        for number in first..first + IDS {
            is_free &= xid::owner(&host.layout, Xid::new(number)?)?.is_none();
        }
        if is_free {
            return Ok(first);
        }
    }
    Err(Error::new(
        Kind::Exists,
        "no context ids are free for a self-test",
    ))
}

/// Clears the places of self-tests that are dead. What was cleared.
pub fn sweep(host: &Host) -> Result<Vec<String>> {
    let mut swept = Vec::new();
    let Ok(entries) = fs::read_dir(directory(host)) else {
        return Ok(swept);
    };
    for entry in entries.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(_lock) = lock(&entry.path())? else {
            continue;
        };
        clear(&entry.path(), &cgroup(host, number))?;
        swept.push(format!("self-test `{}`", entry.path().display()));
    }
    Ok(swept)
}

fn clear(dir: &Path, cgroup: &str) -> Result<()> {
    let host = Host::at(Layout::at(dir.join("state")), cgroup.to_owned(), dir.join("run"));
    if let Some(root) = host.existing_root()? {
        for name in root.groups()? {
            if let Some(group) = Group::open(root, &name)? {
                if group.is_populated()? {
                    group.kill()?;
                    group.wait_empty(Instant::now() + KILL)?;
                }
                group.remove()?;
            }
        }
        root.clone().remove()?;
    }
    let (Some(all), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Ok(());
    };
    let opened = File::open(all).context(|| format!("open `{}`", all.display()))?;
    match tree::remove(&opened, Path::new(name)) {
        Err(err) if err.errno() == Some(Errno::ENOENT) => {}
        other => other?,
    }
    // Others may be there.
    let _ = fs::remove_dir(all);
    Ok(())
}

/// How often who waits looks whether it was asked to end.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs `work` in a process of its own, in the network and mount namespaces of a self-test. Its result is the exit code.
/// The caller clears the place; when the caller is gone, this process's end does.
pub(super) fn watched(place: &Place, work: impl FnOnce(&Place) -> u8) -> Result<u8> {
    let parent = nix::unistd::getpid();
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let child = clone::spawn(spaces, None, || {
        if clone::end_with_parent().is_err() || nix::unistd::getppid() != parent {
            return 125;
        }
        let code = work(place);
        // Who waits clears the place, and sees the cgroups from outside. With nobody there it is done here, as far as
        // it goes; its failure has nobody to be told to.
        if nix::unistd::getppid() != parent {
            // Mounted in this namespace alone, over what is to be removed.
            let _ = nix::mount::umount2(&place.dir.join(PINS), nix::mount::MntFlags::MNT_DETACH);
            let _ = place.clear();
        }
        i32::from(code)
    })?;
    // The terminal's Ctrl-C reaches both, another's signal this one alone: the one that works has to know, and its end
    // is waited for.
    let mut told = None;
    loop {
        // Not for ever: a signal that comes just before the wait ends no wait.
        match pidfd::wait_until(child.pidfd.as_fd(), Some(Instant::now() + LOOK)) {
            Ok(true) => break,
            Ok(false) => {}
            Err(err) if err.kind() == Kind::Interrupted => {}
            Err(err) => return Err(err),
        }
        let pending = interrupt::pending();
        if let Some(signal) = pending.filter(|_| told != pending) {
            // ESRCH: it has just ended.
            let _ = pidfd::signal(&child.pidfd, signal as i32);
            told = pending;
        }
    }
    let ended = pidfd::wait(&child.pidfd)?;
    match ended {
        pidfd::Ended::Code(code) => Ok(u8::try_from(code).unwrap_or(125)),
        pidfd::Ended::Signal(signal) => {
            interrupt::check()?;
            let err = Error::new(
                Kind::External,
                format!("the self-test was ended by signal {signal}"),
            );
            Err(err.with_hint("what it had made was taken away"))
        }
    }
}

/// Makes the namespaces of the working process its own: nothing mounted here is seen elsewhere, its network has a
/// loopback device, and BPF programs are pinned where they end with it.
pub(super) fn settle(place: &Place) -> Result<()> {
    mount::make_all_private().context(|| "make mounts private")?;
    netlink::lo_up().context(|| "bring up a loopback device")?;
    let pins = place.dir.join(PINS);
    fs::create_dir_all(&pins).context(|| format!("make `{}`", pins.display()))?;
    let target = File::open(&pins).context(|| format!("open `{}`", pins.display()))?;
    let bpf = mount::new_fs(c"bpf", &[], Attr::DATA).context(|| "mount a BPF file system")?;
    mount::attach(bpf, target).context(|| format!("mount a BPF file system on `{}`", pins.display()))
}
