//! The file-descriptor mount API: `open_tree(2)`, `fsopen(2)`, `move_mount(2)`, `mount_setattr(2)`,
//! `pivot_root(2)`.
//!
//! A detached mount is a descriptor that no path leads to. It gets its attributes first and is attached last, so
//! nothing is ever visible with weaker attributes than it was meant to have, and no path is resolved twice.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// `linux/mount.h`, `linux/fcntl.h`.
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC.cast_unsigned();
const AT_EMPTY_PATH: libc::c_uint = 0x1000;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// Attributes of a mount (`mount_setattr(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attr(u64);

impl Attr {
    /// Writes fail with EROFS.
    pub const RDONLY: Attr = Attr(0x1);
    /// Set-user-ID bits and file capabilities mean nothing.
    pub const NOSUID: Attr = Attr(0x2);
    /// Device files cannot be opened.
    pub const NODEV: Attr = Attr(0x4);
    /// Programs cannot be run.
    pub const NOEXEC: Attr = Attr(0x8);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Attr) -> Attr {
        Attr(self.0 | other.0)
    }

    /// Whether it takes nothing away from writing.
    pub const fn is_writable(self) -> bool {
        self.0 & Self::RDONLY.0 == 0
    }

    /// What is never weaker than this for data that is no program.
    pub const DATA: Attr = Self::NOSUID.and(Self::NODEV).and(Self::NOEXEC);
}

/// `struct mount_attr`, version 0 (32 bytes).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(result)?;
    #[allow(clippy::cast_possible_truncation, reason = "a descriptor is an i32")]
    // SAFETY: the kernel returned a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A detached copy of the mount at `path` below `dir` (with the mounts under it when `is_recursive`), private: a copy
/// of a shared mount is its peer (systemd shares all of them), and what is mounted in the one would appear in the
/// other. An empty path is `dir` itself.
pub fn clone_tree(dir: Option<BorrowedFd>, path: &CStr, is_recursive: bool) -> Result<OwnedFd, Errno> {
    let tree = copy_tree(dir, path, if is_recursive { AT_RECURSIVE } else { 0 })?;
    let private = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    set(tree.as_fd(), AT_RECURSIVE, &private)?;
    Ok(tree)
}

/// The same of one mount that is private already, and whose copy so is too: after [`make_all_private`], or of a
/// file system that was just made.
pub fn clone_private(dir: BorrowedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    copy_tree(Some(dir), path, 0)
}

fn copy_tree(dir: Option<BorrowedFd>, path: &CStr, flags: libc::c_uint) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags;
    let dir = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    // SAFETY: `path` is a C string that lives across the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// A detached mount of a new instance of file system `kind`; an option without value is a flag.
pub fn new_fs(kind: &CStr, options: &[(&CStr, Option<&CStr>)], attr: Attr) -> Result<OwnedFd, Errno> {
    new_fs_telling(kind, options, attr).map_err(|(errno, _)| errno)
}

/// The same; a failure comes with what the kernel wrote of it, if anything.
pub fn new_fs_telling(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: Attr,
) -> Result<OwnedFd, (Errno, String)> {
    // SAFETY: `kind` is a C string that lives across the call.
    let fs = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
        .map_err(|errno| (errno, String::new()))?;
    configure(&fs, options, attr).map_err(|errno| {
        // One line a read (`fsopen(2)`): `e `, `w ` or `i ` and a text. ENODATA when there is none.
        let mut line = [0; 256];
        let said = nix::unistd::read(&fs, &mut line).unwrap_or(0);
        (errno, String::from_utf8_lossy(&line[..said]).trim().to_owned())
    })
}

fn configure(fs: &OwnedFd, options: &[(&CStr, Option<&CStr>)], attr: Attr) -> Result<OwnedFd, Errno> {
    for (key, value) in options {
        let (command, value) = match value {
            Some(value) => (FSCONFIG_SET_STRING, value.as_ptr()),
            None => (FSCONFIG_SET_FLAG, std::ptr::null()),
        };
        // SAFETY: key and value are C strings (or a null pointer for a flag) that live across the call.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                fs.as_raw_fd(),
                command,
                key.as_ptr(),
                value,
                0,
            )
        })?;
    }
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither key nor value.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            null,
            null,
            0,
        )
    })?;
    // SAFETY: fsmount(2) takes a descriptor and flags.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, attr.0) })
}

/// Attaches a detached mount on the object that `target` is open on.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: both paths are empty C strings; the descriptors live across the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) })
        .map(drop)
}

fn set(mount: BorrowedFd, flags: libc::c_uint, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: `attr` is a valid mount_attr of the size given and lives across the call.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Adds attributes to a mount and all mounts under it.
pub fn set_attr(mount: impl AsFd, attr: Attr) -> Result<(), Errno> {
    set(
        mount.as_fd(),
        AT_RECURSIVE,
        &MountAttr {
            attr_set: attr.0,
            ..MountAttr::default()
        },
    )
}

/// Maps the owners of files on a detached mount, and adds attributes: id N on disk is id N of the user namespace
/// `userns`. EINVAL: the file system cannot be id-mapped (overlay as a whole; tmpfs before Linux 6.3).
pub fn map_owners(mount: impl AsFd, userns: impl AsFd, attr: Attr) -> Result<(), Errno> {
    let userns_fd = u64::from(userns.as_fd().as_raw_fd().cast_unsigned());
    set(
        mount.as_fd(),
        0,
        &MountAttr {
            attr_set: attr.0 | MOUNT_ATTR_IDMAP,
            userns_fd,
            ..MountAttr::default()
        },
    )
}

/// Stops every mount of this namespace from sending to or receiving from another.
pub fn make_all_private() -> Result<(), Errno> {
    let (none, root) = (std::ptr::null::<libc::c_char>(), c"/".as_ptr());
    // SAFETY: MS_PRIVATE reads no source, type or data.
    Errno::result(unsafe {
        libc::mount(
            none,
            root,
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
    .map(drop)
}

/// Makes the mount that `root` is open on the root of this mount namespace and of this process, and takes the
/// old root away for good.
///
/// The old root ends up stacked on the new one, at `.`; detached from there, no path and no `..` leads to it.
/// The caller must hold no descriptor of the old root past this (`chroot(2)`, "This call does not ...").
pub fn pivot(root: impl AsFd) -> Result<(), Errno> {
    nix::unistd::fchdir(root)?;
    // SAFETY: both paths are C strings that live across the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: the path is a C string that lives across the call.
    Errno::result(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) })?;
    nix::unistd::chdir(c"/")
}
