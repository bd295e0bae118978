//! Addresses: whose they are, putting them on a device and taking them off.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use nix::errno::Errno;

use super::{Netlink, garbled};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::Xid;

/// `IFA_PROTO` of every address that hostel adds; `h` in ASCII. 0 to 3 are the kernel's own, and `ip address`
/// shows it as `proto 104`. Kernels before 5.18 ignore the attribute, so there an IPv4 address is known by its
/// label alone and an IPv6 address is not known as hostel's.
pub const ADDRESS_PROTOCOL: u8 = 104;

/// `IFNAMSIZ` without the final NUL: the longest device name and the longest address label.
const LABEL_MAX: usize = 15;

/// `RTM_NEWADDR`, `RTM_NEWROUTE` (`rtnetlink(7)`).
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX` of the kernel: other code of it counts on that).
const LO: u32 = 1;

/// For whom an address is put on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub Xid);

impl Owner {
    /// The label of an IPv4 address of this owner on `device`: `eth0:x101`, if the kernel takes it. `ip address`
    /// and `ifconfig` show it.
    fn label(self, device: &str) -> Option<String> {
        let label = format!("{device}:{}", self.0.cgroup_name());
        (label.len() <= LABEL_MAX).then_some(label)
    }

    /// The owner that a label names.
    fn from_label(label: &str) -> Option<Self> {
        let (_, number) = label.rsplit_once(":x")?;
        number.parse().ok().map(Self)
    }
}

/// An address on a device of the host that hostel put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedAddress {
    /// The device's index.
    pub index: u32,
    /// The device's name.
    pub device: String,
    /// The address with its prefix length.
    pub net: IpNet,
    /// The guest for which it was added, where the kernel can say: by the label (IPv4) or by the address itself
    /// (a guest's own `::1`).
    pub owner: Option<Owner>,
}

/// What became of a guest's own `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Loopback6 {
    /// It was put on `lo`.
    Added,
    /// It was on `lo` already.
    Present,
    /// IPv6 is switched off on `lo` or on the whole host.
    Disabled,
}

impl Netlink {
    /// Puts `net` on the device `index` for `owner`. Done already, it does nothing; on the device for somebody
    /// else, or on another device, it is refused.
    pub fn add_address(&mut self, index: u32, net: IpNet, owner: Owner) -> Result<()> {
        let device = self.device_name(index)?;
        if let Some((at, found)) = self.find(net.addr())? {
            let is_same = at == index && found.net == net && found.is_owned;
            return if is_same && found.owner.is_none_or(|o| o == owner) {
                Ok(())
            } else {
                let whose = match found.owner {
                    Some(Owner(xid)) => format!("for the guest with xid {xid}"),
                    None if found.is_owned => "for a guest".to_owned(),
                    None => "not by hostel".to_owned(),
                };
                let elsewhere = self.device_name(at)?;
                Err(Error::new(
                    Kind::Exists,
                    format!(
                        "add `{net}` to `{device}`: `{}` is on `{elsewhere}` already, put there {whose}",
                        found.net
                    ),
                )
                .with_hint("leave `device` out of the recipe when the host carries the address itself"))
            };
        }
        match self.change(
            RouteNetlinkMessage::NewAddress(message(index, net, &device, owner)),
            NLM_F_CREATE | NLM_F_EXCL,
        ) {
            Ok(()) => Ok(()),
            Err(Errno::EACCES) if net.addr().is_ipv6() => Err(ipv6_is_off(&device, net)),
            other => other.context(|| format!("add `{net}` to `{device}`")),
        }
    }

    /// Takes an address off. One that is not there is no failure; one that is not hostel's is.
    ///
    /// The kernel takes an IPv4 address's secondaries along with it unless `promote_secondaries` is set: the
    /// addresses of other guests in the same network. What went along is put back.
    pub fn del_address(&mut self, index: u32, net: IpNet) -> Result<()> {
        let before = self.addresses()?;
        let Some(target) = before
            .iter()
            .find(|m| m.header.index == index && net_of(m) == Some(net))
        else {
            return Ok(());
        };
        if !is_owned(target) {
            let device = self.device_name(index)?;
            return Err(Error::new(
                Kind::Denied,
                format!("remove `{net}` from `{device}`: it was not put there by hostel"),
            ));
        }
        let mut request = AddressMessage::default();
        request.header = target.header.clone();
        request.attributes = vec![
            AddressAttribute::Local(net.addr()),
            AddressAttribute::Address(net.addr()),
        ];
        match self.change(RouteNetlinkMessage::DelAddress(request), 0) {
            // Gone between the dump and the request, or with its device.
            Ok(()) | Err(Errno::EADDRNOTAVAIL | Errno::ENODEV) => {}
            other => other.context(|| format!("remove `{net}`"))?,
        }
        if net.addr().is_ipv4() {
            self.put_back(&before, index, net)?;
        }
        Ok(())
    }

