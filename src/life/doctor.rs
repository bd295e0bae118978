//! What this host can and cannot do for guests, found by asking the kernel. Nothing is changed.

use std::path::{Path, PathBuf};

mod ranges;
mod sysctls;

use nix::sys::statfs::{FsType, statfs};
use serde::Serialize;

use crate::guest::Arch;
use crate::storage::bounds::{self, Keeper};
use crate::storage::{Layout, disk_image, emulator};
use crate::sys::probe;

/// One thing that guests need or profit from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What it costs that it is not there, and what can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For how many guests it is enough, where it is a number that guests share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guests: Option<u64>,
    /// The line of `sysctl.d(5)` that makes it enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctl: Option<String>,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Ok,
    /// It is not, and some guests cannot be had.
    Limited,
    /// It is not, and no guest can be had.
    Missing,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            hint: None,
            guests: None,
            sysctl: None,
        }
    }

    fn lacks(name: &'static str, state: State, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            hint: Some(hint.into()),
            guests: None,
            sysctl: None,
        }
    }
}

/// Looks at everything. `layout` is the state directory, `guests` how many it is to be enough for.
pub fn examine(layout: &Layout, guests: u64) -> Vec<Finding> {
    let root = layout.root();
    let mounts = read("/proc/self/mountinfo");
    let mut findings = vec![kernel(&kernel_release()), privilege(&read("/proc/self/status"))];
    findings.push(namespaces());
    findings.extend(cgroups(&mounts));
    findings.push(bpf());
    findings.push(bpf_filesystem());
    findings.push(landlock(crate::sys::landlock::abi().ok()));
    findings.push(filesystem(root));
    findings.push(overlay(&read("/proc/filesystems")));
    findings.push(disk_limits(layout));
    findings.push(ipv6());
    findings.push(tool(
        "busybox",
        "busybox",
        "images of `busybox` cannot be built; install busybox-static",
    ));
    findings.push(tool(
        "mmdebstrap",
        "mmdebstrap",
        "images of suites, such as `debian:bookworm`, cannot be built; install mmdebstrap",
    ));
    findings.push(architectures(&emulator::foreign()));
    findings.extend(ranges::examine(layout));
    findings.extend(sysctls::examine(guests, |path| {
        std::fs::read_to_string(path).ok()
    }));
    findings
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn kernel_release() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 1) {
        Finding::ok("kernel", release)
    } else {
        Finding::lacks(
            "kernel",
            State::Missing,
            release,
            "Linux 6.1 is the oldest that hostel works on",
        )
    }
}

/// The capabilities that hostel works with: number and name.
const NEEDED: [(u32, &str); 10] = [
    (0, "chown"),
    (1, "dac_override"),
    (5, "kill"),
    (6, "setgid"),
    (7, "setuid"),
    (8, "setpcap"),
    (12, "net_admin"),
    (18, "sys_chroot"),
    (19, "sys_ptrace"),
    (21, "sys_admin"),
];

const SYS_RESOURCE: u32 = 24;

fn privilege(status: &str) -> Finding {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = |number: u32| mask & (1 << number) == 0;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(number, _)| lacks(*number))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let found = format!("without {}", missing.join(", "));
        return Finding::lacks("privilege", State::Missing, found, "run it as root");
    }
    if lacks(SYS_RESOURCE) {
        return Finding::lacks(
            "privilege",
            State::Limited,
            "root without sys_resource",
            "hard resource limits cannot be raised above hostel's own",
        );
    }
    Finding::ok("privilege", "root")
}

fn namespaces() -> Finding {
    let kinds = ["user", "pid", "mnt", "ipc", "uts", "cgroup", "net"];
    let missing: Vec<&str> = kinds
        .into_iter()
        .filter(|kind| !Path::new("/proc/self/ns").join(kind).exists())
        .collect();
    let is_off = read("/proc/sys/user/max_user_namespaces").trim() == "0";
    if !missing.is_empty() {
        let found = format!("no {}", missing.join(", "));
        let hint = "the kernel is built without these namespaces";
        return Finding::lacks("namespaces", State::Missing, found, hint);
    }
    if is_off {
        return Finding::lacks(
            "namespaces",
            State::Missing,
            "user namespaces are switched off",
            "set `sysctl user.max_user_namespaces` above 0",
        );
    }
    Finding::ok("namespaces", kinds.join(", "))
}

/// A cgroup hierarchy that is mounted.
struct Hierarchy {
    at: PathBuf,
    is_v2: bool,
    controllers: Vec<String>,
}

fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let parse = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let at = PathBuf::from(head.split(' ').nth(4)?);
        let mut tail = tail.split(' ');
        let is_v2 = match tail.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let controllers = if is_v2 {
            let text = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        } else {
            tail.nth(1)?.split(',').map(str::to_owned).collect()
        };
        Some(Hierarchy {
            at,
            is_v2,
            controllers,
        })
    };
    mounts.lines().filter_map(parse).collect()
}

fn cgroups(mounts: &str) -> Vec<Finding> {
    let all = hierarchies(mounts);
    let Some(unified) = all.iter().find(|hierarchy| hierarchy.is_v2) else {
        return vec![Finding::lacks(
            "cgroups",
            State::Missing,
            "no cgroup2 is mounted",
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        )];
    };
    let layout = if all.len() == 1 { "unified" } else { "hybrid" };
    let mut findings = vec![Finding::ok(
        "cgroups",
        format!("{layout}, cgroup2 on {}", unified.at.display()),
    )];
    for (name, v1, limits) in [
        ("memory", "memory", "memory and swap"),
        ("cpu", "cpu", "cpus and cpu_weight"),
        ("cpuset", "cpuset", "cpuset"),
        ("pids", "pids", "pids"),
        ("io", "blkio", "io and io_weight"),
    ] {
        let has = |hierarchy: &&Hierarchy| {
            let wanted = if hierarchy.is_v2 { name } else { v1 };
            hierarchy.controllers.iter().any(|have| have == wanted)
        };
        findings.push(match all.iter().find(has) {
            Some(found) => {
                let version = if found.is_v2 { "v2" } else { "v1" };
                Finding::ok(controller(name), format!("{version}, {}", found.at.display()))
            }
            None => Finding::lacks(
                controller(name),
                State::Limited,
                "no such controller",
                format!("guests cannot have the limits {limits}"),
            ),
        });
    }
    findings
}

fn controller(name: &str) -> &'static str {
    match name {
        "memory" => "cgroup memory",
        "cpu" => "cgroup cpu",
        "cpuset" => "cgroup cpuset",
        "pids" => "cgroup pids",
        _ => "cgroup io",
    }
}

fn bpf() -> Finding {
    match probe::bpf_map() {
        Ok(()) => Finding::ok("bpf", "maps can be made"),
        Err(errno) => Finding::lacks(
            "bpf",
            State::Limited,
            format!("{errno:?} ({})", errno.desc().to_lowercase()),
            "guests with `net.mode = \"bind\"` cannot start; run it as root, on a kernel with CONFIG_CGROUP_BPF",
        ),
    }
}

fn bpf_filesystem() -> Finding {
    /// `BPF_FS_MAGIC` of `linux/magic.h`.
    const BPF_FS: FsType = FsType(0xcafe_4a11);
    let is_there = statfs("/sys/fs/bpf").is_ok_and(|stat| stat.filesystem_type() == BPF_FS);
    let found = if is_there {
        "/sys/fs/bpf"
    } else {
        "hostel mounts its own"
    };
    Finding::ok("bpf file system", found)
}

fn landlock(abi: Option<u32>) -> Finding {
    let hint = "with `net.mode = \"bind\"` the abstract unix sockets of the host can be reached: \
                such a guest needs `shared_abstract_sockets = true`, or Linux 6.12";
    match abi {
        Some(abi) if abi >= 6 => Finding::ok("landlock", format!("ABI {abi}")),
        Some(abi) => Finding::lacks("landlock", State::Limited, format!("ABI {abi}"), hint),
        None => Finding::lacks("landlock", State::Limited, "none", hint),
    }
}

/// File systems whose mounts can be idmapped in Linux 6.1, and their magic numbers (`linux/magic.h`).
const IDMAPPED: [(i64, &str); 7] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0xe0f5_e1e2, "erofs"),
    (0x4d44, "vfat"),
    (0x7371_7368, "squashfs"),
];

/// `TMPFS_MAGIC`; tmpfs mounts can be idmapped since Linux 6.3.
const TMPFS: i64 = 0x0102_1994;

fn filesystem(root: &Path) -> Finding {
    // Before the first guest the state directory is not there: what it will be made on counts.
    let stat = root.ancestors().find_map(|at| statfs(at).ok());
    let magic = stat.map_or(0, |stat| stat.filesystem_type().0);
    let at = root.display();
    if let Some((_, name)) = IDMAPPED.iter().find(|(known, _)| *known == magic) {
        return Finding::ok(
            "state directory",
            format!("{at} on {name}, which can be idmapped"),
        );
    }
    if magic == TMPFS {
        return Finding::ok("state directory", format!("{at} on tmpfs, gone after a reboot"));
    }
    Finding::lacks(
        "state directory",
        State::Limited,
        format!("{at} on a file system of type {magic:#x}"),
        "its mounts may not be idmapped; keep HOSTEL_ROOT on ext4, xfs or btrfs",
    )
}

