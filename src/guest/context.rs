//! A context: what a process and its descendants are confined to. Both a whole guest and a single
//! `hostel context -- CMD` come down to one.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::syscalls::Profile;
use super::{Allow, CapSet, Caps, Emulator, Hostname, Limits, Mount, NetMode, Spec, Xid};

/// The parts of a process's world that can be its own (`namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "seven independent facts, as the kernel has them"
)]
pub struct Isolate {
    /// Processes: it sees none but its own; its first is process 1.
    pub pid: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Hostname and domain name.
    pub uts: bool,
    /// Mounts.
    pub mount: bool,
    /// User ids: root inside is nobody outside. Needs a context id, which gives the range.
    pub user: bool,
    /// Control groups: its own is the root of what it sees.
    pub cgroup: bool,
    /// Network stack: nothing but a loopback device.
    pub net: bool,
}

impl Isolate {
    /// What a guest has of its own, but for the network.
    pub const GUEST: Isolate = Isolate {
        pid: true,
        ipc: true,
        uts: true,
        mount: true,
        user: true,
        cgroup: true,
        net: false,
    };
    /// Nothing.
    pub const NONE: Isolate = Isolate {
        pid: false,
        ipc: false,
        uts: false,
        mount: false,
        user: false,
        cgroup: false,
        net: false,
    };

    /// The names of those that are its own.
    pub fn words(self) -> Vec<&'static str> {
        let all = [
            (self.pid, "pid"),
            (self.ipc, "ipc"),
            (self.uts, "uts"),
            (self.mount, "mount"),
            (self.user, "user"),
            (self.cgroup, "cgroup"),
            (self.net, "net"),
        ];
        all.into_iter()
            .filter_map(|(is_own, name)| is_own.then_some(name))
            .collect()
    }

    /// Adds one by its name.
    pub fn add(&mut self, name: &str) -> Result<(), super::Invalid> {
        match name {
            "pid" => self.pid = true,
            "ipc" => self.ipc = true,
            "uts" => self.uts = true,
            "mount" => self.mount = true,
            "user" => self.user = true,
            "cgroup" => self.cgroup = true,
            "net" => self.net = true,
            "all" => {
                *self = Self {
                    net: self.net,
                    ..Self::GUEST
                }
            }
            _ => {
                return Err(super::Invalid::new(
                    format!("`{}` is not a namespace", name.escape_debug()),
                    "pid, ipc, uts, mount, user, cgroup, net, or all (all but net)",
                ));
            }
        }
        Ok(())
    }
}

/// Who a context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// A number is taken for the time it runs, from the top of the range downwards.
    #[default]
    Ephemeral,
    /// This number.
    Xid(Xid),
    /// The context that hostel itself runs in already, as the inner of two chained primitives does: what it adds
    /// is added to that one, so that nothing of the outer is lost.
    Here(Xid),
    /// The spectator: sees every process of the host and of every guest, and can touch none. There may be several at
    /// once; each takes a number for the time it runs, as an ephemeral context does.
    Spectator,
}

/// What a process and its descendants are confined to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of another facility of the kernel"
)]
pub struct Context {
    /// Who it is.
    pub identity: Identity,
    /// What it has of its own.
    pub isolate: Isolate,
    /// Its hostname; needs `isolate.uts`.
    pub hostname: Option<Hostname>,
    /// The host's directory that is its root; needs `isolate.mount`.
    pub root: Option<PathBuf>,
    /// The layers that its root is made of, where it is no plain directory; means something only with `root`.
    pub layers: Option<Box<Overlay>>,
    /// The file that holds the file system that is its root, where it is no plain directory; means something only with
    /// `root`.
    pub image: Option<PathBuf>,
    /// What runs its programs, where they are for another processor; needs `isolate.user` and `root`.
    pub emulator: Option<Emulator>,
    /// Its addresses on the host's network stack. Empty: it is not confined to any.
    pub bind: Vec<IpNet>,
    /// The host's device that carries `bind` while it runs.
    pub device: Option<String>,
    /// Host data that it sees; needs `root`.
    pub mounts: Vec<Mount>,
    /// The capabilities that its root keeps; `None` leaves the caller's (all, inside a user namespace).
    pub caps: Option<CapSet>,
    /// What of its confinement is loosened; means something only where it has a user namespace.
    pub allow: Vec<Allow>,
    /// Its ids are the host's, though it is a stranger: a guest without a user namespace.
    pub shares_ids: bool,
    /// No program in it gains a right by being executed.
    pub no_new_privs: bool,
    /// What it may use at most.
    pub limits: Limits,
    /// A veth pair that joins its network namespace to the host's; needs `isolate.net`.
    pub cable: Option<Cable>,
    /// It uses the host's network stack and may use every address of it: what `net = { mode = "host" }` means, and
    /// what a context is that is not given addresses.
    pub open_network: bool,
    /// Cut it off from abstract unix sockets of others (Landlock, Linux 6.12).
    pub scope_abstract_sockets: bool,
}

