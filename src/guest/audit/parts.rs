//! What is found in each part of a specification.

use std::path::Path;

use super::{Finding, Kernel, Kind, Sharers, caps_of, finding, of};
use crate::guest::{Allow, Cap, CapSet, GuestName, Mount, NetMode, RlimitKind, Spec, risk};

pub(super) fn words(spec: &Spec, found: &mut Vec<Finding>) {
    for word in &spec.allow {
        let known = word.loosening();
        found.push(Finding {
            kind: Kind::Loosened,
            field: "allow".to_owned(),
            what: format!("allow `{word}`"),
            opens: known.opens.to_owned(),
            risk: known.risk.to_owned(),
        });
    }
}

/// Those beyond the default set that no word of `allow` and no init of its own brings.
pub(super) fn capabilities(spec: &Spec, found: &mut Vec<Finding>) {
    let usual = CapSet::guest_default();
    let by_words = Allow::caps(&spec.allow);
    let asked = |list: &[Cap], cap: Cap| list.contains(&cap);
    for cap in caps_of(spec).iter().filter(|cap| !usual.contains(*cap)) {
        let field = if asked(&spec.caps.keep, cap) {
            "caps.keep"
        } else if spec.caps.only.as_deref().is_some_and(|only| asked(only, cap)) {
            "caps.only"
        } else {
            // Brought by a word, which is told by itself, or by the init.
            debug_assert!(by_words.contains(cap) || cap.name() == "sys_boot");
            continue;
        };
        let known = risk::of_cap(cap);
        found.push(Finding {
            kind: Kind::Loosened,
            field: field.to_owned(),
            what: format!("the capability `{cap}`"),
            opens: known.opens.to_owned(),
            risk: known.risk.to_owned(),
        });
    }
}

pub(super) fn network(spec: &Spec, kernel: Kernel, found: &mut Vec<Finding>) {
    let net = &spec.net;
    match net.mode {
        NetMode::Host => {
            let what = "the host's network, unconfined";
            found.push(finding(Kind::Loosened, "net.mode", what, of("net.mode.host")));
        }
        NetMode::Private if kernel.forwards => {
            let what = "a private network on a host that forwards";
            found.push(finding(Kind::Loosened, "net.mode", what, of("net.mode.private")));
        }
        NetMode::Private | NetMode::Bind | NetMode::None => {}
    }
    if let Some(bridge) = &net.bridge {
        let what = format!("a device on the host's bridge `{bridge}`");
        found.push(finding(Kind::Loosened, "net.bridge", what, of("net.bridge")));
    }
    let is_shared = matches!(net.mode, NetMode::Bind | NetMode::Host);
    if is_shared && net.shared_abstract_sockets {
        let (kind, what) = if kernel.scopes_abstract_sockets {
            (
                Kind::Loosened,
                "abstract unix sockets are shared, though this kernel can scope them",
            )
        } else {
            (
                Kind::Lacking,
                "abstract unix sockets are shared: this kernel cannot scope them (Linux 6.12)",
            )
        };
        let field = "net.shared_abstract_sockets";
        found.push(finding(kind, field, what, of(field)));
    }
}

pub(super) fn mount(mount: &Mount, guest: &GuestName, sharers: &Sharers, found: &mut Vec<Finding>) {
    let name = format!("`{}` on `{}`", mount.source, mount.target.display());
    let Some(source) = mount.source.path() else {
        let all = mount.source.volume().and_then(|volume| sharers.get(volume));
        let others: Vec<&str> = all
            .into_iter()
            .flatten()
            .filter(|other| *other != guest)
            .map(GuestName::as_str)
            .collect();
        let how = if mount.readonly { "read-only" } else { "writable" };
        let (kind, with) = if others.is_empty() {
            (Kind::Note, "with no other guest so far".to_owned())
        } else {
            (Kind::Loosened, format!("with {}", others.join(", ")))
        };
        let what = format!("{name} is {how}, shared {with}");
        found.push(finding(kind, "mounts", what, of("volumes")));
        return;
    };
    let mut tell = |topic: &'static str, what: String| {
        found.push(finding(Kind::Loosened, "mounts", what, of(topic)));
    };
    tell("mounts", format!("the host's {name}"));
    if mount.owner.is_some() {
        tell(
            "mounts.owner",
            format!("the host's owner of {name} is a user of the guest"),
        );
    } else if !mount.readonly {
        tell("mounts.readonly", format!("{name} is writable"));
    }
    if !mount.idmap {
        tell("mounts.idmap", format!("{name} is not id-mapped"));
    }
    if is_hosts_own(source) {
        tell("mounts.source", format!("{name} is a part of the host itself"));
    }
}

/// Directories, of which a part or the whole in a guest is a part of the host's own system.
const HOSTS_OWN: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/hostel",
    "/var/run",
    "/var/spool/cron",
];

fn is_hosts_own(source: &Path) -> bool {
    HOSTS_OWN
        .iter()
        .any(|own| source.starts_with(own) || Path::new(own).starts_with(source))
}

pub(super) fn limits(spec: &Spec, found: &mut Vec<Finding>) {
    let limits = &spec.limits;
    for (is_set, field, what) in [
        (limits.memory.is_some(), "limits.memory", "memory"),
        (limits.swap.is_some(), "limits.swap", "swap"),
        (limits.pids.is_some(), "limits.pids", "processes"),
        (limits.cpus.is_some(), "limits.cpus", "processor time"),
        (limits.disk.is_some(), "limits.disk", "disk space"),
    ] {
        if !is_set {
            found.push(finding(
                Kind::Unlimited,
                field,
                format!("no limit on {what}"),
                of(field),
            ));
        }
    }
}

/// A core dump that is allowed may be one that a program of the host's is given.
pub(super) fn cores(spec: &Spec, found: &mut Vec<Finding>) {
    let is_some = |limit: Option<u64>| limit.is_none_or(|limit| limit != 1);
    let asked = spec.limits.rlimits.get(&RlimitKind::CORE);
    if asked.is_some_and(|limit| is_some(limit.soft) || is_some(limit.hard)) {
        found.push(finding(
            Kind::Loosened,
            "limits.core",
            "crashes are handed to the host's `kernel.core_pattern`",
            of("limits.core"),
        ));
    }
}

/// What a name of the environment must not have in it, unless its value is a secret.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY"];

pub(super) fn secrets(spec: &Spec, found: &mut Vec<Finding>) {
    for name in &spec.secret_env {
        let what = format!("the secret `{name}` is in the environment");
        found.push(finding(Kind::Note, &format!("env.{name}"), what, of("env")));
    }
    for name in spec.env.keys().filter(|name| !spec.secret_env.contains(name)) {
        let upper = name.to_uppercase();
        if SECRET_WORDS.iter().any(|word| upper.contains(word)) {
            let what = format!("`{name}` looks like a secret and is not one: `plan` shows its value");
            found.push(finding(Kind::Note, &format!("env.{name}"), what, of("env")));
        }
    }
    for (path, file) in spec.files.iter().filter(|(_, file)| file.secret) {
        if file.mode & 0o044 != 0 {
            let what = format!("the secret file `{}` has mode {:04o}", path.display(), file.mode);
            found.push(finding(
                Kind::Note,
                &format!("files.{}", path.display()),
                what,
                of("files"),
            ));
        }
    }
}
