//! The encoder against the init's own decoder, and the init's reading of users.

use super::*;
use format::{Bad, Mode};
use users::{Named, named};

fn service(exec: &[&str], after: &[&str]) -> Service {
    let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Service {
        exec: text(exec),
        restart: Restart::OnFailure,
        after: text(after),
        user: None,
        dir: None,
        env: BTreeMap::new(),
        stop_signal: None,
    }
}

fn config<'a>(
    init: &'a Init,
    services: &'a BTreeMap<String, Service>,
    env: &'a BTreeMap<String, String>,
) -> InitConfig<'a> {
    InitConfig {
        init,
        services,
        env,
        caps: CapSet::guest_default(),
        hostname: "web",
        stop_timeout: Span::from_secs(30),
        mask: &["/proc/kcore"],
        readonly: &["/proc/sys"],
        has_cgroup: false,
        has_report: false,
        filter: &[],
        no_new_privs: false,
        no_users: false,
    }
}

fn example() -> (BTreeMap<String, Service>, BTreeMap<String, String>) {
    let mut web = service(&["nginx", "-g", "daemon off;"], &["db"]);
    web.user = Some("www-data".to_owned());
    web.dir = Some("/srv".to_owned());
    web.stop_signal = Some("SIGQUIT".to_owned());
    web.restart = Restart::Always;
    web.env.insert("PORT".to_owned(), "80".to_owned());
    let services = [
        ("web".to_owned(), web),
        ("db".to_owned(), service(&["postgres"], &[])),
    ];
    let env = [("DB".to_owned(), "db=1".to_owned())];
    (services.into(), env.into())
}

#[test]
fn the_init_reads_what_was_written() {
    let (services, env) = example();
    let bytes = encode(&config(&Init::Hostel, &services, &env)).unwrap();
    let decoded = format::decode(&bytes).unwrap();
    assert_eq!(decoded.stop_ms, 30_000);
    assert_eq!(decoded.hostname, c"web");
    assert_eq!(decoded.caps, CapSet::guest_default().bits());
    assert!(decoded.env.iter().eq([c"DB=db=1"]));
    let Mode::Hostel(services) = decoded.mode else {
        panic!("not hostel's init")
    };
    let services: Vec<_> = services.iter().collect();
    assert!(services.iter().map(|s| s.name).eq([c"db", c"web"]));
    let web = services[1];
    assert!(web.argv.iter().eq([c"nginx", c"-g", c"daemon off;"]));
    assert!(web.env.iter().eq([c"PORT=80"]));
    assert_eq!((web.user, web.dir, web.stop_signal), (c"www-data", c"/srv", 3));
    assert_eq!(
        (web.restart, services[0].restart),
        (format::Restart::Always, format::Restart::OnFailure)
    );
    assert_eq!(
        (services[0].user, services[0].dir, services[0].stop_signal),
        (c"", c"/", 15)
    );
}

