//! Addresses and devices, in a network namespace of the test's own.

use std::fs::File;
use std::time::Duration;
use std::os::fd::AsFd;
use std::sync::mpsc;

use hostel::error::Kind;
use hostel::guest::Xid;
use hostel::sys::netlink::{Loopback6, Netlink, Owner, Veth, lo_up};
use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};

use crate::support::{World, eventually, tests, tool};

tests! {
    [Root] => an_address_is_added_once_and_known_as_hostels,
    [Root] => an_address_of_the_host_is_neither_taken_nor_removed,
    [Root] => removing_an_address_leaves_the_others_of_its_network,
    [Root] => a_guests_loopback_is_on_lo_or_ipv6_is_off,
    [Root] => a_routed_pair_joins_a_namespace,
    [Root] => a_bridged_pair_joins_a_namespace,
    [Root] => a_pair_that_fails_leaves_nothing,
}

fn xid(number: u32) -> Xid {
    Xid::new(number).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A device of the test's own, up: its namespace's `lo` is the runner's.
fn device(netlink: &mut Netlink) -> u32 {
    tool("ip", ["link", "add", "ht0", "type", "bridge"]).ok();
    tool("ip", ["link", "set", "ht0", "up"]).ok();
    netlink.device("ht0").unwrap().unwrap()
}

fn remove_device() {
    tool("ip", ["link", "del", "ht0"]).ok();
}

fn an_address_is_added_once_and_known_as_hostels(_: &World) {
    let mut netlink = Netlink::open().unwrap();
    let index = device(&mut netlink);
    for address in ["198.51.100.7/24", "2001:db8::7/64"] {
        let address = net(address);
        assert!(!netlink.has_address(address.addr()).unwrap());
        netlink.add_address(index, address, Owner(xid(101))).unwrap();
        netlink.add_address(index, address, Owner(xid(101))).unwrap();
        // IPv6 enters the local route, which is what is asked for, from a work queue (addrconf_dad_work).
        assert!(eventually(Duration::from_secs(5), || netlink.has_address(address.addr()).unwrap()));
        let owned = netlink.owned_addresses().unwrap();
        let found = owned.iter().find(|owned| owned.net == address).unwrap();
        assert_eq!((found.index, found.device.as_str()), (index, "ht0"));
        if address.addr().is_ipv4() {
            assert_eq!(found.owner, Some(Owner(xid(101))));
            let err = netlink.add_address(index, address, Owner(xid(102))).unwrap_err();
            assert_eq!(err.kind(), Kind::Exists);
            assert!(err.to_string().contains("for the guest with xid 101"), "{err}");
        }
        netlink.del_address(index, address).unwrap();
        netlink.del_address(index, address).unwrap();
        assert!(!netlink.has_address(address.addr()).unwrap());
    }
    remove_device();
}

fn an_address_of_the_host_is_neither_taken_nor_removed(_: &World) {
    let mut netlink = Netlink::open().unwrap();
    let index = device(&mut netlink);
    tool("ip", ["addr", "add", "198.51.100.9/24", "dev", "ht0"]).ok();
    let address = net("198.51.100.9/24");
    let err = netlink.add_address(index, address, Owner(xid(101))).unwrap_err();
    assert_eq!(err.kind(), Kind::Exists);
    assert!(err.to_string().contains("not by hostel"), "{err}");
    assert_eq!(netlink.del_address(index, address).unwrap_err().kind(), Kind::Denied);
    assert!(netlink.has_address(address.addr()).unwrap());
    assert!(netlink.owned_addresses().unwrap().iter().all(|owned| owned.index != index));
    remove_device();
}

/// Linux removes every secondary address of a network with its primary one.
fn removing_an_address_leaves_the_others_of_its_network(_: &World) {
    let mut netlink = Netlink::open().unwrap();
    let index = device(&mut netlink);
    for file in ["all", "ht0"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{file}/promote_secondaries"), "0").unwrap();
    }
    for (number, address) in [(101, "198.51.100.1/24"), (102, "198.51.100.2/24")] {
        netlink.add_address(index, net(address), Owner(xid(number))).unwrap();
    }
    tool("ip", ["addr", "add", "198.51.100.3/24", "dev", "ht0"]).ok();
    netlink.del_address(index, net("198.51.100.1/24")).unwrap();
    assert!(!netlink.has_address("198.51.100.1".parse().unwrap()).unwrap());
    assert!(netlink.has_address("198.51.100.2".parse().unwrap()).unwrap());
    assert!(netlink.has_address("198.51.100.3".parse().unwrap()).unwrap());
    let owned: Vec<_> = netlink.owned_addresses().unwrap().into_iter().filter(|a| a.index == index).collect();
    assert_eq!(owned.len(), 1, "{owned:?}");
    assert_eq!(owned[0].owner, Some(Owner(xid(102))));
    remove_device();
}

/// A network namespace that lasts as long as this value, made by a thread of its own.
struct Namespace {
    file: File,
    end: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Namespace {
    fn new() -> Self {
        let (tell, made) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
            let _ = ended.recv();
        });
        Self { file: made.recv().unwrap(), end, thread }
    }

    fn netlink(&self) -> Netlink {
        Netlink::open_in(self.file.as_fd()).unwrap()
    }

    fn end(self) {
        drop((self.end, self.file));
        self.thread.join().unwrap();
    }
}

