//! Acting on files as another user: `setfsuid(2)`, `setfsgid(2)`.
//!
//! An id-mapped layer knows only the ids of its guest: the host's root, who has none there, can make nothing in it
//! (EOVERFLOW), whatever its capabilities. What it makes as the guest's root it can.

use nix::errno::Errno;

use super::caps;

/// Until it is dropped, this thread makes files as user and group `id`, with the capabilities that it has.
#[derive(Debug)]
#[must_use]
pub struct Acting(());

/// Begins to act as `id`, a number of the host's.
pub fn act_as(id: u32) -> Result<Acting, Errno> {
    set(id)?;
    let acting = Acting(());
    if id != 0 {
        caps::raise_permitted()?;
    }
    Ok(acting)
}

impl Drop for Acting {
    fn drop(&mut self) {
        // From any id back to 0: the kernel makes the capabilities effective again that have to do with files.
        let _ = set(0);
    }
}

fn set(id: u32) -> Result<(), Errno> {
    // The group first: that it may be changed is a capability that the change of the user takes away.
    for call in [libc::SYS_setfsgid, libc::SYS_setfsuid] {
        // SAFETY: both take one number, and return the one before, whether they change it or not.
        unsafe { libc::syscall(call, id) };
        // So it is asked again, with a number that nobody can become.
        // SAFETY: as above.
        let now = unsafe { libc::syscall(call, u32::MAX) };
        if now != libc::c_long::from(id) {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}
