//! Mounting by descriptor: `fsopen(2)`, `fsmount(2)`, `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`.
//!
//! Paths below a fresh mount are resolved from its descriptor, so that nothing in the guest's tree can lead them
//! elsewhere.

use core::ffi::CStr;

use crate::arch::{self, O_NOFOLLOW, syscall};
use crate::sys::{At, Fd, O_CLOEXEC, O_PATH, Result, check, open};

pub const RDONLY: u64 = 1;
pub const NOSUID: u64 = 2;
pub const NODEV: u64 = 4;
pub const NOEXEC: u64 = 8;

const AT_EMPTY_PATH: usize = 0x1000;
const AT_RECURSIVE: usize = 0x8000;

/// A new file system, mounted nowhere yet. `options` are pairs of name and value.
pub fn new(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> Result<Fd> {
    const FSOPEN_CLOEXEC: usize = 1;
    const FSMOUNT_CLOEXEC: usize = 1;
    const FSCONFIG_SET_STRING: usize = 1;
    const FSCONFIG_CMD_CREATE: usize = 6;
    // SAFETY: `kind` is terminated and outlives the call.
    let context =
        check(unsafe { syscall(arch::FSOPEN, [kind.as_ptr() as usize, FSOPEN_CLOEXEC, 0, 0, 0, 0]) })?;
    let context = Fd::own(context);
    let number = context.raw() as usize;
    for (name, value) in options {
        let arguments = [
            number,
            FSCONFIG_SET_STRING,
            name.as_ptr() as usize,
            value.as_ptr() as usize,
            0,
            0,
        ];
        // SAFETY: both texts are terminated and outlive the call.
        check(unsafe { syscall(arch::FSCONFIG, arguments) })?;
    }
    // SAFETY: this command takes neither name nor value: both are null.
    check(unsafe { syscall(arch::FSCONFIG, [number, FSCONFIG_CMD_CREATE, 0, 0, 0, 0]) })?;
    // SAFETY: numbers only.
    check(unsafe {
        syscall(
            arch::FSMOUNT,
            [number, FSMOUNT_CLOEXEC, attributes as usize, 0, 0, 0],
        )
    })
    .map(Fd::own)
}

/// A copy of the mount at `path`, with those below it, mounted nowhere yet.
pub fn copy(at: At, path: &CStr) -> Result<Fd> {
    const OPEN_TREE_CLONE: usize = 1;
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    let flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe {
        syscall(
            arch::OPEN_TREE,
            [at.raw(), path.as_ptr() as usize, flags, 0, 0, 0],
        )
    })
    .map(Fd::own)
}

/// Adds attributes to a copied tree.
pub fn set(tree: &Fd, attributes: u64) -> Result<()> {
    // struct mount_attr: set, clear, propagation, userns_fd.
    let attr = [attributes, 0, 0, 0u64];
    let flags = AT_EMPTY_PATH | AT_RECURSIVE;
    let arguments = [
        tree.raw() as usize,
        c"".as_ptr() as usize,
        flags,
        attr.as_ptr() as usize,
        size_of_val(&attr),
        0,
    ];
    // SAFETY: the path is terminated; the kernel reads as many bytes of `attr` as it is told it has.
    check(unsafe { syscall(arch::MOUNT_SETATTR, arguments) }).map(drop)
}

/// Attaches `tree` over what `place` is open on.
pub fn attach(tree: &Fd, place: &Fd) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
    let empty = c"".as_ptr() as usize;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let arguments = [tree.raw() as usize, empty, place.raw() as usize, empty, flags, 0];
    // SAFETY: both paths are the empty text.
    check(unsafe { syscall(arch::MOVE_MOUNT, arguments) }).map(drop)
}

/// A place to mount over, without following a link at the end.
pub fn place(at: At, path: &CStr) -> Result<Fd> {
    open(at, path, O_PATH, 0)
}

/// Takes away the mount at `path`, if there is one that may be.
pub fn detach(path: &CStr) -> Result<()> {
    const MNT_DETACH: usize = 2;
    const UMOUNT_NOFOLLOW: usize = 8;
    let flags = MNT_DETACH | UMOUNT_NOFOLLOW;
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::UMOUNT2, [path.as_ptr() as usize, flags, 0, 0, 0, 0]) }).map(drop)
}

/// Stops mounts of this namespace from spreading to the one it was copied from.
pub fn make_private() -> Result<()> {
    const MS_REC_PRIVATE: usize = 0x4000 | 0x4_0000;
    // SAFETY: the target is terminated; source, type and data are not looked at for a change of propagation.
    check(unsafe { syscall(arch::MOUNT, [0, c"/".as_ptr() as usize, 0, MS_REC_PRIVATE, 0, 0]) }).map(drop)
}

/// `O_DIRECTORY`'s sense for a place: whether it is a directory.
pub fn is_directory(at: At, path: &CStr) -> bool {
    open(at, path, O_PATH | arch::O_DIRECTORY | O_NOFOLLOW, 0).is_ok()
}
