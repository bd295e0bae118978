//! The processors that programs can be for: their names, and how the kernel knows such a program by its first bytes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::caps::nearest;
use super::{Invalid, serde_as_text};

/// A processor architecture, by Debian's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are what they are")]
pub enum Arch {
    Amd64,
    Arm64,
    Armel,
    Armhf,
    I386,
    Mips64el,
    Ppc64el,
    Riscv64,
    S390x,
}

/// What there is to know of one.
struct Known {
    arch: Arch,
    /// Debian's name.
    name: &'static str,
    /// Go's name, which OCI images have.
    go: &'static str,
    /// The names of `uname -m` and others that people write, to be suggested.
    others: &'static [&'static str],
    /// The suffix of qemu's user-mode emulator.
    qemu: &'static str,
    /// `EI_CLASS` of `elf(5)`: 1 is 32 bits, 2 is 64.
    class: u8,
    /// `EI_DATA`: 1 is little-endian, 2 is big-endian.
    data: u8,
    /// `e_machine`.
    machine: u16,
}

macro_rules! known {
    ($($arch:ident, $name:literal, $go:literal, $others:expr, $qemu:literal, $class:literal, $data:literal, $machine:literal;)+) => {
        const KNOWN: &[Known] = &[$(Known {
            arch: Arch::$arch, name: $name, go: $go, others: $others, qemu: $qemu, class: $class, data: $data, machine: $machine,
        }),+];
        impl Arch {
            /// The names, in the order of the type.
            pub const NAMES: &[&str] = &[$($name),+];
        }
    };
}

known! {
    Amd64, "amd64", "amd64", &["x86_64", "x64"], "x86_64", 2, 1, 62;
    Arm64, "arm64", "arm64", &["aarch64"], "aarch64", 2, 1, 183;
    Armel, "armel", "arm", &["armv5", "armv6"], "arm", 1, 1, 40;
    Armhf, "armhf", "arm", &["armv7", "armv7l", "arm"], "arm", 1, 1, 40;
    I386, "i386", "386", &["i686", "x86"], "i386", 1, 1, 3;
    Mips64el, "mips64el", "mips64le", &["mips64"], "mips64el", 2, 1, 8;
    Ppc64el, "ppc64el", "ppc64le", &["powerpc64le"], "ppc64le", 2, 1, 21;
    Riscv64, "riscv64", "riscv64", &["riscv"], "riscv64", 2, 1, 243;
    S390x, "s390x", "s390x", &["s390"], "s390x", 2, 2, 22;
}

/// How many bytes of a program decide what it is for: up to the end of `e_machine`.
pub const MAGIC: usize = 20;

impl Arch {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| known.arch)
    }

    /// That of this host; `None` where it is one that is not listed.
    pub fn native() -> Option<Self> {
        let of = match std::env::consts::ARCH {
            "x86" => "i386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        KNOWN
            .iter()
            .find(|known| known.qemu == of)
            .map(|known| known.arch)
    }

    /// Whether this host's processor runs its programs.
    pub fn is_native(self) -> bool {
        Some(self) == Self::native()
    }

    #[allow(
        clippy::expect_used,
        reason = "the table has a row for each, which a test shows"
    )]
    fn known(self) -> &'static Known {
        KNOWN
            .iter()
            .find(|known| known.arch == self)
            .expect("a row for each architecture")
    }

    /// Debian's name for it.
    pub fn name(self) -> &'static str {
        self.known().name
    }

    /// Go's name for it, which OCI images have.
    pub fn go_name(self) -> &'static str {
        self.known().go
    }

    /// The names that qemu's emulator of its programs may have; the first is sure to need nothing of a guest.
    pub fn emulators(self) -> [String; 2] {
        let qemu = self.known().qemu;
        [format!("qemu-{qemu}-static"), format!("qemu-{qemu}")]
    }

    /// The first bytes of a program for it.
    pub fn magic(self) -> [u8; MAGIC] {
        let known = self.known();
        let mut magic = [0; MAGIC];
        magic[..4].copy_from_slice(b"\x7fELF");
        magic[4..7].copy_from_slice(&[known.class, known.data, 1]);
        // `ET_EXEC`; `ET_DYN` is 3, and the mask lets both pass.
        let (kind, machine) = if known.data == 1 {
            (2_u16.to_le_bytes(), known.machine.to_le_bytes())
        } else {
            (2_u16.to_be_bytes(), known.machine.to_be_bytes())
        };
        magic[16..18].copy_from_slice(&kind);
        magic[18..].copy_from_slice(&machine);
        magic
    }

    /// Which bits of those count: not the system's own byte, and not whether it is position-independent.
    pub fn mask(self) -> [u8; MAGIC] {
        let mut mask = [0xff; MAGIC];
        mask[7] = 0;
        mask[if self.known().data == 1 { 16 } else { 17 }] = 0xfe;
        mask
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(known) = KNOWN.iter().find(|known| known.name == text) {
            return Ok(known.arch);
        }
        let other = KNOWN
            .iter()
            .find(|known| known.others.contains(&text) || known.go == text);
        let hint = match (other, nearest(text, Self::NAMES.iter().copied())) {
            (Some(known), _) => format!("Debian calls it `{}`", known.name),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("one of {}", Self::NAMES.join(", ")),
        };
        Err(Invalid::new(
            format!("`{}` is not an architecture", text.escape_debug()),
            hint,
        ))
    }
}