/// A root that is made of layers (overlayfs).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlay {
    /// What is never written to, the topmost first.
    pub lower: Vec<PathBuf>,
    /// A directory with `root`, which takes what is written, and `work`.
    pub upper: PathBuf,
}

/// A veth pair between a context's network namespace and the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cable {
    /// The context's addresses.
    pub addresses: Vec<IpNet>,
    /// Its default gateways, at most one of a family; the host's end without one.
    pub gateways: Vec<IpAddr>,
    /// The host's bridge that the host's end joins; without one it is routed.
    pub bridge: Option<String>,
}

impl Context {
    /// What `hostel start` confines a guest to.
    pub fn of_guest(spec: &Spec, xid: Xid, root: PathBuf) -> Self {
        let on_host_stack = matches!(spec.net.mode, NetMode::Bind | NetMode::Host);
        Self {
            identity: Identity::Xid(xid),
            isolate: Isolate {
                net: !on_host_stack,
                user: spec.userns,
                ..Isolate::GUEST
            },
            hostname: spec.hostname.clone().or_else(|| hostname_of(spec.name.as_str())),
            root: Some(root),
            layers: None,
            image: None,
            emulator: None,
            bind: if spec.net.mode == NetMode::Bind {
                spec.net.address.clone()
            } else {
                Vec::new()
            },
            device: spec.net.device.clone(),
            cable: (spec.net.mode == NetMode::Private).then(|| Cable {
                addresses: spec.net.address.clone(),
                gateways: spec.net.gateway.clone(),
                bridge: spec.net.bridge.clone(),
            }),
            open_network: spec.net.mode == NetMode::Host,
            mounts: spec.mounts.clone(),
            caps: Some(guest_caps(&spec.caps, &spec.allow, spec.init.is_hostel())),
            allow: spec.allow.clone(),
            shares_ids: !spec.userns,
            no_new_privs: spec.no_new_privs,
            // Of its files, which have their own keeper (`storage::bounds`), not of its processes.
            limits: Limits {
                disk: None,
                inodes: None,
                ..spec.limits.clone()
            },
            scope_abstract_sockets: on_host_stack && !spec.net.shared_abstract_sockets,
        }
    }

    /// The capabilities that a context of its own keeps, `None` for the caller's. `only` is the whole set; `keep` adds
    /// to what a guest has by default; `drop` alone takes from all there are, as Linux-VServer's reducecap did.
    pub fn caps_of(caps: &Caps) -> Option<CapSet> {
        if caps.is_default() {
            return None;
        }
        let start = if caps.keep.is_empty() {
            super::Cap::all().collect()
        } else {
            CapSet::guest_default()
        };
        Some(caps.resolve(start))
    }

    /// The capabilities that it is left with, `None` for the caller's. A spectator looks, which takes none; with them
    /// it could mount in its own mount namespace and reach more of the kernel than a guest.
    pub fn kept_caps(&self) -> Option<CapSet> {
        match self.identity {
            Identity::Spectator => Some(CapSet::EMPTY),
            _ => self.caps,
        }
    }

    /// The system calls that it may make; `None` leaves all that the caller has. Whoever gets ids of its own is a
    /// stranger to the host and is filtered; what stays the caller is confined only to what the caller names.
    pub fn profile(&self) -> Option<Profile> {
        let is_stranger = self.isolate.user || self.shares_ids || self.identity == Identity::Spectator;
        is_stranger.then(|| Profile {
            caps: self.kept_caps().unwrap_or_else(|| super::Cap::all().collect()),
            allow: self.allow.clone(),
            shares_ids: self.shares_ids,
        })
    }

    /// Whether user namespaces can be made in it.
    pub fn is_nested(&self) -> bool {
        self.allow.contains(&Allow::Nested)
    }

    /// Whether it mounts file systems that its own processes serve.
    pub fn may_serve_files(&self) -> bool {
        self.allow.contains(&Allow::Fuse)
    }

    /// Whether it may have echo sockets of ICMP.
    pub fn may_ping(&self) -> bool {
        self.allow
            .iter()
            .any(|word| matches!(word, Allow::Ping | Allow::Traceroute))
    }

    /// The addresses without their prefix lengths.
    pub fn addrs(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.bind.iter().map(IpNet::addr)
    }
}

/// A guest's name as a hostname: `_` becomes `-`, and what a label cannot begin or end with goes.
fn hostname_of(name: &str) -> Option<Hostname> {
    let plain = name.replace('_', "-");
    let labels: Vec<&str> = plain
        .split('.')
        .map(|l| l.trim_matches('-'))
        .filter(|l| !l.is_empty())
        .collect();
    labels.join(".").parse().ok()
}

/// The capabilities of a guest's root. An init of the guest's own also gets those that are powerless outside of
/// its user namespace and without which it cannot end (`reboot(2)`).
fn guest_caps(caps: &Caps, allow: &[Allow], is_hostels_init: bool) -> CapSet {
    let default = Allow::caps(allow)
        .iter()
        .fold(CapSet::guest_default(), CapSet::with);
    let boot = "sys_boot".parse().ok().filter(|_| !is_hostels_init);
    caps.resolve(boot.into_iter().fold(default, CapSet::with))
}
