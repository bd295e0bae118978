//! `hostel.json`, `toml`, `template`, `time`, `log`, `exec`, `fs`, `tcp`, `http`, `ssh`: what each gives and refuses.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use hostel::lua::script::{self, Args};

fn run(text: &str, args: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.lua");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    script::run(&path, &Args::parse(&args)).unwrap_or_else(|f| panic!("{}", f.diagnostics));
}

#[test]
fn json_keeps_what_lua_can_say() {
    run(
        r#"
        local json = require "hostel.json"
        assert(json.encode { b = { 1, 2.5, json.null }, a = "\u{e9}\n" } == '{"a":"\u{e9}\\n","b":[1,2.5,null]}')
        assert(json.encode {} == "{}" and json.encode(json.array {}) == "[]")
        local back = json.decode '{"n": 9007199254740993, "list": [], "x": null}'
        assert(back.n == 9007199254740993 and math.type(back.n) == "integer" and back.x == json.null)
        assert(json.encode(back) == '{"list":[],"n":9007199254740993,"x":null}')
        local value, err = json.decode '{\n  "a": }'
        assert(value == nil and err.kind == "invalid" and err.message:find("2:8", 1, true), tostring(err))
        for _, bad in ipairs { print, 0/0, "\xff", { 1, x = 2 }, { [1.5] = 1 } } do
          assert(not pcall(json.encode, bad))
        end
        local ok, err = pcall(json.encode, { a = { { b = print } } })
        assert(err.message:find("a[1].b", 1, true), tostring(err))
        local circle = {} circle.x = circle
        assert(not pcall(json.encode, circle))
        assert(json.decode(("["):rep(1000) .. ("]"):rep(1000)) == nil)
        "#,
        &[],
    );
}

#[test]
fn toml_and_templates_say_where() {
    run(
        r#"
        local toml, template = require "hostel.toml", require "hostel.template"
        local t = toml.decode "a = 1\n[b]\nc = [1.5, \"x\"]\nd = 2020-01-02\n"
        assert(t.a == 1 and t.b.c[2] == "x" and t.b.d == "2020-01-02")
        local nothing, err = toml.decode "a = 1\nb = \n"
        assert(nothing == nil and err.message:find(" at 2:", 1, true), tostring(err))
        assert(toml.encode { a = { b = true } } == "[a]\nb = true\n")
        assert(not pcall(toml.encode, { 1 }))
        local text = "{% for h in hosts %}{{ h.name }}{% if h.tls %} ssl{% else %} plain{% end %};{# no #}{% end %}{{ \"{{\" }}"
        assert(template.render(text, { hosts = { { name = "a", tls = true }, { name = "b", tls = false } } }) == "a ssl;b plain;{{")
        for bad, why in pairs {
          ["x\n {{ y }}"] = "unknown name `y` at 2:2", ["{{ a"] = "has no `}}`", ["{% if a %}"] = "has no `end`",
          ["{% end %}"] = "without an `if`", ["{{ a + 1 }}"] = "is not a name", ["{% while a %}"] = "is not `if NAME`",
        } do
          local ok, err = pcall(template.render, bad, { a = 1 })
          assert(not ok and tostring(err):find(why, 1, true), tostring(err))
        end
        "#,
        &[],
    );
}

#[test]
fn commands_are_run_without_a_shell() {
    run(
        r#"
        local exec = require "hostel.exec"
        local r = exec.run { "printf", "%s|", "a b", "$HOME", "`id`", "" }
        assert(r.ok and r.code == 0 and r.stdout == "a b|$HOME|`id`||", r.stdout)
        local r = exec.run { "sh", "-c", "cat; echo $X >&2; pwd; exit 3", stdin = ("x"):rep(200000), env = { X = "y" }, dir = "/" }
        assert(not r.ok and r.code == 3 and r.stderr == "y\n" and #r.stdout == 200002, r.stderr)
        local r = exec.run { "sh", "-c", "sleep 60 & sleep 60", timeout = "100ms" }
        assert(r.timed_out and r.signal == 15 and r.code == nil)
        local r = exec.run { "sh", "-c", "yes | head -c 100000", limit = 1000 }
        assert(#r.stdout == 1000 and r.truncated)
        local r = exec.run { "sh", "-c", "sleep 60 & echo out" }
        assert(r.stdout == "out\n")
        local ok, err = pcall(exec.run, { "/no/such/program" })
        assert(not ok and err.kind == "not_found", tostring(err))
        local ok, err = pcall(exec.run, { "true", timeot = "1s" })
        assert(err.hint == "did you mean `timeout`?")
        assert(not pcall(exec.run, "ls") and not pcall(exec.run, {}))
        "#,
        &[],
    );
}

#[test]
fn files_stay_below_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(dir.path().join("secret"), "no").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), root.join("abs")).unwrap();
    run(
        r#"
        local fs = require "hostel.fs"
        local files = assert(fs.root(args[1]))
        assert(files:mkdir "a/b")
        assert(files:write("a/b/x", "one", { mode = "0600" }))
        assert(files:write("a/b/x", "two"))
        assert(files:read "a/b/x" == "two" and files:exists "a/b/x" and not files:exists "a/y")
        assert(files:copy("a/b/x", "a/z") and files:read "a/z" == "two")
        assert(table.concat(files:list "a", " ") == "b z")
        local stat = files:stat "a/z"
        assert(stat.kind == "file" and stat.size == 3 and stat.mode == "0644", stat.mode)
        assert(files:remove "a/z" and files:remove "a/z" == false)
        local nothing, err = files:read "a/none"
        assert(nothing == nil and err.kind == "not_found", tostring(err))
        for _, link in ipairs { "out", "abs" } do assert(files:read(link) == nil, link) end
        assert(not pcall(files.read, files, "../secret") and not pcall(fs.root, "relative"))
        assert(fs.root "/no/such" == nil)
        "#,
        &[root.to_str().unwrap()],
    );
}

