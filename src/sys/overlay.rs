//! Overlay mounts of descriptors (overlayfs; `Documentation/filesystems/overlayfs.rst`).
//!
//! A layer is named by `/proc/self/fd/N`, the one thing that every `fsconfig(2)` since Linux 6.1 takes. It must be on
//! a mount of the caller's own namespace until Linux 6.15; so mounts that are attached nowhere, as id-mapped ones are,
//! are attached by a child in a namespace of its own, which ends with it. The overlay keeps copies of them.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::mount::{self, Attr};
use super::{clone, file, fsid, idmap, pidfd};
use crate::error::{Context as _, Error, Kind, Result};

/// More would not fit into the 255 bytes of a value of `fsconfig(2)`.
pub const MAX_LOWER: usize = 12;

/// What an overlay is made of.
#[derive(Debug)]
pub struct Layers<'a> {
    /// Read-only directories, the topmost first. At least one; at least two without an upper one.
    pub lower: Vec<BorrowedFd<'a>>,
    /// A directory that has `root`, which takes what is written, and `work` beside it on the same mount.
    pub upper: Option<BorrowedFd<'a>>,
}

/// A detached overlay mount of layers that this process's mount namespace has.
pub fn mount(layers: &Layers<'_>, attr: Attr) -> Result<OwnedFd> {
    make(layers, attr).map_err(|(errno, said)| failure(errno, &said))
}

/// The same of layers whose owners are mapped: id N on disk is `ids.0 + N` on the host, for `ids.1` ids.
pub fn mount_mapped(layers: &Layers<'_>, ids: (u32, u32), attr: Attr) -> Result<OwnedFd> {
    let userns = idmap::of_ids(ids.0, ids.1)?;
    let mapped = |layer: &BorrowedFd<'_>, attr: Attr| -> Result<OwnedFd> {
        let tree = mount::clone_tree(Some(*layer), c"", false).context(|| "clone the mount of a layer")?;
        mount::map_owners(&tree, &userns, attr).map_err(|errno| {
            let err = Error::os("map the owners of a layer", errno);
            match errno {
                Errno::EINVAL => err.with_kind(Kind::Unsupported).with_hint(
                    "this file system cannot be id-mapped; ext4, xfs and btrfs can, tmpfs since Linux 6.3",
                ),
                _ => err,
            }
        })?;
        Ok(tree)
    };
    let still = Attr::NODEV.and(Attr::RDONLY);
    let lower: Vec<OwnedFd> = layers
        .lower
        .iter()
        .map(|l| mapped(l, still))
        .collect::<Result<_>>()?;
    let upper = layers
        .upper
        .as_ref()
        .map(|u| mapped(u, Attr::NODEV))
        .transpose()?;
    apart(&lower, upper.as_ref(), ids.0, attr)
}

