//! What each thing risks that a recipe can loosen, leave open, or ask for: the one list behind `hostel audit` and
//! `hostel doc`. The words of `allow` have theirs in [`allow`](super::allow).

use super::{Allow, Cap, schema};

/// What something opens, and what an attacker in the guest gains by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Risk {
    /// What it is about: the path of a field (`net.mode`), or of one of its values (`net.mode.host`).
    pub topic: &'static str,
    /// What works with it.
    pub opens: &'static str,
    /// What an attacker in the guest gains by it.
    pub risk: &'static str,
}

const fn risk(topic: &'static str, opens: &'static str, risk: &'static str) -> Risk {
    Risk { topic, opens, risk }
}

/// What a capability means for a guest's root, whose user namespace is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapRisk {
    /// Its name.
    pub name: &'static str,
    /// What works with it.
    pub opens: &'static str,
    /// What an attacker in the guest gains by it.
    pub risk: &'static str,
}

const fn cap(name: &'static str, opens: &'static str, risk: &'static str) -> CapRisk {
    CapRisk { name, opens, risk }
}

/// Of a capability that the kernel asks for in the host's user namespace only.
const NOTHING: &str = "nothing that the kernel grants in a user namespace of the guest's own";
/// What that is in consequence.
const POWERLESS: &str = "none beyond what programs do that take it for more";

/// Every capability, in the order of its number.
pub static CAPS: [CapRisk; 41] = [
    cap(
        "chown",
        "giving files away (chown(2))",
        "none outside of the guest's own files and ids",
    ),
    cap(
        "dac_override",
        "passing the permissions of the guest's files by",
        "root of the guest reads and writes all of its files",
    ),
    cap(
        "dac_read_search",
        "reading the guest's files whatever their permissions",
        "none beyond dac_override: open_by_handle_at(2) is refused to every guest",
    ),
    cap(
        "fowner",
        "acting as the owner of any of the guest's files",
        "none outside of the guest's own files and ids",
    ),
    cap(
        "fsetid",
        "keeping set-user-ID bits on files that are written",
        "none outside of the guest's own files and ids",
    ),
    cap(
        "kill",
        "signals to every process of the guest",
        "none outside: it sees no other process",
    ),
    cap(
        "setgid",
        "becoming any group of the guest",
        "none outside of the guest's own ids",
    ),
    cap(
        "setuid",
        "becoming any user of the guest",
        "none outside of the guest's own ids",
    ),
    cap(
        "setpcap",
        "handing on or giving up what it has",
        "none: nothing is gained that the guest does not have",
    ),
    cap("linux_immutable", NOTHING, POWERLESS),
    cap(
        "net_bind_service",
        "ports below 1024",
        "none: the address is the guest's own",
    ),
    cap("net_broadcast", NOTHING, POWERLESS),
    cap(
        "net_admin",
        "devices, routes, netfilter and traffic control of a network stack of the guest's own",
        "netfilter and traffic control, where most privilege escalations of recent years began; it may give itself other addresses on its veth pair",
    ),
    cap(
        "net_raw",
        "raw and packet sockets on a network stack of the guest's own",
        "packets of any kind and forged source addresses on its veth pair; packet sockets have had many kernel bugs",
    ),
    cap(
        "ipc_lock",
        "locking memory beyond RLIMIT_MEMLOCK, where the kernel grants it",
        "memory that cannot be swapped out, up to the guest's limit",
    ),
    cap(
        "ipc_owner",
        "passing the permissions of the guest's System V IPC by",
        "none outside of the guest's own IPC namespace",
    ),
    cap("sys_module", NOTHING, POWERLESS),
    cap("sys_rawio", NOTHING, POWERLESS),
    cap(
        "sys_chroot",
        "chroot(2)",
        "none: a guest's root is pivoted to, there is nothing above it",
    ),
    cap(
        "sys_ptrace",
        "reading and driving every process of the guest",
        "one user's process can be read and driven by another; a large kernel interface",
    ),
    cap("sys_pacct", NOTHING, POWERLESS),
    cap(
        "sys_admin",
        "mounts, namespaces, the hostname and much else in the guest's own namespaces",
        "it may take the masks of /proc away and make /sys writable as far as its ids reach, which is why no mount is read-only to it; the largest part of the kernel that a user namespace opens",
    ),
    cap(
        "sys_boot",
        "the guest's own reboot and power-off",
        "none: it ends the guest's processes and nothing else",
    ),
    cap(
        "sys_nice",
        "priorities and processors between users of the guest",
        "none outside: nobody gets above the guest's share",
    ),
    cap(
        "sys_resource",
        "some limits of the guest's own namespaces",
        "none while /proc/sys is read-only, as it is",
    ),
    cap("sys_time", NOTHING, POWERLESS),
    cap("sys_tty_config", NOTHING, POWERLESS),
    cap("mknod", NOTHING, POWERLESS),
    cap("lease", NOTHING, POWERLESS),
    cap("audit_write", NOTHING, POWERLESS),
    cap("audit_control", NOTHING, POWERLESS),
    cap(
        "setfcap",
        "capabilities on the guest's files",
        "none outside: they count in the guest's own user namespace",
    ),
    cap("mac_override", NOTHING, POWERLESS),
    cap("mac_admin", NOTHING, POWERLESS),
    cap("syslog", NOTHING, POWERLESS),
    cap("wake_alarm", NOTHING, POWERLESS),
    cap("block_suspend", NOTHING, POWERLESS),
    cap("audit_read", NOTHING, POWERLESS),
    cap("perfmon", NOTHING, POWERLESS),
    cap("bpf", NOTHING, "bpf(2) is refused to every guest"),
    cap(
        "checkpoint_restore",
        "choosing the numbers of the guest's own processes",
        "none outside of the guest's own process namespace",
    ),
];