/// A request with its body, which may come after its headers.
fn request(stream: &mut impl std::io::Read) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

/// Answers each connection once, as said.
fn serve(answers: Vec<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let text = request(&mut stream).replace("\r\n", "|");
            let body = if answer == "echo" { text } else { answer.to_owned() };
            let status = match answer {
                "gone" => "404 Not Found",
                "moved" => "302 Found\r\nLocation: /there",
                _ => "200 OK",
            };
            let reply = format!(
                "HTTP/1.1 {status}\r\nX-A: b\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).unwrap();
        }
        // Then it is silent.
        let _held = listener.accept();
        std::thread::park();
    });
    port
}

#[test]
fn http_and_tcp_end_in_time() {
    let port = serve(vec!["hello", "gone", "echo"]);
    run(
        r#"
        local http, tcp = require "hostel.http", require "hostel.tcp"
        local url = "http://127.0.0.1:" .. args[1] .. "/x"
        local r = assert(http.get(url, { headers = { ["X-Token"] = "t" } }))
        assert(r.ok and r.status == 200 and r.body == "hello" and r.headers["x-a"] == "b")
        local r = assert(http.get(url))
        assert(not r.ok and r.status == 404 and r.body == "gone")
        local r = assert(http.post(url, { json = { a = 1 } }))
        assert(r.body:find("POST /x", 1, true) and r.body:find("application/json", 1, true), r.body)
        local r, err = http.get(url, { timeout = "200ms" })
        assert(r == nil and err.kind == "timeout", tostring(err))
        local r, err = http.get "http://127.0.0.1:1/"
        assert(r == nil and err.kind == "external", tostring(err))
        local ok, err = pcall(http.get, "127.0.0.1")
        assert(not ok and err.message:find "http://")
        local c <close> = assert(tcp.connect("127.0.0.1", tonumber(args[1]), "1s"))
        local nothing, err = c:read(10, "50ms")
        assert(nothing == nil and err.kind == "timeout", tostring(err))
        c:close()
        assert(not pcall(c.read, c))
        local ok, err = tcp.wait_open("127.0.0.1", 1, "150ms")
        assert(ok == nil and err.kind == "timeout", tostring(err))
        assert(tcp.wait_open("127.0.0.1", tonumber(args[1]), "1s"))
        "#,
        &[&port.to_string()],
    );
}

#[test]
fn http_has_its_methods_and_follows_as_far_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let port = serve(vec!["echo", "echo", "echo", "moved", "moved", "hello"]);
    run(
        r#"
        local http = require "hostel.http"
        local url = "http://127.0.0.1:" .. args[1] .. "/x"
        for name, call in pairs { PUT = http.put, PATCH = http.patch, DELETE = http.delete, } do
          local r = assert(call(url, { body = "body of " .. name }))
          assert(r.body:find(name .. " /x HTTP/1.1|", 1, true) and r.body:find("body of " .. name, 1, true), r.body)
        end
        local r = assert(http.get(url, { redirects = 0 }))
        assert(r.status == 302 and not r.ok and r.headers.location == "/there")
        local r = assert(http.get(url, { redirects = 1 }))
        assert(r.body == "hello")
        local ok, err = pcall(http.get, url, { redirects = -1 })
        assert(not ok and err.message:find("`-1` is out of range", 1, true), tostring(err))
        local r, err = http.get("https://127.0.0.1:1/", { ca = args[2] })
        assert(r == nil and err.kind == "invalid" and err.message:find("holds no certificates", 1, true), tostring(err))
        local r, err = http.get("https://127.0.0.1:1/", { ca = args[2] .. ".none" })
        assert(r == nil and err.kind == "not_found", tostring(err))
        assert(not pcall(http.get, url, { ca = "relative.pem" }))
        "#,
        &[&port.to_string(), empty.to_str().unwrap()],
    );
}

