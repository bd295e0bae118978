//! The fence's rules for UDP: replies come from the address that was asked, connected or not.

use crate::bpf::Yard;
use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Tool("python3")] => two_guests_answer_on_any_port_53,
    [Root, Cgroup2, Bpf, Tool("python3")] => two_guests_answer_on_any6_port_53,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_socket_on_loopback_goes_before_one_on_any,
    [Root, Cgroup2, Bpf, Tool("python3")] => further_addresses_are_bound_by_themselves,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_dual_stack_client_speaks_both_families,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_dual_stack_server_without_ipv6_answers_over_ipv4,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_socket_is_connected_again_and_again,
    [Root, Cgroup2, Bpf, Tool("python3")] => the_source_by_pktinfo_must_be_the_guests,
}

const A6: &str = "fd00:a::1";
const B6: &str = "fd00:b::1";

fn two_guests_answer_on_any_port_53(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4]), yard.guest(1, &[&b4])];
    let _servers = [
        a.serve("echo('a', bound('0.0.0.0', 53, SOCK_DGRAM))"),
        b.serve("echo('b', bound('0.0.0.0', 53, SOCK_DGRAM))"),
    ];
    for connected in ["True", "False"] {
        for (guest, own, name) in [(&a, &a4, 'a'), (&b, &b4, 'b')] {
            for (other, server) in [(&a4, 'a'), (&b4, 'b')] {
                assert_eq!(
                    guest.says(&format!("print(tell('{other}', 53, {connected}))")),
                    format!("{server} from {own}; answer from {other}:53")
                );
            }
            // The server sits on the address, and still answers as 127.0.0.1 and 127.0.0.53.
            for loopback in ["127.0.0.1", "127.0.0.53"] {
                assert_eq!(
                    guest.says(&format!("print(tell('{loopback}', 53, {connected}))")),
                    format!("{name} from 127.0.0.1; answer from {loopback}:53"),
                    "connected {connected}"
                );
            }
        }
    }
}

fn two_guests_answer_on_any6_port_53(world: &World) {
    let yard = Yard::new(world);
    let [a, b] = [yard.guest(0, &[A6]), yard.guest(1, &[B6])];
    let _servers = [
        a.serve("echo('a', bound('::', 53, SOCK_DGRAM))"),
        b.serve("echo('b', bound('::', 53, SOCK_DGRAM))"),
    ];
    for connected in ["True", "False"] {
        for (guest, own, name) in [(&a, A6, 'a'), (&b, B6, 'b')] {
            for (other, server) in [(A6, 'a'), (B6, 'b')] {
                assert_eq!(
                    guest.says(&format!("print(tell('{other}', 53, {connected}))")),
                    format!("{server} from [{own}]; answer from [{other}]:53")
                );
            }
            assert_eq!(
                guest.says(&format!("print(tell('::1', 53, {connected}))")),
                format!("{name} from [::1]; answer from [::1]:53"),
                "connected {connected}"
            );
        }
    }
}

fn a_socket_on_loopback_goes_before_one_on_any(world: &World) {
    let yard = Yard::new(world);
    let a4 = world.address(1).to_string();
    let guest = yard.guest(0, &[&a4]);
    let _any = guest.serve("echo('any', bound('0.0.0.0', 53, SOCK_DGRAM))");
    let _loopback = guest.serve("echo('loopback', bound('127.0.0.1', 53, SOCK_DGRAM))");
    for connected in ["True", "False"] {
        assert_eq!(
            guest.says(&format!("print(tell('127.0.0.1', 53, {connected})); print(tell('{a4}', 53, {connected}))")),
            format!("loopback from 127.0.0.1; answer from 127.0.0.1:53\nany from {a4}; answer from {a4}:53")
        );
    }
}

fn further_addresses_are_bound_by_themselves(world: &World) {
    let yard = Yard::new(world);
    let [first, second] = [world.address(1).to_string(), world.address(2).to_string()];
    let guest = yard.guest(0, &[&first, &second]);
    let client = yard.guest(1, &[&world.address(3).to_string()]);
    let _server = guest.serve(&format!("echo('s', *(bound(a, 53, SOCK_DGRAM) for a in ['{first}', '{second}']))"));
    for address in [&first, &second] {
        assert_eq!(
            client.says(&format!("print(tell('{address}', 53, False))")),
            format!("s from {}; answer from {address}:53", world.address(3))
        );
    }
}

