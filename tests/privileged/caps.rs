//! Capability sets: taken for good, and proved by trying.

use hostel::error::Kind;
use hostel::guest::{Cap, CapSet, HostPid};
use hostel::sys::caps::{
    confirm, confirm_raw, has_no_new_privs, own, read_securebits, restrict, restrict_raw, securebits,
    set_no_new_privs, set_securebits, show,
};
use nix::errno::Errno;

use crate::support::{World, tests};

tests! {
    [Root] => what_is_dropped_cannot_be_regained,
    [Root] => ambient_and_inheritable_are_emptied,
    [Root] => nothing_at_all,
    [Root] => what_a_program_gets_is_the_set,
    [Root] => a_set_that_is_larger_than_said_is_seen,
    [Root] => what_hostel_lacks_cannot_be_kept,
}

fn set(names: &[&str]) -> CapSet {
    names.iter().map(|name| name.parse::<Cap>().unwrap()).collect()
}

fn what_is_dropped_cannot_be_regained(_: &World) {
    let kept = set(&["chown", "setpcap"]);
    restrict(kept).unwrap();
    confirm(kept).unwrap();
    let sets = own().unwrap();
    assert_eq!((sets.bounding, sets.permitted, sets.effective), (kept, kept, kept));
    assert_eq!(show(HostPid(std::process::id().cast_signed())).unwrap(), sets);
    // Less is possible, more is not.
    restrict(set(&["chown"])).unwrap();
    confirm(set(&["chown"])).unwrap();
    let err = restrict(kept).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    assert_eq!(err.to_string(), "keep `setpcap`: hostel does not have it itself");
}

fn ambient_and_inheritable_are_emptied(_: &World) {
    let chown = caps::Capability::CAP_CHOWN;
    caps::raise(None, caps::CapSet::Inheritable, chown).unwrap();
    caps::raise(None, caps::CapSet::Ambient, chown).unwrap();
    restrict(set(&["chown"])).unwrap();
    confirm(set(&["chown"])).unwrap();
    let sets = own().unwrap();
    assert_eq!((sets.ambient, sets.inheritable), (CapSet::EMPTY, CapSet::EMPTY));
}

fn nothing_at_all(_: &World) {
    set_securebits(read_securebits().unwrap() | securebits::NO_AMBIENT_RAISE).unwrap();
    restrict(CapSet::EMPTY).unwrap();
    confirm(CapSet::EMPTY).unwrap();
    set_no_new_privs().unwrap();
    assert!(has_no_new_privs().unwrap());
    assert_eq!(set_securebits(securebits::NO_ROOT), Err(Errno::EPERM));
    assert_eq!(read_securebits().unwrap(), securebits::NO_AMBIENT_RAISE);
}

fn what_a_program_gets_is_the_set(_: &World) {
    let kept = set(&["chown", "kill"]);
    restrict_raw(kept.bits()).unwrap();
    let status = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    for name in ["CapBnd:", "CapPrm:", "CapEff:"] {
        assert_eq!(field(name), kept.bits(), "{name}");
    }
    for name in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(name), 0, "{name}");
    }
}

fn a_set_that_is_larger_than_said_is_seen(_: &World) {
    let err = confirm(set(&["chown"])).unwrap_err();
    assert_eq!(err.kind(), Kind::Internal);
    assert!(err.to_string().starts_with("the bounding set is `chown "), "{err}");
    assert_eq!(confirm_raw(set(&["chown"]).bits()), Err(Errno::EPERM));
    // The bounding set alone: exec would bring back what permitted no longer has.
    let all = own().unwrap().bounding;
    for cap in all.iter().filter(|cap| cap.name() != "chown") {
        for which in [caps::CapSet::Effective, caps::CapSet::Permitted] {
            let cap: caps::Capability = format!("CAP_{}", cap.name().to_uppercase()).parse().unwrap();
            caps::drop(None, which, cap).unwrap();
        }
    }
    assert_eq!(confirm_raw(set(&["chown"]).bits()), Err(Errno::EPERM));
}

fn what_hostel_lacks_cannot_be_kept(_: &World) {
    restrict(own().unwrap().bounding.without("net_raw".parse().unwrap())).unwrap();
    let before = own().unwrap();
    let err = restrict(set(&["chown", "net_raw"])).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    assert!(err.hint().is_some());
    assert_eq!(own().unwrap(), before);
}
