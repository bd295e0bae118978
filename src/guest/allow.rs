//! What a recipe may loosen of a guest's confinement, each by one word, with what it opens and what it risks.

use std::fmt;
use std::str::FromStr;

use super::caps::nearest;
use super::{Cap, CapSet, Invalid, serde_as_text};

/// One word of `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allow {
    /// Echo sockets of ICMP, for `ping`.
    Ping,
    /// Raw sockets, for `traceroute -I` and the like.
    Traceroute,
    /// Packet sockets.
    Tcpdump,
    /// Debuggers and `strace`.
    Ptrace,
    /// User namespaces in the guest, and all that can be made in them.
    Nested,
    /// Kernel keyrings.
    Keyring,
    /// `io_uring(7)`.
    IoUring,
    /// `userfaultfd(2)`.
    Userfaultfd,
    /// `perf_event_open(2)`.
    Perf,
    /// File systems in user space (`fuse(4)`).
    Fuse,
}

/// What is known of one word.
#[derive(Debug)]
pub struct Loosening {
    /// The word.
    pub word: Allow,
    /// As it is written.
    pub name: &'static str,
    /// What works with it.
    pub opens: &'static str,
    /// What an attacker in the guest gains by it.
    pub risk: &'static str,
    /// Capabilities that it adds, which count in the guest's own user namespace only.
    pub caps: &'static [&'static str],
    /// Whether it needs a network stack of the guest's own.
    pub needs_own_network: bool,
}

/// All of them; `hostel doc allow` and docs/howto/capabilities.md are made from it.
pub static LOOSENINGS: &[Loosening] = &[
    Loosening {
        word: Allow::Ping,
        name: "ping",
        opens: "echo sockets of ICMP: ping; with a network stack of the host's, from the guest's own addresses alone (`ping -I ADDRESS`)",
        risk: "an echo carries data past a firewall that looks at TCP and UDP; no packet but echoes, no other source, nothing of others is seen",
        caps: &["net_raw"],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Traceroute,
        name: "traceroute",
        opens: "raw sockets on a network stack of the guest's own: ping, traceroute -I, mtr",
        risk: "packets of any protocol, and forged source addresses on its own veth pair",
        caps: &["net_raw"],
        needs_own_network: true,
    },
    Loosening {
        word: Allow::Tcpdump,
        name: "tcpdump",
        opens: "packet sockets on a network stack of the guest's own: tcpdump, arping, dhclient",
        risk: "every packet of the guest's network is read and written whole; packet sockets have had many kernel bugs",
        caps: &["net_raw"],
        needs_own_network: true,
    },
    Loosening {
        word: Allow::Ptrace,
        name: "ptrace",
        opens: "strace, gdb and process_vm_readv(2) on the guest's own processes",
        risk: "one user's process can be read and driven by another of the same user; a large kernel interface",
        caps: &["sys_ptrace"],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Nested,
        name: "nested",
        opens: "user namespaces in the guest: bubblewrap, rootless podman, browsers' sandboxes, unshare",
        risk: "root of a nested namespace reaches mounts, netfilter and more of the kernel: where most privilege escalations of recent years began",
        caps: &[],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Keyring,
        name: "keyring",
        opens: "add_key(2), keyctl(2), request_key(2): Kerberos caches and some file system encryption",
        risk: "each of its 65,536 users may hold kernel.keys.maxbytes (20,000) of the kernel's memory, which no limit of the guest counts; request_key has the host run /sbin/request-key",
        caps: &[],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::IoUring,
        name: "io_uring",
        opens: "io_uring(7)",
        risk: "a large kernel interface with many past bugs; its operations pass the system call filter by",
        caps: &[],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Userfaultfd,
        name: "userfaultfd",
        opens: "userfaultfd(2): some garbage collectors and post-copy migration",
        risk: "holds a kernel thread at a chosen moment, which makes races in the kernel easy to win",
        caps: &[],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Perf,
        name: "perf",
        opens: "perf_event_open(2), as far as the host's kernel.perf_event_paranoid lets",
        risk: "counters tell of what else runs on the processor; a large kernel interface",
        caps: &[],
        needs_own_network: false,
    },
    Loosening {
        word: Allow::Fuse,
        name: "fuse",
        opens: "file systems in user space, by /dev/fuse, mount(2) and umount2(2): sshfs, fuse-overlayfs, bindfs, rclone mount",
        risk: "its root mounts whatever a user namespace may mount (tmpfs, overlay, cgroup2 of its own), where the kernel has had bugs, has the host load modules of file systems, and may take the covers of /proc away as far as its ids reach; exec and enter wait for a file system that it has put over /etc and does not answer for",
        caps: &["sys_admin"],
        needs_own_network: false,
    },
];

static NAMES: [&str; LOOSENINGS.len()] = {
    let mut names = [""; LOOSENINGS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = LOOSENINGS[at].name;
        at += 1;
    }
    names
};

impl Allow {
    /// What is known of it.
    pub fn loosening(self) -> &'static Loosening {
        // The table is in the order of the words; a test holds it to that.
        &LOOSENINGS[self as usize]
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Allow> {
        LOOSENINGS.iter().map(|known| known.word)
    }

    /// The words, for a schema.
    pub const NAMES: &'static [&'static str] = &NAMES;

    /// The capabilities that these words add.
    pub fn caps(words: &[Allow]) -> CapSet {
        words
            .iter()
            .flat_map(|word| word.loosening().caps)
            .filter_map(|name| name.parse::<Cap>().ok())
            .collect()
    }
}

impl FromStr for Allow {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        LOOSENINGS
            .iter()
            .find(|known| known.name == text)
            .map(|known| known.word)
            .ok_or_else(|| {
                let hint = nearest(text, Self::NAMES.iter().copied()).map_or_else(
                    || Self::NAMES.join(", "),
                    |near| format!("did you mean `{near}`?"),
                );
                Invalid::new(format!("`{}` is nothing to allow", text.escape_debug()), hint)
            })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.loosening().name)
    }
}

serde_as_text!(Allow);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_words_and_whole() {
        assert_eq!(LOOSENINGS.len(), Allow::NAMES.len());
        for (index, known) in LOOSENINGS.iter().enumerate() {
            assert_eq!(known.word as usize, index, "{}", known.name);
            assert_eq!(Allow::NAMES[index], known.name);
            assert_eq!(known.name.parse::<Allow>().unwrap(), known.word);
            assert_eq!(known.word.to_string(), known.name);
            assert!(
                !known.opens.is_empty() && !known.risk.is_empty(),
                "{}",
                known.name
            );
            for cap in known.caps {
                cap.parse::<Cap>().unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_word_gets_the_nearest() {
        let err = "ptrase".parse::<Allow>().unwrap_err();
        assert_eq!(err.to_string(), "`ptrase` is nothing to allow");
        assert_eq!(err.hint.as_deref(), Some("did you mean `ptrace`?"));
    }
}
