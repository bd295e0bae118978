//! A guest's `/dev`: a small tmpfs with the harmless devices of the host, its own pseudo-terminals, shared memory
//! and message queues. Nothing of the root's own `/dev` is used but the directory it is mounted on.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::inside::Failure;
use crate::sys::mount::{self, Attr};
use crate::sys::open;

/// The character devices that every guest has (`null(4)`, `full(4)`, `random(4)`, `tty(4)`). None gives access to
/// anything but the process's own terminal.
const DEVICES: [&CStr; 6] = [c"null", c"zero", c"full", c"random", c"urandom", c"tty"];

/// Links that programs expect, from `/dev/NAME` to what `/proc` and devpts have.
const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
    (c"core", c"/proc/kcore"),
];

/// Makes and fills `/dev` of `root`, before the pivot: the `/dev` that its devices are taken from is the host's, in a
/// mount namespace where nothing is shared with the host's any more.
///
/// `fuse` is what [`fuse`] has made. It is attached below the guest's own `/dev`, out of sight. `has_queues` is whether
/// the POSIX message queues that it would see are those of its own user namespace, or it has none: others it may not
/// mount.
pub(super) fn make(root: &OwnedFd, fuse: Option<OwnedFd>, has_queues: bool) -> Result<(), Failure> {
    let at = |what: &'static str| {
        move |errno| Failure {
            errno,
            what: what.into(),
        }
    };
    match nix::sys::stat::mkdirat(root, "dev", Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(at("make `/dev`")(errno)),
    }
    let target = open::child_dir(root, Path::new("dev")).map_err(at(
        "`/dev` of the root is a link or a file; it must be a directory",
    ))?;
    // No device file that the guest could make here would open (it can make none): the six below are mounts of
    // their own. 64 k is room for what programs leave in /dev by mistake, not for a memory hog.
    let options: [(&CStr, Option<&CStr>); 3] = [
        (c"mode", Some(c"0755")),
        (c"size", Some(c"64k")),
        (c"nr_inodes", Some(c"256")),
    ];
    let dev = mount::new_fs(c"tmpfs", &options, Attr::NOSUID.and(Attr::NOEXEC)).map_err(at("tmpfs"))?;
    let Some(fuse) = fuse else {
        mount::attach(&dev, target)?;
        return fill(&dev, has_queues);
    };
    mount::attach(&fuse, target)?;
    mount::attach(&dev, &fuse)?;
    let device = mount::clone_private(fuse.as_fd(), FUSE).map_err(at("open the device of FUSE"))?;
    mount::attach(device, make_file(&dev, FUSE)?).map_err(at("bind the device of FUSE"))?;
    fill(&dev, has_queues)
}

/// Its name.
const FUSE: &CStr = c"fuse";

/// A file system with nothing in it but the device of file systems in user space, which belongs to the host's user
/// `owner`. The host's own node may be its root's alone; and one that the guest's user namespace made would not open.
pub(super) fn fuse(owner: u32) -> crate::Result<OwnedFd> {
    use crate::error::Context as _;
    use nix::sys::stat::{SFlag, makedev, mknodat};
    use nix::unistd::{Gid, Uid};
    let what = || "make the device of FUSE";
    let options: [(&CStr, Option<&CStr>); 2] = [(c"mode", Some(c"0555")), (c"nr_inodes", Some(c"8"))];
    let home = mount::new_fs(c"tmpfs", &options, Attr::NOSUID.and(Attr::NOEXEC)).context(what)?;
    // The number of `/dev/fuse` in every Linux (Documentation/admin-guide/devices.txt).
    let device = makedev(10, 229);
    let mode = Mode::from_bits_truncate(0o666);
    mknodat(&home, FUSE, SFlag::S_IFCHR, mode, device).context(what)?;
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let opened = nix::fcntl::openat(&home, FUSE, flags, Mode::empty());
    let opened = opened.map_err(|errno| {
        let err = crate::Error::os("open the device of FUSE", errno);
        match errno {
            Errno::ENODEV | Errno::ENXIO => err.with_kind(crate::Kind::Unsupported).with_hint(
                "this kernel has no FUSE: take `fuse` out of `allow`, or load its module (`modprobe fuse`)",
            ),
            _ => err,
        }
    })?;
    // By descriptor: the umask of whoever calls is not the guest's.
    nix::sys::stat::fchmod(&opened, mode).context(what)?;
    nix::unistd::fchown(&opened, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner))).context(what)?;
    Ok(home)
}

/// Puts into the guest's `/dev` what every guest has there.
fn fill(dev: &OwnedFd, has_queues: bool) -> Result<(), Failure> {
    let at = |what: &'static str| {
        move |errno| Failure {
            errno,
            what: what.into(),
        }
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let host = nix::fcntl::open(c"/dev", flags, Mode::empty()).map_err(at("open the host's `/dev`"))?;
    for name in DEVICES {
        let device = mount::clone_private(host.as_fd(), name).map_err(at("open a device of the host"))?;
        mount::attach(device, make_file(dev, name)?).map_err(at("bind a device"))?;
    }
    // What the keeper of a guest's own init binds its terminal on.
    make_file(dev, c"console")?;
    for (name, target) in LINKS {
        nix::unistd::symlinkat(target, dev, name)?;
    }
    // 5 is the group `tty` of every distribution; ptmxmode lets every user of the guest open a terminal.
    let pts: [(&CStr, Option<&CStr>); 3] = [
        (c"ptmxmode", Some(c"0666")),
        (c"mode", Some(c"0620")),
        (c"gid", Some(c"5")),
    ];
    submount(dev, c"pts", c"devpts", &pts, Attr::NOSUID.and(Attr::NOEXEC)).map_err(at("devpts"))?;
    let shm: [(&CStr, Option<&CStr>); 1] = [(c"mode", Some(c"1777"))];
    submount(dev, c"shm", c"tmpfs", &shm, Attr::NOSUID.and(Attr::NODEV)).map_err(at("shared memory"))?;
    if has_queues {
        submount(dev, c"mqueue", c"mqueue", &[], Attr::DATA).map_err(at("message queues"))?;
    }
    Ok(())
}

fn make_file(dev: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dev, name, flags, Mode::from_bits_truncate(0o600))
}

fn submount(
    dev: &OwnedFd,
    name: &CStr,
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: Attr,
) -> Result<(), Errno> {
    nix::sys::stat::mkdirat(dev, name, Mode::from_bits_truncate(0o755))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let target = nix::fcntl::openat(dev, name, flags, Mode::empty())?;
    mount::attach(mount::new_fs(kind, options, attr)?, target)
}
