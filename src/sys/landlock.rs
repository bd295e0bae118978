//! Landlock scoping of abstract unix sockets.
//!
//! Abstract sockets (`unix(7)`) live in the network namespace, not in the file system. A guest on the host's
//! network stack would reach the host's: D-Bus, containerd-shim (CVE-2020-15257). A Landlock domain that is
//! *scoped* closes that: its processes connect and send only to abstract sockets that the domain's own processes
//! made. The ruleset handles no file access at all, so `mount(2)`, which Landlock otherwise forbids, still works.
//!
//! A domain is inherited, never joined: a process that enters a guest later gets a domain of its own and cannot
//! reach the abstract sockets of the guest's init, nor trace its processes. It fails closed.

use nix::errno::Errno;

use crate::error::{Error, Kind, Result};

/// `linux/landlock.h`.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`.
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;

/// The ABI that brought scoping: Linux 6.12.
pub const SCOPED_ABI: u32 = 6;

/// The kernel's Landlock ABI; `Kind::Unsupported` where Landlock is not built in or not switched on.
pub fn abi() -> Result<u32> {
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the attribute pointer must be null and its size 0; nothing of
    // ours is read or written.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0_usize,
            VERSION,
        )
    };
    match Errno::result(version) {
        Ok(version) => Ok(u32::try_from(version).unwrap_or(u32::MAX)),
        // ENOSYS: not built in; EOPNOTSUPP: built in and off.
        Err(errno @ (Errno::ENOSYS | Errno::EOPNOTSUPP)) => Err(Error::os("ask for the Landlock ABI", errno)
            .with_kind(Kind::Unsupported)
            .with_hint("CONFIG_SECURITY_LANDLOCK, and `landlock` in the kernel's `lsm=` parameter")),
        Err(errno) => Err(Error::os("ask for the Landlock ABI", errno)),
    }
}

/// Whether the kernel can scope abstract sockets; says what is missing otherwise.
pub fn require_scoping() -> Result<()> {
    require_abi(abi()?)
}

/// The same for a kernel of this ABI.
pub fn require_abi(abi: u32) -> Result<()> {
    if abi >= SCOPED_ABI {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        format!("scope abstract unix sockets: Landlock ABI {abi}, {SCOPED_ABI} is needed (Linux 6.12)"),
    )
    .with_hint(
        "`shared_abstract_sockets = true` in the recipe's `net` accepts that the guest reaches the host's",
    ))
}

/// Confines the caller, and what it executes and forks, to abstract sockets of its own. There is no way back.
///
/// Allocates nothing, for the child between clone and exec. Needs `CAP_SYS_ADMIN` in the caller's user namespace, or
/// `no_new_privs`; so it comes before capabilities are dropped.
pub fn scope_abstract_sockets() -> Result<(), Errno> {
    let attr = RulesetAttr {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET,
    };
    // SAFETY: the pointer is to a whole RulesetAttr whose size is passed; the kernel only reads it. An older
    // kernel, whose struct is shorter, answers E2BIG because `scoped` is not zero.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0 as libc::c_uint,
        )
    };
    let ruleset = Errno::result(ruleset)?;
    // SAFETY: takes a descriptor number and flags; no memory is passed.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0 as libc::c_uint) };
    let restricted = Errno::result(restricted).map(drop);
    // SAFETY: `ruleset` was opened above, is close-on-exec, and nobody else knows its number.
    unsafe { libc::syscall(libc::SYS_close, ruleset) };
    restricted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    fn name(what: &str) -> SocketAddr {
        SocketAddr::from_abstract_name(format!("hostel-test-{}-{what}", std::process::id())).unwrap()
    }

    #[test]
    fn the_abi_is_a_number() {
        // A kernel without Landlock says so in its own words; one with it has had an ABI since 1.
        match abi() {
            Ok(abi) => assert!(abi >= 1),
            Err(err) => assert_eq!(err.kind(), Kind::Unsupported),
        }
    }

    #[test]
    fn a_scoped_thread_reaches_its_own_sockets_only() {
        if require_scoping().is_err() {
            return;
        }
        let outside = UnixListener::bind_addr(&name("outside")).unwrap();
        UnixStream::connect_addr(&name("outside")).unwrap();
        // Landlock is per thread; the test's other threads stay unconfined.
        std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            scope_abstract_sockets().unwrap();
            let refused = UnixStream::connect_addr(&name("outside")).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            let _own = UnixListener::bind_addr(&name("own")).unwrap();
            UnixStream::connect_addr(&name("own")).unwrap();
        })
        .join()
        .unwrap();
        drop(outside);
    }
}