#[test]
fn the_keeper_reads_what_was_written() {
    let (none, init) = (BTreeMap::new(), Init::Own("/sbin/init".into()));
    let env = BTreeMap::new();
    let bytes = encode(&InitConfig {
        has_cgroup: true,
        has_report: true,
        filter: &[1; 16],
        no_new_privs: true,
        no_users: true,
        ..config(&init, &none, &env)
    })
    .unwrap();
    let decoded = format::decode(&bytes).unwrap();
    assert!(decoded.has_cgroup && decoded.has_report && decoded.no_new_privs && decoded.no_users);
    let Mode::Own(own) = decoded.mode else {
        panic!("not the guest's own init")
    };
    assert_eq!(own.path, c"/sbin/init");
    assert_eq!(own.filter, [1; 16]);
    assert!(own.mask.iter().eq([c"/proc/kcore"]) && own.readonly.iter().eq([c"/proc/sys"]));

    let (services, env) = example();
    let err = encode(&config(&init, &services, &env)).unwrap_err();
    assert_eq!(err.to_string(), "the service `db` has nobody to run it");
    let relative = Init::Own("sbin/init".into());
    assert!(encode(&config(&relative, &none, &env)).is_err());
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    let (services, env) = example();
    let bytes = encode(&config(&Init::Hostel, &services, &env)).unwrap();
    for length in 0..bytes.len() {
        assert!(format::decode(&bytes[..length]).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 0x2f, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            // Refused, or valid as a whole: reading everything must not fail half-way.
            if let Ok(decoded) = format::decode(&changed)
                && let Mode::Hostel(services) = decoded.mode
            {
                assert!(
                    services
                        .iter()
                        .all(|s| s.argv.iter().count() == s.argv.len() && s.argv.len() > 0)
                );
            }
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(format::decode(&longer).unwrap_err(), Bad::Length);
    assert_eq!(format::decode(b"hostel").unwrap_err(), Bad::Magic);
}

#[test]
fn order_is_by_after_then_by_name() {
    let services: BTreeMap<String, Service> = [
        ("a".to_owned(), service(&["a"], &["z"])),
        ("b".to_owned(), service(&["b"], &[])),
        ("z".to_owned(), service(&["z"], &["b"])),
    ]
    .into();
    let names: Vec<_> = order(&services)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["b", "z", "a"]);
}

#[test]
fn circles_and_unknown_names_are_named() {
    let services: BTreeMap<String, Service> = [
        ("a".to_owned(), service(&["a"], &["b"])),
        ("b".to_owned(), service(&["b"], &["c"])),
        ("c".to_owned(), service(&["c"], &["b"])),
    ]
    .into();
    let err = order(&services).unwrap_err();
    assert_eq!(
        err.to_string(),
        "services start after each other: `b` -> `c` -> `b`"
    );

    let services: BTreeMap<String, Service> = [
        ("postgres".to_owned(), service(&["a"], &[])),
        ("web".to_owned(), service(&["b"], &["postgre"])),
    ]
    .into();
    let err = order(&services).unwrap_err();
    assert_eq!(
        err.to_string(),
        "the service `web` starts after `postgre`, which there is not"
    );
    assert_eq!(err.hint(), Some("did you mean `postgres`?"));
}

#[test]
fn limits_are_messages() {
    let env = BTreeMap::new();
    let message = |services: BTreeMap<String, Service>| {
        encode(&config(&Init::Hostel, &services, &env))
            .unwrap_err()
            .to_string()
    };
    let many = (0..65).map(|n| (format!("s{n}"), service(&["x"], &[]))).collect();
    assert_eq!(message(many), "65 services are too many");
    let long = "x".repeat(format::MAX_TEXT + 1);
    let named = |name: &str, exec: &[&str]| BTreeMap::from([(name.to_owned(), service(exec, &[]))]);
    assert_eq!(
        message(named("s", &[&long])),
        "arguments of `s` is longer than 131071 bytes"
    );
    assert_eq!(
        message(named("s", &["a\0b"])),
        "arguments of `s` contains a NUL byte"
    );
    assert_eq!(
        message(named("s", &[])),
        "the service `s` has no program in `exec`"
    );
    assert_eq!(message(named("../s", &["x"])), "`../s` is not a service's name");
    assert_eq!(message(named("init", &["x"])), "`init` is not a service's name");
    let big = "x".repeat(100_000);
    assert_eq!(
        message(named("s", &[&big, &big, &big])),
        "the guest's services and environment are too long"
    );
}

#[test]
fn signals() {
    for (text, number) in [
        ("SIGTERM", 15),
        ("quit", 3),
        ("9", 9),
        ("SIGRTMIN+4", 38),
        ("rtmin", 34),
        ("64", 64),
    ] {
        assert_eq!(signal_number(text).unwrap(), number, "{text}");
    }
    for bad in [
        "", "0", "65", "SIGNOPE", "RTMIN+31", "RTMIN+", "RTMIN-1", "RTMIN+-1", "-1", "+1",
    ] {
        assert!(signal_number(bad).is_err(), "{bad}");
    }
}

#[test]
fn users_are_read_strictly() {
    assert_eq!(named(b"33"), Some(Named::Number(33)));
    assert_eq!(named(b"www-data"), Some(Named::Name(b"www-data")));
    // -1 means "unchanged" to setresuid(2), and would leave the service root.
    assert_eq!(named(b"4294967295"), None);
    assert_eq!(named(b"99999999999"), None);
    assert_eq!(named(b""), None);
    assert_eq!(named(b"+1"), Some(Named::Name(b"+1")));

    let line = b"www-data:x:33:34:www-data:/var/www:/usr/sbin/nologin";
    let entry = users::passwd(line, Named::Name(b"www-data")).unwrap();
    assert_eq!((entry.uid, entry.gid, entry.home), (33, 34, &b"/var/www"[..]));
    assert_eq!(users::passwd(line, Named::Number(33)), Some(entry));
    assert_eq!(users::passwd(line, Named::Name(b"www")), None);
    for broken in [
        &b"www-data"[..],
        b"www-data:x",
        b"www-data:x:33",
        b"www-data:x:-1:33:::",
        b":x:33:33:::",
    ] {
        assert_eq!(users::passwd(broken, Named::Number(33)), None);
        assert_eq!(users::passwd(broken, Named::Name(b"www-data")), None);
    }
    assert_eq!(users::group_named(b"adm:x:4:syslog,me", b"adm"), Some(4));
    assert_eq!(users::group_of(b"adm:x:4:syslog,me", b"me"), Some(4));
    assert_eq!(users::group_of(b"adm:x:4:syslog,me", b"m"), None);
    assert_eq!(users::group_of(b"adm:x:4:", b""), Some(4));
    assert_eq!(users::split(b"a:b"), (&b"a"[..], Some(&b"b"[..])));
    assert_eq!(users::split(b"a"), (&b"a"[..], None));
}
