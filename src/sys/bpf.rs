//! What aya leaves out of `bpf(2)`: a device program's link that can be pinned.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::error::Context;
use crate::{Error, Kind, Result};

/// `BPF_OBJ_PIN` and `BPF_LINK_CREATE` of `enum bpf_cmd`.
const OBJ_PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;
/// `BPF_CGROUP_DEVICE` of `enum bpf_attach_type`.
const CGROUP_DEVICE: u32 = 6;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE` that is used here.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_PIN` that is used here.
#[repr(C)]
struct ObjPin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Attaches a device program to a cgroup, beside those that others have attached there. It stays attached as
/// long as the link is open or pinned (Linux 5.7).
pub fn link_device(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> Result<OwnedFd> {
    let attr = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        // A link always allows others beside it.
        flags: 0,
    };
    // SAFETY: `attr` is a live `#[repr(C)]` value without padding, of the size that is passed, and the kernel
    // only reads it; fields of `union bpf_attr` beyond that size count as zero.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LINK_CREATE,
            &raw const attr,
            size_of::<LinkCreate>(),
        )
    };
    let fd = Errno::result(fd).context(|| "attach a BPF device program")?;
    let fd = libc::c_int::try_from(fd)
        .map_err(|source| Error::new(Kind::Internal, "bpf(2) returned no descriptor").with_source(source))?;
    // SAFETY: the call succeeded, so `fd` is an open descriptor that nothing else owns; the kernel makes BPF
    // descriptors close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a BPF object at a path of a BPF file system.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|source| {
        Error::new(Kind::Invalid, format!("`{}` holds a NUL", path.display())).with_source(source)
    })?;
    let attr = ObjPin {
        path: text.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: `attr` is a live `#[repr(C)]` value without padding, of the size that is passed, and the kernel
    // only reads it; its `path` points to `text`, which ends with NUL and lives until after the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, OBJ_PIN, &raw const attr, size_of::<ObjPin>()) };
    Errno::result(done).context(|| format!("pin BPF object at `{}`", path.display()))?;
    Ok(())
}
