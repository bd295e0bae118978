//! What the kernel at hand can do, by asking it. Nothing is changed.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The head of `union bpf_attr` as `BPF_MAP_CREATE` reads it (`bpf(2)`).
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Whether we may make a BPF map. It is closed at once.
///
/// # Errors
/// `EPERM` without the privilege or under lockdown, `ENOSYS` in a kernel without BPF.
pub fn bpf_map() -> Result<(), Errno> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_HASH: u32 = 1;
    let attr = MapCreate {
        kind: BPF_MAP_TYPE_HASH,
        key_size: 8,
        value_size: 8,
        max_entries: 1,
    };
    // SAFETY: the kernel reads `size_of::<MapCreate>()` bytes of `attr`, which lives across the call, and takes
    // the rest of the attribute as zero.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attr,
            size_of::<MapCreate>(),
        )
    };
    let fd = Errno::result(fd)?;
    let Ok(fd) = i32::try_from(fd) else {
        return Err(Errno::EBADF);
    };
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}