#[test]
fn a_log_is_configured_and_cannot_steer_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("s.lua");
    std::fs::write(
        &script,
        r#"
        local log = require "hostel.log"
        log.debug("hidden")
        log.info("copied\27[2J\nerror: x", { guest = "a b", bytes = 1 })
        log.configure { level = "warn", json = true }
        log.info("hidden")
        log.error("no answer", { tries = 3, why = { "x" } })
        for _, bad in ipairs { { level = "loud" }, { colour = true } } do assert(not pcall(log.configure, bad)) end
        "#,
    )
    .unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hostel"))
        .args(["run", script.to_str().unwrap()])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(output.status.success() && lines.len() == 2, "{told}");
    assert_eq!(lines[0], r#"info: copied\x1b[2J\x0aerror: x bytes=1 guest="a b""#);
    let line: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((&line["level"], &line["tries"]), (&"error".into(), &3.into()));
    assert_eq!(line["why"], serde_json::json!(["x"]));
}

/// In place of ssh: what follows the machine is joined and given to a shell, as sshd does.
const SSH: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    -o|-l|-p|-i|-F) shift 2 ;;
    --) shift ;;
    unreachable) echo no route >&2; exit 255 ;;
    *) shift; exec sh -c "$*" ;;
  esac
done
"#;

#[test]
fn words_reach_another_machine_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    std::fs::write(&ssh, SSH).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let script = dir.path().join("s.lua");
    std::fs::write(
        &script,
        r#"
        local ssh = require "hostel.ssh"
        local r = ssh.host("root@beta"):exec { "printf", "%s|", "a b", "it's", "$HOME", "`id`", "", "*", "\n", env = { A = "x y" }, dir = "/" }
        assert(r.stdout == "a b|it's|$HOME|`id`||*|\n|", r.stdout)
        assert(ssh.host("beta"):exec({ "sh", "-c", "echo $A", env = { A = "x  y" } }).stdout == "x y\n")
        local ok, err = pcall(function() ssh.host("unreachable"):exec { "id" } end)
        assert(not ok and tostring(err):find("ssh on unreachable: no route", 1, true), tostring(err))
        if os.execute("command -v rsync >/dev/null") then
          local machine = ssh.host { name = "beta", user = "root", port = 2022 }
          assert(machine:push(args[1] .. "/from 1/", args[1] .. "/to 1/"))
          assert(machine:pull(args[1] .. "/to 1/a b", args[1] .. "/back"))
          assert(io.open(args[1] .. "/back"):read "a" == "content")
          local ok, err = pcall(machine.pull, machine, args[1] .. "/none", args[1] .. "/x")
          assert(not ok and tostring(err):find("rsync with beta", 1, true), tostring(err))
          assert(not pcall(machine.pull, machine, "relative", "/x"))
        end
        for _, bad in ipairs { "-oProxyCommand=id", "", "a b", "a;b", "x@-y" } do assert(not pcall(ssh.host, bad), bad) end
        "#,
    )
    .unwrap();
    std::fs::create_dir(dir.path().join("from 1")).unwrap();
    std::fs::write(dir.path().join("from 1/a b"), "content").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hostel"))
        .args(["run", script.to_str().unwrap(), dir.path().to_str().unwrap()])
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn recipes_have_the_pure_modules_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.lua");
    let evaluate = |text: &str| {
        std::fs::write(&file, text).unwrap();
        hostel::lua::evaluate(&file, &crate::support::plain())
    };
    evaluate(
        "local json, toml, template = require 'hostel.json', require 'hostel.toml', require 'hostel.template'\n\
         guest 'web' { image = 'busybox', files = { ['/x'] = template.render('{{ a }}', { a = json.encode(toml.decode('a = 1')) }) } }",
    )
    .unwrap_or_else(|err| panic!("{err}"));
    for name in [
        "exec",
        "fs",
        "http",
        "tcp",
        "ssh",
        "flow",
        "flow.core",
        "time",
        "log",
    ] {
        let err = evaluate(&format!("require 'hostel.{name}'"))
            .unwrap_err()
            .to_string();
        assert!(err.contains("hostel has no module"), "{name}: {err}");
    }
}