fn a_guests_loopback_is_on_lo_or_ipv6_is_off(_: &World) {
    // In a thread with a namespace of its own: `lo` of the test's namespace is left as it is.
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        lo_up().unwrap();
        let mut netlink = Netlink::open().unwrap();
        let address = xid(101).loopback6();
        let added = netlink.ensure_loopback6(xid(101)).unwrap();
        assert_eq!(added, Loopback6::Added);
        assert_eq!(netlink.ensure_loopback6(xid(101)).unwrap(), Loopback6::Present);
        let owned = netlink.owned_addresses().unwrap();
        assert_eq!(owned[0].owner, Some(Owner(xid(101))));
        std::net::TcpListener::bind((address, 0)).unwrap();
        netlink.del_loopback6(xid(101)).unwrap();
        netlink.del_loopback6(xid(101)).unwrap();
        assert_eq!(netlink.owned_addresses().unwrap(), []);
        tool("sysctl", ["-qw", "net.ipv6.conf.lo.disable_ipv6=1"]).ok();
        assert_eq!(netlink.ensure_loopback6(xid(102)).unwrap(), Loopback6::Disabled);
    })
    .join()
    .unwrap();
}

fn a_routed_pair_joins_a_namespace(_: &World) {
    let namespace = Namespace::new();
    let mut netlink = Netlink::open().unwrap();
    let addresses = [net("198.51.100.2/32"), net("2001:db8:7::2/128")];
    let veth = Veth { xid: xid(300), addresses: &addresses, gateways: &[], bridge: None };
    netlink.create_veth(&veth, namespace.file.as_fd()).unwrap();
    // What a killed command left behind is replaced.
    netlink.create_veth(&veth, namespace.file.as_fd()).unwrap();
    let mut inside = namespace.netlink();
    assert!(inside.device("eth0").unwrap().is_some());
    for address in addresses {
        // An IPv6 address is there when the kernel has noticed that the other end is up.
        assert!(eventually(Duration::from_secs(5), || inside.has_address(address.addr()).unwrap()));
        assert!(!netlink.has_address(address.addr()).unwrap());
    }
    // The host reaches the guest by the route to it: nobody listens there, and the guest says so.
    let refused = std::net::TcpStream::connect("198.51.100.2:1").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    netlink.delete_veth(xid(300)).unwrap();
    netlink.delete_veth(xid(300)).unwrap();
    assert!(netlink.device("hx300").unwrap().is_none());
    drop(inside);
    namespace.end();
}

fn a_bridged_pair_joins_a_namespace(_: &World) {
    let namespace = Namespace::new();
    let mut netlink = Netlink::open().unwrap();
    device(&mut netlink);
    tool("ip", ["addr", "add", "198.51.100.1/24", "dev", "ht0"]).ok();
    let (addresses, gateways) = ([net("198.51.100.2/24")], ["198.51.100.1".parse().unwrap()]);
    let veth = Veth { xid: xid(300), addresses: &addresses, gateways: &gateways, bridge: Some("ht0") };
    netlink.create_veth(&veth, namespace.file.as_fd()).unwrap();
    let refused = std::net::TcpStream::connect("198.51.100.2:1").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    netlink.delete_veth(xid(300)).unwrap();
    remove_device();
    namespace.end();
}

fn a_pair_that_fails_leaves_nothing(_: &World) {
    let namespace = Namespace::new();
    let mut netlink = Netlink::open().unwrap();
    let twice = [net("198.51.100.2/32"), net("198.51.100.2/32")];
    let mut veth = Veth { xid: xid(300), addresses: &twice, gateways: &[], bridge: None };
    netlink.create_veth(&veth, namespace.file.as_fd()).unwrap_err();
    assert!(netlink.device("hx300").unwrap().is_none());
    veth.bridge = Some("no-bridge");
    let err = netlink.create_veth(&veth, namespace.file.as_fd()).unwrap_err();
    assert_eq!(err.kind(), Kind::NotFound);
    assert!(netlink.device("hx300").unwrap().is_none());
    namespace.end();
}
