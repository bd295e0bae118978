//! What the fence refuses.

use hostel::bpf::{Devices, Mode};

use crate::bpf::Yard;
use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Tool("python3")] => a_foreign_address_is_not_available,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_cgroup_without_an_entry_gets_nothing,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_cgroup_below_a_guest_is_the_guest,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_port_below_1024_needs_the_capability_over_the_guest,
    [Root, Cgroup2, Bpf, Tool("python3")] => raw_sockets_are_refused_unless_granted,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_raw_socket_cannot_spoof,
    [Root, Cgroup2, Bpf, Tool("python3")] => protocols_past_the_hooks_are_refused,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_guest_that_is_forgotten_is_cut_off,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_standing_connection_is_cut_off_when_its_address_is_taken,
    [Root, Cgroup2, Bpf, Tool("python3")] => a_remembered_socket_gains_nothing_by_changing,
    [Root, Cgroup2, Bpf, Tool("python3")] => the_loopback_of_a_guest_without_addresses_is_its_own,
    [Root, Cgroup2, Bpf, Tool("python3")] => an_open_guest_is_left_alone,
    [Root, Cgroup2, Bpf, Tool("python3")] => only_harmless_devices_are_open,
}

fn a_foreign_address_is_not_available(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4, "fd00:a::1"]), yard.guest(1, &[&b4, "fd00:b::1"])];
    let (l4, l6) = (b.xid.loopback4(), b.xid.loopback6());
    let script = format!(
        "for kind in [SOCK_STREAM, SOCK_DGRAM]:\n    \
             for a in ['{b4}', '::ffff:{b4}', 'fd00:b::1', '192.0.2.1', '::ffff:192.0.2.1', '2001:db8::1', '{l4}', '::ffff:{l4}', '{l6}', '224.0.0.1', 'ff02::1']:\n        \
                 print(fails(bound, a, 80, kind))"
    );
    assert_eq!(a.says(&script), ["EADDRNOTAVAIL"; 22].join("\n"));
    assert_eq!(
        a.says(&format!(
            "[bound(a, 80, k).close() for k in [SOCK_STREAM, SOCK_DGRAM] for a in ['{a4}', '::ffff:{a4}', 'fd00:a::1']]; print('fine')"
        )),
        "fine"
    );
}

fn a_cgroup_without_an_entry_gets_nothing(world: &World) {
    let yard = Yard::new(world);
    let stranger = yard.stranger(0);
    assert_eq!(
        stranger.says("for f in [AF_INET, AF_INET6]:\n    for k in [SOCK_STREAM, SOCK_DGRAM]: print(fails(socket, f, k))"),
        ["EPERM"; 4].join("\n")
    );
    assert_eq!(stranger.says("socketpair(); print('unix is fine')"), "unix is fine");
}

fn a_cgroup_below_a_guest_is_the_guest(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    let below = guest.cgroup.join("system.slice/web.service");
    std::fs::create_dir_all(&below).unwrap();
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", below.display());
    let script = "import socket; s = socket.socket(); s.bind(('0.0.0.0', 80)); s.listen(); c = socket.create_connection(('127.0.0.1', 80)); print(s.accept()[1][0])";
    let output = crate::support::tool("sh", ["-c", &enter, "sh", "python3", "-c", script]).ok();
    output.stdout("127.0.0.1\n");
    std::fs::remove_dir(&below).unwrap();
    std::fs::remove_dir(below.parent().unwrap()).unwrap();
}

fn a_port_below_1024_needs_the_capability_over_the_guest(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string(), "fd00:a::1"]);
    let script = "import errno, socket\n\
        for f, a in [(socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'), (socket.AF_INET6, '::1'), (socket.AF_INET6, '::ffff:0.0.0.0')]:\n    \
            for port in [80, 8080]:\n        \
                try: socket.socket(f).bind((a, port)); print('bound')\n        \
                except OSError as e: print(errno.errorcode[e.errno])";
    let as_root = guest.command(&["python3", "-c", script]).ok();
    as_root.stdout(&"bound\n".repeat(8));
    let drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "python3", "-c", script];
    let as_nobody = guest.command(&drop).ok();
    as_nobody.stdout(&"EACCES\nbound\n".repeat(4));
}

