//! The fence's rules for TCP: ANY, loopback, several addresses, both families.

use crate::bpf::{Yard, said};
use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Tool("python3")] => two_guests_listen_on_any_port_80,
    [Root, Cgroup2, Bpf, Tool("python3")] => two_guests_listen_on_any6_port_80,
    [Root, Cgroup2, Bpf, Tool("python3")] => loopback_is_each_guests_own,
    [Root, Cgroup2, Bpf, Tool("python3")] => one_listener_on_all_addresses,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_listener_on_the_address_goes_before_one_on_any,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_dual_stack_listener_is_reached_over_ipv4,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_v6only_listener_is_not_reached_over_ipv4,
    [Root, Cgroup2, Bpf, Tool("python3")] => listen_without_bind_is_reached_on_the_guests_address_alone,
    [Root, Cgroup2, Bpf, Tool("python3")] => names_are_shown_as_they_were_asked_for,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_reuseport_sibling_keeps_the_guest_reachable,
    [Root, Cgroup2, Bpf, Tool("python3")] => the_host_reaches_a_guests_loopback,
}

const A6: &str = "fd00:a::1";
const B6: &str = "fd00:b::1";

fn two_guests_listen_on_any_port_80(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4]), yard.guest(1, &[&b4])];
    let _servers = [a.serve("serve('a', listener('0.0.0.0', 80))"), b.serve("serve('b', listener('0.0.0.0', 80))")];
    for (guest, own, name) in [(&a, &a4, 'a'), (&b, &b4, 'b')] {
        assert_eq!(
            guest.says("print(ask('127.0.0.1', 80))"),
            format!("{name} at 127.0.0.1:80 from 127.0.0.1; here 127.0.0.1")
        );
        for (other, server) in [(&a4, 'a'), (&b4, 'b')] {
            assert_eq!(
                guest.says(&format!("print(ask('{other}', 80))")),
                format!("{server} at {other}:80 from {own}; here {own}")
            );
        }
        // As every process finds itself: 0.0.0.0 is this host, a mapped address is its IPv4 address.
        assert_eq!(
            guest.says("print(ask('0.0.0.0', 80))"),
            format!("{name} at 127.0.0.1:80 from 127.0.0.1; here 127.0.0.1")
        );
        assert_eq!(
            guest.says(&format!("print(ask('::ffff:{b4}', 80))")),
            format!("b at {b4}:80 from {own}; here [::ffff:{own}]")
        );
    }
}

fn two_guests_listen_on_any6_port_80(world: &World) {
    let yard = Yard::new(world);
    let [a, b] = [yard.guest(0, &[A6]), yard.guest(1, &[B6])];
    let _servers = [a.serve("serve('a', listener('::', 80))"), b.serve("serve('b', listener('::', 80))")];
    for (guest, own, name) in [(&a, A6, 'a'), (&b, B6, 'b')] {
        assert_eq!(
            guest.says("print(ask('::1', 80))"),
            format!("{name} at [::1]:80 from [::1]; here [::1]")
        );
        for (other, server) in [(A6, 'a'), (B6, 'b')] {
            assert_eq!(
                guest.says(&format!("print(ask('{other}', 80))")),
                format!("{server} at [{other}]:80 from [{own}]; here [{own}]")
            );
        }
    }
}

fn loopback_is_each_guests_own(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4, A6]), yard.guest(1, &[&b4, B6])];
    let script = |name| format!("serve('{name}', listener('127.0.0.1', 5432), listener('::1', 5432), listener('127.0.0.53', 53))");
    let _servers = [a.serve(&script('a')), b.serve(&script('b'))];
    for (guest, name) in [(&a, 'a'), (&b, 'b')] {
        assert_eq!(
            guest.says("print(ask('127.0.0.1', 5432)); print(ask('::1', 5432)); print(ask('127.0.0.53', 53))"),
            format!(
                "{name} at 127.0.0.1:5432 from 127.0.0.1; here 127.0.0.1\n\
                 {name} at [::1]:5432 from [::1]; here [::1]\n\
                 {name} at 127.0.0.1:53 from 127.0.0.1; here 127.0.0.1"
            )
        );
    }
    // On loopback alone: not on the address, and not from another guest.
    assert_eq!(a.says(&format!("print(ask('{b4}', 5432)); print(ask('{B6}', 5432))")), "ECONNREFUSED\nECONNREFUSED");
    let (l4, l6) = (b.xid.loopback4(), b.xid.loopback6());
    assert_eq!(
        a.says(&format!("print(ask('{l4}', 5432)); print(ask('{l6}', 5432)); print(ask('::ffff:{l4}', 5432))")),
        "ECONNREFUSED\nECONNREFUSED\nECONNREFUSED"
    );
}

