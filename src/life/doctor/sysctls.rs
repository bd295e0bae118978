//! How many guests the settings of the host's kernel allow, and what to write into sysctl.d for more.
//!
//! What one guest uses was measured with a Debian 12 guest under systemd that runs sshd, nginx, PostgreSQL and Redis: 6
//! inotify instances with 22 watches, 19 threads, 144 open files, 28 mounts. The figures below are about twice that.

use super::{Finding, State};

/// One setting that many guests share.
struct Knob {
    /// As `sysctl(8)` names it.
    name: &'static str,
    /// How much of it a guest uses.
    each: u64,
    /// What it counts, and for whom.
    counts: &'static str,
}

const fn knob(name: &'static str, each: u64, counts: &'static str) -> Knob {
    Knob { name, each, counts }
}

const SHARED: [Knob; 10] = [
    knob("kernel.pid_max", 64, "process numbers of the host and all guests"),
    knob("kernel.threads-max", 64, "threads of the host and all guests"),
    knob("fs.file-max", 1024, "open files of the host and all guests"),
    knob("kernel.pty.max", 4, "pseudo-terminals of the host and all guests"),
    knob(
        "fs.aio-max-nr",
        256,
        "requests of aio(7) of the host and all guests; a MariaDB alone asks for 2,600",
    ),
    knob(
        "net.ipv4.neigh.default.gc_thresh3",
        2,
        "IPv4 neighbours (ARP) of the host and all private networks",
    ),
    knob(
        "net.ipv6.neigh.default.gc_thresh3",
        4,
        "IPv6 neighbours of the host and all private networks",
    ),
    knob(
        "net.netfilter.nf_conntrack_max",
        256,
        "connections that the host's firewall follows",
    ),
    knob(
        "net.core.bpf_jit_limit",
        16_384,
        "bytes of compiled filters of system calls",
    ),
    knob(
        "kernel.keys.root_maxkeys",
        8,
        "session keyrings of all guests and of what is sent into them",
    ),
];

/// Settings whose limit each guest, or each of its processes, has by itself: how much a guest wants of it. What the kernel
/// counts for who made a user namespace (`namespaces(7)`) counts for the guest's own first user (`sys::effective`), but
/// for a guest without one, which uses what the host's root has.
const OWN: [Knob; 12] = [
    knob(
        "fs.inotify.max_user_instances",
        12,
        "inotify instances of each guest; those with `userns = false` share root's",
    ),
    knob(
        "fs.inotify.max_user_watches",
        128,
        "inotify watches of each guest; those with `userns = false` share root's",
    ),
    knob("user.max_user_namespaces", 1, "user namespaces of each guest"),
    knob("user.max_pid_namespaces", 2, "process namespaces of each guest"),
    knob("user.max_mnt_namespaces", 2, "mount namespaces of each guest"),
    knob("user.max_uts_namespaces", 1, "hostname namespaces of each guest"),
    knob("user.max_ipc_namespaces", 1, "IPC namespaces of each guest"),
    knob("user.max_cgroup_namespaces", 2, "cgroup namespaces of each guest"),
    knob("fs.mount-max", 256, "mounts of each guest"),
    knob("fs.nr_open", 65_536, "open files of each process"),
    knob(
        "kernel.keys.maxkeys",
        200,
        "keys of each user of a guest with `allow = { \"keyring\" }`; the others make none",
    ),
    knob(
        "kernel.keys.maxbytes",
        20_000,
        "bytes of keys of each user of a guest with `allow = { \"keyring\" }`",
    ),
];

/// Looks at each setting that this kernel has. `read` gives a file of `/proc/sys`.
pub(super) fn examine(guests: u64, read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let value = |knob: &Knob| -> Option<u64> {
        let path = format!("/proc/sys/{}", knob.name.replace('.', "/"));
        let text = read(&path)?;
        // A limit that is negative, or larger than any number, is none.
        Some(text.trim().parse().unwrap_or(u64::MAX))
    };
    let shared = SHARED.iter();
    let shared = shared.filter_map(|knob| Some(one(knob, value(knob)?, guests)));
    let own = OWN.iter().filter_map(|knob| Some(of_each(knob, value(knob)?)));
    shared.chain(own).collect()
}

fn one(knob: &Knob, value: u64, guests: u64) -> Finding {
    let allows = value / knob.each;
    let found = format!("{}: {allows} guests; {}", shown(value), knob.counts);
    let finding = if allows >= guests {
        Finding::ok(knob.name, found)
    } else {
        let line = format!("{} = {}", knob.name, (guests * knob.each).next_power_of_two());
        Finding {
            sysctl: Some(line.clone()),
            ..Finding::lacks(
                knob.name,
                State::Limited,
                found,
                format!(
                    "for {guests} guests, write `{line}` into /etc/sysctl.d/hostel.conf and run `sysctl --system`"
                ),
            )
        }
    };
    Finding {
        guests: Some(allows),
        ..finding
    }
}

fn of_each(knob: &Knob, value: u64) -> Finding {
    let found = format!("{}: {}", shown(value), knob.counts);
    if value >= knob.each {
        return Finding::ok(knob.name, found);
    }
    let line = format!("{} = {}", knob.name, knob.each);
    Finding {
        sysctl: Some(line.clone()),
        ..Finding::lacks(
            knob.name,
            State::Limited,
            found,
            format!("write `{line}` into /etc/sysctl.d/hostel.conf and run `sysctl --system`"),
        )
    }
}

fn shown(value: u64) -> String {
    if value >= i64::MAX.unsigned_abs() {
        "no limit".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str, guests: u64) -> Option<Finding> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let mut found = examine(guests, |asked| (asked == path).then(|| value.to_owned()));
        found.pop()
    }

    #[test]
    fn a_low_setting_is_told_with_the_number_of_guests_and_the_line() {
        let found = of("kernel.pty.max", "40\n", 1000).unwrap();
        assert_eq!((found.state, found.guests), (State::Limited, Some(10)));
        assert_eq!(found.sysctl.as_deref(), Some("kernel.pty.max = 4096"));
        assert!(found.found.starts_with("40: 10 guests; "), "{}", found.found);
        let found = of("kernel.pty.max", "40\n", 10).unwrap();
        assert_eq!(
            (found.state, found.guests, found.hint),
            (State::Ok, Some(10), None)
        );
    }

    #[test]
    fn what_the_line_asks_for_is_enough() {
        for knob in &SHARED {
            let low = of(knob.name, "1", 777).unwrap();
            let line = low.sysctl.unwrap();
            let (name, value) = line.split_once(" = ").unwrap();
            assert_eq!(name, knob.name);
            assert_eq!(of(name, value, 777).unwrap().state, State::Ok, "{name}");
        }
    }

    #[test]
    fn a_setting_that_is_not_there_limits_nobody() {
        assert!(examine(1000, |_| None).is_empty());
        let none = of("fs.file-max", "9223372036854775807", 1000).unwrap();
        assert!(none.found.starts_with("no limit: "), "{}", none.found);
    }

    #[test]
    fn what_each_guest_has_by_itself_has_no_number_of_guests() {
        let found = of("fs.mount-max", "100", 1000).unwrap();
        assert_eq!((found.state, found.guests), (State::Limited, None));
        assert_eq!(found.sysctl.as_deref(), Some("fs.mount-max = 256"));
        assert_eq!(of("fs.mount-max", "100000", 1000).unwrap().state, State::Ok);
    }
}