serde_as_text!(Arch);

/// A program of the host that runs programs for another architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// Whose programs it runs.
    pub arch: Arch,
    /// Where it is on the host.
    pub path: PathBuf,
}

impl Emulator {
    /// How `binfmt_misc` is told of it. `P`: it is given the program's name as the caller wrote it. `O`, `C`: it is
    /// given the program itself, and runs with what the program's owner and bits grant, as any program does, so that
    /// `su` works. `F`: it is opened now, and so need not be in the guest.
    pub fn rule(&self) -> Vec<u8> {
        let escaped = |bytes: [u8; MAGIC]| {
            bytes
                .iter()
                .fold(String::new(), |text, byte| format!("{text}\\x{byte:02x}"))
        };
        let (magic, mask) = (escaped(self.arch.magic()), escaped(self.arch.mask()));
        let path = self.path.display();
        format!(":hostel-{}:M::{magic}:{mask}:{path}:POCF", self.arch).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_once_in_order() {
        let all: Vec<Arch> = Arch::all().collect();
        assert!(all.is_sorted());
        for (arch, name) in all.iter().zip(Arch::NAMES) {
            assert_eq!(arch.name(), *name);
            assert_eq!(name.parse::<Arch>().unwrap(), *arch);
        }
        assert_eq!(all.len(), KNOWN.len());
    }

    #[test]
    fn other_names_lead_to_debians() {
        for (text, hint) in [
            ("aarch64", "Debian calls it `arm64`"),
            ("ppc64le", "Debian calls it `ppc64el`"),
            ("armfh", "did you mean `armhf`?"),
            (
                "vax",
                "one of amd64, arm64, armel, armhf, i386, mips64el, ppc64el, riscv64, s390x",
            ),
        ] {
            let err = text.parse::<Arch>().unwrap_err();
            assert_eq!(err.hint.as_deref(), Some(hint), "{text}");
        }
    }

    #[test]
    fn programs_are_known_by_their_machine_alone() {
        let is_for = |arch: Arch, program: &[u8]| {
            let (magic, mask) = (arch.magic(), arch.mask());
            (0..MAGIC).all(|at| (program[at] ^ magic[at]) & mask[at] == 0)
        };
        let own = std::fs::read("/proc/self/exe").unwrap();
        let native = Arch::native().unwrap();
        for arch in Arch::all() {
            assert_eq!(is_for(arch, &own), arch == native, "{arch}");
        }
        // A position-independent one of a big-endian machine.
        let mut program = Arch::S390x.magic();
        program[17] = 3;
        assert!(is_for(Arch::S390x, &program));
    }

    #[test]
    fn the_rule_is_one_line_of_binfmt_misc() {
        let emulator = Emulator {
            arch: Arch::Arm64,
            path: "/usr/bin/qemu-aarch64-static".into(),
        };
        assert_eq!(
            String::from_utf8(emulator.rule()).unwrap(),
            r":hostel-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:POCF"
        );
    }
}
