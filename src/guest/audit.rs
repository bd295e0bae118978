//! What a guest can do, and what each thing that its recipe loosens risks. Pure: a specification and what the kernel
//! at hand has go in, a list of findings comes out. What each risks is said in [`risk`] and
//! [`allow`](super::allow).

use std::path::Path;

use serde::Serialize;

use super::risk::{self, Risk};
use super::{Allow, Cap, CapSet, Context, Init, Mount, NetMode, Spec, Xid};

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
pub fn audit(spec: &Spec, kernel: Kernel) -> Vec<Finding> {
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
    words(spec, &mut found);
    capabilities(spec, &mut found);
    network(spec, kernel, &mut found);
    for mount in &spec.mounts {
        self::mount(mount, &mut found);
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
    limits(spec, &mut found);
    secrets(spec, &mut found);
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

fn words(spec: &Spec, found: &mut Vec<Finding>) {
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

fn caps_of(spec: &Spec) -> CapSet {
    // The number decides nothing of it.
    Context::of_guest(spec, Xid::MAX, std::path::PathBuf::from("/"))
        .caps
        .unwrap_or(CapSet::EMPTY)
}

/// Those beyond the default set that no word of `allow` and no init of its own brings.
fn capabilities(spec: &Spec, found: &mut Vec<Finding>) {
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

fn network(spec: &Spec, kernel: Kernel, found: &mut Vec<Finding>) {
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

/// `/srv on /srv, read-only`.
fn shown(mount: &Mount) -> String {
    let how = if mount.readonly { "read-only" } else { "writable" };
    format!("`{}` on `{}`, {how}", mount.source, mount.target.display())
}

fn mount(mount: &Mount, found: &mut Vec<Finding>) {
    let name = format!("`{}` on `{}`", mount.source, mount.target.display());
    let Some(source) = mount.source.path() else {
        let how = if mount.readonly {
            "is shared, read-only"
        } else {
            "is shared and writable"
        };
        found.push(finding(
            Kind::Loosened,
            "mounts",
            format!("{name} {how}"),
            of("volumes"),
        ));
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

fn limits(spec: &Spec, found: &mut Vec<Finding>) {
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

/// What a name of the environment must not have in it, unless its value is a secret.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY"];

fn secrets(spec: &Spec, found: &mut Vec<Finding>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn audited(more: &str, kernel: Kernel) -> Vec<String> {
        let spec: Spec =
            serde_json::from_str(&format!(r#"{{"name":"web","image":"busybox"{more}}}"#)).unwrap();
        let found = audit(&spec, kernel);
        for finding in &found {
            assert!(
                !finding.opens.is_empty() && !finding.risk.is_empty(),
                "{finding:?}"
            );
        }
        found
            .iter()
            .map(|f| format!("{} {}: {}", f.kind, f.field, f.what))
            .collect()
    }

    const LIMITED: &str = r#","limits":{"memory":"1M","swap":"0","pids":9,"cpus":"1","disk":"1G"}"#;
    const NEW: Kernel = Kernel {
        scopes_abstract_sockets: true,
        forwards: false,
    };

    fn limited(more: &str, kernel: Kernel) -> Vec<String> {
        audited(&format!("{LIMITED}{more}"), kernel)
    }

    #[test]
    fn a_limited_guest_without_a_loosening_has_no_finding() {
        assert_eq!(limited("", NEW), Vec::<String>::new());
        let net = r#","net":{"mode":"bind","address":["10.0.0.1/24"]}"#;
        assert_eq!(limited(net, NEW), Vec::<String>::new());
    }

    #[test]
    fn a_root_that_is_the_hosts_is_told() {
        let found = limited(r#","userns":false"#, NEW);
        assert_eq!(
            found,
            ["loosened userns: no user namespace: its root is the host's"]
        );
    }

    #[test]
    fn each_limit_that_is_not_set_is_told() {
        let found = audited("", NEW);
        assert_eq!(found.len(), 5);
        assert_eq!(found[0], "unlimited limits.memory: no limit on memory");
    }

    #[test]
    fn words_and_capabilities_are_told_once() {
        let found = limited(
            r#","allow":["ptrace"],"caps":{"keep":["sys_time"],"drop":["kill"]}"#,
            NEW,
        );
        assert_eq!(
            found,
            [
                "loosened allow: allow `ptrace`",
                "loosened caps.keep: the capability `sys_time`"
            ]
        );
        let found = limited(r#","caps":{"only":["chown","net_admin"]}"#, NEW);
        assert_eq!(found, ["loosened caps.only: the capability `net_admin`"]);
    }

    #[test]
    fn what_the_network_opens_depends_on_the_host() {
        let private = r#","net":{"mode":"private","address":["10.0.0.1/24"]}"#;
        assert_eq!(limited(private, NEW), Vec::<String>::new());
        let forwards = Kernel {
            forwards: true,
            ..NEW
        };
        assert_eq!(
            limited(private, forwards),
            ["loosened net.mode: a private network on a host that forwards"]
        );
        let shared = r#","net":{"mode":"bind","address":["10.0.0.1/24"],"shared_abstract_sockets":true}"#;
        assert!(limited(shared, NEW)[0].starts_with("loosened net.shared_abstract_sockets"));
        assert!(limited(shared, Kernel::default())[0].starts_with("lacking net.shared_abstract_sockets"));
        let host = r#","net":{"mode":"host"}"#;
        assert_eq!(
            limited(host, NEW),
            ["loosened net.mode: the host's network, unconfined"]
        );
    }

    #[test]
    fn every_loosening_of_a_mount_is_told() {
        let found = |mount: &str| limited(&format!(r#","mounts":[{mount}]"#), NEW);
        assert_eq!(
            found(r#"{"source":"/srv/a","target":"/a","readonly":true}"#),
            ["loosened mounts: the host's `/srv/a` on `/a`"]
        );
        assert_eq!(
            found(r#"{"source":"/etc","target":"/a","idmap":false}"#),
            [
                "loosened mounts: the host's `/etc` on `/a`",
                "loosened mounts: `/etc` on `/a` is writable",
                "loosened mounts: `/etc` on `/a` is not id-mapped",
                "loosened mounts: `/etc` on `/a` is a part of the host itself",
            ]
        );
        assert_eq!(found(r#"{"source":"/","target":"/a","readonly":true}"#).len(), 2);
    }

    #[test]
    fn notes_do_not_open_anything() {
        let more = r#","init":{"own":"/sbin/init"},"env":{"DB_PASSWORD":"x","KEY":"y"},"secret_env":["KEY"],
            "files":{"/etc/key":{"content":"k","secret":true}},"hooks":{"pre_start":{}}"#;
        let found = limited(more, NEW);
        assert_eq!(
            found,
            [
                "note init: its own init `/sbin/init`",
                "note hooks.pre_start: the hook `pre_start`",
                "note env.KEY: the secret `KEY` is in the environment",
                "note env.DB_PASSWORD: `DB_PASSWORD` looks like a secret and is not one: `plan` shows its value",
                "note files./etc/key: the secret file `/etc/key` has mode 0644",
            ]
        );
        assert!(!Kind::Note.is_opening() && !Kind::Unlimited.is_opening());
        assert!(Kind::Loosened.is_opening() && Kind::Lacking.is_opening());
    }
}