    fn put_back(&mut self, before: &[AddressMessage], index: u32, removed: IpNet) -> Result<()> {
        let after = self.addresses()?;
        for lost in before.iter().filter(|m| m.header.index == index) {
            let Some(net) = net_of(lost).filter(|net| *net != removed && net.addr().is_ipv4()) else {
                continue;
            };
            if after
                .iter()
                .any(|m| m.header.index == index && net_of(m) == Some(net))
            {
                continue;
            }
            let mut again = lost.clone();
            again.header.flags.remove(AddressHeaderFlags::Secondary);
            for attribute in &mut again.attributes {
                if let AddressAttribute::Flags(flags) = attribute {
                    flags.remove(AddressFlags::Secondary);
                }
            }
            match self.change(RouteNetlinkMessage::NewAddress(again), NLM_F_CREATE) {
                Ok(()) | Err(Errno::EEXIST) => {}
                other => other.context(|| format!("put `{net}` back, which went with `{removed}`"))?,
            }
        }
        Ok(())
    }

    /// Every address of the host that carries hostel's mark.
    pub fn owned_addresses(&mut self) -> Result<Vec<OwnedAddress>> {
        let mut owned = Vec::new();
        // Hundreds of addresses are on a few devices: each is asked for its name once.
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        for message in self.addresses()?.iter().filter(|m| is_owned(m)) {
            let (Some(net), index) = (net_of(message), message.header.index) else {
                continue;
            };
            let device = match names.get(&index) {
                Some(name) => name.clone(),
                // A device that went between the two requests took its addresses with it.
                None => match self.device_name_if_there(index)? {
                    Some(name) => name,
                    None => continue,
                },
            };
            names.insert(index, device.clone());
            owned.push(OwnedAddress {
                index,
                device,
                net,
                owner: owner_of(message),
            });
        }
        Ok(owned)
    }

    /// Whether packets to `address` are delivered on this host: it is on a device, or in 127.0.0.0/8.
    ///
    /// Asks the routing table, which knows in constant time, where a dump would list every address of the host.
    pub fn has_address(&mut self, address: IpAddr) -> Result<bool> {
        let (family, bits, destination) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, 32, RouteAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(v6)),
        };
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.destination_prefix_length = bits;
        request.attributes = vec![RouteAttribute::Destination(destination)];
        let answers = match self.ask(RouteNetlinkMessage::GetRoute(request), 0) {
            // No route at all is as good a no as a route by way of somebody else.
            Err(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL) => {
                return Ok(false);
            }
            other => other.context(|| format!("ask for the route to `{address}`"))?,
        };
        for answer in answers.iter().filter(|a| a.kind == NEW_ROUTE) {
            let header = RouteHeader::parse(&answer.payload).map_err(|e| garbled("a route", &e))?;
            if header.kind == RouteType::Local {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts a guest's own `::1` on `lo`.
    pub fn ensure_loopback6(&mut self, xid: Xid) -> Result<Loopback6> {
        let net = IpNet::from(IpAddr::V6(xid.loopback6()));
        let request = message(LO, net, "lo", Owner(xid));
        // Not asked for first: the kernel's own look is free, and nobody can come in between.
        match self.change(
            RouteNetlinkMessage::NewAddress(request),
            NLM_F_CREATE | NLM_F_EXCL,
        ) {
            Ok(()) => Ok(Loopback6::Added),
            Err(Errno::EEXIST) => Ok(Loopback6::Present),
            // A kernel without IPv6; `disable_ipv6` of `lo` (EACCES); no IPv6 on the device (EINVAL, ENODEV).
            Err(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EACCES | Errno::ENODEV) => {
                Ok(Loopback6::Disabled)
            }
            Err(errno) => Err(Error::os(format!("add `{net}` to `lo`"), errno)),
        }
    }

    /// Takes a guest's own `::1` off `lo`. One that is not there is no failure. Nobody but hostel has such an
    /// address, so it is not looked up first.
    pub fn del_loopback6(&mut self, xid: Xid) -> Result<()> {
        let net = IpNet::from(IpAddr::V6(xid.loopback6()));
        match self.change(
            RouteNetlinkMessage::DelAddress(message(LO, net, "lo", Owner(xid))),
            0,
        ) {
            Ok(()) | Err(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::ENODEV) => {
                Ok(())
            }
            other => other.context(|| format!("remove `{net}` from `lo`")),
        }
    }

    /// Every address of the network namespace.
    fn addresses(&mut self) -> Result<Vec<AddressMessage>> {
        // A dump during which an address came or went is marked as such and may lack one; hostel's own commands
        // hold a guest's lock, and other guests' addresses are not what the caller asks for.
        let answers = self
            .ask(
                RouteNetlinkMessage::GetAddress(AddressMessage::default()),
                NLM_F_DUMP,
            )
            .context(|| "list the host's addresses")?;
        answers
            .iter()
            .filter(|answer| answer.kind == NEW_ADDRESS)
            .map(|answer| AddressMessage::parse(&answer.payload).map_err(|e| garbled("an address", &e)))
            .collect()
    }

    /// Where `address` is.
    fn find(&mut self, address: IpAddr) -> Result<Option<(u32, Found)>> {
        Ok(self.addresses()?.iter().find_map(|message| {
            let net = net_of(message).filter(|net| net.addr() == address)?;
            let found = Found {
                net,
                is_owned: is_owned(message),
                owner: owner_of(message),
            };
            Some((message.header.index, found))
        }))
    }
}

struct Found {
    net: IpNet,
    is_owned: bool,
    owner: Option<Owner>,
}

fn ipv6_is_off(device: &str, net: IpNet) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("add `{net}` to `{device}`: IPv6 is switched off on `{device}`"),
    )
    .with_hint(format!("sysctl net.ipv6.conf.{device}.disable_ipv6=0"))
}

