//! Resource limits and priorities of running processes.

use std::collections::BTreeMap;

use hostel::error::Kind;
use hostel::guest::{Limits, Rlimit, RlimitKind};
use hostel::sys::cgroup::Host;
use hostel::sys::{caps, proc, rlimit};

use crate::support::{World, tests};
use crate::waiting::Waiting;

tests! {
    [Root] => a_hard_limit_is_not_raised_without_the_capability,
    [Root] => limits_reach_a_process_that_runs,
    [Root] => a_priority_is_lowered_by_all_and_raised_with_the_capability,
}

fn kind(name: &str) -> RlimitKind {
    name.parse().unwrap()
}

fn limit(both: u64) -> Rlimit {
    Rlimit {
        soft: Some(both),
        hard: Some(both),
    }
}

fn drop_capability(name: &str) {
    let own = caps::own().unwrap();
    caps::restrict(own.permitted.without(name.parse().unwrap())).unwrap();
}

fn a_hard_limit_is_not_raised_without_the_capability(_: &World) {
    drop_capability("sys_resource");
    rlimit::set(None, kind("nofile"), limit(200)).unwrap();
    let err = rlimit::set(None, kind("nofile"), limit(300)).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    assert_eq!(
        err.to_string(),
        "set rlimit `nofile` of this process to `300`: EPERM (operation not permitted)"
    );
    assert_eq!(
        err.hint(),
        Some("its hard limit is `200`, and only CAP_SYS_RESOURCE raises one")
    );
    // A recipe that asks for it is refused by name before anything starts.
    let limits = Limits {
        rlimits: [(kind("nofile"), limit(300))].into(),
        ..Limits::default()
    };
    let refusals = Host::detect().unwrap().refuse(&limits);
    assert_eq!(refusals.len(), 1);
    assert_eq!(
        refusals[0].to_string(),
        "`rlimits`: `nofile` cannot be raised above 200, this process's hard limit, without CAP_SYS_RESOURCE"
    );
}

fn limits_reach_a_process_that_runs(_: &World) {
    let mut child = Waiting::new("[ $(ulimit -n) = 50 ] && [ $(ulimit -c) = 0 ]");
    let limits = BTreeMap::from([(kind("nofile"), limit(50)), (kind("core"), limit(0))]);
    rlimit::set_all(Some(child.pid()), &limits).unwrap();
    assert_eq!(rlimit::read(Some(child.pid()), kind("nofile")).unwrap(), limit(50));
    assert_eq!(child.finish(), 0);
}

fn a_priority_is_lowered_by_all_and_raised_with_the_capability(_: &World) {
    let mut child = Waiting::new("exit 0");
    let nice = |child: &Waiting| proc::stat(child.pid()).unwrap().unwrap().nice;
    rlimit::set_nice(child.pid(), -5).unwrap();
    assert_eq!(nice(&child), -5);
    assert_eq!(child.finish(), 0);
    drop_capability("sys_nice");
    // A new one: the kernel also refuses when the other process has more capabilities than we.
    let mut child = Waiting::new("exit 0");
    rlimit::set_nice(child.pid(), 5).unwrap();
    let err = rlimit::set_nice(child.pid(), 0).unwrap_err();
    assert_eq!(err.kind(), Kind::Denied);
    assert_eq!(err.hint(), Some("only CAP_SYS_NICE raises a priority (a lower number)"));
    assert_eq!(nice(&child), 5);
    assert_eq!(child.finish(), 0);
}
