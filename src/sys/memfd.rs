//! Sealed memory files: `memfd_create(2)`.
//!
//! What a guest gets from hostel as a descriptor is sealed first: the guest's root could otherwise write through
//! `/proc/1/exe` into a program that hostel executes again, or change a file that hostel still reads.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use crate::error::{Context, Error, Kind, Result};

/// A memory file with `content`, at its beginning, that nobody can change any more, not even through this descriptor.
///
/// It cannot be executed either, where the kernel knows that seal (6.3).
pub fn sealed(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    seal(name, content, libc::MFD_NOEXEC_SEAL)
}

/// A program as a memory file that nobody can change any more, for `execveat(2)` or `/proc/self/fd/N`.
///
/// # Errors
/// `Unsupported` when the sysctl `vm.memfd_noexec` is 2: no memory file may then be executed.
pub fn sealed_program(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    seal(name, content, libc::MFD_EXEC)
}

fn seal(name: &CStr, content: &[u8], exec: libc::c_uint) -> Result<OwnedFd> {
    let subject = || format!("make the memory file `{}`", name.to_string_lossy());
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let mut created = create(name, flags | exec);
    if matches!(created, Err(Errno::EINVAL)) {
        // Before Linux 6.3 there is no such flag and every memory file may be executed.
        created = create(name, flags);
    }
    let fd = match created {
        Err(Errno::EACCES) if exec == libc::MFD_EXEC => {
            return Err(Error::new(Kind::Unsupported, subject())
                .with_source(Errno::EACCES)
                .with_hint(
                    "the sysctl vm.memfd_noexec is 2; hostel needs 0 or 1 to start its init from memory",
                ));
        }
        created => created.context(subject)?,
    };
    let mut file = File::from(fd);
    file.write_all(content).context(subject)?;
    file.rewind().context(subject)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).context(subject)?;
    Ok(file.into())
}

fn create(name: &CStr, flags: libc::c_uint) -> Result<OwnedFd, Errno> {
    // SAFETY: `name` is terminated and outlives the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel just made this descriptor for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn nobody_can_change_it() {
        let mut file = File::from(sealed(c"hostel-test", b"content").unwrap());
        let err = file.write_all(b"x").unwrap_err();
        assert_eq!(err.raw_os_error(), Some(Errno::EPERM as i32));
        assert!(file.set_len(1).is_err() && file.set_len(100).is_err());
        assert!(fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).is_err());
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
    }
}