pub(super) fn message(index: u32, net: IpNet, device: &str, owner: Owner) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.scope = if net.addr().is_loopback() {
        AddressScope::Host
    } else {
        AddressScope::Universe
    };
    message.attributes = vec![
        AddressAttribute::Local(net.addr()),
        AddressAttribute::Address(net.addr()),
        AddressAttribute::Protocol(AddressProtocol::Other(ADDRESS_PROTOCOL)),
    ];
    match net {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            if v4.prefix_len() < 31 {
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(v4.broadcast()));
            }
            if let Some(label) = owner.label(device) {
                message.attributes.push(AddressAttribute::Label(label));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Without NODAD the address is tentative for a second or more, and a service that binds it at once
            // fails with EADDRNOTAVAIL.
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

/// The address itself. On a point-to-point link `IFA_ADDRESS` is the other end's, so `IFA_LOCAL` comes first; IPv6
/// has none.
fn net_of(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

fn label_of(message: &AddressMessage) -> Option<&str> {
    message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Label(label) => Some(label.as_str()),
        _ => None,
    })
}

fn owner_of(message: &AddressMessage) -> Option<Owner> {
    if let Some(owner) = label_of(message).and_then(Owner::from_label) {
        return Some(owner);
    }
    match net_of(message)?.addr() {
        IpAddr::V6(v6) => {
            let xid = Xid::new(u32::from(v6.segments()[7])).ok()?;
            (xid.loopback6() == v6).then_some(Owner(xid))
        }
        IpAddr::V4(_) => None,
    }
}

fn is_owned(message: &AddressMessage) -> bool {
    let protocol = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    });
    match protocol {
        Some(protocol) => protocol == ADDRESS_PROTOCOL,
        // Kernels before 5.18: the label, or an address that only hostel makes.
        None => owner_of(message).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: u32) -> Owner {
        Owner(Xid::new(number).unwrap())
    }

    #[test]
    fn a_label_fits_or_is_left_out() {
        assert_eq!(owner(101).label("eth0").as_deref(), Some("eth0:x101"));
        assert_eq!(owner(49151).label("enp0s31f6"), None);
        assert_eq!(Owner::from_label("eth0:x101"), Some(owner(101)));
        for foreign in ["eth0", "eth0:0", "eth0:x", "eth0:x1", "eth0:x99999"] {
            assert_eq!(Owner::from_label(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_is_added_is_known_as_ours() {
        for text in ["192.0.2.5/24", "2001:db8::5/64"] {
            let net = text.parse().unwrap();
            let message = message(2, net, "eth0", owner(101));
            assert_eq!(net_of(&message), Some(net));
            assert!(is_owned(&message));
        }
        let foreign = AddressMessage::default();
        assert!(!is_owned(&foreign));
    }

    #[test]
    fn a_guests_loopback_names_its_guest() {
        let net = IpNet::from(IpAddr::V6(owner(300).0.loopback6()));
        assert_eq!(owner_of(&message(1, net, "lo", owner(300))), Some(owner(300)));
    }

    #[test]
    fn asks_the_routing_table_for_local_addresses() {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.has_address("127.3.4.1".parse().unwrap()).unwrap());
        assert!(!netlink.has_address("192.0.2.77".parse().unwrap()).unwrap());
        assert!(!netlink.has_address("2001:db8::77".parse().unwrap()).unwrap());
        netlink.owned_addresses().unwrap();
    }
}
