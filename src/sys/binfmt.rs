//! Programs for other architectures: `binfmt_misc`, in which the kernel is told what runs them.
//!
//! Since Linux 6.7 each user namespace can have an instance of its own; before, there is the host's alone. The kernel
//! documents both in `admin-guide/binfmt-misc`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use crate::error::Result;
use crate::guest::Arch;
use crate::guest::arch::MAGIC;
use crate::sys::mount::{self, Attr};
use crate::sys::pidfd::Ended;
use crate::sys::{clone, pidfd};

/// Where it is mounted, by convention and by systemd.
pub const PLACE: &std::ffi::CStr = c"/proc/sys/fs/binfmt_misc";

/// A new instance for the caller's user namespace in which one rule is registered. It lasts as long as the mount does
/// somewhere, and nothing more can be registered by it. Allocates nothing.
pub fn mount(rule: &[u8]) -> Result<OwnedFd, Errno> {
    let instance = mount::new_fs(c"binfmt_misc", &[], Attr::DATA)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let register = nix::fcntl::openat(&instance, c"register", flags, Mode::empty())?;
    nix::unistd::write(&register, rule)?;
    // A mount that is being written to cannot be made read-only.
    drop(register);
    mount::set_attr(&instance, Attr::DATA.and(Attr::RDONLY))?;
    Ok(instance)
}

/// Whether a user namespace can have an instance of its own: it is tried.
pub fn has_own_instances() -> Result<bool> {
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    let child = clone::spawn(namespaces, None, || {
        i32::from(mount::new_fs(c"binfmt_misc", &[], Attr::DATA).is_err())
    })?;
    Ok(pidfd::wait(&child.pidfd)? == Ended::Code(0))
}

/// Whether the host has told its kernel what runs programs of `arch`, wherever they are.
pub fn host_runs(arch: Arch) -> bool {
    runs(Path::new("/proc/sys/fs/binfmt_misc"), arch)
}

/// Whether an instance has an entry for `arch` that is on, and whose interpreter was opened when it was registered.
fn runs(instance: &Path, arch: Arch) -> bool {
    let is_on = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.starts_with("enabled"));
    if !is_on(&instance.join("status")) {
        return false;
    }
    let entries: Vec<PathBuf> = fs::read_dir(instance)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    entries
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .any(|text| matches(&text, arch))
}

fn matches(entry: &str, arch: Arch) -> bool {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
    let bytes = |text: Option<&str>| -> Option<Vec<u8>> {
        let text = text?;
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
            .collect()
    };
    let Some(magic) = bytes(field("magic ")) else {
        return false;
    };
    let mask = bytes(field("mask ")).unwrap_or_else(|| vec![0xff; magic.len()]);
    let program = arch.magic();
    entry.starts_with("enabled\n")
        && field("flags: ").is_some_and(|flags| flags.contains('F'))
        && field("offset ") == Some("0")
        && magic.len() == MAGIC
        && mask.len() == MAGIC
        && (0..MAGIC).all(|at| (program[at] ^ magic[at]) & mask[at] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn an_entry_of_the_host_is_understood() {
        assert!(matches(ENTRY, Arch::Arm64));
        assert!(!matches(ENTRY, Arch::Riscv64));
        for (what, instead) in [
            ("enabled", "disabled"),
            ("POF", "PO"),
            ("offset 0", "offset 4"),
            ("0200b700\n", "0200b7\n"),
            ("magic 7f", "magic x"),
            ("magic ", "extension ."),
        ] {
            assert!(
                !matches(&ENTRY.replacen(what, instead, 1), Arch::Arm64),
                "{instead}"
            );
        }
        assert!(!matches("", Arch::Arm64));
    }

    #[test]
    fn an_instance_that_is_off_runs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("qemu-aarch64", ENTRY);
        assert!(!runs(dir.path(), Arch::Arm64));
        write("status", "disabled\n");
        assert!(!runs(dir.path(), Arch::Arm64));
        write("status", "enabled\n");
        assert!(runs(dir.path(), Arch::Arm64));
        assert!(!runs(dir.path(), Arch::Armhf));
    }
}