/// What is not a capability and not a word of `allow`.
pub static FIELDS: &[Risk] = &[
    risk(
        "caps",
        "what the default set leaves out",
        "each capability by its name: `hostel doc caps.keep`",
    ),
    risk(
        "userns",
        "user ids that are the host's: files and sockets of the host that it is given are its root's",
        "its root is the host's root with fewer capabilities: a bug of the kernel, or a file of the host in reach, is worth more to it; inotify instances, keys, pending signals and locked memory are counted with the host's root, and it writes into the host's audit log",
    ),
    risk(
        "arch",
        "programs for another processor, run by qemu's user-mode emulator of the host (`qemu-user-static`), of which the guest's own user namespace is told (Linux 6.7) or the host's kernel (by the package, before that)",
        "none outside: the emulator is a process of the guest, confined as its others are, and the guest can read the program but not write it; what qemu does not emulate, such as some system calls of systemd, fails",
    ),
    risk(
        "net.mode.host",
        "every address and port of the host's network stack",
        "it serves and speaks as the host, reaches what listens on the host's loopback, and sees its traffic's addresses: for guests that are trusted as the host is",
    ),
    risk(
        "net.mode.private",
        "routed by the host, which forwards packets",
        "it reaches every network that the host forwards to, and what the host itself listens on; a firewall on the host decides, hostel sets none",
    ),
    risk(
        "net.bridge",
        "frames on a bridge of the host",
        "it can take other addresses, and those of its neighbours on the bridge (ARP and neighbour spoofing)",
    ),
    risk(
        "net.shared_abstract_sockets",
        "abstract unix sockets of the host and of other guests",
        "services of the host that listen on one and take the caller's word for who it is",
    ),
    risk(
        "mounts",
        "data of the host, whoever it belongs to there",
        "all below it is read by the guest's root; unix sockets in it can be connected to",
    ),
    risk(
        "volumes",
        "data that other guests may mount too",
        "what one guest writes there is read by the others as if it were their own; never set-user-ID programs nor device files (`nosuid`, `nodev`)",
    ),
    risk(
        "mounts.readonly",
        "writing to data of the host",
        "what the guest's root makes there is root's on the host, a set-user-ID program too: mount the source `nosuid` on the host, or use `owner`",
    ),
    risk(
        "mounts.owner",
        "one user of the guest has the files of one user of the host",
        "what that user makes there is the host user's, set-user-ID programs too; nobody else of the guest makes any",
    ),
    risk(
        "mounts.idmap",
        "files keep the ids of the guest's range on the host",
        "nothing beyond the mount itself; a later guest with the same context id gets its files",
    ),
    risk(
        "mounts.source",
        "a place that the host itself is made of",
        "what is read there can be keys and password hashes; what can be written there runs as root on the host",
    ),
    risk(
        "init",
        "an init of the guest's own, with CAP_SYS_BOOT and a part of cgroup2 to divide",
        "its own reboot and no other; cgroups below its own limits, as many as they let (`pids`, memory)",
    ),
    risk(
        "env",
        "a value in the environment of every service",
        "root of the guest, and every service, reads it in /proc/PID/environ; it is kept in the state directory, which is root's",
    ),
    risk(
        "files",
        "a secret in a file that more than its owner may read",
        "every user of the guest reads it",
    ),
    risk(
        "hooks",
        "functions of the recipe that run on the host",
        "they run with root's rights on the host, and a guest that answers them is asked by root",
    ),
    risk(
        "limits.memory",
        "as much memory as there is",
        "one guest takes the host's memory, and the kernel kills whatever it chooses",
    ),
    risk(
        "limits.swap",
        "as much swap as there is",
        "one guest pushes the others' memory out",
    ),
    risk(
        "limits.pids",
        "as many processes as the host can have",
        "a fork bomb takes the host's process numbers",
    ),
    risk(
        "limits.cpus",
        "every processor",
        "no more than its share when others want them too (`cpu_weight`)",
    ),
    risk(
        "limits.core",
        "core dumps of the guest's processes",
        "where the host's kernel.core_pattern names a program (apport, systemd-coredump), each crash in the guest runs it on the host as root, on what the guest has left, outside of its limits; without the field it runs for no guest",
    ),
    risk(
        "limits.disk",
        "as much disk as there is",
        "one guest fills the file system of the state directory",
    ),
];

