//! The fence itself: who is known to it, installing, replacing and removing it. Also the yard that the tests of
//! its rules (`bpf_tcp`, `bpf_udp`, `bpf_refused`) play in.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostel::Kind;
use hostel::bpf::{Devices, Fence, Mode, Rule, pins_dir};
use hostel::guest::Xid;

use crate::support::{Hostel, Output, Running, World, eventually, hierarchies, tests, tool};

tests! {
    [Root, Cgroup2, Bpf] => a_guest_is_known_until_it_is_forgotten,
    [Root, Cgroup2, Bpf] => an_address_has_one_owner,
    [Root, Cgroup2, Bpf] => addresses_change_while_the_guest_runs,
    [Root, Cgroup2, Bpf] => a_context_has_one_cgroup,
    [Root, Cgroup2, Bpf] => a_half_installed_set_is_completed,
    [Root, Cgroup2, Bpf] => a_set_of_another_version_is_replaced_without_a_gap,
    [Root, Cgroup2, Bpf] => a_cgroup_made_anew_is_fenced_anew,
    [Root, Cgroup2, Bpf] => after_remove_nothing_is_left,
    [Root, Cgroup2, Bpf, Verb("host")] => clearing_the_host_unmounts_what_hostel_mounted,
}

/// What the scripts below are run with.
const PRELUDE: &str = r#"
import errno, os, socket, sys
from socket import *
setdefaulttimeout(5)

def show(name):
    return "%s:%d" % name[:2] if "." in name[0] and ":" not in name[0] else "[%s]:%d" % name[:2]

def fails(call, *args):
    try:
        call(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
    return "no error"

def family(a):
    return AF_INET6 if ":" in a else AF_INET

def sock(a, kind=SOCK_STREAM):
    return socket(family(a), kind)

def bound(a, port, kind=SOCK_STREAM, v6only=None):
    s = sock(a, kind)
    s.setsockopt(SOL_SOCKET, SO_REUSEADDR, kind == SOCK_STREAM)
    if v6only is not None:
        s.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, v6only)
    s.bind((a, port))
    return s

def listener(a, port, v6only=None):
    s = bound(a, port, v6only=v6only)
    s.listen(16)
    return s

def ask(a, port):
    """What the server on that address says, and how the connection looks from here."""
    s = sock(a)
    try:
        s.connect((a, port))
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno else "timed out"
    try:
        said = s.recv(200).decode()
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno else "timed out"
    return "%s; here %s" % (said, show(s.getsockname()).rsplit(":", 1)[0])

def serve(name, *listeners):
    """Says to every caller who is called, at which address, and by whom."""
    import selectors
    print("ready", flush=True)
    sel = selectors.DefaultSelector()
    for s in listeners:
        sel.register(s, selectors.EVENT_READ)
    while True:
        for key, _ in sel.select():
            c, peer = key.fileobj.accept()
            c.send(("%s at %s from %s" % (name, show(c.getsockname()), show(peer).rsplit(":", 1)[0])).encode())
            c.close()

def echo(name, *sockets):
    import selectors
    print("ready", flush=True)
    sel = selectors.DefaultSelector()
    for s in sockets:
        sel.register(s, selectors.EVENT_READ)
    while True:
        for key, _ in sel.select():
            data, peer = key.fileobj.recvfrom(200)
            key.fileobj.sendto(("%s from %s" % (name, show(peer).rsplit(":", 1)[0])).encode(), peer)

def tell(a, port, connected, source=None):
    """Sends a datagram and says who answers what."""
    s = sock(a, SOCK_DGRAM)
    s.settimeout(2)
    if source:
        s.bind(source)
    try:
        if connected:
            s.connect((a, port))
            s.send(b"x")
        else:
            s.sendto(b"x", (a, port))
        said, peer = s.recvfrom(200)
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno else "timed out"
    return "%s; answer from %s" % (said.decode(), show(peer))
"#;

/// A root cgroup with a fence, in the network namespace of the test. Dropped, both are gone.
pub(crate) struct Yard<'a> {
    pub(crate) world: &'a World,
    pub(crate) root: PathBuf,
    pub(crate) pins: PathBuf,
    pub(crate) level: u32,
}

/// A guest in a yard: a cgroup with an entry.
pub(crate) struct Guest<'a> {
    yard: &'a Yard<'a>,
    pub(crate) xid: Xid,
    pub(crate) cgroup: PathBuf,
}

