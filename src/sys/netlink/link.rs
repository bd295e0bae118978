//! Devices: which is which, `lo` of a new namespace, veth pairs.

use std::ffi::c_short;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily as Family, SockFlag, SockType, socket};

use super::address::{Owner, message};
use super::{Netlink, garbled};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::Xid;

/// `RTM_NEWLINK` and `IFLA_IFNAME` (`rtnetlink(7)`).
const NEW_LINK: u16 = 16;
const IFNAME: u16 = 3;
/// Length of `struct ifinfomsg`, after which a link's attributes begin.
const LINK_HEADER: usize = 16;

/// The name of a guest's device inside.
const INSIDE: &str = "eth0";

/// Where a routed pair's guest sends everything when the recipe names no gateway: addresses of the host's end
/// that are the same for every guest, because only this guest's cable knows them (RFC 3927, RFC 4291).
const GATEWAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// A pair of devices that joins a guest's network namespace to the host's.
#[derive(Debug, Clone)]
pub struct Veth<'a> {
    /// The guest's number; the host's end is `hxNNN`.
    pub xid: Xid,
    /// Its addresses inside.
    pub addresses: &'a [IpNet],
    /// Its default gateways, at most one of a family is used.
    pub gateways: &'a [IpAddr],
    /// The bridge that the host's end joins. Without one the pair is routed: the host's end carries the gateway
    /// and the host has a route to each address.
    pub bridge: Option<&'a str>,
}

impl Veth<'_> {
    /// The name of the host's end of a guest's pair.
    pub fn host_name(xid: Xid) -> String {
        format!("h{}", xid.cgroup_name())
    }
}

impl Netlink {
    /// The index of a device, if there is one of that name.
    pub fn device(&mut self, name: &str) -> Result<Option<u32>> {
        let mut request = LinkMessage::default();
        request.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match self.ask(RouteNetlinkMessage::GetLink(request), 0) {
            Ok(answers) => match answers.iter().find(|answer| answer.kind == NEW_LINK) {
                Some(answer) => Ok(Some(
                    LinkHeader::parse(&answer.payload)
                        .map_err(|e| garbled("a device", &e))?
                        .index,
                )),
                None => Ok(None),
            },
            // ERANGE, EINVAL: a name that no device can have.
            Err(Errno::ENODEV | Errno::ERANGE | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(Error::os(format!("look for the device `{name}`"), errno)),
        }
    }

    /// The name of a device that is there.
    pub fn device_name(&mut self, index: u32) -> Result<String> {
        let gone = || {
            Error::new(
                Kind::NotFound,
                format!("there is no device with the number {index}"),
            )
        };
        self.device_name_if_there(index)?.ok_or_else(gone)
    }

    /// The name of a device, if it is there: devices go with the namespaces they are in.
    pub fn device_name_if_there(&mut self, index: u32) -> Result<Option<String>> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        match self.ask(RouteNetlinkMessage::GetLink(request), 0) {
            Ok(answers) => Ok(answers
                .iter()
                .find(|answer| answer.kind == NEW_LINK)
                .and_then(|answer| name_of(&answer.payload))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(Error::os(format!("look for the device number {index}"), errno)),
        }
    }

    /// Makes a guest's pair of devices, its end inside `netns`, both up, addressed and routed.
    ///
    /// A pair of the same name that a killed command left behind is replaced. When a step fails the pair is
    /// removed again, and with it all that hangs on it.
    pub fn create_veth(&mut self, veth: &Veth<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let name = Veth::host_name(veth.xid);
        self.delete_veth(veth.xid)?;
        // Looked up before anything is made, so that a wrong name leaves nothing behind.
        let bridge = match veth.bridge {
            Some(bridge) => Some(self.device(bridge)?.ok_or_else(|| {
                Error::new(Kind::NotFound, format!("the bridge `{bridge}` does not exist")).with_hint(
                    format!("ip link add {bridge} type bridge && ip link set {bridge} up"),
                )
            })?),
            None => None,
        };
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(INSIDE.to_owned()),
            LinkAttribute::NetNsFd(netns.as_raw_fd()),
        ];
        let mut pair = LinkMessage::default();
        pair.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(pair), NLM_F_CREATE | NLM_F_EXCL)
            .context(|| format!("make the veth pair `{name}`"))?;
        let connected = self
            .connect_inside(veth, netns)
            .and_then(|()| self.connect_outside(veth, &name, bridge));
        if let Err(err) = connected {
            return Err(match self.delete_veth(veth.xid) {
                Ok(()) => err,
                Err(also) => err.and_also(also),
            });
        }
        Ok(())
    }

    /// Removes a guest's pair of devices, if it is there. The kernel does so itself when the namespace ends, but
    /// some time after its last process.
    pub fn delete_veth(&mut self, xid: Xid) -> Result<()> {
        let name = Veth::host_name(xid);
        let mut request = LinkMessage::default();
        request.attributes = vec![LinkAttribute::IfName(name.clone())];
        match self.change(RouteNetlinkMessage::DelLink(request), 0) {
            Ok(()) | Err(Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::os(format!("remove the veth pair `{name}`"), errno)),
        }
    }

    fn connect_inside(&self, veth: &Veth<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let _ = self;
        let mut inside = Netlink::open_in(netns)?;
        let missing = || {
            Error::new(
                Kind::NotFound,
                format!("`{INSIDE}` is not in the guest's network namespace"),
            )
        };
        if let Some(lo) = inside.device("lo")? {
            inside.up(lo, None).context(|| "bring `lo` up inside")?;
        }
        let index = inside.device(INSIDE)?.ok_or_else(missing)?;
        for net in veth.addresses {
            let request = message(index, *net, INSIDE, Owner(veth.xid));
            inside
                .change(
                    RouteNetlinkMessage::NewAddress(request),
                    NLM_F_CREATE | NLM_F_EXCL,
                )
                .context(|| format!("add `{net}` to `{INSIDE}` inside"))?;
        }
        inside
            .up(index, None)
            .context(|| format!("bring `{INSIDE}` up inside"))?;
        for gateway in gateways(veth) {
            inside
                .change(
                    RouteNetlinkMessage::NewRoute(default_route(index, gateway)),
                    NLM_F_CREATE | NLM_F_EXCL,
                )
                .context(|| format!("add the default route by way of `{gateway}` inside"))?;
        }
        Ok(())
    }

    fn connect_outside(&mut self, veth: &Veth<'_>, name: &str, bridge: Option<u32>) -> Result<()> {
        let index = self
            .device(name)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("the device `{name}` is gone")))?;
        self.up(index, bridge).context(|| format!("bring `{name}` up"))?;
        if bridge.is_some() {
            return Ok(());
        }
        for gateway in gateways(veth) {
            let request = message(index, IpNet::from(gateway), name, Owner(veth.xid));
            match self.change(
                RouteNetlinkMessage::NewAddress(request),
                NLM_F_CREATE | NLM_F_EXCL,
            ) {
                Ok(()) | Err(Errno::EEXIST) => {}
                other => other.context(|| format!("add the gateway `{gateway}` to `{name}`"))?,
            }
        }
        for net in veth.addresses {
            self.change(
                RouteNetlinkMessage::NewRoute(host_route(index, net.addr())),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .context(|| format!("add the route to `{}` by `{name}`", net.addr()))?;
        }
        Ok(())
    }

    fn up(&mut self, index: u32, controller: Option<u32>) -> Result<(), Errno> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        if let Some(controller) = controller {
            request.attributes.push(LinkAttribute::Controller(controller));
        }
        self.change(RouteNetlinkMessage::SetLink(request), 0)
    }
}

