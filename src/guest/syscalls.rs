//! The system calls that a guest may make: an allow list, held as data.
//!
//! Every call that Linux has on `x86_64` and `aarch64` stands in exactly one [`Group`], with the reason why it is
//! allowed, refused, or left to a capability or a word of `allow`. A call that came later than this table is not
//! there (`ENOSYS`), so that programs fall back on what they did before; one that is refused is not permitted
//! (`EPERM`). Nothing here touches the kernel: `sys::seccomp` makes the filter.

mod groups;
mod numbers;

pub use groups::GROUPS;
pub use numbers::{Architecture, LAST};

use super::{Allow, Cap, CapSet};

/// The version of the list: it grows with every change of what a guest may call by default.
pub const VERSION: u32 = 3;

/// Calls that are allowed or refused for one reason.
#[derive(Debug)]
pub struct Group {
    /// A name for `hostel audit` and the documentation.
    pub name: &'static str,
    /// Why they are allowed, or refused.
    pub reason: &'static str,
    /// To whom.
    pub access: Access,
    /// The calls, by the names of `syscalls(2)`. Not every architecture has each.
    pub calls: &'static [&'static str],
}

/// Who may make the calls of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every guest.
    Always,
    /// Guests whose root keeps one of these capabilities, or whose recipe allows one of these words.
    With(&'static [&'static str], &'static [Allow]),
    /// No guest.
    Never,
}

/// What is answered to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is carried out.
    Allow,
    /// It fails: the errno.
    Refuse(i32),
    /// It is carried out when one alternative of one of the lists holds, and fails with the errno otherwise.
    When([Alternatives; 5], i32),
}

/// A test of the lower 32 bits of one argument: `argument & mask == value`. The kernel ignores the upper half of
/// the arguments that are tested here, so a filter must too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Which argument, from 0.
    pub argument: u8,
    /// The bits that count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
    /// Whether they must be anything else instead.
    pub not: bool,
}

const fn is(argument: u8, value: u32) -> Test {
    Test {
        argument,
        mask: u32::MAX,
        value,
        not: false,
    }
}

const fn is_not(argument: u8, value: u32) -> Test {
    Test {
        not: true,
        ..is(argument, value)
    }
}

const fn without(argument: u8, mask: u32) -> Test {
    Test {
        argument,
        mask,
        value: 0,
        not: false,
    }
}

/// Carried out under these alternatives alone.
const fn only(alternatives: Alternatives) -> Answer {
    Answer::When([alternatives, NONE, NONE, NONE, NONE], libc::EPERM)
}

/// The same for requests of `ioctl(2)`: programs know what to do where a descriptor has no such request.
const fn requests(alternatives: Alternatives) -> Answer {
    Answer::When([alternatives, NONE, NONE, NONE, NONE], libc::ENOTTY)
}

/// What a filter is made for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The capabilities that the guest's root keeps.
    pub caps: CapSet,
    /// What the recipe loosens.
    pub allow: Vec<Allow>,
    /// Whether its ids are the host's. Then no limit of its own user namespace keeps it from making another, and its
    /// root owns what the host's root owns.
    pub shares_ids: bool,
}

/// The namespaces of `clone(2)` and `unshare(2)`; `CLONE_NEWTIME` is one of `unshare` alone, where the signal of
/// `clone` lies.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const NEW_TIME: u32 = 0x80;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;

/// Alternatives: a call is carried out when all tests of one of them hold.
pub type Alternatives = &'static [&'static [Test]];

const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
/// The old way to say `AF_PACKET`.
const SOCK_PACKET: u32 = 10;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_ICMPV6: u32 = 58;

/// A test of the type of a socket, without its flags (`SOCK_TYPE_MASK` of `linux/net.h`).
const fn kind(value: u32) -> Test {
    Test {
        argument: 1,
        mask: 0xf,
        value,
        not: false,
    }
}

const fn kind_not(value: u32) -> Test {
    Test {
        not: true,
        ..kind(value)
    }
}

