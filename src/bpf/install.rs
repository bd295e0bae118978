//! Loading, attaching and pinning a set of programs.
//!
//! A set is a directory of pinned links, one a program. It is filled under a name that begins with `new-` and then
//! renamed: a set that has its final name is whole. Killed at any instant, the next call finds either the old
//! set, or the new one, or both (each confines by itself), and removes what is left over. The old one is
//! detached after the new one is attached, so there is no instant without a fence.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};
use nix::errno::Errno;

use super::pins::{lock, names, unpin};
use super::state::LAYOUT;
use crate::error::Context;
use crate::sys::bpf::{link_device, pin};
use crate::{Error, Kind, Result};

/// The programs, as built by `src/bpf/build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("hostel.bpf.o");
/// The first digits of the object's SHA-256.
const OBJECT_ID: &str = include_str!("hostel.bpf.id");

/// The maps that outlive a set of programs.
const MAPS: [&str; 7] = [
    "guests",
    "contexts",
    "owners4",
    "owners6",
    "epoch",
    "listeners",
    "sockets",
];

/// Begins the name of a set that is not whole: one that is being made, or taken away.
const NEW: &str = "new-";

/// The name of the set that this binary installs at this cgroup. The cgroup's id is part of it: the links of a
/// cgroup that was removed and made anew under the same path are attached to nothing.
pub(super) fn set_name(root: BorrowedFd<'_>, level: u32) -> Result<String> {
    let stat = nix::sys::stat::fstat(root).context(|| "stat hostel's root cgroup")?;
    Ok(format!("set-{OBJECT_ID}-{level}-{:x}", stat.st_ino))
}

/// The directory of the maps.
pub(super) fn maps_name() -> String {
    format!("maps-{LAYOUT}")
}

/// Whether exactly this set is there, and nothing left over.
pub(super) fn is_installed(pins: &Path, set: &str) -> Result<bool> {
    Ok(names(pins)? == [maps_name(), set.to_owned()])
}

/// The same by three questions instead of a listing, for every start asks: a directory of a BPF file system has a link
/// from each directory in it beside its own two, and nothing but directories is made here.
pub(super) fn is_alone(pins: &Path, set: &str) -> Result<bool> {
    let is_dir = |path: &Path| match nix::sys::stat::lstat(path) {
        Ok(stat) => Ok((stat.st_mode & libc::S_IFMT == libc::S_IFDIR).then_some(stat.st_nlink)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::os(format!("stat `{}`", path.display()), errno)),
    };
    Ok(is_dir(pins)? == Some(4)
        && is_dir(&pins.join(maps_name()))?.is_some()
        && is_dir(&pins.join(set))?.is_some())
}

/// Installs the set unless another process did so in the meantime, and removes every other one.
pub(super) fn install(root: BorrowedFd<'_>, level: u32, pins: &Path, set: &str) -> Result<()> {
    make(pins)?;
    let _lock = lock(pins)?;
    if is_installed(pins, set)? {
        return Ok(());
    }
    let found = names(pins)?;
    if let Some(maps) = found
        .iter()
        .find(|name| name.starts_with("maps-") && **name != maps_name())
    {
        return Err(Error::new(
            Kind::State,
            format!(
                "`{}` belongs to another version of hostel",
                pins.join(maps).display()
            ),
        )
        .with_hint("stop every guest with that version first"));
    }
    for name in found.iter().filter(|name| name.starts_with(NEW)) {
        unpin(&pins.join(name))?;
    }
    if !found.iter().any(|name| name == set) {
        attach(root, level, pins, set)?;
    }
    for name in found
        .iter()
        .filter(|name| name.starts_with("set-") && *name != set)
    {
        retire(pins, name)?;
    }
    Ok(())
}

/// Whether every map is there. Where one is not, an installation was killed before it attached anything, or a removal
/// after it had detached everything.
pub(super) fn has_maps(pins: &Path) -> Result<bool> {
    let found = names(&pins.join(maps_name()))?;
    Ok(MAPS.iter().all(|map| found.iter().any(|name| name == map)))
}

/// Detaches a set. Killed in the midst of it, what is left does not have the name of a whole one.
fn retire(pins: &Path, set: &str) -> Result<()> {
    let (whole, new) = (pins.join(set), pins.join(format!("{NEW}{set}")));
    fs::rename(&whole, &new).context(|| format!("rename `{}`", whole.display()))?;
    unpin(&new)
}