/// Mounts in a child with a mount namespace of its own. It has this process's descriptors (`CLONE_FILES`), so what it
/// opens is open here.
fn apart(lower: &[OwnedFd], upper: Option<&OwnedFd>, owner: u32, attr: Attr) -> Result<OwnedFd> {
    let (read, write) = file::pipe()?;
    let child = clone::spawn(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FILES, None, || {
        let (number, said) = match in_child(lower, upper, owner, attr) {
            Ok(mounted) => (mounted.into_raw_fd(), String::new()),
            Err((errno, said)) => (-(errno as i32), said),
        };
        let mut bytes = number.to_ne_bytes().to_vec();
        bytes.extend(said.as_bytes());
        i32::from(nix::unistd::write(&write, &bytes).is_err())
    })?;
    let ended = pidfd::wait(&child.pidfd)?;
    drop(write);
    let mut report = Vec::new();
    std::fs::File::from(read)
        .read_to_end(&mut report)
        .context(|| "read what came of an overlay mount")?;
    let Some((number, said)) = report.split_first_chunk() else {
        return Err(Error::new(
            Kind::System,
            format!("mount the layers: the process for it ended without a word ({ended:?})"),
        ));
    };
    let number = i32::from_ne_bytes(*number);
    if number < 0 {
        return Err(failure(Errno::from_raw(-number), &String::from_utf8_lossy(said)));
    }
    // SAFETY: the child has made it in the descriptor table that it shared with this process, and gave it up.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn in_child(
    lower: &[OwnedFd],
    upper: Option<&OwnedFd>,
    owner: u32,
    attr: Attr,
) -> Result<OwnedFd, (Errno, String)> {
    let plain = |errno| (errno, String::new());
    mount::make_all_private().map_err(plain)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = nix::fcntl::open(c"/", flags, Mode::empty()).map_err(plain)?;
    for layer in lower.iter().chain(upper) {
        mount::attach(layer, &top).map_err(plain)?;
    }
    // The overlay makes its own files as whoever mounts it. Never taken back: this process ends.
    std::mem::forget(fsid::act_as(owner).map_err(plain)?);
    let layers = Layers {
        lower: lower.iter().map(AsFd::as_fd).collect(),
        upper: upper.map(AsFd::as_fd),
    };
    make(&layers, attr)
}

fn make(layers: &Layers<'_>, attr: Attr) -> Result<OwnedFd, (Errno, String)> {
    let invalid = || (Errno::EINVAL, "too many layers".to_owned());
    let mut lower = String::new();
    for layer in &layers.lower {
        let colon = if lower.is_empty() { "" } else { ":" };
        write!(lower, "{colon}/proc/self/fd/{}", layer.as_raw_fd()).map_err(|_fmt| invalid())?;
    }
    let text = |text: String| CString::new(text).map_err(|_nul| invalid());
    let lower = text(lower)?;
    if lower.count_bytes() > 255 {
        return Err(invalid());
    }
    let mut options: Vec<(&CStr, Option<&CStr>)> = vec![(c"lowerdir", Some(&lower))];
    let upper = match layers.upper {
        Some(upper) => {
            let path = |name: &str| text(format!("/proc/self/fd/{}/{name}", upper.as_raw_fd()));
            Some((path("root")?, path("work")?))
        }
        None => None,
    };
    if let Some((root, work)) = &upper {
        options.push((c"upperdir", Some(root)));
        options.push((c"workdir", Some(work)));
    }
    // Said, because a kernel may have been built with other defaults. With an index a layer would be bound to those below
    // it. Files that are metadata alone are what `storage::unify` makes; their marks are `trusted.overlay.*`, which no
    // guest can write or see. A kernel refuses `metacopy` with a `redirect_dir` that only follows.
    options.extend([
        (c"index", Some(c"off")),
        (c"metacopy", Some(c"on")),
        (c"redirect_dir", Some(c"on")),
    ]);
    let mounted = mount::new_fs_telling(c"overlay", &options, attr)?;
    // Where the kernel cannot make its work directory it makes the mount read-only and goes on (`ovl_fill_super`).
    if upper.is_some() && attr.is_writable() {
        let flags = nix::sys::statvfs::fstatvfs(&mounted).map_err(|errno| (errno, String::new()))?;
        if flags.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
            return Err((
                Errno::EROFS,
                "the file system of the upper layer does not do for one".to_owned(),
            ));
        }
    }
    Ok(mounted)
}

fn failure(errno: Errno, said: &str) -> Error {
    let said = said.trim_start_matches("e ");
    let message = if said.is_empty() {
        "mount the layers".to_owned()
    } else {
        format!("mount the layers: {said}")
    };
    let err = Error::os(message, errno);
    match errno {
        Errno::ENODEV => err
            .with_kind(Kind::Unsupported)
            .with_hint("this kernel has no overlayfs (CONFIG_OVERLAY_FS); `storage = \"dir\"` needs none"),
        Errno::EINVAL | Errno::EROFS => err.with_kind(Kind::Unsupported),
        _ => err,
    }
}
