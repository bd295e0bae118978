//! Unmodified Debian services in three guests at once, all on their standard ports of one network stack.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostel::guest::Arch;

use crate::life::root_of;
use crate::own_init::order;
use crate::support::{Need, World, eventually, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Debian, Tool("ssh"), Tool("ssh-keygen")] within 420 => four_services_in_three_guests_on_standard_ports,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => sysvinit_runs_debians_own_scripts,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => openrc_runs_debians_own_scripts,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => systemd_runs_debians_own_units,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian, V2("memory")] within 420 => systemd_limits_its_units,
}

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// One image for all tests with Debian guests: the packages of the example, two inits, and what the tests call.
pub(crate) const PACKAGES: &str = r#""openssh-server", "nginx-light", "postgresql", "redis-server", "iproute2", "procps",
    "redis-tools", "curl", "sysvinit-core", "systemd""#;

/// OpenRC cannot be installed beside Debian's own scripts.
const OPENRC: [&str; 4] = ["openrc", "sysvinit-core", "nginx-light", "procps"];

/// The packages, and the architecture where it is not the host's, of every Debian image that a test of this suite needs.
pub(crate) fn image_packages() -> Vec<(Vec<String>, Option<Arch>)> {
    let names = PACKAGES.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    // The plain one is for `crash::build_of_debian_can_be_killed`.
    let mut sets = vec![vec![], names.collect(), OPENRC.map(str::to_owned).into()];
    sets.push(crate::debian_work::packages());
    sets.push(crate::allow::packages());
    sets.extend(crate::image::packages());
    let native = sets.into_iter().map(|packages| (packages, None));
    native.chain([(vec![], Some(crate::arch::foreign()))]).collect()
}

/// Builds the guests of a recipe. The image is built once: by the test that comes first.
pub(crate) fn build(world: &World, recipe: &Path) {
    let lock = std::env::var_os("HOSTEL_TEST_IMAGES").map(|mut path| {
        path.push(".lock");
        fs::create_dir_all(PathBuf::from(&path).parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap()
    });
    let images = world.share_images();
    world.online(["build".as_ref(), recipe.as_os_str()]).ok();
    drop(images);
    drop(lock);
}

/// A guest of that image, named `name`, on the first address, with `more` in its recipe.
pub(crate) fn debian(world: &World, name: &str, more: &str) -> PathBuf {
    debian_with(world, name, PACKAGES, more)
}

/// The same of another image.
fn debian_with(world: &World, name: &str, packages: &str, more: &str) -> PathBuf {
    let shared = Need::LandlockScopes.probe().is_err();
    let (xid, address) = (world.xid(0), world.address(1));
    let text = format!(
        "guest \"{name}\" {{ image = \"debian:bookworm\", packages = {{ {packages} }}, xid = {xid},\n  net = {{ mode = \"bind\", \
         address = \"{address}\", shared_abstract_sockets = {shared} }},\n  {more} }}\n"
    );
    let recipe = world.file(&format!("{name}.lua"), &text);
    build(world, &recipe);
    recipe
}

/// What `address` answers to `request`, until `end` is in it.
fn ask(address: Ipv4Addr, port: u16, request: &str, end: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), Duration::from_secs(10)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut chunk) = (String::new(), [0; 4096]);
    while !answer.contains(end) {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "{address}:{port} answers {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    answer
}