/// Detaches every set and removes the maps, whatever of them is there.
pub(super) fn uninstall(pins: &Path) -> Result<()> {
    let _lock = match lock(pins) {
        Err(err) if err.errno() == Some(Errno::ENOENT) => return Ok(()),
        lock => lock?,
    };
    // The maps go last: their pins are what tells a set that is being removed from none.
    let (maps, sets): (Vec<_>, Vec<_>) = names(pins)?
        .into_iter()
        .partition(|name| name.starts_with("maps-"));
    for name in sets {
        if name.starts_with(NEW) {
            unpin(&pins.join(name))?;
        } else {
            retire(pins, &name)?;
        }
    }
    for name in maps {
        unpin(&pins.join(name))?;
    }
    fs::remove_dir(pins).context(|| format!("remove `{}`", pins.display()))
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .context(|| format!("make `{}`", dir.display()))
}

fn attach(root: BorrowedFd<'_>, level: u32, pins: &Path, set: &str) -> Result<()> {
    let maps = pins.join(maps_name());
    make(&maps)?;
    let types = Btf::from_sys_fs().map_err(|err| {
        explain("read the kernel's type information", err)
            .with_kind(Kind::Unsupported)
            .with_hint("hostel needs a kernel with /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)")
    })?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&types)).override_global("LEVEL", &level, true);
    for name in MAPS {
        loader.map_pin_path(name, maps.join(name));
    }
    let mut programs: Ebpf = loader
        .load(OBJECT)
        .map_err(|err| explain("load hostel's maps", err))?;
    // Everything is loaded before anything is attached: a kernel that refuses one program gets none.
    for (name, program) in programs.programs_mut() {
        load(program).map_err(|err| explain(format!("load BPF program `{name}`"), err))?;
    }
    let namespace = File::open("/proc/self/ns/net").context(|| "open `/proc/self/ns/net`")?;
    let new = pins.join(format!("{NEW}{set}"));
    make(&new)?;
    for (name, program) in programs.programs_mut() {
        link(program, root, namespace.as_fd(), &new.join(name))
            .map_err(|err| explain(format!("attach BPF program `{name}`"), err))?;
    }
    let whole = pins.join(set);
    fs::rename(&new, &whole).context(|| format!("rename to `{}`", whole.display()))
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupDevice(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Attaches a program beside those that others have attached (all of them must allow), and pins the link.
fn link(
    program: &mut Program,
    root: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    at: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // A link takes no flags: the kernel attaches every one of them beside the others.
    let mode = CgroupAttachMode::Single;
    let link: FdLink = match program {
        Program::CgroupSock(program) => {
            let id = program.attach(root, mode)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSockAddr(program) => {
            let id = program.attach(root, mode)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSkb(program) => {
            let kind = (*program.expected_attach_type()).ok_or(ProgramError::UnexpectedProgramType)?;
            let id = program.attach(root, kind, mode)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupDevice(program) => {
            let link = link_device(program.fd()?.as_fd(), root)?;
            return Ok(pin(link.as_fd(), at)?);
        }
        Program::SockOps(program) => {
            let id = program.attach(root, mode)?;
            program.take_link(id)?.try_into()?
        }
        Program::SkLookup(program) => {
            let id = program.attach(namespace)?;
            program.take_link(id)?.into()
        }
        _ => return Err(ProgramError::UnexpectedProgramType.into()),
    };
    link.pin(at)?;
    Ok(())
}

/// An error of aya's: its chain as one line, the kind by the errno at its root.
pub(super) fn explain(
    message: impl Into<String>,
    err: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let err = err.into();
    let mut text = message.into();
    let mut errno = None;
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(&*err);
    while let Some(err) = at {
        match err.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(code) => errno = Some(nix::errno::Errno::from_raw(code)),
            // The verifier's log can have thousands of lines; its end says why.
            None => text.extend([
                ": ",
                err.to_string()
                    .lines()
                    .rev()
                    .find(|l| !l.is_empty())
                    .unwrap_or(""),
            ]),
        }
        at = err.source();
    }
    match errno {
        Some(
            errno @ (nix::errno::Errno::EINVAL | nix::errno::Errno::ENOTSUP | nix::errno::Errno::ENOENT),
        ) => Error::os(text, errno)
            .with_kind(Kind::Unsupported)
            .with_hint("hostel needs Linux 6.1 with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL"),
        Some(errno @ nix::errno::Errno::EPERM) => {
            Error::os(text, errno).with_hint("this needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root")
        }
        Some(errno) => Error::os(text, errno),
        None => Error::new(Kind::System, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fmt::Write;

    #[test]
    fn the_id_is_that_of_the_object() {
        let digest = Sha256::digest(OBJECT);
        let mut digits = String::new();
        for byte in digest.iter().take(8) {
            let _ = write!(digits, "{byte:02x}");
        }
        assert_eq!(digits, OBJECT_ID, "run src/bpf/build");
    }

    #[test]
    fn a_bpf_file_system_takes_the_names() {
        // It refuses dots in names.
        assert!(!maps_name().contains('.') && !OBJECT_ID.contains('.') && !NEW.contains('.'));
    }
}