/// Sockets that every guest has: all of these families but raw ones, packet ones and those of echoes.
static INET: Alternatives = &[
    &[is(0, AF_UNIX)],
    &[
        is(0, AF_INET),
        kind_not(SOCK_DGRAM),
        kind_not(SOCK_RAW),
        kind_not(SOCK_PACKET),
    ],
    &[is(0, AF_INET), kind(SOCK_DGRAM), is_not(2, IPPROTO_ICMP)],
    &[is(0, AF_INET6), kind_not(SOCK_DGRAM), kind_not(SOCK_RAW)],
    &[is(0, AF_INET6), kind(SOCK_DGRAM), is_not(2, IPPROTO_ICMPV6)],
];
/// Sockets of echoes (`icmp(7)`): the kernel lets them send nothing else.
static ECHO: Alternatives = &[
    &[is(0, AF_INET), kind(SOCK_DGRAM), is(2, IPPROTO_ICMP)],
    &[is(0, AF_INET6), kind(SOCK_DGRAM), is(2, IPPROTO_ICMPV6)],
];
/// Raw sockets (`raw(7)`).
static RAW: Alternatives = &[
    &[is(0, AF_INET), kind(SOCK_RAW)],
    &[is(0, AF_INET6), kind(SOCK_RAW)],
];
/// Of netlink: routes (read by every resolver), audit (asked by PAM, which takes a refusal for a broken system) and
/// events of devices (listened to by systemd). Not `SOCK_DIAG`, which lists the sockets of all guests on a shared stack.
static NETLINK: Alternatives = &[
    &[is(0, AF_NETLINK), is(2, 0)],
    &[is(0, AF_NETLINK), is(2, 9)],
    &[is(0, AF_NETLINK), is(2, 15)],
];
/// With `CAP_NET_ADMIN`: netfilter, traffic control, generic netlink.
static NETLINK_ALL: Alternatives = &[&[is(0, AF_NETLINK)]];
/// Packet sockets (`packet(7)`).
static PACKET: Alternatives = &[&[is(0, AF_PACKET)], &[is(0, AF_INET), kind(SOCK_PACKET)]];
static NONE: Alternatives = &[];
static SOCKET_PAIRS: Alternatives = &[&[is(0, AF_UNIX)]];

/// Every request of `ioctl(2)` but some. `TIOCSTI` types into a terminal; `TIOCLINUX` and `TIOCSETD` reach the console's paste
/// buffer and line disciplines (each a source of kernel bugs). The last four make subvolumes and snapshots of btrfs, which
/// everybody may: each has a quota of its own, so that a guest would leave its own, and no snapshot of the guest would have
/// what is in it.
macro_rules! requests_but {
    ($($request:expr),*) => {
        &[&[
            is_not(1, 0x5412),
            is_not(1, 0x541c),
            is_not(1, 0x5423),
            is_not(1, 0x5000_9401),
            is_not(1, 0x5000_940e),
            is_not(1, 0x5000_9417),
            is_not(1, 0x5000_9418),
            $(is_not(1, $request)),*
        ]]
    };
}

/// `FS_IOC_SET_ENCRYPTION_POLICY` and `FS_IOC_ADD_ENCRYPTION_KEY` (`linux/fscrypt.h`): a key that a file system is given is one of
/// the kernel's, as those of `add_key(2)`.
const SET_POLICY: u32 = 0x800c_6613;
const ADD_KEY: u32 = 0xc050_6617;
/// What `file_setattr(2)` does too.
const FSSETXATTR: u32 = 0x401c_5820;

static IOCTLS: Alternatives = requests_but!(SET_POLICY, ADD_KEY);
static IOCTLS_KEYRING: Alternatives = requests_but!();
static IOCTLS_SHARED: Alternatives = requests_but!(SET_POLICY, ADD_KEY, FSSETXATTR);

/// `PER_LINUX`, `PER_LINUX32`, either with `UNAME26`, and the question for the present one. Not `READ_IMPLIES_EXEC` and the like,
/// which undo protections of memory.
static PERSONALITIES: Alternatives = &[
    &[is(0, 0)],
    &[is(0, 8)],
    &[is(0, 0x2_0000)],
    &[is(0, 0x2_0008)],
    &[is(0, u32::MAX)],
];
/// Debuggers also take the randomisation of addresses from what they start.
static PERSONALITY_DEBUG: Alternatives = &[&[is(0, 0x4_0000)]];
/// Not `F_SETLEASE` and `F_SETDELEG` of `fcntl(2)`: whoever opens a file that a process has a lease on waits for that process, for
/// `fs.lease-break-time` (45 s); and hostel opens a guest's files. `EINVAL` is what file systems say that have none.
static NO_LEASES: Alternatives = &[&[is_not(1, 1024), is_not(1, 1040)]];
static NO_CLONE_NAMESPACES: Alternatives = &[&[without(0, NEW_NAMESPACES)]];
/// `mount(2)` of a new file system, whichever: none that is there is shown elsewhere (`MS_BIND`), changed (`MS_REMOUNT`), moved
/// (`MS_MOVE`), or spread (`MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`).
static NEW_MOUNTS: Alternatives = &[&[without(3, 0x20 | 0x1000 | 0x2000 | 0x1e_0000)]];
static NO_UNSHARE_NAMESPACES: Alternatives = &[&[without(0, NEW_NAMESPACES | NEW_TIME)]];

