//! From a context to the steps of its start. The order is the point of this file: each step says what would
//! break if it came later or earlier.

use crate::error::{Error, Kind, Result};
use crate::guest::{CapSet, Context, Identity, Limits, Xid};

use super::{Phase, Program, Step};

/// The steps, in order, that start `program` in `context`. `xid` is the number it will have: `None` where a
/// context has none (the host's own id range, no cgroup, no addresses).
pub fn launch(context: &Context, xid: Option<Xid>, program: Program) -> Result<Vec<Step>> {
    check(context)?;
    let mut isolate = context.isolate;
    if context.identity == Identity::Spectator {
        // Power over none is another user's than root's; and the read-only /proc must not be the host's.
        isolate.user = true;
        isolate.mount = true;
    }
    let mut steps = Vec::new();
    let first_id = match xid {
        Some(xid) if isolate.user => xid.id_base(),
        _ => 0,
    };

    // Limits first: the process is born into them and never exists without.
    let is_here = matches!(context.identity, Identity::Here(_));
    if is_here && context.limits != Limits::default() {
        steps.push(Step::Narrow(Box::new(context.limits.clone())));
    } else if xid.is_some() && !is_here {
        steps.push(Step::Cgroup(Box::new(context.limits.clone())));
    }
    if context.root.is_some() && context.may_serve_files() {
        // Before it is admitted, which says what devices it may open.
        steps.push(Step::OpenFuse(first_id));
    }
    if context.bind.is_empty() && xid.is_some() && !is_here && (isolate.net || context.open_network) {
        // Before the process: it asks its own network stack for a loopback device.
        steps.push(Step::Admit(None));
    }

    // Everything of the host that the process will see is taken hold of by descriptor before it exists.
    if let Some(root) = &context.root {
        steps.push(match (&context.layers, &context.image) {
            (Some(layers), _) => Step::OpenLayers(layers.clone(), isolate.user),
            (None, Some(image)) => Step::OpenImage(image.clone()),
            (None, None) => Step::OpenRoot(root.clone()),
        });
    }
    steps.extend(context.mounts.iter().cloned().map(Step::OpenMount));
    for (place, mount) in context
        .mounts
        .iter()
        .enumerate()
        .filter(|(_, m)| m.owner.is_some())
    {
        steps.push(Step::MapOwner(place, mount.clone(), first_id));
    }

    steps.push(Step::Clone(isolate));

    // The id map comes before anything that the process does: until then it is nobody.
    if isolate.user {
        let base = xid.ok_or_else(|| {
            Error::new(Kind::Invalid, "a user namespace without a context id").with_hint("give it an xid")
        })?;
        steps.push(Step::MapIds(base));
        if context.root.is_some() {
            steps.push(Step::MapOwners);
        }
    }
    if let Some(cable) = &context.cable {
        steps.push(Step::Cable(Box::new(cable.clone())));
    }
    // Set from outside, where the privilege to raise a hard limit is.
    steps.extend(
        context
            .limits
            .rlimits
            .iter()
            .map(|(kind, limit)| Step::Rlimit(*kind, *limit)),
    );
    steps.extend(context.limits.nice.map(Step::Nice));

    // While the process mounts and pivots, which takes longer. Until it is admitted it may open no socket at all, so
    // there is no instant at which it has the host's addresses; what must not run before is the program.
    if !context.bind.is_empty() {
        // The addresses are on the host before the guest may use them, and go after it is forgotten.
        if let Some(device) = &context.device {
            steps.extend(context.bind.iter().map(|net| Step::Address(*net, device.clone())));
        }
        if let Some(xid) = xid {
            steps.push(Step::Loopback6(xid.loopback6()));
        }
        steps.push(Step::Admit(Some(context.addrs().collect())));
    }

    if isolate.user || context.shares_ids {
        // Still the host's root, whom the keyring is counted for: no guest can use up what the next start takes.
        steps.push(Step::OwnKeyring);
        // Of the host's own root it takes the groups.
        steps.push(Step::BecomeRoot);
    }
    if isolate.user && !context.is_nested() {
        // Set while /proc/sys can still be written, by who is root of the namespace that it holds for.
        steps.push(Step::NoNestedUsers);
    }
    if (isolate.user || context.shares_ids) && isolate.net && context.may_ping() {
        // As above: while /proc/sys can still be written.
        steps.push(Step::EchoSockets);
    }
    // The keeper starts the guest's init in a cgroup beside its own, which it would not reach from a namespace that
    // ends at its own (`nsdelegate` in cgroups(7)); that init gets the namespace.
    if isolate.cgroup && !matches!(program, Program::Keeper(_)) {
        // Not a flag of the clone: there the root would be the cgroup of hostel itself (cgroup_namespaces(7)).
        steps.push(Step::CgroupRoot);
    }
    if isolate.mount {
        steps.push(Step::PrivateMounts);
    }
    if context.root.is_some() {
        // All mounts come before the pivot: a user namespace may mount `/proc` only while it still sees one
        // whole (mount_namespaces(7)), which goes with the old root.
        steps.push(Step::AttachRoot);
        steps.push(Step::Proc);
        // Where it lies over `/proc`, and while the emulator can be opened by the host's path.
        steps.extend(context.emulator.clone().map(Step::Emulate));
        steps.push(Step::Sys);
        steps.push(Step::Dev);
        // Recipe mounts last, so that one may lie over what hostel made; and they are attached in the order
        // written, so that one may lie in another.
        steps.extend(context.mounts.iter().cloned().map(Step::AttachMount));
        steps.push(Step::Pivot);
    } else if context.identity == Identity::Spectator {
        steps.push(Step::HostProc);
    }
    if let Some(name) = &context.hostname {
        steps.push(Step::Hostname(name.to_string()));
    }
    if isolate.net {
        steps.push(Step::LoopbackUp);
    }
    if context.scope_abstract_sockets {
        // Before the capabilities go: without CAP_SYS_ADMIN Landlock asks for no_new_privs, which would take
        // set-user-ID programs from the guest.
        steps.push(Step::ScopeAbstractSockets);
    }
    // A keeper must make the namespaces of the guest's own init, so it drops for that init, not for itself. The same
    // holds for the filter, which goes on before the capabilities go: it needs the one that Landlock needs.
    if let (Some(profile), false) = (context.profile(), matches!(program, Program::Keeper(_))) {
        steps.push(Step::FilterCalls(profile));
    }
    if context.no_new_privs && !matches!(program, Program::Keeper(_)) {
        steps.push(Step::NoNewPrivs);
    }
    if let (Some(caps), false) = (context.kept_caps(), matches!(program, Program::Keeper(_))) {
        steps.push(Step::Caps(caps));
    }
    steps.push(Step::Exec(program));
    Ok(steps)
}

