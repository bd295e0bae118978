//! What runs programs for another architecture: a program of the host, told of to the guest's own user namespace, or
//! what the host has told its kernel for everybody. hostel changes nothing of the host for it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{Context, Error, Kind, Result};
use crate::guest::{Arch, Emulator};
use crate::sys::binfmt;

/// The host's own directories of programs: what is registered is opened with hostel's rights.
const DIRS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
const PACKAGE: &str = "apt install qemu-user-static";

/// How programs of an architecture can be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The processor does.
    Native,
    /// By an emulator, of which a user namespace is told for itself.
    Own(Emulator),
    /// The host has told its kernel what does, for everybody.
    Hosts,
}

impl Way {
    /// The emulator of which a user namespace must be told.
    pub fn into_emulator(self) -> Option<Emulator> {
        match self {
            Self::Own(emulator) => Some(emulator),
            Self::Native | Self::Hosts => None,
        }
    }
}

/// How programs of `arch` can be run here; one that cannot is refused by name.
pub fn way(arch: Option<Arch>) -> Result<Way> {
    let Some(arch) = arch.filter(|arch| !arch.is_native()) else {
        return Ok(Way::Native);
    };
    if binfmt::has_own_instances()? {
        return find(arch).map(Way::Own);
    }
    if binfmt::host_runs(arch) {
        return Ok(Way::Hosts);
    }
    Err(Error::new(
        Kind::Unsupported,
        format!("this host cannot run programs for {arch}"),
    )
    .with_hint(format!(
        "before Linux 6.7 its binfmt_misc must have an emulator of them with the flag F: `{PACKAGE}` brings it"
    )))
}

/// Those that this host can run beside its own.
pub fn foreign() -> Vec<Arch> {
    let is_own = binfmt::has_own_instances().unwrap_or(false);
    Arch::all()
        .filter(|arch| !arch.is_native())
        .filter(|arch| {
            if is_own {
                find(*arch).is_ok()
            } else {
                binfmt::host_runs(*arch)
            }
        })
        .collect()
}

/// The emulator among the host's programs. One that needs a loader would look for it in the guest.
fn find(arch: Arch) -> Result<Emulator> {
    find_in(arch, &DIRS.map(Path::new))
}

fn find_in(arch: Arch, dirs: &[&Path]) -> Result<Emulator> {
    let names = arch.emulators();
    let paths = names
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let mut dynamic = None;
    for path in paths.filter(|path| path.is_file()) {
        if is_static(&path).context(|| format!("read `{}`", path.display()))? {
            return Ok(Emulator { arch, path });
        }
        dynamic = Some(path);
    }
    let message = match dynamic {
        Some(path) => format!(
            "programs for {arch} need an emulator that is linked statically, and `{}` is not",
            path.display()
        ),
        None => format!(
            "programs for {arch} need `{}`, which this host does not have",
            names[0]
        ),
    };
    Err(Error::new(Kind::Unsupported, message).with_hint(PACKAGE))
}

/// Whether an ELF program asks for no loader: it has no program header of type `PT_INTERP` (`elf(5)`).
fn is_static(path: &Path) -> io::Result<bool> {
    const PT_INTERP: u32 = 3;
    let mut head = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut head)?;
    let word = |at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..size)?
            .copy_from_slice(head.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    // The emulator is a program of the host, which is 64 bits wide and little-endian.
    let headers = || -> Option<Vec<u64>> {
        let (start, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        (0..count)
            .map(|index| {
                word(
                    usize::try_from(start.checked_add(index.checked_mul(size)?)?).ok()?,
                    4,
                )
            })
            .collect()
    };
    let is_elf = head.starts_with(b"\x7fELF\x02\x01");
    Ok(is_elf && headers().is_some_and(|kinds| !kinds.contains(&u64::from(PT_INTERP))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_emulator_with_a_loader_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path()];
        let err = find_in(Arch::Arm64, &dirs).unwrap_err();
        assert_eq!(
            err.to_string(),
            "programs for arm64 need `qemu-aarch64-static`, which this host does not have"
        );
        let path = dir.path().join("qemu-aarch64");
        for garbage in ["", "#!/bin/sh\n", "\x7fELF\x02\x01"] {
            fs::write(&path, garbage).unwrap();
            assert!(find_in(Arch::Arm64, &dirs).is_err(), "{garbage:?}");
        }
        fs::copy("/proc/self/exe", &path).unwrap();
        let err = find_in(Arch::Arm64, &dirs).unwrap_err();
        assert!(err.to_string().contains("linked statically"), "{err}");
        assert_eq!(err.hint(), Some(PACKAGE));
    }

    #[test]
    fn the_hosts_own_needs_nothing() {
        assert_eq!(way(None).unwrap(), Way::Native);
        assert_eq!(way(Arch::native()).unwrap(), Way::Native);
        assert!(!foreign().contains(&Arch::native().unwrap()));
    }
}
