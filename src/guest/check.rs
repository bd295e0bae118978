//! What only shows when fields, or guests, are seen together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::caps::nearest;
use super::{
    Allow, Cap, CapSet, Check, Context, Distribution, Image, Init, Invalid, Net, NetMode, Spec, Volume,
    VolumeName, Xid,
};

/// What kind of fault a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fields that make no sense together.
    Contradiction,
    /// A value that is one, and cannot be meant.
    Value,
    /// A field that another one needs.
    Missing,
    /// A service that the guest does not have.
    UnknownService,
    /// A guest that the recipe does not have.
    UnknownGuest,
    /// Guests or services that wait for each other.
    Circle,
    /// Two guests of one name.
    DuplicateName,
    /// Two guests of one context id.
    DuplicateXid,
    /// Two guests of one address.
    DuplicateAddress,
}

/// A fault, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub fault: Fault,
    /// The field in the guest, as `services/nginx/after/1`.
    pub path: String,
    /// What is wrong and what would be right.
    pub invalid: Invalid,
    /// Between guests: each one's place in the list, and the field there. The first is where the fault shows.
    pub guests: Vec<(usize, String)>,
    /// The name that was not found.
    pub about: Option<String>,
}

impl Finding {
    fn new(
        fault: Fault,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (path, invalid) = (path.into(), Invalid::new(message, hint));
        Self {
            fault,
            path,
            invalid,
            guests: Vec::new(),
            about: None,
        }
    }
}

/// The parts of a finding's path. They are joined by NUL, which no key can hold.
pub fn split(path: &str) -> Vec<String> {
    path.split('\0').map(str::to_owned).collect()
}

fn join(parts: &[&str]) -> String {
    parts.join("\0")
}

/// A suite that no mirror is known to have.
fn suite(image: &Image, found: &mut Vec<Finding>) {
    let Image::Suite(distribution, suite) = image else {
        return;
    };
    if distribution.knows(suite) {
        return;
    }
    let others = || {
        let elsewhere = Distribution::ALL.into_iter().find(|other| other.knows(suite))?;
        Some(format!(
            "it is one of {}: `{elsewhere}:{suite}`",
            elsewhere.title()
        ))
    };
    let near = || {
        let near = nearest(suite, distribution.suites().iter().copied())?;
        Some(format!("did you mean `{distribution}:{near}`?"))
    };
    let hint = others().or_else(near).unwrap_or_else(|| {
        format!(
            "known are {}; what is younger than this hostel can be made by `mmdebstrap` and taken as `tar:FILE`",
            distribution.suites().join(", ")
        )
    });
    let message = format!("unknown suite `{suite}` of {}", distribution.title());
    found.push(Finding::new(Fault::Value, "image", message, hint));
}

