//! The network stack that guests share with the host.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use nix::errno::Errno;

use crate::error::{Context as _, Result};
use crate::selftest::arena::{Arena, Init, PROGRAM, eventually};
use crate::selftest::script::Arg::{B, M, N, R};
use crate::selftest::script::{Said, Script};
use crate::selftest::{Found, Row, Verdict, control};
use crate::sys::landlock;

const UNIX: i64 = 1;
const INET: i64 = 2;
const INET6: i64 = 10;
const NETLINK: i64 = 16;
const STREAM: i64 = 1;
const DGRAM: i64 = 2;
const RAW: i64 = 3;

pub(super) const ABSTRACT: Row = Row {
    number: 21,
    name: "abstract sockets and netlink",
    tries: "abstract unix sockets of the host and of another guest are connected to; routes and addresses are changed by netlink",
    attempt: abstract_sockets,
};

/// `struct sockaddr_un` of an abstract name.
fn unix(name: &str) -> Vec<u8> {
    let mut address = 1u16.to_ne_bytes().to_vec();
    address.push(0);
    address.extend(name.as_bytes());
    address
}

fn connect(script: &mut Script, kind: i64, name: &str) -> Result<Said> {
    let address = unix(name);
    let length = i64::try_from(address.len()).unwrap_or(0);
    let socket = script.call("socket", "socket", &[N(UNIX), N(kind), N(0)])?;
    script.call(
        format!("connect to @{name}"),
        "connect",
        &[R(socket), B(&address), N(length)],
    )
}

fn abstract_sockets(arena: &Arena<'_>) -> Result<Verdict> {
    let name = format!("hostel-selftest-{}", std::process::id());
    let address = |name: &str| SocketAddr::from_abstract_name(name).context(|| "name an abstract socket");
    let _stream = UnixListener::bind_addr(&address(&name)?).context(|| "listen on an abstract socket")?;
    let datagram = format!("{name}-d");
    let _datagram = UnixDatagram::bind_addr(&address(&datagram)?).context(|| "bind an abstract socket")?;
    let mut script = Script::new();
    let tried = [
        connect(&mut script, STREAM, &name)?,
        connect(&mut script, DGRAM, &datagram)?,
    ];
    let outside = arena.outside(&script)?;
    control(
        tried.iter().all(|said| outside.of(*said).is_ok()),
        "to connect to an abstract socket",
    )?;

    let mut found = Found::new();
    // On a stack of its own there is no such socket at all.
    arena.guest("c", 2, "net = { mode = \"none\" },")?;
    found.extend(
        arena
            .attack("c", &script)?
            .among(&tried)
            .but(&[Errno::ECONNREFUSED, Errno::EPERM]),
    );
    arena.destroy("c")?;
    arena.standing()?;
    let closed = if landlock::require_scoping().is_ok() {
        found.extend(
            arena
                .attack("a", &script)?
                .among(&tried)
                .but(&[Errno::EPERM, Errno::ECONNREFUSED]),
        );
        // A process that comes in has a domain of its own; what the guest itself begins has that of the start.
        for init in [Init::Hostels, Init::Own] {
            let said = arena.attack_at_start(init, &script)?;
            found.extend(said.among(&tried).but(&[Errno::EPERM, Errno::ECONNREFUSED]));
            arena.destroy("c")?;
        }
        found.extend(between_guests(arena, &format!("{name}-b"))?);
        "neither the host's nor another guest's abstract sockets are reached, by services and an init of its own neither"
    } else {
        // Before Linux 6.12 a guest on the shared stack is refused unless its recipe accepts it.
        let address = Arena::address(9);
        let net = format!("net = {{ mode = \"bind\", address = \"{address}/32\", device = \"lo\" }},");
        let image = arena.image()?.to_owned();
        let applied = arena.apply("c", 2, &image, &net)?;
        let is_named = applied.stderr.contains("shared_abstract_sockets");
        found.expect(
            applied.code != 0 && is_named,
            "a guest starts whose abstract sockets nobody scopes",
        );
        "this kernel cannot scope abstract sockets, and a guest that would share them is refused unless it accepts that"
    };
    found.extend(netlink(arena)?);
    Ok(found.verdict(format!("{closed}; netlink changes nothing")))
}