impl<'a> Yard<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let mount = hierarchies().into_iter().find(|h| h.is_v2).unwrap().mount;
        let root = mount.join(&world.cgroup);
        fs::create_dir_all(&root).unwrap();
        let yard = Self {
            world,
            root,
            pins: pins_dir(&world.run, Path::new(&world.cgroup)).unwrap(),
            level: u32::try_from(Path::new(&world.cgroup).components().count()).unwrap() + 1,
        };
        yard.fence();
        yard
    }

    /// A new handle, as every command makes one.
    pub(crate) fn fence(&self) -> Fence {
        let root = File::open(&self.root).unwrap();
        Fence::ensure(root.as_fd(), self.level, &self.pins).unwrap()
    }

    /// A cgroup that the fence does not know.
    pub(crate) fn stranger(&self, n: u32) -> Guest<'_> {
        let xid = Xid::new(self.world.xid(n)).unwrap();
        let cgroup = self.root.join(xid.cgroup_name());
        fs::create_dir_all(&cgroup).unwrap();
        tool("ip", ["addr", "replace", &format!("{}/128", xid.loopback6()), "dev", "lo"]).ok();
        Guest {
            yard: self,
            xid,
            cgroup,
        }
    }

    /// A guest with these addresses, which are put on `lo`.
    pub(crate) fn guest(&self, n: u32, addresses: &[&str]) -> Guest<'_> {
        let guest = self.stranger(n);
        for address in addresses {
            let prefix = if address.contains(':') { 128 } else { 32 };
            let flag: &[&str] = if prefix == 128 { &["nodad"] } else { &[] };
            let address = format!("{address}/{prefix}");
            let args = ["addr", "replace", &address, "dev", "lo"];
            tool("ip", args.iter().chain(flag)).ok();
        }
        guest.admit(addresses, false).unwrap();
        guest
    }

    /// A process of the host.
    pub(crate) fn host(&self, script: &str) -> Hostel {
        tool("python3", ["-c", &format!("{PRELUDE}\n{script}")]).dir(&self.world.dir)
    }
}

impl Drop for Yard<'_> {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.kill"), "1");
        let removed = eventually(Duration::from_secs(5), || {
            let guests = fs::read_dir(&self.root).into_iter().flatten().flatten();
            for guest in guests.filter(|g| g.path().is_dir()) {
                let _ = fs::remove_dir(guest.path());
            }
            fs::remove_dir(&self.root).is_ok() || !self.root.exists()
        });
        if let Ok(Some(fence)) = Fence::open(&self.pins) {
            for entry in fence.entries().unwrap_or_default() {
                let _ = fence.forget(entry.cgroup_id);
            }
            let _ = fence.remove();
        }
        let _ = nix::mount::umount(&self.world.run.join("bpf"));
        tool("ip", ["addr", "flush", "dev", "lo"]).run();
        tool("ip", ["addr", "add", "127.0.0.1/8", "dev", "lo"]).run();
        tool("ip", ["addr", "add", "::1/128", "dev", "lo"]).run();
        assert!(removed || std::thread::panicking(), "{} stays", self.root.display());
    }
}

pub(crate) fn bind(addresses: &[&str], raw: bool) -> Mode {
    let all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let v4: Vec<Ipv4Addr> = all.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None }).collect();
    let v6: Vec<Ipv6Addr> = all.iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None }).collect();
    Mode::Bind { v4, v6, raw }
}

impl Guest<'_> {
    pub(crate) fn cgroup_id(&self) -> u64 {
        fs::metadata(&self.cgroup).unwrap().ino()
    }

    pub(crate) fn admit(&self, addresses: &[&str], raw: bool) -> hostel::Result<()> {
        self.admit_as(bind(addresses, raw), Devices::Usual)
    }

    pub(crate) fn admit_as(&self, mode: Mode, devices: Devices) -> hostel::Result<()> {
        let xid = self.xid;
        self.yard.fence().admit(self.cgroup_id(), &Rule { xid, mode, devices })
    }

    /// A command of the guest, as a user without any capability over the host's network namespace.
    pub(crate) fn command(&self, args: &[&str]) -> Hostel {
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.cgroup.display());
        let base = ["-c", &enter, "sh", "unshare", "--user", "--map-root-user", "--"];
        tool("sh", base.iter().chain(args)).dir(&self.yard.world.dir)
    }

    pub(crate) fn python(&self, script: &str) -> Hostel {
        self.command(&["python3", "-c", &format!("{PRELUDE}\n{script}")])
    }

    /// A script that prints `ready` and goes on.
    pub(crate) fn serve(&self, script: &str) -> Running {
        let mut running = self.python(script).spawn();
        running.wait_stdout("ready");
        running
    }

    /// What a script prints.
    pub(crate) fn says(&self, script: &str) -> String {
        said(&self.python(script).ok())
    }
}

