//! Keys in the kernel: `keyrings(7)`, `keyctl(2)`.

use nix::errno::Errno;

/// Leaves the session keyring that this process has from its parent for a new one. Whoever has a keyring may use the keys in
/// it, whatever its user ids are, and the kernel looks there for a process (NFS, encrypted file systems): a guest must not
/// have that of the one who started it.
///
/// Counted for the user that the process has now. A kernel without keyrings (`ENOSYS`) has none to leave. Allocates nothing.
///
/// # Errors
/// `EDQUOT` when that user has as many keys as it may.
pub fn new_session() -> Result<(), Errno> {
    // SAFETY: keyctl(2) with this request reads a name, for which null is "none".
    let joined = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
            std::ptr::null::<libc::c_char>(),
        )
    };
    match Errno::result(joined) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}