/// What of the steps of `launch` a process can do to itself, without another: it may go on as the program.
/// `None` when a new process is needed: a process namespace has its first process, ids are mapped by another, and
/// a cgroup is removed by somebody who is not in it.
pub fn is_in_place(steps: &[Step]) -> bool {
    steps.iter().all(|step| match step {
        Step::Clone(isolate) => !isolate.pid && !isolate.user,
        Step::OpenRoot(_) | Step::OpenMount(_) => true,
        other => other.phase() == Phase::Inside,
    })
}

/// Refuses what makes no sense together.
fn check(context: &Context) -> Result<()> {
    let needs = |what: &str, namespace: &str| {
        Err(
            Error::new(Kind::Invalid, format!("{what} needs a {namespace} namespace"))
                .with_hint(format!("add `{namespace}` to `isolate`")),
        )
    };
    if context.hostname.is_some() && !context.isolate.uts {
        return needs("a hostname", "uts");
    }
    if context.limits.disk.is_some() || context.limits.inodes.is_some() {
        return Err(Error::new(
            Kind::Invalid,
            "a limit on disk space or inodes is one of a guest's files, and a context has none of its own",
        )
        .with_hint("give it to a guest: `hostel set GUEST disk=2G`"));
    }
    if context.root.is_some() && !context.isolate.mount {
        return needs("a root", "mount");
    }
    // Of whose processes the kernel would else show it `/proc`, its user namespace does not own: mount(2) is EPERM.
    if context.root.is_some() && context.isolate.user && !context.isolate.pid {
        return needs("a root with ids of its own", "pid");
    }
    if !context.mounts.is_empty() && context.root.is_none() {
        return Err(Error::new(Kind::Invalid, "a mount needs a root").with_hint("give it a `chroot`"));
    }
    if context.cable.is_some() && !context.isolate.net {
        return needs("a veth pair", "net");
    }
    if !context.bind.is_empty() && context.isolate.net {
        return Err(Error::new(
            Kind::Invalid,
            "addresses to bind to on a network stack of its own",
        )
        .with_hint("chbind confines to addresses of the host's stack; leave `net` out of `isolate`"));
    }
    let asks = context.caps.is_some_and(|caps| caps != CapSet::EMPTY) || !context.allow.is_empty();
    if context.identity == Identity::Spectator && asks {
        return Err(
            Error::new(Kind::Invalid, "a spectator has no capabilities").with_hint(
                "it sees every process without; leave the capabilities out, or take another context id",
            ),
        );
    }
    if context.identity == Identity::Spectator && isolate_hides(context) {
        return Err(Error::new(
            Kind::Invalid,
            "a spectator with processes or a root of its own would see no others",
        )
        .with_hint("leave `pid` and the root out, or take another context id"));
    }
    Ok(())
}

