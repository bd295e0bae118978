//! `hostel context --join`, and `join` in Lua: into a context that runs, confined as it is.

use nix::sys::signal::Signal;

use crate::support::{Running, World, tests};

tests! {
    [Root, Cgroup2, Bpf] => a_context_is_joined_as_it_is_confined,
    [Root, Cgroup2] => what_is_the_hosts_stays_the_hosts,
    [Root, Cgroup2, Bpf, Busybox] => a_guest_is_joined_by_its_number,
    [Root, Cgroup2] => what_cannot_be_joined_is_named,
    [Root, Cgroup2] => a_script_joins_by_number,
}

/// A context that says when it is there, and sleeps.
fn begin(world: &World, options: &[&str]) -> Running {
    let xid = world.xid(0).to_string();
    let sleep = ["--", "sh", "-c", "echo up; exec sleep 1000"];
    let args = [&["context", "--xid", &xid], options, &sleep].concat();
    let mut running = world.hostel(args).spawn();
    running.wait_stdout("up");
    running
}

/// Process 1 of a namespace would not notice SIGTERM: it is killed.
fn end(running: Running, code: i32) {
    running.signal(Signal::SIGTERM);
    running.wait().code(code);
}

fn joined(world: &World, argv: &[&str]) -> String {
    let xid = world.xid(0).to_string();
    world.hostel([&["context", "--join", &xid, "--"], argv].concat()).ok().stdout
}

const LINE: &str = "readlink /proc/self/ns/user /proc/self/ns/pid /proc/self/ns/mnt /proc/self/ns/uts /proc/self/ns/ipc \
    /proc/self/ns/cgroup; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/self/uid_map; \
    cat /proc/self/cgroup; ulimit -n; nice; hostname";

fn a_context_is_joined_as_it_is_confined(world: &World) {
    let address = world.address(1).to_string();
    let options = [
        "--isolate", "all", "--hostname", "bar", "--bind", &address, "--cap-only", "chown,setuid", "--limit", "nofile=77",
        "--limit", "nice=3",
    ];
    let xid = world.xid(0).to_string();
    // What a process of it says of itself is what one says that has joined.
    let line = format!("echo up; {LINE}; exec sleep 1000");
    let args = [&["context", "--xid", &xid], &options[..], &["--", "sh", "-c", &line]].concat();
    let mut running = world.hostel(args).spawn();
    let own = running.wait_stdout("bar\n");
    let own = own.replacen("up\n", "", 1);
    let inside = joined(world, &["sh", "-c", LINE]);
    assert_eq!(inside, own);
    assert!(inside.contains("Seccomp:\t2\n") && inside.contains("CapBnd:\t0000000000000081\n"), "{inside}");
    assert!(inside.ends_with("\n77\n3\nbar\n"), "{inside}");
    // Its 127.0.0.0/8 is the context's own: who listens on it outside cannot be reached.
    let host = std::net::TcpListener::bind((world.address(2), 0)).unwrap();
    let to = host.local_addr().unwrap();
    std::net::TcpStream::connect(to).unwrap();
    let (to, port) = (to.ip().to_string(), to.port().to_string());
    let program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))";
    let python = ["--", "python3", "-c", program, &to, &port];
    world.hostel([&["context", "--join", &xid], &python[..]].concat()).run().code(1).stderr_has("ConnectionRefusedError");
    end(running, 137);
}

fn what_is_the_hosts_stays_the_hosts(world: &World) {
    let running = begin(world, &["--isolate", "uts", "--hostname", "lab", "--limit", "nofile=88"]);
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let seen = joined(world, &["sh", "-c", "hostname; readlink /proc/self/ns/pid; ulimit -n; exit 0"]);
    assert_eq!(seen, format!("lab\n{}\n88\n", own.display()));
    // Its exit code passes through.
    let xid = world.xid(0).to_string();
    world.hostel(["context", "--join", &xid, "--", "sh", "-c", "exit 7"]).run().code(7);
    end(running, 143);
}

fn a_guest_is_joined_by_its_number(world: &World) {
    let xid = world.xid(0);
    let recipe = world.file("web.lua", &format!(r#"guest "web" {{ image = "busybox", xid = {xid} }}"#));
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    assert_eq!(joined(world, &["hostname"]), "web\n");
    world.hostel(["stop", "web"]).ok();
    world
        .hostel(["context", "--join", &xid.to_string(), "--", "hostname"])
        .run()
        .code(125)
        .stderr("error: guest `web` does not run\nhint: `hostel start web` starts it\n");
    world.hostel(["destroy", "web", "--force"]).ok();
}

fn what_cannot_be_joined_is_named(world: &World) {
    let xid = world.xid(3).to_string();
    world.hostel(["context", "--join", &xid, "--", "true"]).run().code(125).stderr(&format!(
        "error: no context {xid} runs\nhint: its number is the one that was given to `hostel context --xid`\n"
    ));
    // From inside of one context there is no way into another.
    let running = begin(world, &["--limit", "nofile=99"]);
    let (outer, inner) = (world.xid(1).to_string(), world.xid(0).to_string());
    let binary = crate::support::binary();
    let join = ["context", "--join", &inner, "--", "true"];
    let args = [&["context", "--xid", &outer, "--", binary.to_str().unwrap()], &join[..]].concat();
    world.hostel(args).run().code(125).stderr_has("cannot be in another");
    end(running, 143);
}

fn a_script_joins_by_number(world: &World) {
    let running = begin(world, &["--isolate", "uts", "--hostname", "lab"]);
    let text = format!(
        "local inside = require('hostel').context {{ join = {} }}\n\
         print(tostring(inside), inside:run {{ 'hostname', capture = true }}.stdout)\n\
         print(inside:plan {{ 'hostname' }})\n",
        world.xid(0)
    );
    let file = world.file("join.lua", &text);
    let xid = world.xid(0);
    world
        .hostel(["run".as_ref(), file.as_os_str()])
        .ok()
        .stdout(&format!("context of context {xid}\tlab\n\n 1. join context {xid}\n 2. run hostname\n"));
    end(running, 143);
}