fn raw_sockets_are_refused_unless_granted(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    // Root of the host, so that nothing but the fence can refuse.
    let raw = "import socket\ntry: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('made')\nexcept PermissionError: print('EPERM')";
    let run = || {
        let enter = format!("echo $$ >{}/cgroup.procs; exec python3 -c \"$0\"", guest.cgroup.display());
        crate::bpf::said(&crate::support::tool("sh", ["-c", &enter, raw]).ok())
    };
    assert_eq!(run(), "EPERM");
    guest.admit(&[&world.address(1).to_string()], true).unwrap();
    assert_eq!(run(), "made");
}

fn a_raw_socket_cannot_spoof(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4]), yard.guest(1, &[&b4])];
    a.admit(&[&a4], true).unwrap();
    let victim = b.serve("s = bound('0.0.0.0', 99, SOCK_DGRAM); print('ready', flush=True); print(s.recvfrom(99)[1][0])");
    let script = format!(
        "import socket, struct\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)\n\
         def send(src, dst):\n    \
             packet = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 29, 0, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst)) + struct.pack('>HHHH', 7, 99, 9, 0) + b'x'\n    \
             try: s.sendto(packet, (dst, 0)); print('sent')\n    \
             except PermissionError: print('EPERM')\n\
         send('{b4}', '{b4}'); send('192.0.2.1', '{b4}'); send('{a4}', '127.0.0.1'); send('{a4}', '{b4}')"
    );
    let enter = format!("echo $$ >{}/cgroup.procs; exec python3 -c \"$0\"", a.cgroup.display());
    let output = crate::bpf::said(&crate::support::tool("sh", ["-c", &enter, &script]).ok());
    assert_eq!(output, "EPERM\nEPERM\nEPERM\nsent");
    // The first that arrives is the honest one.
    victim.wait().code(0).stdout(&format!("ready\n{a4}\n"));
}

fn protocols_past_the_hooks_are_refused(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    // MPTCP 262, SCTP 132, UDP-Lite 136, DCCP 33: where the kernel has it at all, the answer is the same.
    assert_eq!(
        guest.says(
            "for f in [AF_INET, AF_INET6]:\n    \
             for k, p in [(SOCK_STREAM, 262), (SOCK_STREAM, 132), (SOCK_DGRAM, 136)]:\n        \
             r = fails(socket, f, k, p); print('refused' if r in ('EPROTONOSUPPORT', 'ESOCKTNOSUPPORT') else r)"
        ),
        ["refused"; 6].join("\n")
    );
}

fn a_guest_that_is_forgotten_is_cut_off(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [world.address(1).to_string(), world.address(2).to_string()];
    let [a, b] = [yard.guest(0, &[&a4, "fd00:a::1"]), yard.guest(1, &[&b4, "fd00:b::1"])];
    let _server = a.serve("serve('a', listener('::', 80))");
    let ask = "setdefaulttimeout(1); print(ask('fd00:a::1', 80))";
    assert_eq!(b.says(ask), "a at [fd00:a::1]:80 from [fd00:b::1]; here [fd00:b::1]");
    yard.fence().forget(a.cgroup_id()).unwrap();
    assert_ne!(b.says(ask).split(' ').next(), Some("a"));
}