fn a_dual_stack_client_speaks_both_families(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let server = yard.guest(0, &[&a4, A6]);
    let client = yard.guest(1, &[&b4, B6]);
    let _server = server.serve(&format!(
        "echo('s', bound('{a4}', 53, SOCK_DGRAM), bound('{A6}', 53, SOCK_DGRAM, v6only=1))"
    ));
    // As resolvers written in Java and Go have it.
    let script = format!(
        "s = bound('::', 0, SOCK_DGRAM, v6only=0)\n\
         for a in ['::ffff:{a4}', '{A6}']:\n    s.sendto(b'x', (a, 53)); said, peer = s.recvfrom(99); print(said.decode(), peer[0])\n\
         print(s.getsockname()[0])"
    );
    assert_eq!(client.says(&script), format!("s from {b4} ::ffff:{a4}\ns from [{B6}] {A6}\n::"));
}

fn a_dual_stack_server_without_ipv6_answers_over_ipv4(world: &World) {
    let yard = Yard::new(world);
    let a4 = world.address(1).to_string();
    let guest = yard.guest(0, &[&a4]);
    let _server = guest.serve("s = bound('::', 53, SOCK_DGRAM, v6only=0); assert s.getsockname()[0] == '::'; echo('s', s)");
    assert_eq!(
        guest.says(&format!("print(tell('{a4}', 53, False)); print(tell('127.0.0.1', 53, True))")),
        format!("s from [::ffff:{a4}]; answer from {a4}:53\ns from [::ffff:127.0.0.1]; answer from 127.0.0.1:53")
    );
}

fn a_socket_is_connected_again_and_again(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let guest = yard.guest(0, &[&a4, A6]);
    let _other = yard.guest(1, &[&b4, B6]);
    // As getaddrinfo(3) finds out which address to prefer: connect, getsockname, dissolve, again; with an
    // IPv6 socket for IPv4 addresses, too.
    let script = format!(
        "import ctypes, struct; libc = ctypes.CDLL(None, use_errno=True)\n\
         def dissolve(s): assert libc.connect(s.fileno(), struct.pack('=H14x', 0), 16) == 0\n\
         def connect4(s, a): assert libc.connect(s.fileno(), struct.pack('=HH4s8x', AF_INET, 0x3500, inet_aton(a)), 16) == 0, ctypes.get_errno()\n\
         s = socket(AF_INET, SOCK_DGRAM)\n\
         for a in ['{b4}', '127.0.0.1', '{b4}']: s.connect((a, 53)); print(s.getsockname()[0]); dissolve(s)\n\
         s = socket(AF_INET6, SOCK_DGRAM)\n\
         for a in ['::ffff:{b4}', '::ffff:127.0.0.1', '::ffff:{b4}']: s.connect((a, 53)); print(s.getsockname()[0]); dissolve(s)\n\
         connect4(s, '{b4}'); print(s.getsockname()[0]); dissolve(s)\n\
         for a in ['{B6}', '::1', '{B6}']: s.connect((a, 53)); print(s.getsockname()[0]); dissolve(s)\n\
         print(fails(s.connect, ('::ffff:{b4}', 53)))"
    );
    assert_eq!(
        guest.says(&script),
        format!(
            "{a4}\n127.0.0.1\n{a4}\n::ffff:{a4}\n::ffff:127.0.0.1\n::ffff:{a4}\n::ffff:{a4}\n{A6}\n::1\n{A6}\nENETUNREACH"
        )
    );
}

fn the_source_by_pktinfo_must_be_the_guests(world: &World) {
    let yard = Yard::new(world);
    let [a4, second, b4] = [1, 2, 3].map(|n| world.address(n).to_string());
    let guest = yard.guest(0, &[&a4, &second]);
    let other = yard.guest(1, &[&b4]);
    let _server = other.serve("echo('s', bound('0.0.0.0', 53, SOCK_DGRAM))");
    let script = format!(
        "import struct\n\
         def send(source, connected=False):\n    s = socket(AF_INET, SOCK_DGRAM)\n    to = ('{b4}', 53)\n    \
             if connected: s.connect(to); to = None\n    \
             s.sendmsg([b'x'], [(IPPROTO_IP, 8, struct.pack('=I4s4s', 0, inet_aton(source), b'\\0' * 4))], 0, *([to] if to else []))\n    \
             return s.recv(99).decode()\n\
         print(send('{a4}')); print(fails(send, '{b4}')); print(fails(send, '{b4}', True)); print(fails(send, '192.0.2.1'))"
    );
    assert_eq!(
        guest.says(&script),
        format!("s from {a4}\nEADDRNOTAVAIL\nEADDRNOTAVAIL\nEADDRNOTAVAIL")
    );
}