pub(crate) fn said(output: &Output) -> String {
    output.stdout.trim_end().to_owned()
}

fn a_guest_is_known_until_it_is_forgotten(world: &World) {
    let yard = Yard::new(world);
    let fence = yard.fence();
    let [a, b] = [yard.stranger(0), yard.stranger(1)];
    assert_eq!(fence.entries().unwrap(), []);
    a.admit(&["192.0.2.1", "2001:db8::1"], true).unwrap();
    b.admit_as(Mode::Open, Devices::All).unwrap();
    let entries = fence.entries().unwrap();
    assert_eq!(entries.len(), 2);
    let of = |guest: &Guest| entries.iter().find(|e| e.cgroup_id == guest.cgroup_id()).unwrap().rule.clone();
    assert_eq!(of(&a), Rule::new(a.xid, bind(&["192.0.2.1", "2001:db8::1"], true)));
    assert_eq!((of(&b).mode, of(&b).devices), (Mode::Open, Devices::All));
    for address in ["192.0.2.1", "2001:db8::1", &a.xid.loopback4().to_string(), &a.xid.loopback6().to_string()] {
        assert_eq!(fence.owner(address.parse().unwrap()).unwrap(), Some(a.xid), "{address}");
    }
    fence.forget(a.cgroup_id()).unwrap();
    fence.forget_xid(b.xid).unwrap();
    fence.forget(a.cgroup_id()).unwrap();
    assert_eq!(fence.entries().unwrap(), []);
    assert_eq!(fence.owner("192.0.2.1".parse().unwrap()).unwrap(), None);
    assert_eq!(fence.owner(a.xid.loopback6().into()).unwrap(), None);
}

fn an_address_has_one_owner(world: &World) {
    let yard = Yard::new(world);
    let [a, b] = [yard.stranger(0), yard.stranger(1)];
    a.admit(&["192.0.2.1", "2001:db8::1"], false).unwrap();
    let loopback = a.xid.loopback4().to_string();
    for taken in ["192.0.2.1", "2001:db8::1", &loopback] {
        let err = b.admit(&["192.0.2.2", taken], false).unwrap_err();
        assert_eq!(err.kind(), Kind::Exists);
        assert_eq!(err.to_string(), format!("`{taken}` belongs to context {}", a.xid));
        assert_eq!(yard.fence().owner("192.0.2.2".parse().unwrap()).unwrap(), None);
        assert_eq!(yard.fence().entries().unwrap().len(), 1);
    }
    yard.fence().forget(a.cgroup_id()).unwrap();
    b.admit(&["192.0.2.1"], false).unwrap();
}

fn addresses_change_while_the_guest_runs(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.stranger(0);
    let owner = |a: &str| yard.fence().owner(a.parse().unwrap()).unwrap();
    guest.admit(&["192.0.2.1", "192.0.2.2"], false).unwrap();
    guest.admit(&["192.0.2.2", "192.0.2.3"], false).unwrap();
    assert_eq!(owner("192.0.2.1"), None);
    assert_eq!(owner("192.0.2.2"), Some(guest.xid));
    assert_eq!(owner("192.0.2.3"), Some(guest.xid));
    let other = yard.stranger(1);
    other.admit(&["192.0.2.9"], false).unwrap();
    guest.admit(&["192.0.2.4", "192.0.2.9"], false).unwrap_err();
    assert_eq!(owner("192.0.2.4"), None);
    assert_eq!(owner("192.0.2.2"), Some(guest.xid));
}

fn a_context_has_one_cgroup(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &["192.0.2.1"]);
    let before = guest.cgroup_id();
    // Killed before it could forget: the cgroup is gone, its entry is there.
    fs::remove_dir(&guest.cgroup).unwrap();
    fs::create_dir(&guest.cgroup).unwrap();
    assert_ne!(guest.cgroup_id(), before);
    guest.admit(&["192.0.2.1"], false).unwrap();
    let fence = yard.fence();
    let ids: Vec<u64> = fence.entries().unwrap().iter().map(|e| e.cgroup_id).collect();
    assert_eq!(ids, [guest.cgroup_id()]);
    fence.forget(before).unwrap();
    assert_eq!(fence.owner("192.0.2.1".parse().unwrap()).unwrap(), Some(guest.xid));
}