fn isolate_hides(context: &Context) -> bool {
    context.isolate.pid || context.root.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Isolate;

    fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(wanted).unwrap()
    }

    #[test]
    fn a_spectator_has_no_power_and_leaves_the_hosts_mounts_alone() {
        let context = Context {
            identity: Identity::Spectator,
            ..Context::default()
        };
        let steps = launch(
            &context,
            Some(Xid::SPECTATOR),
            Program::Command(vec!["ls".into()]),
        )
        .unwrap();
        let is_made = |s: &Step| matches!(s, Step::Clone(isolate) if isolate.user && isolate.mount);
        position(&steps, is_made);
        let private = position(&steps, |s| *s == Step::PrivateMounts);
        assert!(private < position(&steps, |s| *s == Step::HostProc));
        // What it takes to mount that is gone when its program runs.
        let none = position(&steps, |s| *s == Step::Caps(CapSet::EMPTY));
        assert!(position(&steps, |s| *s == Step::HostProc) < none);
        let refused = |context: &Context| {
            let err = launch(context, Some(Xid::SPECTATOR), Program::HostelInit).unwrap_err();
            err.to_string()
        };
        let blind = Context {
            isolate: Isolate::GUEST,
            ..context.clone()
        };
        assert!(refused(&blind).contains("would see no others"));
        let strong = Context {
            caps: Some(CapSet::guest_default()),
            ..context
        };
        assert_eq!(refused(&strong), "a spectator has no capabilities");
    }

    fn guest() -> Vec<Step> {
        let context = Context {
            identity: Identity::Xid(Xid::new(101).unwrap()),
            isolate: Isolate::GUEST,
            hostname: Some("web".parse().unwrap()),
            root: Some("/srv/web".into()),
            bind: vec!["127.9.0.1/32".parse().unwrap()],
            caps: Some(CapSet::guest_default()),
            scope_abstract_sockets: true,
            ..Context::default()
        };
        launch(&context, Some(Xid::new(101).unwrap()), Program::HostelInit).unwrap()
    }

    #[test]
    fn phases_never_go_back() {
        let phases: Vec<_> = guest().iter().map(Step::phase).collect();
        assert!(phases.is_sorted(), "{phases:?}");
    }

    #[test]
    fn a_guest_starts_in_this_order() {
        let lines: Vec<String> = guest().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "make its cgroup",
                "open root `/srv/web`",
                "make the process in new namespaces: pid, ipc, uts, mount, user, cgroup",
                "map ids 0..65535 to 6619136..6684671",
                "map the owners of its files",
                "add address fd68:6f73:7465:6c::65/128 to `lo`",
                "confine its sockets to 127.9.0.1",
                "take a session keyring of its own",
                "become root of the user namespace",
                "let nobody in it make a user namespace",
                "make its cgroup the root of those that it sees",
                "make mounts private",
                "attach the root",
                "mount `/proc`",
                "mount `/sys` read-only",
                "make a minimal `/dev`",
                "pivot into the root and detach the old one",
                "set hostname `web`",
                "cut it off from abstract sockets of others",
                "refuse the system calls that it has no use for",
                "drop every capability but chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, \
                 net_bind_service, sys_chroot, audit_write, setfcap",
                "run hostel's init",
            ]
        );
    }

    #[test]
    fn nothing_is_mounted_after_the_old_root_is_gone() {
        let steps = guest();
        let pivot = position(&steps, |s| *s == Step::Pivot);
        assert!(position(&steps, |s| *s == Step::Proc) < pivot);
        assert!(position(&steps, |s| *s == Step::Dev) < pivot);
        assert!(
            position(&steps, |s| *s == Step::ScopeAbstractSockets)
                < position(&steps, |s| matches!(s, Step::Caps(_)))
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let context = Context {
            hostname: Some("x".parse().unwrap()),
            ..Context::default()
        };
        let err = launch(&context, None, Program::HostelInit).unwrap_err();
        assert_eq!(err.to_string(), "a hostname needs a uts namespace");
        assert_eq!(err.hint(), Some("add `uts` to `isolate`"));
    }
}