/// Packets of a socket are known by what was judged before; a change of the guest's addresses must end that.
fn a_standing_connection_is_cut_off_when_its_address_is_taken(world: &World) {
    let yard = Yard::new(world);
    // Not of 127.0.0.0/8, whose packets are judged one by one.
    let [a4, b4, c4] = [1, 2, 3].map(|n| format!("192.0.2.{n}"));
    for (own, peer, other) in [(&*a4, &*b4, &*c4), ("fd00:a::1", "fd00:b::1", "fd00:a::2")] {
        let [a, b] = [yard.guest(0, &[own]), yard.guest(1, &[peer])];
        for taken in ["forgotten", "moved"] {
            a.admit(&[own], false).unwrap();
            let server = b.serve(&format!(
                "s = listener('{peer}', 80); u = bound('{peer}', 81, SOCK_DGRAM); print('ready', flush=True)\n\
                 c, _ = s.accept()\n\
                 while True:\n    d = c.recv(9)\n    if not d: break\n    c.send(d); print(u.recvfrom(9)[0].decode(), flush=True)"
            ));
            let mut client = a
                .python(&format!(
                    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n\
                     s = socket({family}); s.bind(('{own}', 0)); s.connect(('{peer}', 80))\n\
                     u = socket({family}, SOCK_DGRAM); u.bind(('{own}', 0)); u.connect(('{peer}', 81))\n\
                     for _ in range(20): s.send(b'x'); u.send(b'y'); s.recv(9)\n\
                     print('ready', flush=True); signal.sigwait([signal.SIGUSR1])\n\
                     s.settimeout(1)\n\
                     try: s.send(b'x'); print('answer', s.recv(9))\n\
                     except OSError as e: print('tcp cut off')\n\
                     print(fails(u.send, b'z')); print(fails(u.sendto, b'z', ('{peer}', 81)))",
                    family = if own.contains(':') { "AF_INET6" } else { "AF_INET" }
                ))
                .spawn();
            client.wait_stdout("ready");
            if taken == "forgotten" {
                yard.fence().forget(a.cgroup_id()).unwrap();
            } else {
                a.admit(&[other], false).unwrap();
            }
            client.signal(nix::sys::signal::Signal::SIGUSR1);
            let sendto = if taken == "forgotten" { "EPERM" } else { "EADDRNOTAVAIL" };
            client.wait().code(0).stdout(&format!("ready\ntcp cut off\nEPERM\n{sendto}\n"));
            drop(server);
        }
    }
}

fn a_remembered_socket_gains_nothing_by_changing(world: &World) {
    let yard = Yard::new(world);
    let [a4, b4] = [1, 2].map(|n| format!("192.0.2.{n}"));
    let [a, b] = [yard.guest(0, &[&a4, "fd00:a::1"]), yard.guest(1, &[&b4, "fd00:b::1"])];
    let _web = b.serve(&format!("serve('b', listener('{b4}', 80))"));
    let _echo = b.serve(&format!("echo('b', bound('{b4}', 53, SOCK_DGRAM), bound('fd00:b::1', 53, SOCK_DGRAM, 1))"));
    // Connected and talked with, disconnected by AF_UNSPEC, then open to all; and a client of both families.
    let mut changed = a
        .python(&format!(
            "import ctypes, select\n\
             libc = ctypes.CDLL(None)\n\
             def disconnect(s): assert libc.connect(s.fileno(), bytes(16), 16) == 0\n\
             t = socket(); t.connect(('{b4}', 80)); t.recv(99); disconnect(t); t.listen()\n\
             u = socket(AF_INET, SOCK_DGRAM); u.connect(('{b4}', 53)); u.send(b'x'); u.recv(99); disconnect(u); u.sendto(b'x', ('{b4}', 53)); u.recvfrom(99)\n\
             v = bound('::', 0, SOCK_DGRAM, v6only=0); v.sendto(b'x', ('fd00:b::1', 53)); v.recvfrom(99)\n\
             print(*(s.getsockname()[1] for s in [t, u, v]), 'ready', flush=True)\n\
             while True:\n    \
                 for s in select.select([t, u, v], [], [])[0]: print('reached' if s is t else s.recvfrom(9), flush=True); s is t and s.accept()"
        ))
        .spawn();
    let text = changed.wait_stdout("ready");
    let ports: Vec<&str> = text.split(' ').take(3).collect();
    let [tcp, udp, both] = [ports[0], ports[1], ports[2]];
    let script = format!(
        "setdefaulttimeout(1); print(ask('127.0.0.1', {tcp})); print(ask('{b4}', {tcp}))\n\
         for a, p in [('127.0.0.1', {udp}), ('{b4}', {udp}), ('127.0.0.1', {both}), ('::1', {both}), ('fd00:b::1', {both})]: sock(a, SOCK_DGRAM).sendto(b'stray', (a, p))\n\
         sock('fd00:a::1', SOCK_DGRAM).sendto(b'last', ('fd00:a::1', {both}))"
    );
    let host = crate::bpf::said(&yard.host(&script).ok());
    for answer in host.lines() {
        assert!(["timed out", "ECONNREFUSED"].contains(&answer), "{host}");
    }
    let seen = changed.wait_stdout("last");
    assert!(!seen.contains("stray") && !seen.contains("reached"), "{seen}");
}