fn one_listener_on_all_addresses(world: &World) {
    let yard = Yard::new(world);
    let all: Vec<String> = (1..=4).map(|n| world.address(n).to_string()).collect();
    let guest = yard.guest(0, &[&all[0], &all[1], &all[2]]);
    let other = yard.guest(1, &[&all[3]]);
    let _servers = [
        guest.serve("serve('one', listener('0.0.0.0', 80))"),
        other.serve("serve('two', listener('0.0.0.0', 80))"),
    ];
    for address in &all[..3] {
        assert_eq!(
            other.says(&format!("print(ask('{address}', 80))")),
            format!("one at {address}:80 from {0}; here {0}", all[3])
        );
    }
    assert_eq!(
        guest.says(&format!("print(ask('{}', 80))", all[3])),
        format!("two at {}:80 from {1}; here {1}", all[3], all[0])
    );
}

fn a_listener_on_the_address_goes_before_one_on_any(world: &World) {
    let yard = Yard::new(world);
    let [first, second] = [world.address(1).to_string(), world.address(2).to_string()];
    let guest = yard.guest(0, &[&first, &second]);
    let any = guest.serve("serve('any', listener('0.0.0.0', 80))");
    let exact = guest.serve(&format!("serve('exact', listener('{second}', 80))"));
    let loopback = guest.serve("serve('loopback', listener('127.0.0.1', 80))");
    let ask = format!("print(*(ask(a, 80).split()[0] for a in ['{first}', '{second}', '127.0.0.1']))");
    assert_eq!(guest.says(&ask), "any exact loopback");
    drop((exact, loopback));
    assert_eq!(guest.says(&ask), "any any any");
    drop(any);
    assert_eq!(guest.says(&ask), "ECONNREFUSED ECONNREFUSED ECONNREFUSED");
}

fn a_dual_stack_listener_is_reached_over_ipv4(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let both = yard.guest(0, &[&a4, A6]);
    let only4 = yard.guest(1, &[&b4]);
    let _servers = [
        both.serve("serve('both', listener('::', 80, v6only=0))"),
        only4.serve("serve('only4', listener('::', 80, v6only=0))"),
    ];
    assert_eq!(
        only4.says(&format!("print(ask('{a4}', 80)); print(ask('{b4}', 80)); print(ask('127.0.0.1', 80)); print(ask('::1', 80))")),
        format!(
            "both at [::ffff:{a4}]:80 from [::ffff:{b4}]; here {b4}\n\
             only4 at [::ffff:{b4}]:80 from [::ffff:{b4}]; here {b4}\n\
             only4 at [::ffff:127.0.0.1]:80 from [::ffff:127.0.0.1]; here 127.0.0.1\n\
             only4 at [::1]:80 from [::1]; here [::1]"
        )
    );
    assert_eq!(only4.says(&format!("print(ask('{A6}', 80))")), "ENETUNREACH");
}

fn a_v6only_listener_is_not_reached_over_ipv4(world: &World) {
    let yard = Yard::new(world);
    let a4 = world.address(1).to_string();
    let guest = yard.guest(0, &[&a4, A6]);
    let server = guest.serve("serve('six', listener('::', 80, v6only=1))");
    assert_eq!(
        guest.says(&format!("print(ask('{a4}', 80)); print(ask('{A6}', 80))")),
        format!("ECONNREFUSED\nsix at [{A6}]:80 from [{A6}]; here [{A6}]")
    );
    drop(server);
    let _both = guest.serve("serve('both', listener('::', 80, v6only=1), listener('0.0.0.0', 80))");
    assert_eq!(
        guest.says(&format!("print(ask('{a4}', 80)); print(ask('{A6}', 80))")),
        format!("both at {a4}:80 from {a4}; here {a4}\nboth at [{A6}]:80 from [{A6}]; here [{A6}]")
    );
}