/// Checks one guest.
pub fn spec(spec: &Spec) -> Vec<Finding> {
    let mut found = Vec::new();
    suite(&spec.image, &mut found);
    net(spec, &mut found);
    services(spec, &mut found);
    health(spec, &mut found);
    let mut contradiction = |path: &[&str], message: String, hint: &str| {
        found.push(Finding::new(Fault::Contradiction, join(path), message, hint));
    };
    let is_on_host_stack = matches!(spec.net.mode, NetMode::Bind | NetMode::Host);
    for (index, word) in spec.allow.iter().enumerate() {
        if is_on_host_stack && word.loosening().needs_own_network {
            contradiction(
                &["allow", &(index + 1).to_string()],
                format!("`{word}` needs a network stack of the guest's own"),
                "on the host's, raw and packet sockets are the host's: use `net = { mode = \"private\" }`",
            );
        }
    }
    if !spec.userns {
        shared_ids(spec, &mut contradiction);
    }
    if spec.arch.is_some() && spec.image == Image::Busybox {
        contradiction(
            &["arch"],
            "`busybox` is made of the host's own, which is for the host's processor".to_owned(),
            "use an image of a suite, such as `debian:bookworm`, or one made elsewhere: `tar:FILE`",
        );
    }
    if spec.arch.is_some() && !spec.userns {
        contradiction(
            &["arch"],
            "with `userns = false`, its root could write over the emulator, which is the host's".to_owned(),
            "leave it out, or leave `userns` on",
        );
    }
    if !spec.packages.is_empty() && !matches!(spec.image, Image::Suite(..)) {
        let message = format!("`packages` are Debian's, and the image is `{}`", spec.image);
        contradiction(
            &["packages"],
            message,
            "use an image of a suite, such as `debian:bookworm`, or leave `packages` out",
        );
    }
    let remounts = may_remount(spec);
    let mut targets: BTreeMap<&std::path::Path, usize> = BTreeMap::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        if mount.source.volume().is_some() && !mount.idmap {
            contradiction(
                &["mounts", &(index + 1).to_string(), "idmap"],
                "the ids of a volume are the guest's, and `idmap = false` maps none".to_owned(),
                "leave `idmap` out, or mount a directory of the host",
            );
        }
        if mount.owner.is_some() && !mount.idmap {
            contradiction(
                &["mounts", &(index + 1).to_string(), "owner"],
                "`owner` maps ids, and `idmap = false` maps none".to_owned(),
                "leave `idmap` out",
            );
        }
        for (field, _) in [("readonly", mount.readonly), ("noexec", mount.noexec)]
            .into_iter()
            .filter(|(_, is_set)| *is_set && remounts)
        {
            contradiction(
                &["mounts", &(index + 1).to_string(), field],
                format!(
                    "`{field}` does not hold for a guest that keeps `sys_admin`: its root can take it off"
                ),
                "leave `sys_admin` out; `allow = { \"fuse\" }` brings it without this, where `nested` is not allowed too",
            );
        }
        if let Some(first) = targets.insert(&mount.target, index) {
            let message = format!(
                "mounts {} and {} have the target `{}`",
                first + 1,
                index + 1,
                mount.target.display()
            );
            let place = (index + 1).to_string();
            contradiction(
                &["mounts", &place, "target"],
                message,
                "the later one would hide the earlier one",
            );
        }
    }
    if let (Some(soft), Some(swap)) = (spec.limits.memory, spec.limits.swap)
        && soft.0 == 0
    {
        contradiction(
            &["limits", "memory"],
            format!("no memory, and {swap} of swap"),
            "give it some memory",
        );
    }
    found
}

/// Whether the guest's root can change the mounts of its own mount namespace: what hostel has set on them is not locked there
/// (`mount_namespaces(7)`), as it is in one that is made inside.
fn may_remount(spec: &Spec) -> bool {
    let caps = Context::of_guest(spec, Xid::MAX, std::path::PathBuf::from("/")).caps;
    let is_filtered = spec.allow.contains(&Allow::Fuse) && !spec.allow.contains(&Allow::Nested);
    let has = |cap: Cap| caps.is_some_and(|caps| caps.contains(cap));
    "sys_admin".parse().is_ok_and(has) && !is_filtered
}

/// What a guest whose root is the host's root cannot have: there it would be the host's.
fn shared_ids(spec: &Spec, contradiction: &mut impl FnMut(&[&str], String, &str)) {
    let hint = "leave it out, or leave `userns` on";
    let usual = CapSet::guest_default();
    for (field, caps) in [("keep", Some(&spec.caps.keep)), ("only", spec.caps.only.as_ref())] {
        for (index, cap) in caps.into_iter().flatten().enumerate() {
            if !usual.contains(*cap) {
                contradiction(
                    &["caps", field, &(index + 1).to_string()],
                    format!("with `userns = false`, `{cap}` would be the host's"),
                    hint,
                );
            }
        }
    }
    for (index, word) in spec.allow.iter().enumerate() {
        let is_harmless = matches!(word, Allow::Ping | Allow::Traceroute | Allow::Tcpdump);
        // Their capability is real then, so the network stack must not be the host's.
        if !is_harmless || matches!(spec.net.mode, NetMode::Bind | NetMode::Host) {
            contradiction(
                &["allow", &(index + 1).to_string()],
                format!("with `userns = false`, `{word}` would be the host's"),
                hint,
            );
        }
    }
}

