//! Sockets that come to an address by another way than a plain bind or connect.

use crate::bpf::Yard;
use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Tool("python3")] => a_socket_of_another_guest_carries_neither_address,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_connection_by_fast_open_comes_from_the_guest,
    [Root, Cgroup2, Bpf, Tool("python3")] => free_and_transparent_binds_are_binds,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_source_is_kept_if_bind_chose_it_and_only_then,
}

/// The hooks ask for the caller, the packet filters for the maker: together they leave nothing to a socket that
/// was handed over.
fn a_socket_of_another_guest_carries_neither_address(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4, c4] = [1, 2, 3].map(|n| world.address(n).to_string());
    let [a, b, c] = [yard.guest(0, &[&a4]), yard.guest(1, &[&b4]), yard.guest(2, &[&c4])];
    let _server = c.serve(&format!("serve('c', listener('{c4}', 80))"));
    let _echo = c.serve(&format!("echo('c', bound('{c4}', 53, SOCK_DGRAM))"));
    let giver = b.serve(
        "p = socket(AF_UNIX); p.bind('handover'); p.listen(); print('ready', flush=True)\n\
         made = [socket(), socket(AF_INET, SOCK_DGRAM), socket()]\n\
         send_fds(p.accept()[0], [b'x'], [s.fileno() for s in made])",
    );
    let script = format!(
        "p = socket(AF_UNIX); p.connect('handover')\n\
         tcp, udp, third = [socket(fileno=fd) for fd in recv_fds(p, 1, 3)[1]]\n\
         for s in [tcp, udp, third]: s.settimeout(1)\n\
         print(fails(third.bind, ('{b4}', 8080)))\n\
         try: tcp.connect(('{c4}', 80)); print(tcp.recv(99))\n\
         except OSError as e: print('no connection')\n\
         try: udp.sendto(b'x', ('{c4}', 53)); print(udp.recv(99))\n\
         except OSError as e: print('no answer')"
    );
    assert_eq!(a.says(&script), "EADDRNOTAVAIL\nno connection\nno answer");
    giver.wait().code(0);
}

fn a_connection_by_fast_open_comes_from_the_guest(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [1, 2].map(|n| world.address(n).to_string());
    let [a, b] = [yard.guest(0, &[&a4, "fd00:a::1"]), yard.guest(1, &[&b4, "fd00:b::1"])];
    let _server = b.serve(&format!(
        "serve('b', listener('{b4}', 80), listener('fd00:b::1', 80, 1), listener('127.0.0.1', 81))"
    ));
    let (loopback, a6) = (b.xid.loopback4(), "fd00:a::1");
    // MSG_FASTOPEN, then TCP_FASTOPEN_CONNECT. They do not wait on a socket with a timeout.
    let script = format!(
        "setdefaulttimeout(None)\n\
         def fast(a, port):\n    s = sock(a); s.sendto(b'x', 0x20000000, (a, port)); return s.recv(99).decode()\n\
         def late(a, port):\n    s = sock(a); s.setsockopt(IPPROTO_TCP, 30, 1); s.connect((a, port)); s.send(b'x'); return s.recv(99).decode()\n\
         for call in [fast, late]:\n    \
             for a in ['{b4}', '::ffff:{b4}', 'fd00:b::1']: print(call(a, 80))\n    \
             print(fails(call, '{loopback}', 81))"
    );
    let once = format!(
        "b at {b4}:80 from {a4}\nb at {b4}:80 from {a4}\nb at [fd00:b::1]:80 from [{a6}]\nECONNREFUSED"
    );
    assert_eq!(a.says(&script), format!("{once}\n{once}"));
}

fn free_and_transparent_binds_are_binds(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [1, 2].map(|n| world.address(n).to_string());
    let [a, _b] = [yard.guest(0, &[&a4]), yard.guest(1, &[&b4, "fd00:b::1"])];
    // IP_FREEBIND 15, IP_TRANSPARENT 19, IPV6_TRANSPARENT 75, IPV6_FREEBIND 78.
    let script = format!(
        "for kind in [SOCK_STREAM, SOCK_DGRAM]:\n    \
             for a in ['{b4}', '192.0.2.1', '::ffff:192.0.2.1', 'fd00:b::1', '2001:db8::1']:\n        \
                 s = sock(a, kind)\n        \
                 level, free, transparent = (IPPROTO_IPV6, 78, 75) if ':' in a else (IPPROTO_IP, 15, 19)\n        \
                 s.setsockopt(level, free, 1); print(fails(s.setsockopt, level, transparent, 1), fails(s.bind, (a, 8080)))"
    );
    assert_eq!(a.says(&script), ["EPERM EADDRNOTAVAIL"; 10].join("\n"));
}

fn a_source_is_kept_if_bind_chose_it_and_only_then(world: &World) {
    let yard = Yard::new(world);
    let [first, second, b4] = [1, 2, 3].map(|n| world.address(n).to_string());
    let [a, b] = [yard.guest(0, &[&first, &second]), yard.guest(1, &[&b4])];
    let _server = b.serve(&format!("serve('b', listener('{b4}', 80))"));
    // IP_BIND_ADDRESS_NO_PORT (24) leaves a socket without a port, as connect's own choice does. A bind that
    // failed chose nothing.
    let script = format!(
        "s = socket(); s.setsockopt(IPPROTO_IP, 24, 1); s.bind(('{second}', 0)); s.connect(('{b4}', 80)); print(s.recv(99).decode())\n\
         own = listener('127.0.0.1', 8080); taken = bound('{second}', 81, SOCK_DGRAM)\n\
         u = socket(AF_INET, SOCK_DGRAM); print(fails(u.bind, ('{second}', 81)))\n\
         import ctypes\n\
         for a in ['{b4}', '127.0.0.1', '{b4}']:\n    \
             u.connect((a, 53)); print(u.getsockname()[0]); ctypes.CDLL(None).connect(u.fileno(), bytes(16), 16)"
    );
    assert_eq!(
        a.says(&script),
        format!("b at {b4}:80 from {second}\nEADDRINUSE\n{first}\n127.0.0.1\n{first}")
    );
}