/// A socket of the guest `b` that the guest `a` connects to.
fn between_guests(arena: &Arena<'_>, name: &str) -> Result<Vec<String>> {
    let address = unix(name);
    let length = i64::try_from(address.len()).unwrap_or(0);
    let mut listens = Script::new();
    let socket = listens.call("socket", "socket", &[N(UNIX), N(STREAM), N(0)])?;
    listens.call("bind", "bind", &[R(socket), B(&address), N(length)])?;
    listens.call("listen", "listen", &[R(socket), N(8)])?;
    listens.write(0, &[60i64, 0].map(i64::to_ne_bytes).concat());
    listens.call("sleep", "nanosleep", &[M(0), N(0)])?;
    let run = arena
        .hostel(["exec", "b", "--", PROGRAM])
        .stdin(listens.text().as_bytes())?;
    let _listener = run.spawn()?;
    let shown = format!("@{name}");
    let listening = eventually(|| {
        let all = std::fs::read_to_string("/proc/self/net/unix").context(|| "read `/proc/self/net/unix`")?;
        Ok(all.lines().any(|line| line.ends_with(&shown)))
    })?;
    control(listening, "to listen in a guest")?;
    let mut script = Script::new();
    let tried = connect(&mut script, STREAM, name)?;
    Ok(arena.attack("a", &script)?.among(&[tried]).but(&[Errno::EPERM]))
}

fn netlink(arena: &Arena<'_>) -> Result<Vec<String>> {
    let mut found = Found::new();
    for argv in [
        &["ip", "address", "add", "127.99.99.99/32", "dev", "lo"][..],
        &["ip", "link", "set", "lo", "down"],
        &["ip", "route", "add", "blackhole", "198.51.100.0/24"],
        &["ip", "rule", "add", "from", "127.99.99.99", "table", "7"],
        &[
            "ip",
            "neigh",
            "add",
            "127.99.99.98",
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "lo",
        ],
    ] {
        let said = arena.exec("a", argv)?;
        found.expect(said.code != 0, format!("`{}` works in a guest", argv.join(" ")));
    }
    let mut script = Script::new();
    // sock_diag, which lists the sockets of all; xfrm, netfilter, generic.
    for protocol in [4, 6, 12, 16] {
        script.call(
            format!("netlink protocol {protocol}"),
            "socket",
            &[N(NETLINK), N(RAW), N(protocol)],
        )?;
    }
    found.extend(arena.attack("a", &script)?.but(&[Errno::EPERM]));
    Ok(found.0)
}

pub(super) const SPOOF: Row = Row {
    number: 26,
    name: "address spoofing",
    tries: "addresses of the host and of others are bound (also as ::ffff:), raw and packet sockets made, sources of packets looked at",
    attempt: spoof,
};

/// `struct sockaddr_in` and `sockaddr_in6`.
fn inet(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let family = 2u16.to_ne_bytes();
    [&family[..], &port.to_be_bytes(), &address.octets(), &[0; 8]].concat()
}

fn inet6(address: std::net::Ipv6Addr, port: u16) -> Vec<u8> {
    let family = 10u16.to_ne_bytes();
    [
        &family[..],
        &port.to_be_bytes(),
        &[0; 4],
        &address.octets(),
        &[0; 4],
    ]
    .concat()
}

