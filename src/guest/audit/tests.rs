//! What of a specification is told, and as what.

use super::*;

fn audited(more: &str, kernel: Kernel) -> Vec<String> {
    let spec: Spec = serde_json::from_str(&format!(r#"{{"name":"web","image":"busybox"{more}}}"#)).unwrap();
    let found = audit(&spec, kernel, &Sharers::new());
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
fn core_dumps_are_told() {
    let of = |core: &str| {
        let limits = format!(
            r#"{},"rlimits":{{"core":"{core}"}}}}"#,
            LIMITED.trim_end_matches('}')
        );
        audited(&limits, NEW)
    };
    let told = ["loosened limits.core: crashes are handed to the host's `kernel.core_pattern`"];
    assert_eq!(of("unlimited"), told);
    assert_eq!(of("0"), told);
    assert_eq!(of("1"), Vec::<String>::new());
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
fn a_volume_is_told_with_those_that_share_it() {
    let mount = r#","mounts":[{"source":"volume:data","target":"/a"}]"#;
    assert_eq!(
        limited(mount, NEW),
        ["note mounts: `volume:data` on `/a` is writable, shared with no other guest so far"]
    );
    let spec: Spec =
        serde_json::from_str(&format!(r#"{{"name":"web","image":"busybox"{LIMITED}{mount}}}"#)).unwrap();
    let users = ["blue", "red", "web"].map(|name| name.parse().unwrap()).into();
    let sharers = Sharers::from([("data".parse().unwrap(), users)]);
    let found = audit(&spec, NEW, &sharers);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].what,
        "`volume:data` on `/a` is writable, shared with blue, red"
    );
    assert!(found[0].kind.is_opening());
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