impl Profile {
    /// What is answered to the call of that name; `None` when the table does not know it.
    pub fn answer(&self, call: &str) -> Option<Answer> {
        let group = GROUPS.iter().find(|group| group.calls.contains(&call))?;
        Some(self.answer_in(group, call))
    }

    /// The same where the group is known.
    pub fn answer_in(&self, group: &Group, call: &str) -> Answer {
        self.answer_where(self.has(group.access), call)
    }

    /// The same where it is known whether its group is open.
    fn answer_where(&self, is_open: bool, call: &str) -> Answer {
        if !is_open {
            // Without namespaces, unshare(2) still divides what threads share.
            return match call {
                "unshare" => only(NO_UNSHARE_NAMESPACES),
                _ => Answer::Refuse(libc::EPERM),
            };
        }
        match call {
            // Its flags lie behind a pointer, where no filter sees them; programs go on with `clone`.
            "clone3" if self.shares_ids => Answer::Refuse(libc::ENOSYS),
            // With the capability that mounting takes, and no filter of what a pointer leads to, it would make them all.
            "clone3" if self.keeps("sys_admin") && !self.has(NAMESPACES) => Answer::Refuse(libc::ENOSYS),
            // The number of the project that a file's blocks count for, which only the host's ids can change: with it
            // a guest would leave its disk quota.
            "file_setattr" if self.shares_ids => Answer::Refuse(libc::EPERM),
            "ioctl" if self.shares_ids => requests(IOCTLS_SHARED),
            "socket" => self.sockets(),
            "socketpair" => only(SOCKET_PAIRS),
            "fcntl" => Answer::When([NO_LEASES, NONE, NONE, NONE, NONE], libc::EINVAL),
            "ioctl" if self.allow.contains(&Allow::Keyring) => requests(IOCTLS_KEYRING),
            "ioctl" => requests(IOCTLS),
            "personality" if self.allow.contains(&Allow::Ptrace) => {
                Answer::When([PERSONALITIES, PERSONALITY_DEBUG, NONE, NONE, NONE], libc::EPERM)
            }
            "personality" => only(PERSONALITIES),
            "clone" if !self.has(NAMESPACES) => only(NO_CLONE_NAMESPACES),
            "mount" if !self.has(NAMESPACES) => only(NEW_MOUNTS),
            _ => Answer::Allow,
        }
    }

    fn has(&self, access: Access) -> bool {
        match access {
            Access::Always => true,
            Access::Never => false,
            Access::With(caps, words) => {
                words.iter().any(|word| self.allow.contains(word))
                    || caps.iter().any(|cap| self.has_whole(cap))
            }
        }
    }

    /// Whether a capability opens all that it is for. A word opens its own part of that, though it brings the same
    /// capability.
    fn has_whole(&self, cap: &str) -> bool {
        self.keeps(cap) && !(cap == "sys_admin" && self.allow.contains(&Allow::Fuse))
    }

    fn keeps(&self, cap: &str) -> bool {
        cap.parse::<Cap>().is_ok_and(|cap| self.caps.contains(cap))
    }

    fn sockets(&self) -> Answer {
        let netlink = if self.keeps("net_admin") {
            NETLINK_ALL
        } else {
            NETLINK
        };
        let has = |word| self.allow.contains(&word);
        let is_named = has(Allow::Ping) || has(Allow::Traceroute) || has(Allow::Tcpdump);
        // The capability alone opens what it is for; a word opens its own part of that, though it brings the same
        // capability, without which a packaged `ping` cannot even be executed.
        let is_whole = self.keeps("net_raw") && !is_named;
        let open = |is_open: bool, sockets| if is_open { sockets } else { NONE };
        Answer::When(
            [
                INET,
                netlink,
                open(is_whole || has(Allow::Ping) || has(Allow::Traceroute), ECHO),
                open(is_whole || has(Allow::Traceroute), RAW),
                open(is_whole || has(Allow::Tcpdump), PACKET),
            ],
            libc::EPERM,
        )
    }
}