fn the_loopback_of_a_guest_without_addresses_is_its_own(world: &World) {
    let yard = Yard::new(world);
    let a4 = world.address(1).to_string();
    let [a, b] = [yard.guest(0, &[&a4]), yard.guest(1, &[])];
    a.admit(&[&a4], true).unwrap();
    let victim = b.serve("s = bound('127.0.0.1', 99, SOCK_DGRAM); print('ready', flush=True); print(s.recvfrom(99)[0].decode())");
    let loopback = b.xid.loopback4();
    let script = format!(
        "import socket, struct\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 17)\n\
         s.sendto(struct.pack('>HHHH', 7, 99, 13, 0) + b'guest', ('{loopback}', 0)); print('sent')"
    );
    let enter = format!("echo $$ >{}/cgroup.procs; exec python3 -c \"$0\"", a.cgroup.display());
    let from_a = script.replace("s.sendto", &format!("s.bind(('{a4}', 0)); s.sendto"));
    crate::support::tool("sh", ["-c", &enter, &from_a]).ok().stdout("sent\n");
    yard.host(&format!("sock('127.0.0.1', SOCK_DGRAM).sendto(b'host', ('{loopback}', 99))")).ok();
    victim.wait().code(0).stdout("ready\nhost\n");
}

fn an_open_guest_is_left_alone(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.stranger(0);
    guest.admit_as(Mode::Open, Devices::Usual).unwrap();
    assert_eq!(
        guest.says("s = listener('127.0.0.1', 8080); c = create_connection(('127.0.0.1', 8080)); print(*s.accept()[1][:1], *c.getpeername()); print(show(listener('0.0.0.0', 8081).getsockname()))"),
        "127.0.0.1 127.0.0.1 8080\n0.0.0.0:8081"
    );
    let seen = crate::bpf::said(&yard.host("s = listener('127.0.0.1', 8082); print(show(s.getsockname()))").ok());
    assert_eq!(seen, "127.0.0.1:8082");
}

fn only_harmless_devices_are_open(world: &World) {
    let yard = Yard::new(world);
    let guest = yard.guest(0, &[&world.address(1).to_string()]);
    let nodes = world.dir.join("dev");
    std::fs::create_dir(&nodes).unwrap();
    for (name, kind, major, minor) in [("mem", "c", "1", "1"), ("loop", "b", "7", "0"), ("null", "c", "1", "3"), ("urandom", "c", "1", "9")] {
        crate::support::tool("mknod", [nodes.join(name).to_str().unwrap(), kind, major, minor]).ok();
    }
    let enter = format!(
        "echo $$ >{}/cgroup.procs; cd {}; for n in null urandom mem loop; do (exec <$n) 2>/dev/null && echo $n open || echo $n closed; done; mknod x c 1 1 2>/dev/null || echo no mknod",
        guest.cgroup.display(),
        nodes.display()
    );
    let run = || crate::support::tool("sh", ["-c", &enter]).run();
    run().stdout("null open\nurandom open\nmem closed\nloop closed\nno mknod\n");
    guest.admit_as(crate::bpf::bind(&[], false), Devices::All).unwrap();
    let output = run();
    output.stdout_has("loop open");
}
