//! Capability sets: bounding, effective, permitted, inheritable, ambient (`capabilities(7)`).
//!
//! [`restrict`] takes everything but a set from this process for good, [`confirm`] reads that back and tries to
//! undo it. The `_raw` forms neither allocate nor lock, for a child between clone and exec.

use nix::errno::Errno;

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Cap, CapSet, HostPid};
use crate::sys::proc;

/// The capability sets of a process, and what else bounds its privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// What checks look at.
    pub effective: CapSet,
    /// What it may make effective.
    pub permitted: CapSet,
    /// What a program with inheritable file capabilities keeps.
    pub inheritable: CapSet,
    /// What exec may ever give it: it survives su and setuid programs.
    pub bounding: CapSet,
    /// What a plain program keeps across exec.
    pub ambient: CapSet,
    /// Whether exec can give it nothing more.
    pub no_new_privs: bool,
}

/// The sets of process `pid`.
pub fn show(pid: HostPid) -> Result<Sets> {
    let status = proc::status(pid)?
        .ok_or_else(|| Error::new(Kind::NotFound, format!("process {pid} does not exist")))?;
    let [inheritable, permitted, effective, bounding, ambient] = status.capabilities.map(set_of_bits);
    Ok(Sets {
        effective,
        permitted,
        inheritable,
        bounding,
        ambient,
        no_new_privs: status.no_new_privs,
    })
}

/// The sets of this process.
pub fn own() -> Result<Sets> {
    let read = |which: caps::CapSet, name: &str| -> Result<CapSet> {
        let found = caps::read(None, which)
            .map_err(|source| Error::new(Kind::System, format!("read the {name} set")).with_source(source))?;
        Ok(set_of_bits(found.iter().map(|cap| 1 << cap.index()).sum()))
    };
    Ok(Sets {
        effective: read(caps::CapSet::Effective, "effective")?,
        permitted: read(caps::CapSet::Permitted, "permitted")?,
        inheritable: read(caps::CapSet::Inheritable, "inheritable")?,
        bounding: read(caps::CapSet::Bounding, "bounding")?,
        ambient: read(caps::CapSet::Ambient, "ambient")?,
        no_new_privs: has_no_new_privs()?,
    })
}

/// Takes from this process, and all that it will exec, every capability but `set`: from the bounding set, then
/// from permitted and effective; inheritable and ambient become empty.
///
/// A capability that this process does not have cannot be kept: that is [`Kind::Denied`], by name, before
/// anything was changed.
pub fn restrict(set: CapSet) -> Result<()> {
    let own = own()?;
    let lacking: Vec<_> = set
        .iter()
        .filter(|cap| !own.permitted.contains(*cap) || !own.bounding.contains(*cap))
        .map(|cap| format!("`{cap}`"))
        .collect();
    if !lacking.is_empty() {
        return Err(Error::new(
            Kind::Denied,
            format!("keep {}: hostel does not have it itself", lacking.join(", ")),
        )
        .with_hint("drop it in the recipe, or run hostel with it"));
    }
    restrict_raw(set.bits()).map_err(|errno| Error::os("restrict capabilities", errno))
}

/// As [`restrict`], from a bit mask, without allocating and without naming what is lacking: permitted becomes
/// what of `bits` it was.
pub fn restrict_raw(bits: u64) -> Result<(), Errno> {
    // The bounding set first: dropping from it takes CAP_SETPCAP, which the rest may take away. One that is not in
    // it is dropped without being asked for, at one call instead of two.
    for cap in (0..64).filter(|cap| bits & (1 << cap) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, cap) {
            Ok(()) => {}
            // Past the last capability of this kernel. One newer than hostel's own list was dropped above.
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP every call is refused, also one that changes nothing.
            Err(Errno::EPERM) => match bounding_has(cap) {
                Ok(true) => return Err(Errno::EPERM),
                Ok(false) => {}
                Err(_) => break,
            },
            Err(errno) => return Err(errno),
        }
    }
    // Ambient before permitted, so that a failure in between leaves nothing that exec would keep.
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    let now = get()?;
    let permitted = now.permitted & bits;
    set(Masks {
        effective: permitted,
        permitted,
        inheritable: 0,
    })
}

