use super::*;
use crate::guest::limits::IoMax;
use crate::guest::{Bytes, Rlimit};

/// A host with these controllers, all on cgroup2 or each on a v1 hierarchy of its own.
pub(in super::super) fn made_up(controllers: &[Controller], v1: bool) -> Host {
    Host {
        unified: Some(Unified {
            path: "/sys/fs/cgroup".into(),
            depth: 0,
            controllers: if v1 { vec![] } else { controllers.to_vec() },
        }),
        v1: if v1 {
            controllers
                .iter()
                .map(|c| Hierarchy {
                    path: format!("/sys/fs/cgroup/{c}").into(),
                    controllers: vec![*c],
                })
                .collect()
        } else {
            vec![]
        },
        facts: Facts {
            built: OnceLock::from(
                Controller::ALL
                    .map(|c| (c, true))
                    .into_iter()
                    .collect::<BTreeMap<_, _>>(),
            ),
            swap: OnceLock::from(true),
            bandwidth: OnceLock::from(true),
            io_weight: OnceLock::from(Some(IoWeight::Bfq)),
            online: OnceLock::from(vec![0, 1]),
            hard: OnceLock::from(
                RlimitKind::all()
                    .map(|kind| (kind, Some(4096)))
                    .collect::<BTreeMap<_, _>>(),
            ),
            may_raise: OnceLock::from(true),
        },
    }
}

fn everything() -> Limits {
    Limits {
        memory: Some(Bytes(1 << 30)),
        swap: Some(Bytes(0)),
        cpus: Some("0.5".parse().unwrap()),
        cpu_weight: Some(50),
        cpuset: Some("0-1".parse().unwrap()),
        pids: Some(10),
        io_weight: Some(50),
        io: [("/dev/sda".to_owned(), write_bound())].into(),
        rlimits: [(
            "nofile".parse().unwrap(),
            Rlimit {
                soft: Some(8192),
                hard: Some(8192),
            },
        )]
        .into(),
        ..Limits::default()
    }
}

fn write_bound() -> IoMax {
    IoMax {
        write: Some(Bytes(1 << 20)),
        ..IoMax::default()
    }
}

fn refused(host: &Host, limits: &Limits) -> Vec<&'static str> {
    host.refuse(limits).into_iter().map(|r| r.field).collect()
}

#[test]
fn a_capable_host_refuses_nothing() {
    assert_eq!(refused(&made_up(&Controller::ALL, false), &everything()), [""; 0]);
}

#[test]
fn no_limits_are_never_refused() {
    assert_eq!(refused(&made_up(&[], false), &Limits::default()), [""; 0]);
}

#[test]
fn every_missing_feature_is_named() {
    type Spoil = fn(&mut Host);
    let cases: [(Spoil, &[&str], &str); 8] = [
        (|h| h.facts.swap = false.into(), &["swap"], "swapaccount=1"),
        (
            |h| h.facts.bandwidth = false.into(),
            &["cpus"],
            "CONFIG_CFS_BANDWIDTH",
        ),
        (|h| h.facts.io_weight = None.into(), &["io_weight"], "bfq"),
        (
            |h| h.facts.online = vec![0].into(),
            &["cpuset"],
            "processor 1 is not there",
        ),
        (
            |h| h.facts.may_raise = false.into(),
            &["rlimits"],
            "`nofile` cannot be raised above 4096",
        ),
        (
            |h| {
                h.unified
                    .as_mut()
                    .unwrap()
                    .controllers
                    .retain(|c| *c != Controller::Cpuset);
            },
            &["cpuset"],
            "on no mounted cgroup hierarchy",
        ),
        (
            |h| {
                h.unified
                    .as_mut()
                    .unwrap()
                    .controllers
                    .retain(|c| *c != Controller::Memory);
                h.facts.built = BTreeMap::from([(Controller::Memory, false)]).into();
            },
            &["memory", "swap", "io"],
            "cgroup_disable=memory",
        ),
        (
            |h| {
                h.unified
                    .as_mut()
                    .unwrap()
                    .controllers
                    .retain(|c| *c != Controller::Pids);
                h.facts.built = BTreeMap::new().into();
            },
            &["pids"],
            "built without the `pids` controller",
        ),
    ];
    for (spoil, fields, word) in cases {
        let mut host = made_up(&Controller::ALL, false);
        spoil(&mut host);
        assert_eq!(refused(&host, &everything()), fields);
        let err = host.require(&everything()).unwrap_err();
        assert_eq!(err.kind(), Kind::Unsupported);
        assert!(err.to_string().contains(word), "{err}");
    }
}

#[test]
fn what_v1_cannot_do_is_refused_there() {
    let host = made_up(&Controller::ALL, true);
    assert_eq!(refused(&host, &everything()), ["io"]);
    let swap_alone = Limits {
        swap: Some(Bytes(0)),
        ..Limits::default()
    };
    assert_eq!(refused(&host, &swap_alone), ["swap"]);
    let reads = Limits {
        io: [(
            "/dev/sda".to_owned(),
            IoMax {
                read: Some(Bytes(1 << 20)),
                ..IoMax::default()
            },
        )]
        .into(),
        ..Limits::default()
    };
    assert_eq!(refused(&host, &reads), [""; 0]);
}

const CGROUPS: &str =
    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nblkio\t2\t1\t1\nmemory\t0\t14\t0\n";

#[test]
fn a_hybrid_host() {
    let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
38 31 0:35 / /sys/fs/cgroup/blk\\040io rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:38 / /elsewhere rw,relatime - cgroup2 cgroup2 rw
";
    let host = Host::from_mountinfo(mountinfo);
    assert_eq!(host.layout(), Layout::Hybrid);
    assert_eq!(host.unified().unwrap(), Path::new("/sys/fs/cgroup/unified"));
    assert_eq!(host.place(Controller::Cpu), Place::V1(0));
    assert_eq!(host.v1[1].path, Path::new("/sys/fs/cgroup/blk io"));
    assert_eq!(host.place(Controller::Memory), Place::Absent);
    assert_eq!(
        built(CGROUPS),
        [
            (Controller::Cpu, true),
            (Controller::Io, true),
            (Controller::Memory, false)
        ]
        .into()
    );
}

#[test]
fn a_v2_host_may_keep_a_named_v1_hierarchy() {
    let mountinfo = "\
29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
40 31 0:37 / /mnt/systemd rw,relatime - cgroup cgroup rw,name=systemd
";
    assert_eq!(Host::from_mountinfo(mountinfo).layout(), Layout::V2);
}

#[test]
fn v1_alone_says_what_to_mount() {
    let host = Host::from_mountinfo("32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n");
    assert_eq!(host.layout(), Layout::V1);
    let err = host.unified().unwrap_err();
    assert_eq!(err.kind(), Kind::Unsupported);
    assert!(err.hint().unwrap().contains("mount -t cgroup2"));
}

#[test]
fn processor_lists() {
    assert_eq!(processors("0-2,7,1").unwrap(), [0, 1, 2, 7]);
    assert_eq!(list_of(&[0, 1, 2, 7, 9, 10]), "0-2,7,9-10");
    assert_eq!(list_of(&[]), "");
    assert_eq!(processors("").unwrap(), [0_u16; 0]);
}

#[test]
fn this_host_is_described() {
    let host = Host::detect().unwrap();
    assert!(!host.online().is_empty());
    let nofile = "nofile".parse().unwrap();
    assert_eq!(
        host.hard(nofile),
        crate::sys::rlimit::read(None, nofile).unwrap().hard
    );
}