/// Who may make namespaces.
pub const NAMESPACES: Access = Access::With(&["sys_admin"], &[Allow::Nested]);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn default() -> Profile {
        Profile {
            caps: CapSet::guest_default(),
            allow: Vec::new(),
            shares_ids: false,
        }
    }

    fn known() -> [(Architecture, Vec<&'static str>); 2] {
        [Architecture::X86_64, Architecture::Aarch64]
            .map(|arch| (arch, (0..1000).filter_map(|number| arch.name(number)).collect()))
    }

    #[test]
    fn every_call_of_every_architecture_is_in_one_group() {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for group in GROUPS {
            assert!(!group.reason.is_empty(), "{}", group.name);
            for call in group.calls {
                groups.entry(call).or_default().push(group.name);
            }
        }
        let twice: Vec<_> = groups
            .iter()
            .filter(|(_, in_groups)| in_groups.len() > 1)
            .collect();
        assert!(twice.is_empty(), "in more than one group: {twice:?}");
        for (arch, calls) in known() {
            let missing: Vec<_> = calls.iter().filter(|call| !groups.contains_key(**call)).collect();
            assert!(missing.is_empty(), "in no group on {arch:?}: {missing:?}");
        }
        let all: Vec<&str> = known().into_iter().flat_map(|(_, calls)| calls).collect();
        let invented: Vec<_> = groups.keys().filter(|call| !all.contains(call)).collect();
        assert!(invented.is_empty(), "not a system call: {invented:?}");
    }

    #[test]
    fn the_default_is_without_what_row_22_names() {
        for call in [
            "bpf",
            "keyctl",
            "add_key",
            "request_key",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "kexec_load",
            "kexec_file_load",
            "init_module",
            "finit_module",
            "delete_module",
            "open_by_handle_at",
            "ptrace",
            "mount",
            "setns",
            "pivot_root",
            "syslog",
            "swapon",
            "iopl",
        ] {
            assert_eq!(
                default().answer(call),
                Some(Answer::Refuse(libc::EPERM)),
                "{call}"
            );
        }
        assert!(matches!(default().answer("unshare"), Some(Answer::When(..))));
        assert!(matches!(default().answer("clone"), Some(Answer::When(..))));
        assert_eq!(default().answer("read"), Some(Answer::Allow));
    }

    #[test]
    fn with_the_hosts_ids_what_a_user_namespace_would_hold_is_refused() {
        let shared = Profile {
            shares_ids: true,
            ..default()
        };
        let closed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|g| g.calls.iter().map(move |call| (g, *call)))
            .filter(|(g, call)| shared.answer_in(g, call) != default().answer_in(g, call))
            .map(|(_, call)| call)
            .collect();
        assert_eq!(closed, ["file_setattr", "ioctl", "clone3"]);
        assert_eq!(shared.answer("clone3"), Some(Answer::Refuse(libc::ENOSYS)));
    }

    #[test]
    fn a_word_opens_its_calls_and_no_others() {
        let with = |word| Profile {
            allow: vec![word],
            ..default()
        };
        let opened = |profile: &Profile| -> Vec<&str> {
            GROUPS
                .iter()
                .flat_map(|g| g.calls.iter().map(move |call| (g, *call)))
                .filter(|(g, call)| profile.answer_in(g, call) != default().answer_in(g, call))
                .map(|(_, call)| call)
                .collect()
        };
        assert_eq!(
            opened(&with(Allow::Keyring)),
            ["ioctl", "add_key", "keyctl", "request_key"]
        );
        assert_eq!(
            opened(&with(Allow::IoUring)),
            ["io_uring_enter", "io_uring_register", "io_uring_setup"]
        );
        assert_eq!(opened(&with(Allow::Userfaultfd)), ["userfaultfd"]);
        assert_eq!(opened(&with(Allow::Perf)), ["perf_event_open"]);
        // These open sockets, which is a matter of arguments.
        for word in [Allow::Ping, Allow::Traceroute, Allow::Tcpdump] {
            assert_eq!(opened(&with(word)), ["socket"]);
        }
        // With the capability that it brings, which by itself opens namespaces, quotas and more.
        let fuse = Profile {
            caps: CapSet::guest_default().with("sys_admin".parse().unwrap()),
            ..with(Allow::Fuse)
        };
        assert_eq!(opened(&fuse), ["clone3", "mount", "umount2"]);
        assert_eq!(fuse.answer("clone3"), Some(Answer::Refuse(libc::ENOSYS)));
        assert!(matches!(fuse.answer("mount"), Some(Answer::When(..))));
        let both = Profile {
            allow: vec![Allow::Fuse, Allow::Nested],
            ..fuse
        };
        assert_eq!(both.answer("clone3"), Some(Answer::Allow));
        assert_eq!(both.answer("mount"), Some(Answer::Allow));
        assert_eq!(
            opened(&with(Allow::Ptrace)),
            [
                "personality",
                "kcmp",
                "pidfd_getfd",
                "process_vm_readv",
                "process_vm_writev",
                "ptrace"
            ]
        );
        assert!(opened(&with(Allow::Nested)).contains(&"mount"));
        assert!(!opened(&with(Allow::Nested)).contains(&"bpf"));
    }
}
