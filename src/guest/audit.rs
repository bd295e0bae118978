//! What a guest can do, and what each thing that its recipe loosens risks. Pure: a specification and what the kernel
//! at hand has go in, a list of findings comes out. What each risks is said in [`risk`] and
//! [`allow`](super::allow).

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::risk::{self, Risk};
use super::{Allow, Cap, CapSet, Context, GuestName, Init, Mount, NetMode, Spec, VolumeName, Xid};

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A defence that the recipe takes away.
    Loosened,
    /// A defence that this kernel does not have.
    Lacking,
    /// Something without a bound.
    Unlimited,
    /// No defence is missing, but it is good to know.
    Note,
}

impl Kind {
    /// Whether it is an opening in what confines the guest: those decide the exit status.
    pub fn is_opening(self) -> bool {
        matches!(self, Kind::Loosened | Kind::Lacking)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Kind::Loosened => "loosened",
            Kind::Lacking => "lacking",
            Kind::Unlimited => "unlimited",
            Kind::Note => "note",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The field of the recipe that decides it, as `hostel explain` takes it.
    pub field: String,
    /// What it is.
    pub what: String,
    /// What works because of it.
    pub opens: String,
    /// What an attacker in the guest gains by it.
    pub risk: String,
}

/// What the kernel at hand has and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Whether Landlock can scope abstract sockets (Linux 6.12).
    pub scopes_abstract_sockets: bool,
    /// Whether the host forwards packets between its devices, of either family.
    pub forwards: bool,
}

/// Who mounts each volume.
pub type Sharers = BTreeMap<VolumeName, BTreeSet<GuestName>>;

/// Who of these mounts each volume.
pub fn sharers<'a>(specs: impl IntoIterator<Item = &'a Spec>) -> Sharers {
    let mut found = Sharers::new();
    for spec in specs {
        for volume in spec.mounted_volumes() {
            let guests = found.entry(volume.clone()).or_default();
            guests.insert(spec.name.clone());
        }
    }
    found
}

/// What a guest can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Powers {
    /// The host's user ids that are its ids 0 to 65535: the first and the last. Unknown before it has a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<[u32; 2]>,
    /// Whether its ids are its own.
    pub userns: bool,
    /// The capabilities of its root, in its own user namespace.
    pub capabilities: Vec<Cap>,
    /// The words of `allow`.
    pub allow: Vec<Allow>,
    /// Whether set-user-ID programs and file capabilities work in it.
    pub set_user_id: bool,
    /// Its network's mode.
    pub network: NetMode,
    /// Its addresses.
    pub addresses: Vec<ipnet::IpNet>,
    /// What of the host it sees: `SOURCE on TARGET`, with how.
    pub mounts: Vec<String>,
    /// Its own init, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<std::path::PathBuf>,
}

/// What this guest can do.
pub fn powers(spec: &Spec, xid: Option<Xid>) -> Powers {
    Powers {
        ids: xid
            .filter(|_| spec.userns)
            .map(|xid| [xid.id_base(), xid.id_base() + (Xid::IDS - 1)]),
        userns: spec.userns,
        capabilities: caps_of(spec).iter().collect(),
        allow: spec.allow.clone(),
        set_user_id: !spec.no_new_privs,
        network: spec.net.mode,
        addresses: spec.net.address.clone(),
        mounts: spec.mounts.iter().map(shown).collect(),
        init: match &spec.init {
            Init::Own(path) => Some(path.clone()),
            Init::Hostel => None,
        },
    }
}

/// Everything that is loosened, lacking, without a bound or worth knowing; the openings first.
pub fn audit(spec: &Spec, kernel: Kernel, sharers: &Sharers) -> Vec<Finding> {
    let mut found = Vec::new();
    if !spec.userns {
        found.push(finding(
            Kind::Loosened,
            "userns",
            "no user namespace: its root is the host's",
            of("userns"),
        ));
    }
    if let Some(arch) = spec.arch {
        found.push(finding(
            Kind::Note,
            "arch",
            format!("programs for {arch}, emulated where the host is another"),
            of("arch"),
        ));
    }
    parts::words(spec, &mut found);
    parts::capabilities(spec, &mut found);
    parts::network(spec, kernel, &mut found);
    for mount in &spec.mounts {
        parts::mount(mount, &spec.name, sharers, &mut found);
    }
    if let Init::Own(path) = &spec.init {
        found.push(finding(
            Kind::Note,
            "init",
            format!("its own init `{}`", path.display()),
            of("init"),
        ));
    }
    for moment in spec.hooks.keys() {
        let field = format!("hooks.{moment}");
        found.push(finding(
            Kind::Note,
            &field,
            format!("the hook `{moment}`"),
            of("hooks"),
        ));
    }
    parts::limits(spec, &mut found);
    parts::cores(spec, &mut found);
    parts::secrets(spec, &mut found);
    // Stable: within a kind the order is that of the fields.
    found.sort_by_key(|finding| finding.kind);
    found
}

fn finding(kind: Kind, field: &str, what: impl Into<String>, risk: Risk) -> Finding {
    Finding {
        kind,
        field: field.to_owned(),
        what: what.into(),
        opens: risk.opens.to_owned(),
        risk: risk.risk.to_owned(),
    }
}

/// What is known of a topic. That each of those that are asked for here is known is tested.
fn of(topic: &'static str) -> Risk {
    risk::of(topic).copied().unwrap_or(Risk {
        topic,
        opens: "",
        risk: "",
    })
}

fn caps_of(spec: &Spec) -> CapSet {
    // The number decides nothing of it.
    Context::of_guest(spec, Xid::MAX, std::path::PathBuf::from("/"))
        .caps
        .unwrap_or(CapSet::EMPTY)
}

/// `/srv on /srv, read-only`.
fn shown(mount: &Mount) -> String {
    let how = if mount.readonly { "read-only" } else { "writable" };
    format!("`{}` on `{}`, {how}", mount.source, mount.target.display())
}

#[cfg(test)]
mod tests;
