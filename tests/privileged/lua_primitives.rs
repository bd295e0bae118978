//! `hostel run`: each primitive and each verb of a guest, from a script, for real.

use std::time::Duration;

use crate::support::{World, eventually, tests};

tests! {
    [Root, Cgroup2] => contexts_run_commands,
    [Root, Cgroup2] => output_is_captured,
    [Root, Cgroup2] => a_context_sees_its_new_root,
    [Root, Cgroup2, Bpf] => sockets_are_bound,
    [Root, Cgroup2] => a_timeout_ends_a_command,
    [Root, Cgroup2] => a_signal_ends_script_and_command,
    [Root, Cgroup2, Bpf] => the_spectator_sees_and_cannot_touch,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => guests_live_and_go,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => commands_run_in_guests,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => ten_throwaway_servers,
    [Root, Cgroup2, Bpf] => the_example_runs,
}

/// Runs a script, which must succeed; what it prints.
fn script(world: &World, text: &str) -> String {
    let text = format!("local hostel = require \"hostel\"\n{text}\n");
    let file = world.file("script.lua", &text);
    world.hostel(["run".as_ref(), file.as_os_str()]).ok().stdout
}

fn contexts_run_commands(world: &World) {
    let out = script(
        world,
        r#"
        io.write("before\n")
        local c <close> = hostel.context { hostname = "bar", isolate = { "pid", "ipc", "uts", "mount", "user" } }
        local st = c:run { "sh", "-c", "hostname; id -u; echo $$; echo $X; pwd; exit 7", env = { X = "y z" }, dir = "/tmp", timeout = "20s" }
        assert(st.code == 7 and st.signal == nil and st.timed_out == false)
        local killed = hostel.context { }:run { "sh", "-c", "kill -9 $$" }
        assert(killed.signal == 9 and killed.code == nil)
        print "after"
        "#,
    );
    assert_eq!(out, "before\nbar\n0\n1\ny z\n/tmp\nafter\n");
}

fn output_is_captured(world: &World) {
    let out = script(
        world,
        r#"
        local st = hostel.limit { nofile = 99 }:run { "sh", "-c", "ulimit -n; echo no >&2", capture = true }
        assert(st.stdout == "99\n" and st.stderr == "no\n" and st.code == 0)
        -- More than a pipe holds, from two writers.
        st = hostel.context {}:run { "sh", "-c", "head -c 3000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait", capture = true }
        assert(#st.stdout == 3000000 and #st.stderr == 2000000)
        -- What is left behind with the pipe open is not waited for.
        local before = os.time()
        st = hostel.context {}:run { "sh", "-c", "echo first; sleep 4 & exit 0", capture = true }
        assert(st.stdout == "first\n" and os.time() - before < 4)
        local ok, err = pcall(function() hostel.context {}:run { "no-such-program", capture = true } end)
        assert(not ok and err.kind == "not_found" or err.kind == "system", tostring(err) .. " " .. err.kind)
        st = hostel.caps { only = { "chown" } }:run { "grep", "CapBnd", "/proc/self/status", capture = true }
        assert(st.stdout == "CapBnd:\t0000000000000001\n", st.stdout)
        print "good"
        "#,
    );
    assert_eq!(out, "good\n");
    // The process that was left behind above ends by itself.
    let gone = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        !all.into_iter().any(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x004\x00")
        })
    };
    assert!(eventually(Duration::from_secs(10), gone));
}

fn a_context_sees_its_new_root(world: &World) {
    let root = world.dir.join("tree");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("data")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    world.file("data/hello", "hi\n");
    let (root, data) = (root.display(), world.dir.join("data"));
    let out = script(
        world,
        &format!(
            r#"
            local c = hostel.context {{ isolate = {{ "mount" }} }}
              :chroot("{root}")
              :mount {{ source = "{}", target = "/data", readonly = true, idmap = false }}
            local st = c:run {{ "/bin/busybox", "sh", "-c", "/bin/busybox cat /data/hello; echo > /data/new || echo refused", capture = true }}
            io.write(st.stdout)
            io.write(hostel.chroot("{root}"):run({{ "/bin/busybox", "ls", "/", capture = true }}).stdout)
            "#,
            data.display()
        ),
    );
    assert!(out.starts_with("hi\nrefused\n"), "{out}");
    assert!(out.contains("bin\n") && !out.contains("etc\n"), "{out}");
}