fn net(spec: &Spec, found: &mut Vec<Finding>) {
    let net = &spec.net;
    let mode = match net.mode {
        NetMode::None => "none",
        NetMode::Bind => "bind",
        NetMode::Private => "private",
        NetMode::Host => "host",
    };
    let mut contradiction = |field: &str, message: String, hint: &str| {
        found.push(Finding::new(
            Fault::Contradiction,
            join(&["net", field]),
            message,
            hint,
        ));
    };
    let is_bind = net.mode == NetMode::Bind;
    let is_private = net.mode == NetMode::Private;
    if !net.address.is_empty() && !is_bind && !is_private {
        let hint = if net.mode == NetMode::None {
            "say `mode = \"bind\"` or `mode = \"private\"`"
        } else {
            "leave `address` out"
        };
        contradiction(
            "address",
            format!("`address` means nothing in mode `{mode}`"),
            hint,
        );
    }
    let only_in = |is_set: bool, is_right: bool| is_set && !is_right;
    if only_in(net.device.is_some(), is_bind) {
        contradiction(
            "device",
            format!("`device` means nothing in mode `{mode}`"),
            "it belongs to mode `bind`; in mode `private` use `bridge`",
        );
    }
    if only_in(net.bridge.is_some(), is_private) {
        contradiction(
            "bridge",
            format!("`bridge` means nothing in mode `{mode}`"),
            "it belongs to mode `private`",
        );
    }
    if only_in(!net.gateway.is_empty(), is_private) {
        contradiction(
            "gateway",
            format!("`gateway` means nothing in mode `{mode}`"),
            "it belongs to mode `private`",
        );
    }
    if only_in(net.shared_abstract_sockets, is_bind) {
        contradiction(
            "shared_abstract_sockets",
            format!("`shared_abstract_sockets` means nothing in mode `{mode}`"),
            "it belongs to mode `bind`",
        );
    }
    if net.mode == NetMode::None && !net.ports.is_empty() {
        contradiction(
            "ports",
            "`ports` cannot be reached in mode `none`".to_owned(),
            "say `mode = \"bind\"` or `mode = \"private\"`",
        );
    }
    if net.device.is_some() && net.address.is_empty() && is_bind {
        contradiction(
            "device",
            "`device` carries no address".to_owned(),
            "add `address`",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, address) in net.addrs().enumerate() {
        if !seen.insert(address) {
            let path = join(&["net", "address", &(index + 1).to_string()]);
            let message = format!("the address {address} is there twice");
            found.push(Finding::new(Fault::Contradiction, path, message, "leave one out"));
        }
    }
    for (family, count) in [
        ("IPv4", net.addrs().filter(IpAddr::is_ipv4).count()),
        ("IPv6", net.addrs().filter(IpAddr::is_ipv6).count()),
    ] {
        if count > Net::MAX_ADDRESSES {
            let message = format!("{count} {family} addresses are more than {}", Net::MAX_ADDRESSES);
            let hint = "a guest has at most 16 addresses of a family";
            found.push(Finding::new(
                Fault::Contradiction,
                join(&["net", "address"]),
                message,
                hint,
            ));
        }
    }
    if is_bind && net.address.is_empty() {
        let hint = "such as `address = \"10.0.0.10/24\"`; `mode = \"none\"` has a loopback of its own";
        found.push(Finding::new(
            Fault::Missing,
            join(&["net", "mode"]),
            "mode `bind` needs an `address`",
            hint,
        ));
    }
}

fn services(spec: &Spec, found: &mut Vec<Finding>) {
    if let Init::Own(path) = &spec.init
        && !spec.services.is_empty()
    {
        let message = format!(
            "`services` are run by hostel's init, and the guest has its own, `{}`",
            path.display()
        );
        let hint = "leave `init` out, or let the guest's init start them";
        found.push(Finding::new(Fault::Contradiction, "services", message, hint));
    }
    let names: Vec<&str> = spec.services.keys().map(String::as_str).collect();
    let mut waits: Vec<Vec<(usize, String)>> = vec![Vec::new(); names.len()];
    for (index, (name, service)) in spec.services.iter().enumerate() {
        if service.exec.first().is_none_or(String::is_empty) {
            let path = join(&["services", name, "exec"]);
            let hint = "write `exec = { \"nginx\", \"-g\", \"daemon off;\" }`";
            found.push(Finding::new(
                Fault::Missing,
                path,
                format!("the service `{name}` runs nothing"),
                hint,
            ));
        }
        for (place, after) in service.after.iter().enumerate() {
            let path = join(&["services", name, "after", &(place + 1).to_string()]);
            if let Some(target) = names.iter().position(|n| n == after) {
                waits[index].push((target, path));
                continue;
            }
            let message = format!("there is no service `{after}`");
            found.push(Finding::new(
                Fault::UnknownService,
                path,
                message,
                known(after, &names),
            ));
        }
    }
    for circle in circles(&waits) {
        let text = shown(&circle, &names);
        let Some((_, path)) = circle.first() else { continue };
        let hint = "one of them has to start first";
        found.push(Finding::new(
            Fault::Circle,
            path.clone(),
            format!("services wait for each other: {text}"),
            hint,
        ));
    }
}

fn health(spec: &Spec, found: &mut Vec<Finding>) {
    let Some(health) = &spec.health else { return };
    let port = match &health.check {
        Check::Tcp(port) => Some(("tcp", *port)),
        Check::Http(probe) => Some(("http", probe.port)),
        Check::Exec(argv) => {
            if argv.is_empty() {
                let path = join(&["health", "exec"]);
                found.push(Finding::new(
                    Fault::Missing,
                    path,
                    "the health check runs nothing",
                    "name a program",
                ));
            }
            None
        }
    };
    if let Some((field, port)) = port {
        let path = join(&["health", field]);
        if spec.net.mode == NetMode::None {
            let message = format!("the health check asks port {port}, and the guest has no network");
            let hint = "use `exec`, which runs inside the guest, or give it an address";
            found.push(Finding::new(Fault::Contradiction, path, message, hint));
        } else if !spec.net.ports.is_empty() && !spec.net.ports.contains(&port) {
            let message = format!("the health check asks port {port}, which is not among `net.ports`");
            found.push(Finding::new(
                Fault::Contradiction,
                path,
                message,
                "add it to `net.ports`, or ask another",
            ));
        }
    }
    if health.timeout.millis() == 0 || health.interval.millis() == 0 {
        let field = if health.timeout.millis() == 0 {
            "timeout"
        } else {
            "interval"
        };
        let path = join(&["health", field]);
        found.push(Finding::new(
            Fault::Contradiction,
            path,
            format!("`{field}` is no time at all"),
            "such as \"2s\"",
        ));
    }
}

/// Checks guests together.
pub fn fleet(specs: &[&Spec]) -> Vec<Finding> {
    let mut found = Vec::new();
    let between = |fault, message: String, hint: String, guests: Vec<(usize, String)>| Finding {
        guests,
        ..Finding::new(fault, "", message, hint)
    };
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut xids = HashMap::new();
    let mut volumes: HashMap<&VolumeName, (usize, String, &Volume)> = HashMap::new();
    let mut addresses: HashMap<IpAddr, (usize, String)> = HashMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let name = spec.name.as_str();
        if let Some(first) = names.get(name) {
            let message = format!("two guests are called \"{name}\"");
            let guests = vec![(index, String::new()), (*first, String::new())];
            found.push(between(
                Fault::DuplicateName,
                message,
                "give one another name".to_owned(),
                guests,
            ));
            continue;
        }
        names.insert(name, index);
        for (volume, said) in &spec.volumes {
            let path = join(&["volumes", volume.as_str()]);
            match volumes.get(volume) {
                Some((first, there, other)) if *other != said => {
                    let message = format!(
                        "guests \"{}\" and \"{name}\" say different things about the volume \"{volume}\"",
                        specs[*first].name
                    );
                    let hint = "say it in a template that both have".to_owned();
                    let guests = vec![(index, path), (*first, String::clone(there))];
                    found.push(between(Fault::Contradiction, message, hint, guests));
                }
                Some(_) => {}
                None => {
                    volumes.insert(volume, (index, path, said));
                }
            }
        }
        if let Some(xid) = spec.xid
            && let Some(first) = xids.insert(xid, index)
        {
            let message = format!(
                "guests \"{}\" and \"{name}\" have the context id {xid}",
                specs[first].name
            );
            let hint = "leave `xid` out: it is allocated and remembered".to_owned();
            let guests = vec![(index, "xid".to_owned()), (first, "xid".to_owned())];
            found.push(between(Fault::DuplicateXid, message, hint, guests));
        }
        if !matches!(spec.net.mode, NetMode::Bind | NetMode::Private) {
            continue;
        }
        for (place, address) in spec.net.addrs().enumerate() {
            let path = join(&["net", "address", &(place + 1).to_string()]);
            match addresses.get(&address) {
                Some((first, there)) if *first != index => {
                    let message = format!(
                        "guests \"{}\" and \"{name}\" have the address {address}",
                        specs[*first].name
                    );
                    let hint = "what arrives at an address belongs to one guest".to_owned();
                    let guests = vec![(index, path), (*first, there.clone())];
                    found.push(between(Fault::DuplicateAddress, message, hint, guests));
                }
                Some(_) => {}
                None => {
                    addresses.insert(address, (index, path));
                }
            }
        }
    }
    depends(specs, &names, &mut found);
    found
}