/// The gateways of a pair: the recipe's; for a routed pair without, the fixed ones of each family it speaks.
fn gateways(veth: &Veth<'_>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (is_v4, fixed) in [(true, GATEWAY4), (false, GATEWAY6)] {
        if !veth.addresses.iter().any(|net| net.addr().is_ipv4() == is_v4) {
            continue;
        }
        let named = veth.gateways.iter().copied().find(|g| g.is_ipv4() == is_v4);
        found.extend(named.or_else(|| veth.bridge.is_none().then_some(fixed)));
    }
    found
}

fn default_route(index: u32, gateway: IpAddr) -> RouteMessage {
    let (family, gateway) = route_address(gateway);
    let mut route = route(index, family, RouteScope::Universe);
    // The gateway need not be in one of the guest's networks: it is at the other end of the cable.
    route.header.flags = RouteFlags::Onlink;
    route.attributes.push(RouteAttribute::Gateway(gateway));
    route
}

fn host_route(index: u32, address: IpAddr) -> RouteMessage {
    let (family, destination) = route_address(address);
    let mut route = route(index, family, RouteScope::Link);
    route.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    route.attributes.push(RouteAttribute::Destination(destination));
    route
}

fn route(index: u32, family: AddressFamily, scope: RouteScope) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = scope;
    route.header.kind = RouteType::Unicast;
    route.attributes.push(RouteAttribute::Oif(index));
    route
}

fn route_address(address: IpAddr) -> (AddressFamily, RouteAddress) {
    match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
    }
}

/// `IFLA_IFNAME` of a link message.
fn name_of(payload: &[u8]) -> Option<String> {
    let mut rest = payload.get(LINK_HEADER..)?;
    loop {
        // `struct rtattr`: length with itself, kind; then the value, padded to four.
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == IFNAME {
            let name = value.strip_suffix(&[0]).unwrap_or(value);
            return String::from_utf8(name.to_vec()).ok();
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// `IFF_UP | IFF_RUNNING` as `struct ifreq` holds them (`netdevice(7)`).
const UP: c_short = 0x41;

/// Brings `lo` up in the caller's network namespace. Allocates nothing, for the child between clone and exec.
pub fn lo_up() -> Result<(), Errno> {
    let socket = socket(Family::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain old data; all zeroes is a valid one with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = UP;
    // SAFETY: the descriptor is open, SIOCSIFFLAGS reads one ifreq, and `request` outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lo_by_name_and_number() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.device("lo").unwrap().unwrap();
        assert_eq!(netlink.device_name(lo).unwrap(), "lo");
        assert_eq!(
            netlink.device_name_if_there(i32::MAX.cast_unsigned()).unwrap(),
            None
        );
        assert_eq!(netlink.device("no-such-device").unwrap(), None);
        assert_eq!(netlink.device("a-name-that-is-much-too-long").unwrap(), None);
    }

    #[test]
    fn gateways_follow_the_families_in_use() {
        let xid = Xid::new(101).unwrap();
        let v4 = ["10.0.0.2/24".parse().unwrap()];
        let mut veth = Veth {
            xid,
            addresses: &v4,
            gateways: &[],
            bridge: None,
        };
        assert_eq!(gateways(&veth), [GATEWAY4]);
        veth.bridge = Some("br0");
        assert!(gateways(&veth).is_empty());
        let named = ["10.0.0.1".parse().unwrap()];
        veth.gateways = &named;
        assert_eq!(gateways(&veth), named);
    }

    #[test]
    fn the_longest_host_name_fits() {
        assert_eq!(Veth::host_name(Xid::MAX), "hx49151");
    }
}
