//! One step of a start: what it does, when, and how it reads.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::guest::syscalls::Profile;
use crate::guest::{Cable, CapSet, Emulator, Isolate, Limits, Mount, Overlay, Rlimit, RlimitKind, Xid};

/// When and where a step is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// By hostel, before the process exists. Undone in reverse order when a later step fails.
    Before,
    /// By hostel, on the new process while it waits.
    Beside,
    /// By hostel, at the same time as the steps inside: the program runs only when these are done too.
    Along,
    /// By the new process itself, before it runs the program.
    Inside,
}

/// What runs in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A command of the caller's.
    Command(Vec<String>),
    /// hostel's own init, which runs the guest's services.
    HostelInit,
    /// hostel's own init as the keeper of the guest's own init.
    Keeper(PathBuf),
}

/// One step of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make its cgroup, with these limits.
    Cgroup(Box<Limits>),
    /// Add limits to the cgroup that hostel itself is in.
    Narrow(Box<Limits>),
    /// Enter its addresses into the BPF map; `None` leaves it unconfined (its network stack is its own).
    Admit(Option<Vec<IpAddr>>),
    /// Put an address on a device of the host.
    Address(IpNet, String),
    /// Put its IPv6 loopback address on the host's loopback device.
    Loopback6(Ipv6Addr),
    /// Take hold of its root file system.
    OpenRoot(PathBuf),
    /// Make its root of layers, their owners mapped where it has ids of its own.
    OpenLayers(Box<Overlay>, bool),
    /// Mount the file system in that file as its root.
    OpenImage(PathBuf),
    /// Take hold of host data.
    OpenMount(Mount),
    /// Show the owner of that mount (by its place among them) as a user of the guest, whose ids begin there.
    MapOwner(usize, Mount, u32),
    /// Make the process in new namespaces.
    Clone(Isolate),
    /// Make a device file for file systems in user space, which is its root's.
    OpenFuse(u32),
    /// Give its user namespace the id range of its context.
    MapIds(Xid),
    /// Map the owners of files on its root and mounts into that range.
    MapOwners,
    /// Join its network namespace to the host's by a veth pair.
    Cable(Box<Cable>),
    /// Set limits of each process.
    Rlimit(RlimitKind, Rlimit),
    /// Set its priority.
    Nice(i8),
    /// Leave the keys of who started it for a session keyring of its own.
    OwnKeyring,
    /// Become root of the user namespace.
    BecomeRoot,
    /// Let nobody in it make a user namespace.
    NoNestedUsers,
    /// Let every group of it open echo sockets of ICMP on its own network stack.
    EchoSockets,
    /// Make its cgroup the root of those that it sees.
    CgroupRoot,
    /// Keep mounts from spreading to and from the host.
    PrivateMounts,
    /// Attach its root.
    AttachRoot,
    /// Mount `/proc` and hide what is the host's.
    Proc,
    /// Tell its user namespace what runs programs for another processor.
    Emulate(Emulator),
    /// Make a minimal `/dev`.
    Dev,
    /// Show the host's `/sys`, read-only, or its own.
    Sys,
    /// Attach host data.
    AttachMount(Mount),
    /// Show the host's processes, read-only (the spectator).
    HostProc,
    /// Make the root its own and take the host's away.
    Pivot,
    /// Set its hostname.
    Hostname(String),
    /// Bring up the loopback device of its network namespace.
    LoopbackUp,
    /// Cut it off from abstract unix sockets of others.
    ScopeAbstractSockets,
    /// Refuse the system calls that it has no use for.
    FilterCalls(Profile),
    /// Let nothing that it executes gain a right.
    NoNewPrivs,
    /// Drop every capability but these, and confirm it.
    Caps(CapSet),
    /// Run the program.
    Exec(Program),
}

impl Step {
    /// When and where it is carried out.
    pub fn phase(&self) -> Phase {
        match self {
            Step::Cgroup(_)
            | Step::Narrow(_)
            | Step::Admit(None)
            | Step::OpenRoot(_)
            | Step::OpenLayers(..)
            | Step::OpenImage(_)
            | Step::OpenMount(_)
            | Step::OpenFuse(_)
            | Step::MapOwner(..)
            | Step::Clone(_) => Phase::Before,
            Step::MapIds(_) | Step::MapOwners | Step::Cable(_) | Step::Rlimit(..) | Step::Nice(_) => {
                Phase::Beside
            }
            Step::Admit(Some(_)) | Step::Address(..) | Step::Loopback6(_) => Phase::Along,
            _ => Phase::Inside,
        }
    }