fn depends(specs: &[&Spec], names: &HashMap<&str, usize>, found: &mut Vec<Finding>) {
    let all: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
    let mut waits: Vec<Vec<(usize, String)>> = vec![Vec::new(); specs.len()];
    for (index, spec) in specs.iter().enumerate() {
        for (place, name) in spec.depends.iter().enumerate() {
            let path = join(&["depends", &(place + 1).to_string()]);
            if let Some(target) = names.get(name.as_str()) {
                waits[index].push((*target, path));
                continue;
            }
            let message = format!(
                "guest \"{}\" depends on \"{name}\", which is not there",
                spec.name
            );
            let mut finding = Finding::new(
                Fault::UnknownGuest,
                path.clone(),
                message,
                known(name.as_str(), &all),
            );
            finding.guests = vec![(index, path)];
            finding.about = Some(name.as_str().to_owned());
            found.push(finding);
        }
    }
    for circle in circles(&waits) {
        let message = format!("guests depend on each other: {}", shown(&circle, &all));
        let mut finding = Finding::new(Fault::Circle, "", message, "one of them has to start first");
        finding.guests = circle;
        found.push(finding);
    }
}

fn known(name: &str, all: &[&str]) -> String {
    match nearest(name, all.iter().copied().filter(|n| *n != name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if all.len() <= 12 => format!("there are {}", all.join(", ")),
        None => "it has to be declared in the same recipe".to_owned(),
    }
}

/// `a -> b -> a`.
fn shown(circle: &[(usize, String)], names: &[&str]) -> String {
    let mut text: Vec<&str> = circle.iter().map(|(index, _)| names[*index]).collect();
    text.extend(circle.first().map(|(index, _)| names[*index]));
    text.join(" -> ")
}

/// Every circle that a depth-first walk closes: its members, each with the path by which it waits for the next.
fn circles(waits: &[Vec<(usize, String)>]) -> Vec<Vec<(usize, String)>> {
    let mut found = Vec::new();
    let mut is_done = vec![false; waits.len()];
    for start in 0..waits.len() {
        if is_done[start] {
            continue;
        }
        // Where the walk stands: a node, and how many of its edges were followed. Not recursive: a thousand
        // guests may depend on each other in one chain.
        let mut walk: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((node, edge)) = walk.last().copied() {
            let Some((target, _)) = waits[node].get(edge) else {
                is_done[node] = true;
                walk.pop();
                continue;
            };
            if let Some(top) = walk.last_mut() {
                top.1 += 1;
            }
            if let Some(at) = walk.iter().position(|(n, _)| n == target) {
                let circle = walk[at..]
                    .iter()
                    .map(|(n, e)| (*n, waits[*n][*e - 1].1.clone()))
                    .collect();
                found.push(circle);
            } else if !is_done[*target] {
                walk.push((*target, 0));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str, more: &str) -> Spec {
        serde_json::from_str(&format!(r#"{{"name":"{name}","image":"busybox"{more}}}"#)).unwrap()
    }

    #[test]
    fn a_suite_that_is_not_known() {
        let of = |image: &str| {
            let guest =
                serde_json::from_str::<Spec>(&format!(r#"{{ "name": "a", "image": "{image}" }}"#)).unwrap();
            let mut found = spec(&guest);
            assert!(found.len() < 2);
            found
                .pop()
                .map(|one| (one.path, one.invalid.message, one.invalid.hint.unwrap()))
        };
        for known in [
            "debian:bookworm",
            "debian:stable",
            "ubuntu:noble",
            "devuan:daedalus",
            "busybox",
        ] {
            assert_eq!(of(known), None, "{known}");
        }
        let (path, message, hint) = of("debian:bookwrom").unwrap();
        assert_eq!(path, "image");
        assert_eq!(message, "unknown suite `bookwrom` of Debian");
        assert_eq!(hint, "did you mean `debian:bookworm`?");
        assert_eq!(
            of("debian:noble").unwrap().2,
            "it is one of Ubuntu: `ubuntu:noble`"
        );
        assert!(of("debian:potato").unwrap().2.contains("known are bullseye, "));
    }

    #[test]
    fn a_circle_is_found_once_and_a_chain_is_none() {
        let a = guest("a", r#","depends":["b"]"#);
        let b = guest("b", r#","depends":["c"]"#);
        let c = guest("c", r#","depends":["a"]"#);
        let d = guest("d", r#","depends":["a"]"#);
        let found = fleet(&[&a, &b, &c, &d]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].invalid.message,
            "guests depend on each other: a -> b -> c -> a"
        );
        let alone = guest("a", r#","depends":["a"]"#);
        assert_eq!(fleet(&[&alone])[0].fault, Fault::Circle);
        let c = guest("c", "");
        assert!(fleet(&[&a, &b, &c]).is_empty());
    }

    #[test]
    fn a_health_check_reads_back() {
        for health in [
            r#"{"tcp":80}"#,
            r#"{"http":{"port":80,"path":"/"},"interval":"1s"}"#,
            r#"{"exec":["x"]}"#,
        ] {
            let spec = guest("a", &format!(r#","health":{health}"#));
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
        }
    }

    #[test]
    fn an_address_belongs_to_one_guest() {
        let net = r#","net":{"mode":"bind","address":["10.0.0.1/24"]}"#;
        let found = fleet(&[&guest("a", net), &guest("b", net)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fault, Fault::DuplicateAddress);
    }

    #[test]
    fn without_ids_of_its_own_a_guest_has_nothing_that_would_be_the_hosts() {
        let faults = |more: &str| spec(&guest("a", &format!(r#","userns":false{more}"#))).len();
        assert_eq!(faults(""), 0);
        assert_eq!(faults(r#","caps":{"keep":["chown"],"drop":["kill"]}"#), 0);
        assert_eq!(faults(r#","caps":{"keep":["sys_admin","mknod"]}"#), 2);
        assert_eq!(faults(r#","caps":{"only":["sys_ptrace","chown"]}"#), 1);
        for word in Allow::NAMES {
            let alone = faults(&format!(r#","allow":["{word}"]"#));
            assert_eq!(
                alone == 0,
                ["ping", "traceroute", "tcpdump"].contains(word),
                "{word}"
            );
        }
        let bind = r#","net":{"mode":"bind","address":["10.0.0.1/24"]},"allow":["ping"]"#;
        assert_eq!(faults(bind), 1);
    }

    #[test]
    fn what_its_root_could_take_off_a_mount_is_refused() {
        let faults = |more: &str| {
            let mount = r#","mounts":[{"source":"/srv","target":"/srv","readonly":true,"noexec":true}]"#;
            spec(&guest("a", &format!("{mount}{more}"))).len()
        };
        assert_eq!(faults(""), 0);
        assert_eq!(faults(r#","allow":["nested"]"#), 0);
        assert_eq!(faults(r#","allow":["fuse"]"#), 0);
        assert_eq!(faults(r#","allow":["fuse"],"caps":{"keep":["sys_admin"]}"#), 0);
        assert_eq!(faults(r#","caps":{"keep":["sys_admin"]}"#), 2);
        assert_eq!(faults(r#","allow":["fuse","nested"]"#), 2);
        let plain = r#","mounts":[{"source":"/srv","target":"/srv"}],"caps":{"keep":["sys_admin"]}"#;
        assert_eq!(spec(&guest("a", plain)).len(), 0);
    }

    #[test]
    fn what_bind_needs_and_others_refuse() {
        let faults = |net: &str| spec(&guest("a", &format!(r#","net":{net}"#))).len();
        assert_eq!(faults(r#"{"mode":"bind"}"#), 1);
        assert_eq!(faults(r#"{"mode":"none","address":["10.0.0.1/24"]}"#), 1);
        assert_eq!(faults(r#"{"mode":"private","device":"eth0"}"#), 1);
        assert_eq!(
            faults(r#"{"mode":"bind","address":["10.0.0.1/24"],"device":"eth0"}"#),
            0
        );
    }
}