fn overlay(filesystems: &str) -> Finding {
    if filesystems
        .lines()
        .any(|line| line.split_whitespace().last() == Some("overlay"))
    {
        return Finding::ok("overlay", "known to the kernel");
    }
    Finding::lacks(
        "overlay",
        State::Limited,
        "not known to the kernel",
        "guests cannot share an image's files; `modprobe overlay` may help",
    )
}

/// What keeps `limits.disk`, in the state directory or what it will be made on.
fn disk_limits(layout: &Layout) -> Finding {
    let name = "disk limits";
    let kept = bounds::check(layout);
    let image = disk_image::check();
    match (kept, image) {
        (Ok(keeper), Ok(())) => Finding::ok(name, format!("by {}, and by image", by(keeper))),
        (Ok(keeper), Err(_)) => Finding::ok(name, format!("by {}", by(keeper))),
        (Err(err), Ok(())) => Finding::ok(name, format!("by image alone: {err}")),
        (Err(err), Err(image)) => Finding::lacks(
            name,
            State::Limited,
            format!("none: {err}; {image}"),
            image.hint().unwrap_or("`limits.disk` is refused").to_owned(),
        ),
    }
}

fn by(keeper: Keeper) -> &'static str {
    match keeper {
        Keeper::Project => "project quota",
        Keeper::Subvolume => "quota of subvolumes",
        Keeper::Image => "image",
    }
}

fn ipv6() -> Finding {
    if Path::new("/proc/net/if_inet6").exists() {
        return Finding::ok("ipv6", "on");
    }
    Finding::lacks("ipv6", State::Limited, "off", "guests cannot have IPv6 addresses")
}

fn architectures(foreign: &[Arch]) -> Finding {
    let own = Arch::native().map_or(std::env::consts::ARCH, Arch::name);
    if foreign.is_empty() {
        return Finding::lacks(
            "arch",
            State::Limited,
            format!("{own} alone"),
            "guests for other processors cannot be had; apt install qemu-user-static",
        );
    }
    let names: Vec<&str> = foreign.iter().map(|arch| arch.name()).collect();
    Finding::ok("arch", format!("{own}; emulated: {}", names.join(", ")))
}

fn tool(name: &'static str, program: &str, hint: &str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file());
    match found {
        Some(file) => Finding::ok(name, file.display().to_string()),
        None => Finding::lacks(name, State::Limited, "not installed", hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        assert_eq!(kernel("6.1.0-28-amd64").state, State::Ok);
        assert_eq!(kernel("6.18.5").state, State::Ok);
        assert_eq!(kernel("5.15.0").state, State::Missing);
        assert_eq!(kernel("").state, State::Missing);
    }

    #[test]
    fn a_missing_capability_is_named() {
        assert_eq!(privilege("CapEff:\t000001ffffffffff\n").state, State::Ok);
        let limited = privilege("CapEff:\t000001fffeffffff\n");
        assert_eq!(
            (limited.state, limited.found.as_str()),
            (State::Limited, "root without sys_resource")
        );
        let missing = privilege("CapEff:\t000001ffffdfffff\n");
        assert_eq!(
            (missing.state, missing.found.as_str()),
            (State::Missing, "without sys_admin")
        );
        assert_eq!(privilege("").state, State::Missing);
    }

    #[test]
    fn both_cgroup_layouts_are_told_apart() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /x/memory rw,relatime - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /x/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n";
        let found = cgroups(hybrid);
        assert_eq!(found[0].found, "hybrid, cgroup2 on /x/unified");
        assert_eq!(found[1].found, "v1, /x/memory");
        assert_eq!(found[2].state, State::Limited);
        let unified = cgroups("41 31 0:38 / /x/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(unified[0].found, "unified, cgroup2 on /x/unified");
        assert_eq!(cgroups("")[0].state, State::Missing);
    }

    #[test]
    fn landlock_scoping_needs_abi_6() {
        assert_eq!(landlock(Some(6)).state, State::Ok);
        assert_eq!(landlock(Some(5)).state, State::Limited);
        assert_eq!(landlock(None).state, State::Limited);
    }
}