fn spoof(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let foreign = arena.own(99)?;
    let mut script = Script::new();
    let mut denied = Vec::new();
    let mut plain = Vec::new();
    for (what, address) in [
        ("a foreign address", foreign),
        ("the address of another guest", Arena::address(2)),
    ] {
        for kind in [STREAM, DGRAM] {
            for is_free in [false, true] {
                let socket = script.call("socket", "socket", &[N(INET), N(kind), N(0)])?;
                if is_free {
                    // IP_FREEBIND, which lets a socket have an address that the host has not.
                    script.write(0, &1i32.to_ne_bytes());
                    script.call("freebind", "setsockopt", &[R(socket), N(0), N(15), M(0), N(4)])?;
                }
                let bound = inet(address, 7_777);
                let said = script.call(format!("bind {what}"), "bind", &[R(socket), B(&bound), N(16)])?;
                denied.push(said);
                plain.push(said);
            }
            let socket = script.call("socket", "socket", &[N(INET6), N(kind), N(0)])?;
            let mapped = inet6(address.to_ipv6_mapped(), 7_778);
            denied.push(script.call(
                format!("bind {what} as ::ffff:"),
                "bind",
                &[R(socket), B(&mapped), N(28)],
            )?);
        }
    }
    // IP_TRANSPARENT, SO_MARK, SO_BINDTODEVICE would lead a packet elsewhere.
    let mut options = Vec::new();
    let socket = script.call("socket", "socket", &[N(INET), N(DGRAM), N(0)])?;
    script.write(0, &1i32.to_ne_bytes());
    options.push(script.call(
        "IP_TRANSPARENT",
        "setsockopt",
        &[R(socket), N(0), N(19), M(0), N(4)],
    )?);
    options.push(script.call("SO_MARK", "setsockopt", &[R(socket), N(1), N(36), M(0), N(4)])?);
    // Raw: IPv4 with a header of one's own, ICMPv6 (router advertisements), packets.
    let mut sockets = Vec::new();
    for (what, family, kind, protocol) in [
        ("raw IPv4", INET, RAW, 255),
        ("raw ICMP", INET, RAW, 1),
        ("raw ICMPv6", INET6, RAW, 58),
        ("packet", 17, RAW, 0x0003_i64.swap_bytes() >> 48),
        ("packet datagrams", 17, DGRAM, 0),
    ] {
        sockets.push(script.call(what, "socket", &[N(family), N(kind), N(protocol)])?);
    }
    let outside = arena.outside(&script)?;
    control(
        plain.iter().any(|said| outside.of(*said).is_ok()),
        "to bind an address of the host's",
    )?;
    let said = arena.attack("a", &script)?;
    let mut found = Found::new();
    found.extend(
        said.among(&denied)
            .but(&[Errno::EADDRNOTAVAIL, Errno::EPERM, Errno::EACCES]),
    );
    found.extend(said.among(&options).but(&[Errno::EPERM]));
    found.extend(said.among(&sockets).but(&[Errno::EPERM, Errno::EACCES]));
    found.extend(source(arena)?);
    Ok(found.verdict("no address but the guest's own can be had, and packets come from it"))
}

/// A datagram without a word about its source has the guest's address; one that claims another is not sent.
fn source(arena: &Arena<'_>) -> Result<Option<String>> {
    let listener = UdpSocket::bind((arena.own(200)?, 0)).context(|| "listen for datagrams")?;
    listener
        .set_read_timeout(Some(Duration::from_secs(10)))
        .context(|| "listen for datagrams")?;
    let port = listener.local_addr().context(|| "listen for datagrams")?.port();
    let to = inet(Arena::address(200), port);
    let mut script = Script::new();
    let socket = script.call("socket", "socket", &[N(INET), N(DGRAM), N(0)])?;
    let sent = script.call("send", "sendto", &[R(socket), B(b"x"), N(1), N(0), B(&to), N(16)])?;
    let said = arena.attack("a", &script)?;
    control(said.of(sent) == Ok(1), "to send a datagram")?;
    let (_, peer) = listener
        .recv_from(&mut [0; 8])
        .context(|| "receive a datagram of the guest")?;
    let own = Arena::address(1);
    Ok((peer.ip() != own).then(|| format!("a datagram of the guest at {own} comes from {}", peer.ip())))
}