fn answers(address: Ipv4Addr, port: u16) -> bool {
    let address = SocketAddr::from((address, port));
    eventually(Duration::from_secs(60), || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

fn inside(world: &World, name: &str, argv: &[&str]) -> String {
    world.hostel(["exec", name, "--"].iter().chain(argv)).ok().stdout.trim_end().to_owned()
}

fn four_services_in_three_guests_on_standard_ports(world: &World) {
    // The example itself, with numbers of this test.
    let text = include_str!("../../examples/08-debian-services.lua");
    let first = world.address(1).octets();
    let text = text
        .replace("127.90.0.%d", &format!("{}.{}.{}.%d", first[0], first[1], first[2]))
        .replace("9000", &(world.xid(0) - 1).to_string())
        .replace(r#"input("shared_abstract_sockets", false)"#, &Need::LandlockScopes.probe().is_err().to_string())
        .replace(
            r#""openssh-server", "nginx-light", "postgresql", "redis-server", "iproute2", "procps""#,
            PACKAGES,
        );
    let recipe = world.file("services.lua", &text);
    build(world, &recipe);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(240).ok();
    let guests: Vec<(&str, Ipv4Addr)> = NAMES.into_iter().zip(1..).map(|(name, n)| (name, world.address(n))).collect();
    for (name, address) in &guests {
        for port in [22, 80, 5432, 6379] {
            assert!(answers(*address, port), "{name} on {address}:{port}");
        }
        inside(world, name, &["sh", "-c", &format!("printf {name} >/var/www/html/name")]);
    }
    nginx(world, &guests);
    postgres(world, &guests);
    redis(world, &guests);
    ssh(world, &guests);
    for name in NAMES {
        world.hostel(["stop", name]).ok().stdout_has("stopped");
    }
    for name in NAMES {
        world.hostel(["destroy", name]).deadline(120).ok();
    }
}

/// Each with its guest behind it, so that one guest asks another.
fn pairs<'a>(guests: &'a [(&'a str, Ipv4Addr)]) -> impl Iterator<Item = [&'a (&'a str, Ipv4Addr); 2]> {
    guests.iter().zip(guests.iter().cycle().skip(1)).map(|(a, b)| [a, b])
}

fn nginx(world: &World, guests: &[(&str, Ipv4Addr)]) {
    for [(name, address), (other, from)] in pairs(guests) {
        let answer = ask(*address, 80, "GET /name?host HTTP/1.0\r\n\r\n", name);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let url = format!("http://{address}/name?guest");
        assert_eq!(inside(world, other, &["curl", "-sS", &url]), *name);
        // Its own loopback is its own server.
        assert_eq!(inside(world, other, &["curl", "-sS", "http://127.0.0.1/name?own"]), *other);
        let log = || fs::read_to_string(root_of(world, name).join("var/log/nginx/access.log")).unwrap();
        let seen = |what: &str| {
            let log = log();
            let line = log.lines().find(|line| line.contains(what));
            line.and_then(|line| line.split_once(' ')).map(|(from, _)| from.to_owned())
        };
        assert!(eventually(Duration::from_secs(5), || seen("?guest").is_some()));
        assert_eq!(seen("?host").as_deref(), Some("127.0.0.1"), "{}", log());
        assert_eq!(seen("?guest"), Some(from.to_string()), "{}", log());
    }
}

fn postgres(world: &World, guests: &[(&str, Ipv4Addr)]) {
    let sql = "create table greeting as select 'hello from ' || '";
    for (name, _) in guests {
        let sql = format!("{sql}{name}' as text");
        inside(world, name, &["psql", "-qU", "postgres", "-h", "127.0.0.1", "-c", &sql]);
    }
    let query = "select text, inet_client_addr() from greeting";
    for [(name, address), (other, from)] in pairs(guests) {
        let address = address.to_string();
        let psql = ["psql", "-U", "postgres", "-Atc", query, "-h"];
        // The host has no psql of its own: it takes the guest's, in its own network.
        let root = root_of(world, name);
        let argv = [&["chroot", root.to_str().unwrap()], &psql[..], &[&address]].concat();
        tool(argv[0], &argv[1..]).ok().stdout(&format!("hello from {name}|127.0.0.1\n"));
        let there = inside(world, other, &[&psql[..], &[&address]].concat());
        assert_eq!(there, format!("hello from {name}|{from}"));
        // 127.0.0.1:5432 is each guest's own, also by name.
        for own in ["127.0.0.1", "localhost"] {
            let here = inside(world, other, &[&psql[..], &[own]].concat());
            assert!(here.starts_with(&format!("hello from {other}|")), "{here}");
        }
    }
}

fn redis(world: &World, guests: &[(&str, Ipv4Addr)]) {
    for (name, address) in guests {
        assert_eq!(ask(*address, 6379, &format!("SET name {name}\r\n"), "\r\n"), "+OK\r\n");
        let clients = ask(*address, 6379, "CLIENT LIST\r\n", "cmd=client");
        assert!(clients.contains("addr=127.0.0.1:"), "{clients}");
    }
    for [(name, address), (other, from)] in pairs(guests) {
        let address = address.to_string();
        assert_eq!(inside(world, other, &["redis-cli", "-h", &address, "GET", "name"]), *name);
        assert_eq!(inside(world, other, &["redis-cli", "GET", "name"]), *other);
        let clients = inside(world, other, &["redis-cli", "-h", &address, "CLIENT", "LIST"]);
        assert!(clients.contains(&format!("addr={from}:")), "{clients}");
        assert!(clients.contains(&format!("laddr={address}:6379")), "{clients}");
    }
}

fn ssh(world: &World, guests: &[(&str, Ipv4Addr)]) {
    const PASSWORD: &str = "correct horse";
    let key = world.dir.join("key");
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]).ok();
    let public = fs::read(world.dir.join("key.pub")).unwrap();
    let askpass = world.file("askpass", &format!("#!/bin/sh\necho \"${{PASSWORD-{PASSWORD}}}\"\n"));
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    let options = [
        ["-F", "none"],
        ["-o", "StrictHostKeyChecking=no"],
        ["-o", "UserKnownHostsFile=/dev/null"],
        ["-o", "LogLevel=ERROR"],
        ["-o", "NumberOfPasswordPrompts=1"],
    ];
    let ssh = |auth: &[&str], to: &str| {
        let argv = [options.as_flattened(), auth, &[to, "echo $SSH_CONNECTION; hostname; id -un"]].concat();
        tool("ssh", argv).env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("HOME", &world.dir)
    };
    let own_key = ["-i", key.to_str().unwrap(), "-o", "BatchMode=yes"];
    let password = ["-o", "PubkeyAuthentication=no"];
    for [(name, address), (other, from)] in pairs(guests) {
        let script = "install -d -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys; useradd -m ann";
        world.hostel(["exec", name, "--", "sh", "-c", script]).stdin(public.clone()).ok();
        // The password is of the guest's own /etc/shadow, and no other's.
        let account = format!("ann:{PASSWORD} of {name}\n");
        world.hostel(["exec", name, "--", "chpasswd"]).stdin(account).ok();

        let out = ssh(&own_key, &format!("root@{address}")).ok().stdout;
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("127.0.0.1 ") && lines[0].ends_with(&format!(" {address} 22")), "{out}");
        assert_eq!(lines[1..], [name, "root"]);

        let ann = format!("ann@{address}");
        let out = ssh(&password, &ann).env("PASSWORD", format!("{PASSWORD} of {name}")).ok().stdout;
        assert!(out.ends_with(&format!(" {address} 22\n{name}\nann\n")), "{out}");
        ssh(&password, &ann).env("PASSWORD", format!("{PASSWORD} of {other}")).run().code(255).stdout("");

        // From another guest, with the key.
        let take = ["exec", other, "--", "sh", "-c", "cat >/root/key && chmod 600 /root/key"];
        world.hostel(take).stdin(fs::read(&key).unwrap()).ok();
        let root = format!("root@{address}");
        let argv = [&["ssh", "-i", "/root/key"], options.as_flattened(), &[&root, "echo $SSH_CONNECTION"]].concat();
        let seen = inside(world, other, &argv);
        assert!(seen.starts_with(&format!("{from} ")), "{seen}");
    }
}

/// The four services as Debian starts them, reached on the guest's address where they listen there at all.
fn serves(world: &World, name: &str) {
    let address = world.address(1);
    for port in [22, 80] {
        assert!(answers(address, port), "{name} on {address}:{port}");
    }
    let query = "select 'up since ' || (pg_postmaster_start_time() is not null)";
    let psql = ["exec", name, "--", "su", "postgres", "-c", &format!("psql -Atc \"{query}\"")];
    let is_up = || world.hostel(psql).run().stdout == "up since true\n";
    assert!(eventually(Duration::from_secs(60), is_up));
    // Debian's default is to listen on loopback only, which is the guest's own.
    assert_eq!(inside(world, name, &["redis-cli", "-h", "127.0.0.1", "PING"]), "PONG");
}

fn goes_through_its_life(world: &World, name: &str) {
    serves(world, name);
    let has_told = |what: &str| world.hostel(["logs", name, "init"]).ok().stdout.contains(what);
    order(world, name, &["reboot"]);
    assert!(eventually(Duration::from_secs(60), || has_told("guest reboots")));
    serves(world, name);
    world.hostel(["stop", name]).deadline(60).ok().stdout_has("stopped");
    world.hostel(["start", name]).ok();
    serves(world, name);
    order(world, name, &["poweroff"]);
    let is_stopped = || world.hostel(["ls", "--quiet", "--running"]).ok().stdout.is_empty();
    assert!(eventually(Duration::from_secs(60), is_stopped));
    let log = world.hostel(["logs", name, "init"]).ok().stdout;
    assert_eq!(log.matches("guest halts").count(), 2, "{log}");
    world.hostel(["destroy", name]).deadline(120).ok();
}

fn sysvinit_runs_debians_own_scripts(world: &World) {
    let recipe = debian(world, "sysv", "init = \"/sbin/init\",");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    goes_through_its_life(world, "sysv");
}

/// OpenRC under sysvinit, as Debian installs it, and under an init of its own.
fn openrc_runs_debians_own_scripts(world: &World) {
    let packages = OPENRC.map(|name| format!("\"{name}\"")).join(", ");
    let address = world.address(1);
    for init in ["/sbin/init", "/sbin/openrc-init"] {
        let recipe = debian_with(world, "orc", &packages, &format!("init = \"{init}\","));
        world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
        assert!(answers(address, 80), "{init}");
        let status = || inside(world, "orc", &["rc-status", "--nocolor", "default"]);
        let is_up = || status().lines().any(|line| line.contains("nginx") && line.contains("started"));
        assert!(eventually(Duration::from_secs(30), is_up), "{init}: {}", status());
        // On an emulated machine its scripts take longer than a guest usually has.
        world.hostel(["stop", "--timeout", "120s", "orc"]).deadline(150).ok().stdout_has("stopped");
        let log = world.hostel(["logs", "orc", "init"]).ok().stdout;
        assert!(log.trim_end().ends_with("guest halts"), "{init}: {log}");
        world.hostel(["destroy", "orc"]).deadline(120).ok();
    }
}

fn systemd_runs_debians_own_units(world: &World) {
    let recipe = debian(world, "sysd", "init = \"/lib/systemd/systemd\",");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    serves(world, "sysd");
    let state = || world.hostel(["exec", "sysd", "--", "systemctl", "is-system-running"]).run().stdout;
    assert!(eventually(Duration::from_secs(60), || state() == "running\n"), "{}", state());
    goes_through_its_life(world, "sysd");
}

/// A guest's systemd has the host's controllers, below the guest's own limits.
fn systemd_limits_its_units(world: &World) {
    let unit = |limit: &str| {
        format!("[Service]\\nType=oneshot\\nExecStart=/bin/dd if=/dev/zero of=/dev/null bs=60M count=1\\n{limit}\\n")
    };
    let more = format!(
        "init = \"/lib/systemd/systemd\", limits = {{ memory = \"1G\", swap = 0 }}, files = {{\n\
         [\"/etc/systemd/system/hog.service\"] = \"{}\", [\"/etc/systemd/system/modest.service\"] = \"{}\" }},",
        unit("MemoryMax=24M\\nMemorySwapMax=0"),
        unit("MemoryMax=200M\\nTasksMax=5")
    );
    let recipe = debian(world, "sysd", &more);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    let run = |argv: &[&str]| world.hostel(["exec", "sysd", "--"].iter().chain(argv)).run();
    let state = || run(&["systemctl", "is-system-running"]).stdout;
    assert!(eventually(Duration::from_secs(60), || state() == "running\n"), "{}{}", state(), run(&["systemctl", "--failed"]));
    run(&["systemctl", "start", "modest"]).code(0);
    assert_ne!(run(&["systemctl", "start", "hog"]).status, 0);
    run(&["systemctl", "show", "--value", "-p", "Result", "hog"]).code(0).stdout("oom-kill\n");
    let tree = run(&["sh", "-c", "cat /sys/fs/cgroup/cgroup.subtree_control /sys/fs/cgroup/system.slice/nginx.service/memory.current"]).code(0);
    assert!(tree.stdout.contains("memory") && tree.stdout.contains("pids"), "{tree}");
    // What is above its units is the host's.
    for knob in ["memory.max", "pids.max", "cpu.max"] {
        assert_ne!(run(&["sh", "-c", &format!("echo max > /sys/fs/cgroup/{knob}")]).status, 0, "{knob}");
    }
    world.hostel(["stop", "sysd"]).deadline(120).ok().stdout_has("stopped sysd");
    world.hostel(["destroy", "sysd"]).deadline(120).ok();
}
