//! Where the programs and maps live while no process of hostel runs: a directory of a BPF file system.

use std::fs::{self, DirBuilder, File};
use std::hash::Hasher as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use fnv::FnvHasher;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::Context;
use crate::{Error, Kind, Result};

/// The directory for the set of programs that belongs to `cgroup`, the path of hostel's root cgroup below the
/// mount of its hierarchy. It is in `RUN/bpf` if that is a BPF file system, else in `/sys/fs/bpf` if that is one,
/// else `RUN/bpf` is mounted.
///
/// `RUN/bpf` goes first: a `/sys/fs/bpf` that is mounted later must not hide the set that confines the guests
/// which already run.
pub fn pins_dir(run: &Path, cgroup: &Path) -> Result<PathBuf> {
    if let Some(pins) = find_pins(run, cgroup) {
        return Ok(pins);
    }
    let own = run.join(OWN);
    mount(run, &own)?;
    Ok(own.join(directory(cgroup)))
}

/// As [`pins_dir`], but mounts nothing: `None` where no BPF file system is, and so no set either.
pub fn find_pins(run: &Path, cgroup: &Path) -> Option<PathBuf> {
    [run.join(OWN), PathBuf::from(SYSTEM)]
        .into_iter()
        .find(|place| is_bpffs(place))
        .map(|place| place.join(directory(cgroup)))
}

/// Takes `RUN/bpf` from the host when nothing is pinned in it any more, and `RUN` when that is empty then. Another
/// hostel with the same `RUN` keeps both by its pins; `/sys/fs/bpf` is never touched.
pub fn clear_pins(run: &Path) -> Result<()> {
    let own = run.join(OWN);
    if is_bpffs(&own) {
        // As in `mount`: what another command pins at this moment would be out of sight.
        let _lock = lock(run)?;
        // The kernel can put iterators of its own there (`maps.debug`, CONFIG_BPF_PRELOAD); nobody else's pin can
        // have a dot in its name.
        let is_empty = names(&own)?.iter().all(|name| name.contains('.'));
        if is_bpffs(&own) && is_empty {
            // One in use (EBUSY) is in use by a command that has found no set, and will want one.
            match nix::mount::umount2(&own, MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) | Err(Errno::EBUSY) => {}
                Err(errno) => return Err(Error::os(format!("unmount `{}`", own.display()), errno)),
            }
        }
        if is_bpffs(&own) {
            return Ok(());
        }
    }
    for dir in [&own, run] {
        match fs::remove_dir(dir) {
            Ok(()) => {}
            Err(err)
                if matches!(
                    err.raw_os_error().map(Errno::from_raw),
                    Some(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EBUSY)
                ) => {}
            Err(err) => return Err(Error::io(format!("remove `{}`", dir.display()), err)),
        }
    }
    Ok(())
}

/// Below `RUN`, where hostel mounts a BPF file system of its own.
const OWN: &str = "bpf";
const SYSTEM: &str = "/sys/fs/bpf";

/// The directory of one hostel's pins: several with a root cgroup each can share a host.
fn directory(cgroup: &Path) -> String {
    // Not a cryptographic one: those ask the processor what it can do, which in a virtual machine takes 20 us of every start.
    let mut hash = FnvHasher::default();
    hash.write(cgroup.as_os_str().as_encoded_bytes());
    format!("hostel-{:016x}", hash.finish())
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

fn mount(run: &Path, own: &Path) -> Result<()> {
    for dir in [run, own] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .context(|| format!("make `{}`", dir.display()))?;
    }
    // Two commands at once must not mount one over the other: what the first pins would be out of sight.
    let _lock = lock(run)?;
    if is_bpffs(own) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), own, Some("bpf"), flags, Some("mode=0700"))
        .context(|| format!("mount bpf on `{}`", own.display()))
        .map_err(|err| match err.errno() {
            Some(Errno::ENODEV) => err
                .with_kind(Kind::Unsupported)
                .with_hint("the kernel lacks the BPF file system (CONFIG_BPF_SYSCALL)"),
            _ => err,
        })
}

/// The directory's lock, waited for. It is on the directory itself, and on the one that is there now: one that
/// was removed while this process waited protects nothing.
pub(super) fn lock(dir: &Path) -> Result<Flock<File>> {
    loop {
        let open = File::open(dir).context(|| format!("open `{}`", dir.display()))?;
        let lock = Flock::lock(open, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::os(format!("lock `{}`", dir.display()), errno))?;
        let held = lock.metadata().context(|| format!("stat `{}`", dir.display()))?;
        match fs::metadata(dir) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => return Ok(lock),
            Ok(_) => {}
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("lock `{}`", dir.display()), err));
            }
            Err(err) => return Err(Error::io(format!("stat `{}`", dir.display()), err)),
        }
    }
}

/// The names in a directory, sorted; none if it is not there.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(Error::io(format!("read `{}`", dir.display()), err)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read `{}`", dir.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes a directory of pins; what is pinned there lives on only where something else holds it.
pub(super) fn unpin(dir: &Path) -> Result<()> {
    for name in names(dir)? {
        let path = dir.join(name);
        fs::remove_file(&path).context(|| format!("unpin `{}`", path.display()))?;
    }
    fs::remove_dir(dir).context(|| format!("remove `{}`", dir.display()))
}