    /// How it is undone when a later step fails, for those that leave something on the host.
    pub fn undo(&self) -> Option<&'static str> {
        match self {
            Step::Cgroup(_) => Some("kill what is in the cgroup and remove it"),
            Step::Admit(_) => Some("forget the cgroup"),
            Step::Address(..) | Step::Loopback6(_) => Some("remove the address"),
            Step::Clone(_) => Some("kill the process"),
            Step::Cable(_) => Some("remove the veth pair"),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Cgroup(limits) if **limits == Limits::default() => f.write_str("make its cgroup"),
            Step::Cgroup(limits) => write!(f, "make its cgroup with {limits}"),
            Step::Narrow(limits) => write!(f, "limit its own cgroup to {limits}"),
            Step::Admit(None) => f.write_str("let its own network stack pass"),
            Step::Admit(Some(addrs)) => write!(f, "confine its sockets to {}", list(addrs)),
            Step::Address(address, device) => write!(f, "add address {address} to `{device}`"),
            Step::Loopback6(address) => write!(f, "add address {address}/128 to `lo`"),
            Step::OpenRoot(path) => write!(f, "open root `{}`", path.display()),
            Step::OpenLayers(overlay, _) => {
                let lower: Vec<String> = overlay
                    .lower
                    .iter()
                    .map(|p| format!("`{}`", p.display()))
                    .collect();
                write!(
                    f,
                    "make root of `{}` over {}",
                    overlay.upper.display(),
                    lower.join(", ")
                )
            }
            Step::OpenImage(path) => write!(f, "mount root `{}`", path.display()),
            Step::OpenMount(mount) => write!(f, "open `{}`", mount.source),
            Step::OpenFuse(_) => f.write_str("make a device for file systems in user space"),
            Step::MapOwner(_, mount, _) => match &mount.owner {
                Some(owner) => write!(f, "show the owner of `{}` as user {}", mount.source, owner.uid),
                None => write!(f, "show the owner of `{}`", mount.source),
            },
            Step::Clone(isolate) => {
                let words = isolate.words();
                if words.is_empty() {
                    f.write_str("make the process")
                } else {
                    write!(f, "make the process in new namespaces: {}", words.join(", "))
                }
            }
            Step::MapIds(xid) => {
                write!(
                    f,
                    "map ids 0..65535 to {}..{}",
                    xid.id_base(),
                    xid.id_base() + Xid::IDS - 1
                )
            }
            Step::MapOwners => f.write_str("map the owners of its files"),
            Step::Cable(cable) => {
                let by = cable
                    .bridge
                    .as_ref()
                    .map_or_else(|| "routed".to_owned(), |b| format!("on bridge `{b}`"));
                write!(
                    f,
                    "join its network to the host's by a veth pair, {by}, with {}",
                    list(&cable.addresses)
                )
            }
            Step::Rlimit(kind, limit) => write!(f, "set limit {kind} to {limit}"),
            Step::Nice(nice) => write!(f, "set priority to {nice}"),
            Step::OwnKeyring => f.write_str("take a session keyring of its own"),
            Step::BecomeRoot => f.write_str("become root of the user namespace"),
            Step::NoNestedUsers => f.write_str("let nobody in it make a user namespace"),
            Step::EchoSockets => f.write_str("let it open echo sockets"),
            Step::CgroupRoot => f.write_str("make its cgroup the root of those that it sees"),
            Step::PrivateMounts => f.write_str("make mounts private"),
            Step::AttachRoot => f.write_str("attach the root"),
            Step::Proc => f.write_str("mount `/proc`"),
            Step::Emulate(emulator) => write!(
                f,
                "have programs for {} run by `{}`",
                emulator.arch,
                emulator.path.display()
            ),
            Step::Dev => f.write_str("make a minimal `/dev`"),
            Step::Sys => f.write_str("mount `/sys` read-only"),
            Step::AttachMount(mount) => {
                let readonly = if mount.readonly { ", read-only" } else { "" };
                write!(
                    f,
                    "mount `{}` on `{}`{readonly}",
                    mount.source,
                    mount.target.display()
                )
            }
            Step::HostProc => f.write_str("show every process of the host, read-only"),
            Step::Pivot => f.write_str("pivot into the root and detach the old one"),
            Step::Hostname(name) => write!(f, "set hostname `{name}`"),
            Step::LoopbackUp => f.write_str("bring up its loopback device"),
            Step::ScopeAbstractSockets => f.write_str("cut it off from abstract sockets of others"),
            Step::FilterCalls(profile) if profile.allow.is_empty() => {
                f.write_str("refuse the system calls that it has no use for")
            }
            Step::FilterCalls(profile) => write!(
                f,
                "refuse the system calls that it has no use for, but for {}",
                list(&profile.allow)
            ),
            Step::NoNewPrivs => f.write_str("let nothing that it executes gain a right"),
            Step::Caps(caps) if *caps == CapSet::EMPTY => f.write_str("drop every capability"),
            Step::Caps(caps) => {
                let names: Vec<String> = caps.iter().map(|c| c.to_string()).collect();
                write!(f, "drop every capability but {}", names.join(", "))
            }
            Step::Exec(Program::Command(argv)) => write!(f, "run {}", argv.join(" ").escape_debug()),
            Step::Exec(Program::HostelInit) => f.write_str("run hostel's init"),
            Step::Exec(Program::Keeper(path)) => write!(f, "run `{}` under hostel's init", path.display()),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