/// What is known of a topic.
pub fn of(topic: &str) -> Option<&'static Risk> {
    FIELDS.iter().find(|known| known.topic == topic)
}

/// What a capability means.
pub fn of_cap(cap: Cap) -> &'static CapRisk {
    &CAPS[usize::from(cap.number())]
}

/// What can be chosen at a field, each with what it opens and what it risks: the words of `allow`, the capabilities.
pub fn choices(field: &str) -> Vec<Risk> {
    let plain: Vec<&str> = field
        .split('.')
        .filter(|part| part.parse::<u32>().is_err())
        .collect();
    let field = plain.join(".");
    match field.as_str() {
        "allow" => Allow::all()
            .map(Allow::loosening)
            .map(|known| risk(known.name, known.opens, known.risk))
            .collect(),
        "caps.keep" | "caps.only" | "caps.drop" => CAPS
            .iter()
            .map(|cap| risk(cap.name, cap.opens, cap.risk))
            .collect(),
        _ => FIELDS
            .iter()
            .filter(|known| {
                let above = known.topic.rsplit_once('.').map_or("", |(above, _)| above);
                known.topic == field || (above == field && !is_field(known.topic))
            })
            .copied()
            .collect(),
    }
}

/// Whether a topic is a field, and not a value of one. An entry of a list has its place in the path.
fn is_field(topic: &str) -> bool {
    schema::find(topic).is_some() || schema::find(&topic.replacen("mounts.", "mounts.1.", 1)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_in_the_order_of_their_numbers() {
        for (cap, known) in Cap::all().zip(&CAPS) {
            assert_eq!(cap.name(), known.name);
            assert!(
                !known.opens.is_empty() && !known.risk.is_empty(),
                "{}",
                known.name
            );
        }
        assert_eq!(Cap::all().count(), CAPS.len());
    }

    #[test]
    fn every_topic_is_a_field_or_a_value_of_one() {
        for known in FIELDS {
            let above = known.topic.rsplit_once('.').map_or("", |(above, _)| above);
            assert!(is_field(known.topic) || is_field(above), "{}", known.topic);
            assert_eq!(of(known.topic), Some(known));
        }
    }

    #[test]
    fn what_can_be_chosen_is_told_with_its_risk() {
        assert_eq!(choices("allow").len(), Allow::NAMES.len());
        assert_eq!(choices("caps.keep").len(), CAPS.len());
        let modes: Vec<&str> = choices("net.mode").iter().map(|known| known.topic).collect();
        assert_eq!(modes, ["net.mode.host", "net.mode.private"]);
        assert_eq!(choices("limits.memory").len(), 1);
        assert!(choices("hostname").is_empty());
    }
}
