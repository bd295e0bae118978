//! The number of a cgroup, by `name_to_handle_at(2)`.

use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;

use super::dir::Dir;
use crate::error::{Context as _, Error, Kind, Result};

/// `struct file_handle` with room for what kernfs writes: the id, in 8 bytes of the machine's own order.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

/// The id that `bpf_get_current_cgroup_id` gives for `dir`.
///
/// The inode number is the same only where inode numbers have 64 bits.
pub(super) fn of(dir: &Dir) -> Result<u64> {
    let what = || format!("ask for the id of cgroup `{}`", dir.path().display());
    let mut handle = Handle {
        bytes: 8,
        kind: 0,
        id: [0; 8],
    };
    let mut mount = 0_i32;
    // SAFETY: the descriptor is open during the call, the path is a C string, `mount` is valid for writing, and
    // `handle` is laid out as the kernel's struct with as many bytes after it as `bytes` says.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::result(done).context(what)?;
    if handle.bytes != 8 {
        return Err(Error::new(Kind::Internal, what()).with_hint("its handle is no cgroup id"));
    }
    Ok(u64::from_ne_bytes(handle.id))
}