fn sockets_are_bound(world: &World) {
    let address = world.address(1);
    let out = script(
        world,
        &format!(
            r#"
            -- A connection to another address of the host's is not the context's to make from its own.
            local st = hostel.bind {{ "{address}" }}:run {{ "sh", "-c", "cat /proc/self/cgroup | tail -1", capture = true }}
            assert(st.code == 0 and st.stdout:find("/x%d+"), st.stdout)
            print "good"
            "#
        ),
    );
    assert_eq!(out, "good\n");
}

fn a_timeout_ends_a_command(world: &World) {
    let out = script(
        world,
        r#"
        local st = hostel.context {}:run { "sleep", "60", timeout = "200ms" }
        assert(st.timed_out and st.signal == 15)
        print "good"
        "#,
    );
    assert_eq!(out, "good\n");
}

fn a_signal_ends_script_and_command(world: &World) {
    let file = world.file(
        "script.lua",
        r#"
        local hostel = require "hostel"
        local c <close> = setmetatable({}, { __close = function()
          print(hostel.context {}:run({ "echo", "undone", capture = true }).stdout)
        end })
        print "up" io.stdout:flush()
        pcall(function() hostel.context {}:run { "sleep", "60" } end)
        print "not reached"
        "#,
    );
    let mut running = world.hostel(["run".as_ref(), file.as_os_str()]).spawn();
    running.wait_stdout("up\n");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let output = running.wait().code(143);
    output.stdout("up\nundone\n\n").stderr_has("interrupted by SIGTERM");
}

fn the_spectator_sees_and_cannot_touch(world: &World) {
    let out = script(
        world,
        r#"
        local st = hostel.context { xid = 1 }:run { "sh", "-c", "ls -d /proc/1 && echo 0 > /proc/self/oom_score_adj", capture = true }
        assert(st.code ~= 0 and st.stdout == "/proc/1\n", st.stdout .. st.stderr)
        st = hostel.context { xid = 1 }:run { "sh", "-c", "kill -0 1", capture = true }
        assert(st.code ~= 0 and st.stderr:find("ermi"), st.stderr)
        print "good"
        "#,
    );
    assert_eq!(out, "good\n");
}