/// The names in the directory of pins.
fn pinned(yard: &Yard) -> Vec<String> {
    let entries = fs::read_dir(&yard.pins).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn a_half_installed_set_is_completed(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    let whole = pinned(&yard);
    assert_eq!(whole.len(), 2, "{whole:?}");
    let set = yard.pins.join(whole.iter().find(|name| name.starts_with("set-")).unwrap());
    // As if killed while it was filled.
    let new = yard.pins.join(format!("new-{}", set.file_name().unwrap().to_str().unwrap()));
    fs::rename(&set, &new).unwrap();
    fs::remove_file(new.join("bind4")).unwrap();
    let fence = yard.fence();
    assert_eq!(pinned(&yard), whole);
    assert!(set.join("bind4").exists());
    assert_eq!(fence.entries().unwrap().len(), 1);
    assert_eq!(guest.says("print(fails(bound, '192.0.2.77', 80))"), "EADDRNOTAVAIL");
}

fn a_set_of_another_version_is_replaced_without_a_gap(world: &World) {
    let yard = Yard::new(world);
    let address = world.address(1).to_string();
    let guest = yard.guest(0, &[&address, &world.address(2).to_string()]);
    let server = guest.serve("serve('web', listener('0.0.0.0', 80))");
    let whole = pinned(&yard);
    let set = yard.pins.join(&whole[1]);
    fs::rename(&set, yard.pins.join("set-0123456789abcdef-2-1")).unwrap();
    yard.fence();
    assert_eq!(pinned(&yard), whole);
    // The listener is still steered to: the maps stayed.
    let second = world.address(2);
    assert_eq!(
        guest.says(&format!("print(ask('{second}', 80))")),
        format!("web at {second}:80 from {address}; here {address}")
    );
    drop(server);
}

fn a_cgroup_made_anew_is_fenced_anew(world: &World) {
    let yard = Yard::new(world);
    let before = pinned(&yard);
    fs::remove_dir(&yard.root).unwrap();
    fs::create_dir(&yard.root).unwrap();
    yard.fence();
    assert_ne!(pinned(&yard), before);
    let stranger = yard.stranger(0);
    assert_eq!(stranger.says("print(fails(socket, AF_INET))"), "EPERM");
}

fn after_remove_nothing_is_left(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    let err = yard.fence().remove().unwrap_err();
    assert_eq!(err.kind(), Kind::State);
    yard.fence().forget(guest.cgroup_id()).unwrap();
    yard.fence().remove().unwrap();
    assert!(!yard.pins.exists());
    assert!(Fence::open(&yard.pins).unwrap().is_none());
    // The kernel detaches a moment after the last pin is gone; then the cgroup is as any other.
    assert!(eventually(Duration::from_secs(5), || {
        guest.says("print(fails(socket, AF_INET))") == "no error"
    }));
}

fn clearing_the_host_unmounts_what_hostel_mounted(world: &World) {
    let own = world.run.join("bpf");
    let is_mounted = || fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!(" {} ", own.display()));
    // Nothing is mounted to look for what is not there.
    for verb in [&["gc"][..], &["host", "clear"]] {
        world.hostel(verb).ok().stdout("");
        assert!(!own.exists(), "{verb:?}");
    }
    // As hostel does where the host has no /sys/fs/bpf; with one, its own still goes first.
    fs::create_dir_all(&own).unwrap();
    tool("mount", ["-t", "bpf", "bpf", own.to_str().unwrap()]).ok();
    let yard = Yard::new(world);
    assert!(yard.pins.starts_with(&own));
    // Another hostel with pins of its own in there keeps it.
    let other = own.join("hostel-other");
    fs::create_dir(&other).unwrap();
    world.hostel(["host", "clear"]).ok().stdout("");
    assert!(!yard.pins.exists() && !yard.root.exists());
    assert!(is_mounted());
    fs::remove_dir(&other).unwrap();
    world.hostel(["host", "clear"]).ok().stdout("");
    assert!(!is_mounted());
    assert!(!world.run.exists());
    // Clearing what is clear, and beginning anew.
    world.hostel(["host", "clear"]).ok().stdout("");
    assert!(!world.run.exists());
}