fn listen_without_bind_is_reached_on_the_guests_address_alone(world: &World) {
    let yard = Yard::new(world);
    let [a4, a4b, b4] = [1, 2, 3].map(|n| world.address(n).to_string());
    let [a, b] = [yard.guest(0, &[&a4, &a4b]), yard.guest(1, &[&b4])];
    for family in ["AF_INET", "AF_INET6"] {
        let mut server = a
            .python(&format!(
                "s = socket({family}); s.listen(); print(s.getsockname()[1], flush=True); serve('a', s)"
            ))
            .spawn();
        let text = server.wait_stdout("ready");
        let port = text.lines().next().unwrap();
        for address in [&a4, &a4b] {
            let answer = b.says(&format!("print(ask('{address}', {port}))"));
            assert!(answer.starts_with("a at ") && answer.ends_with(&format!("; here {b4}")), "{answer}");
        }
        assert_eq!(
            b.says(&format!("setdefaulttimeout(1); print(ask('{b4}', {port}))")),
            "timed out",
            "{family}"
        );
        let host = said(&yard.host(&format!("setdefaulttimeout(1); print(ask('127.0.0.1', {port}))")).ok());
        assert_eq!(host, "timed out", "{family}");
    }
}

fn names_are_shown_as_they_were_asked_for(world: &World) {
    let yard = Yard::new(world);
    let a4 = world.address(1).to_string();
    let guest = yard.guest(0, &[&a4, A6]);
    let script = format!(
        "for a in ['0.0.0.0', '127.0.0.1', '127.0.0.53', '{a4}', '::', '::1', '{A6}', '::ffff:0.0.0.0', '::ffff:127.0.0.1']:\n    \
             s = listener(a, 7); print(show(s.getsockname())); s.close()\n\
         s = listener('127.0.0.1', 7); c = create_connection(('127.0.0.1', 7)); d, peer = s.accept()\n\
         print(c.getpeername()[0], peer[0], d.getsockname()[0], d.getpeername()[0])\n\
         c = create_connection(('127.0.0.9', 7)); print(c.getpeername()[0])"
    );
    assert_eq!(
        guest.says(&script),
        format!(
            "0.0.0.0:7\n127.0.0.1:7\n127.0.0.53:7\n{a4}:7\n[::]:7\n[::1]:7\n[{A6}]:7\n[::ffff:0.0.0.0]:7\n\
             [::ffff:127.0.0.1]:7\n127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1\n127.0.0.9"
        )
    );
}

fn a_reuseport_sibling_keeps_the_guest_reachable(world: &World) {
    let yard = Yard::new(world);
    let [first, second] = [world.address(1).to_string(), world.address(2).to_string()];
    let guest = yard.guest(0, &[&first, &second]);
    let script = "def one():\n    s = socket(); s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); s.bind(('0.0.0.0', 80)); s.listen(); return s\n\
                  kept = one(); [one().close() for _ in range(6)]; gone = [one() for _ in range(6)]\n\
                  for s in gone: s.close()\n\
                  serve('kept', kept)";
    let _server = guest.serve(script);
    assert_eq!(
        guest.says(&format!("print(ask('{second}', 80))")),
        format!("kept at {second}:80 from {first}; here {first}")
    );
}

fn the_host_reaches_a_guests_loopback(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    let _server = guest.serve("serve('web', listener('127.0.0.1', 80), listener('::1', 80))");
    for (address, from) in [
        (guest.xid.loopback4().to_string(), "127.0.0.1"),
        (guest.xid.loopback6().to_string(), "["),
    ] {
        let answer = said(&yard.host(&format!("print(ask('{address}', 80))")).ok());
        assert!(answer.starts_with("web at ") && answer.contains(&format!("from {from}")), "{answer}");
    }
}