fn guests_live_and_go(world: &World) {
    let recipe = world.file(
        "web.lua",
        &format!(
            "guest \"web\" {{ image = \"busybox\", xid = {}, health = {{ exec = {{ \"test\", \"-e\", \"/tmp/ready\" }} }} }}\n",
            world.xid(0)
        ),
    );
    let out = script(
        world,
        &format!(
            r#"
            assert(#hostel.guests() == 0)
            local none, err = hostel.guest("web")
            assert(none == nil and err.kind == "not_found")
            local done = hostel.apply("{0}", {{ no_wait = true }})
            assert(#done == 1 and done[1].guest == "web" and done[1].verb == "create")
            assert(#hostel.apply("{0}", {{ no_wait = true, rebuild = true }}) == 0)
            local g = assert(hostel.guest("web"))
            assert(#hostel.guests() == 1 and hostel.guests()[1].xid == g.xid)
            assert(g:status().state == "running" and g:status().processes > 0)
            local ok, err = g:start()
            assert(ok == nil and err.kind == "state", tostring(err))
            local ok, err = pcall(g.wait_healthy, g, {{ timeout = "300ms" }})
            assert(not ok and err.kind == "timeout", tostring(err))
            assert(g:exec {{ "touch", "/tmp/ready" }}.code == 0)
            assert(g:wait_healthy {{ timeout = "20s" }})
            assert(g:pause() and g:status().state == "paused")
            local ok, err = g:pause()
            assert(not ok and err.kind == "state")
            assert(g:resume() and g:status().state == "running")
            assert(g:limit {{ nofile = 77 }})
            local st = g:exec {{ "sh", "-c", "ulimit -n", capture = true }}
            assert(st.stdout == "77\n", st.stdout)
            local ok, err = pcall(g.limit, g, {{ nofiel = 77 }})
            assert(not ok and err.hint:find("nofile"), tostring(err))
            local pid = g:status().pid
            assert(g:restart {{ timeout = "5s" }} and g:status().pid ~= pid)
            local ok, err = g:destroy()
            assert(not ok and err.kind == "state", tostring(err))
            local how = g:stop {{ timeout = "10s" }}
            assert(how == "gracefully" or how == "killed", how)
            assert(g:stop {{ kill = true }} == "did_not_run")
            local ok, err = g:kill("TERM")
            assert(not ok and err.kind == "state", tostring(err))
            assert(not pcall(g.wait_healthy, g))
            assert(g:start())
            assert(g:kill())
            assert(g:destroy {{ force = true }})
            assert(hostel.guest("web") == nil and g:status() == nil)
            print "good"
            "#,
            recipe.display()
        ),
    );
    assert_eq!(out, "good\n");
}

fn commands_run_in_guests(world: &World) {
    crate::life::running(world, "web", 0, "hostname = \"web.example.net\",");
    let out = script(
        world,
        r#"
        local inside = hostel.context { join = "web" }
        local st = inside:run { "sh", "-c", "hostname; pwd; echo no >&2; exit 3", capture = true, dir = "/tmp" }
        assert(st.code == 3 and st.stdout == "web.example.net\n/tmp\n" and st.stderr == "no\n")
        local g = hostel.guest("web")
        io.write("outside ") io.write("first\n")
        g:exec { "echo", "inside" }
        st = g:exec { "sleep", "60", timeout = "200ms" }
        assert(st.timed_out and st.signal == 15)
        local st, err = g:exec { "no-such-program" }
        assert(st == nil and err.kind == "not_found", tostring(err))
        st = g:exec { "sh", "-c", "echo $GREETING; id -u", env = { GREETING = "hello" }, user = "65534", capture = true }
        assert(st.stdout == "hello\n65534\n", st.stdout)
        local ok, err = pcall(function() hostel.context { join = "wbe" }:run { "true" } end)
        assert(not ok and err.kind == "not_found" and err.hint == "did you mean `web`?")
        "#,
    );
    assert_eq!(out, "outside first\ninside\n");
    crate::life::destroy(world, "web");
}

fn ten_throwaway_servers(world: &World) {
    // From the program itself: where it runs there may be no checkout.
    let recipe = world.file("06-throwaway.lua", include_str!("../../examples/06-throwaway.lua"));
    let file = world.file("08.lua", include_str!("../../examples/08-ten-throwaway-servers.lua"));
    let (recipe, file) = (recipe.to_str().unwrap(), file.to_str().unwrap());
    let out = world.hostel(["run", file, "--recipe", recipe, "--count", "10"]).deadline(100).ok().stdout;
    assert!(out.starts_with("10 servers are up\n"), "{out}");
    assert!(out.contains("throwaway10\tthrowaway10"), "{out}");
    world.hostel(["ls", "--quiet"]).ok().stdout("");
}

fn the_example_runs(world: &World) {
    let file = world.file("07.lua", include_str!("../../examples/07-primitives.lua"));
    let out = world.hostel(["run", file.to_str().unwrap()]).ok().stdout;
    assert!(out.contains("bar\nmy pid is 1\n"), "{out}");
    assert!(out.contains("code 0, signal nil") && out.ends_with("open files: 99\n"), "{out}");
}