/// Fails unless this process has exactly `set` and cannot get anything else back: reads every set, then tries.
pub fn confirm(set: CapSet) -> Result<()> {
    let own = own()?;
    let found = [
        ("bounding", own.bounding, set),
        ("permitted", own.permitted, set),
        ("effective", own.effective, set),
        ("inheritable", own.inheritable, CapSet::EMPTY),
        ("ambient", own.ambient, CapSet::EMPTY),
    ];
    for (name, found, expected) in found {
        if found != expected {
            let of = |set: CapSet| {
                set.iter()
                    .map(|cap| cap.to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            return Err(Error::new(
                Kind::Internal,
                format!(
                    "the {name} set is `{}` after it was set to `{}`",
                    of(found),
                    of(expected)
                ),
            ));
        }
    }
    confirm_raw(set.bits()).context(|| "confirm that dropped capabilities cannot be regained")
}

/// As [`confirm`], from a bit mask and without allocating. EPERM when more than `bits` is there or can be had.
pub fn confirm_raw(bits: u64) -> Result<(), Errno> {
    let now = get()?;
    if now.permitted & !bits != 0 || now.effective & !bits != 0 || now.inheritable != 0 {
        return Err(Errno::EPERM);
    }
    // The ambient set cannot hold what is not inheritable, whatever was done before (`capabilities(7)`): with that
    // empty, it is empty.
    let mut dropped = 0_u64;
    for cap in (0..64).filter(|cap| bits & (1 << cap) == 0) {
        match bounding_has(cap) {
            Ok(true) => return Err(Errno::EPERM),
            Ok(false) => dropped |= 1 << cap,
            Err(_) => break,
        }
    }
    let dropped = dropped & !now.permitted;
    if dropped == 0 {
        return Ok(());
    }
    // Reading can lie by omission; only the attempt shows that the kernel refuses.
    let regained = set(Masks {
        effective: now.effective | dropped,
        permitted: now.permitted | dropped,
        inheritable: 0,
    });
    match regained {
        Err(Errno::EPERM) => Ok(()),
        Ok(()) => Err(Errno::EPERM),
        Err(errno) => Err(errno),
    }
}

/// Makes every permitted capability effective: a change of the file system's user id takes those from the effective
/// set that have to do with files (`capabilities(7)`). Allocates nothing.
pub fn raise_permitted() -> Result<(), Errno> {
    let now = get()?;
    set(Masks {
        effective: now.permitted,
        ..now
    })
}

/// From now on exec gives this process and its children nothing more: no setuid, no file capabilities. Cannot be
/// taken back. Allocates nothing.
pub fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Whether exec can give this process nothing more.
pub fn has_no_new_privs() -> Result<bool> {
    // SAFETY: this prctl(2) takes integers only; the unused ones must be 0.
    let found = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0_u64, 0_u64, 0_u64, 0_u64) };
    Errno::result(found)
        .map(|found| found == 1)
        .context(|| "read no_new_privs")
}

/// What root's number means to the kernel: `SECBIT_*` of `capabilities(7)`.
pub mod securebits {
    /// User 0 gets no capability by exec.
    pub const NO_ROOT: u32 = 1 << 0;
    /// [`NO_ROOT`] cannot be changed.
    pub const NO_ROOT_LOCKED: u32 = 1 << 1;
    /// setuid(2) from and to 0 changes no capability.
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    /// [`NO_SETUID_FIXUP`] cannot be changed.
    pub const NO_SETUID_FIXUP_LOCKED: u32 = 1 << 3;
    /// Permitted capabilities stay when no user id is 0 any more; cleared by exec.
    pub const KEEP_CAPS: u32 = 1 << 4;
    /// [`KEEP_CAPS`] cannot be changed.
    pub const KEEP_CAPS_LOCKED: u32 = 1 << 5;
    /// No ambient capability can be raised.
    pub const NO_AMBIENT_RAISE: u32 = 1 << 6;
    /// [`NO_AMBIENT_RAISE`] cannot be changed.
    pub const NO_AMBIENT_RAISE_LOCKED: u32 = 1 << 7;
}

/// The `securebits` of this process.
pub fn read_securebits() -> Result<u32, Errno> {
    // SAFETY: this prctl(2) takes no further argument.
    let found = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0_u64, 0_u64, 0_u64, 0_u64) };
    Errno::result(found).map(i32::cast_unsigned)
}

/// Sets the `securebits` of this process; it takes `CAP_SETPCAP`. Allocates nothing.
pub fn set_securebits(bits: u32) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, u64::from(bits))
}

fn set_of_bits(bits: u64) -> CapSet {
    Cap::all().filter(|cap| bits & (1 << cap.number()) != 0).collect()
}

#[derive(Clone, Copy)]
struct Masks {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two words each.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn get() -> Result<Masks, Errno> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: the header is valid for reading and writing; version 3 makes the kernel write exactly two words.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    Errno::result(done)?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let [low, high] = words;
    Ok(Masks {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a mask is split into its two halves"
)]
fn set(masks: Masks) -> Result<(), Errno> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let word = |shift: u32| Word {
        effective: (masks.effective >> shift) as u32,
        permitted: (masks.permitted >> shift) as u32,
        inheritable: (masks.inheritable >> shift) as u32,
    };
    let words = [word(0), word(32)];
    // SAFETY: the header is valid for reading and writing, and version 3 makes the kernel read exactly two words.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    Errno::result(done).map(drop)
}

fn bounding_has(cap: u64) -> Result<bool, Errno> {
    // SAFETY: this prctl(2) takes one integer.
    let found = unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap, 0_u64, 0_u64, 0_u64) };
    Errno::result(found).map(|found| found == 1)
}

fn ambient(what: i32, cap: u64) -> Result<i32, Errno> {
    // SAFETY: this prctl(2) takes two integers; the unused ones must be 0.
    let found = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, i64::from(what), cap, 0_u64, 0_u64) };
    Errno::result(found)
}

fn prctl(option: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: the options given here take one integer and 0 for the rest.
    let done = unsafe { libc::prctl(option, value, 0_u64, 0_u64, 0_u64) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_read_agree() {
        let pid = HostPid(nix::unistd::gettid().as_raw());
        assert_eq!(show(pid).unwrap(), own().unwrap());
    }

    #[test]
    fn show_of_no_process() {
        assert_eq!(show(HostPid(0x3fff_ffff)).unwrap_err().kind(), Kind::NotFound);
    }
}
