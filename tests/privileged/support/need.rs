//! What a test requires of the machine, each with a probe that uses none of the code under test: after the probe
//! has said yes, every failure is a failure.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::hierarchy::hierarchies;

/// A requirement.
#[allow(
    dead_code,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Effective user id 0 with `CAP_SYS_ADMIN`.
    Root,
    /// A cgroup2 mount, with or without controllers.
    Cgroup2,
    /// The controller is usable somewhere, on v2 or v1: `Controller("memory")`.
    Controller(&'static str),
    /// The controller is a v1 hierarchy.
    V1(&'static str),
    /// The controller is on the cgroup2 mount.
    V2(&'static str),
    /// cgroup-BPF: the `bpf` file system and a JIT or interpreter are there on every 6.1 kernel.
    Bpf,
    /// Landlock with scopes for abstract sockets and signals (ABI 6, Linux 6.12).
    LandlockScopes,
    /// The kernel knows this file system, and the `mkfs` of it is installed: `Filesystem("btrfs")`.
    Filesystem(&'static str),
    /// The kernel keeps project quotas on this file system: `ProjectQuota("ext4")`. A kernel that is built without is
    /// another machine.
    ProjectQuota(&'static str),
    /// btrfs has simple quotas (Linux 6.7). An older kernel is another machine.
    SimpleQuota,
    /// The program is in `PATH`.
    Tool(&'static str),
    /// `debian:bookworm` can be had: built before (`HOSTEL_TEST_IMAGES`), or from a mirror.
    Debian,
    /// `mmdebstrap` and a Debian mirror. The virtual machine has no network; there a test is left out.
    Mirror,
    /// The host's static busybox.
    Busybox,
    /// This hostel has the verb at all.
    Verb(&'static str),
    /// The host's network, not one of the test's own. Such a test uses no address but its own in 127.0.0.0/8. What
    /// only has to download takes `world.online` instead.
    HostNetwork,
    /// At least this kernel.
    Kernel(u32, u32),
    /// The virtual machine of `scripts/dev/vm`, where a test may do to the host what it likes. Elsewhere the test
    /// is left out, also under `HOSTEL_MUST_RUN`.
    Vm,
}

impl Need {
    /// `Err` says what is missing.
    pub(crate) fn probe(self) -> Result<(), String> {
        let have = match self {
            Self::Root => status_field("CapEff:").is_some_and(|caps| {
                // Bit 21 is CAP_SYS_ADMIN.
                u64::from_str_radix(&caps, 16).is_ok_and(|caps| caps & 1 << 21 != 0)
            }),
            Self::Cgroup2 => hierarchies().iter().any(|h| h.is_v2),
            Self::Controller(name) => hierarchies().iter().any(|h| h.has(name)),
            Self::V1(name) => hierarchies().iter().any(|h| !h.is_v2 && h.has(name)),
            Self::V2(name) => hierarchies().iter().any(|h| h.is_v2 && h.has(name)),
            Self::Bpf => in_filesystems("bpf"),
            // The kernel has no file that tells the ABI, and the system call is for the code under test.
            Self::LandlockScopes => kernel() >= (6, 12) && lsm_has("landlock"),
            Self::Filesystem(name) => in_filesystems(name) && on_path(&format!("mkfs.{name}")),
            Self::ProjectQuota(name) => has_project_quota(name),
            Self::SimpleQuota => {
                in_filesystems("btrfs") && Path::new("/sys/fs/btrfs/features/simple_quota").exists()
            }
            Self::Tool(name) => on_path(name),
            Self::Debian => super::world::images().is_some() || on_path("mmdebstrap") && mirror_answers(),
            Self::Mirror => !in_vm() && on_path("mmdebstrap") && mirror_answers(),
            Self::Busybox => Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists(),
            Self::Verb(name) => {
                let mut help = Command::new(super::world::binary());
                let help = help
                    .args([name, "--help"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                help.status().is_ok_and(|status| status.success())
            }
            Self::HostNetwork => true,
            Self::Kernel(major, minor) => kernel() >= (major, minor),
            Self::Vm => in_vm(),
        };
        if have {
            Ok(())
        } else {
            Err(format!("needs {}", self.describe()))
        }
    }

    /// Whether it tells machines apart that can never be one: cgroup v1 or v2, the virtual machine (which has no
    /// mirror) or a host. A test
    /// for the other kind is left out and listed; `HOSTEL_MUST_RUN` is about what this machine could have.
    pub(crate) fn is_another_machine(self) -> bool {
        matches!(
            self,
            Self::Vm | Self::V1(_) | Self::V2(_) | Self::ProjectQuota(_) | Self::SimpleQuota
        ) || (self == Self::Mirror && in_vm())
    }

    fn describe(self) -> String {
        match self {
            Self::Root => "root with CAP_SYS_ADMIN".to_owned(),
            Self::Cgroup2 => "a cgroup2 mount".to_owned(),
            Self::Controller(name) => format!("the cgroup controller {name}"),
            Self::V1(name) => format!("the cgroup v1 hierarchy {name}"),
            Self::V2(name) => format!("the cgroup2 controller {name}"),
            Self::Bpf => "bpffs".to_owned(),
            Self::LandlockScopes => "Landlock scopes (Linux 6.12)".to_owned(),
            Self::Filesystem(name) => format!("the file system {name} and mkfs.{name}"),
            Self::ProjectQuota(name) => format!("project quotas on {name}"),
            Self::SimpleQuota => "simple quotas of btrfs (Linux 6.7)".to_owned(),
            Self::Tool(name) => format!("the program {name}"),
            Self::Debian => "a debian image in HOSTEL_TEST_IMAGES, or mmdebstrap and a mirror".to_owned(),
            Self::Mirror => "mmdebstrap and a Debian mirror".to_owned(),
            Self::Busybox => "a static busybox".to_owned(),
            Self::Verb(name) => format!("the verb {name}"),
            Self::HostNetwork => "the host's network".to_owned(),
            Self::Kernel(major, minor) => format!("Linux {major}.{minor}"),
            Self::Vm => "the virtual machine of scripts/dev/vm".to_owned(),
        }
    }
}

/// Whether this is the machine that `scripts/dev/vm` booted.
pub(crate) fn in_vm() -> bool {
    std::env::var_os("HOSTEL_TEST_VM").is_some()
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

fn in_filesystems(name: &str) -> bool {
    let known = || {
        let list = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines()
            .any(|line| line.split_whitespace().last() == Some(name))
    };
    known() || {
        // A distribution's kernel has it as a module, which mount(2) would load.
        let _ = Command::new("modprobe")
            .args(["--quiet", name])
            .stderr(Stdio::null())
            .status();
        known()
    }
}

/// Mounts one with quotas, in a mount namespace that ends with the probe.
fn has_project_quota(name: &str) -> bool {
    static FOUND: std::sync::Mutex<Vec<(String, bool)>> = std::sync::Mutex::new(Vec::new());
    let mut found = FOUND.lock().unwrap();
    if let Some((_, has)) = found.iter().find(|(known, _)| known == name) {
        return *has;
    }
    let features = if name == "ext4" {
        "-O quota,project -E quotatype=prjquota"
    } else {
        ""
    };
    let script = format!(
        "d=$(mktemp -d) && trap 'umount $d; rm -r $d $d.img' EXIT; truncate -s 320M $d.img && \
         mkfs.{name} -q {features} $d.img && mount -o loop,prjquota $d.img $d"
    );
    let mut probe = Command::new("unshare");
    let probe = probe
        .args(["-m", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let has = in_filesystems(name) && probe.status().is_ok_and(|status| status.success());
    found.push((name.to_owned(), has));
    has
}

fn lsm_has(name: &str) -> bool {
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(list) => list.trim().split(',').any(|lsm| lsm == name),
        // securityfs is not mounted everywhere; kallsyms names the system call's function where it is built in.
        Err(_) => fs::read_to_string("/proc/kallsyms")
            .is_ok_and(|all| all.contains(&format!("{name}_restrict_self"))),
    }
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Whether the program is in `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// apt's own view: it knows the host's mirrors and proxies.
fn mirror_answers() -> bool {
    let uris = Command::new("apt-get")
        .args(["--print-uris", "download", "base-files"])
        .output();
    let uris = uris
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    let probe = [
        "-qq",
        "-o",
        "Acquire::Retries=0",
        "-o",
        "Acquire::http::Timeout=10",
        "download",
        "base-files",
    ];
    uris.contains("base-files")
        && tempfile::tempdir().is_ok_and(|dir| {
            let fetched = Command::new("apt-get")
                .args(probe)
                .current_dir(dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            fetched.is_ok_and(|status| status.success())
        })
}
