//! Hostile recipes: each ends with a report of its own, in bounded time and memory, and reaches nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use hostel::lua::{EvalOptions, evaluate};

use crate::support::{eval, eval_with};

fn bounded() -> EvalOptions {
    EvalOptions {
        instructions: 5_000_000,
        memory: 64 << 20,
        cpu_seconds: 1,
        ..EvalOptions::default()
    }
}

/// Evaluates each text in a process of its own and compares the beginning of what is said.
fn said(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let found = eval_with(text, &bounded()).map_or_else(|d| d.to_string(), |_| "nothing".to_owned());
        if !expected.split('|').any(|one| found.starts_with(one)) {
            wrong.push(format!("{text}\n  not {expected}, but {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn memory_is_bounded_and_running_out_of_it_cannot_be_caught() {
    said(&[
        ("local s = 'x' for i = 1, 60 do s = s .. s end", "error[E0302]"),
        (
            "while true do pcall(string.rep, 'x', 1 << 28) end",
            "error[E0302]",
        ),
        (
            "xpcall(string.rep, function() return 1 end, 'x', 1 << 28)",
            "error[E0302]",
        ),
        (
            "local t = {} for i = 1, 1e9 do t[i] = { i } end",
            "error[E0302]|error[E0301]",
        ),
        (
            "return ('x'):rep(1 << 20, ('y'):rep(1 << 20))",
            "error[E0302]|error[E0002]: resulting string too large",
        ),
        (
            "local t = {} for i = 1, 200 do t[i] = ('x'):rep(1 << 19) .. i end return table.concat(t, ('y'):rep(1 << 20))",
            "error[E0302]",
        ),
        (
            "return string.format('%99999999d', 1)",
            "error[E0002]: invalid conversion",
        ),
        ("return string.format('%s', ('x'):rep(1 << 27))", "error[E0302]"),
        (
            "return utf8.char(table.unpack({}, 1, 1 << 30))",
            "error[E0002]: too many results to unpack",
        ),
        (
            "return (('x'):rep(1 << 20):gsub('x', ('y'):rep(1 << 10)))",
            "error[E0302]",
        ),
        (
            "return string.pack('z', ('x'):rep(1 << 26)) .. string.pack('!16 i16', 1)",
            "error[E0302]",
        ),
        (
            "local t = setmetatable({}, { __concat = function(a, b) return a end }) for i = 1, 1e9 do t = t .. t end",
            "error[E0301]",
        ),
    ]);
}

#[test]
fn what_the_memory_of_lua_does_not_count_is_bounded_too() {
    said(&[
        (
            "local big = ('x'):rep(1 << 20)\nfor i = 1, 1000 do\n  guest('g' .. i) { image = 'busybox', env = { A = big .. i } }\nend",
            "error[E0302]: the recipe describes too much",
        ),
        (
            "local t = {}\nfor i = 1, 200000 do t['K' .. i] = 'v' end\nguest 'a' { image = 'busybox', env = t }",
            "error[E0104]: `env` has more than 100000 entries",
        ),
        (
            "local t = {}\nfor i = 1, 200000 do t[i] = 'v' end\nguest 'a' { image = 'busybox', packages = t }",
            "error[E0104]: `packages` has more than 100000 entries",
        ),
        (
            "for i = 1, 1e9 do print(('x'):rep(1 << 16)) end",
            "error[E0301]|error[E0303]",
        ),
        ("error(('x'):rep(1 << 24))", "error[E0002]: xxxx"),
        ("guest 'a' { [('x'):rep(1 << 20)] = 1 }", "error[E0102]"),
    ]);
}

#[test]
fn a_million_guests_are_too_many_for_any_host() {
    let options = EvalOptions::default();
    let text = "for i = 1, 1000000 do\n  guest('g' .. i)\nend";
    let said = eval_with(text, &options).unwrap_err().to_string();
    assert!(
        said.starts_with("error[E0302]: more than 49150 guests\n"),
        "{said}"
    );
    assert!(
        said.contains("web.lua:2:3") && said.contains("a host has no more of them"),
        "{said}"
    );
}

#[test]
fn deep_nesting_is_a_mistake_and_not_a_crash() {
    let tables = format!("return {}{}", "{".repeat(100_000), "}".repeat(100_000));
    let calls = format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let blocks = format!("{}{}", "do ".repeat(100_000), "end ".repeat(100_000));
    let functions = format!(
        "return {}{}",
        "function() return ".repeat(10_000),
        " end".repeat(10_000)
    );
    let unary = format!("return {}1", "- ".repeat(100_000));
    let concat = format!("return {}'x'", "'x' .. ".repeat(100_000));
    let deep = |text: &str| eval_with(text, &bounded()).map_or_else(|d| d.to_string(), |_| String::new());
    for text in [tables, calls, blocks, functions, unary, concat] {
        let said = deep(&text);
        let is_said = ["error[E0001]", "error[E0002]: nested too deep"]
            .iter()
            .any(|e| said.starts_with(e));
        assert!(is_said, "{}: {said}", &text[..20]);
    }
    // A value that is nested by a loop is refused where the schema ends.
    let said =
        deep("local t = {} for i = 1, 1e5 do t = { t } end guest 'a' { image = 'busybox', env = { A = t } }");
    assert!(said.starts_with("error[E0103]: `A` must be"), "{said}");
    let said = deep("local t = {} t.t = t guest 'a' { image = 'busybox', services = t }");
    assert!(said.starts_with("error[E0102]"), "{said}");
}

#[test]
fn handlers_that_do_not_end_are_ended() {
    said(&[
        (
            "local x <close> = setmetatable({}, { __close = function() while true do end end })",
            "error[E0301]",
        ),
        (
            "while true do pcall(function() local x <close> = setmetatable({}, { __close = function() while true do end end }) error('x') end) end",
            "error[E0301]",
        ),
        (
            "local function f() local x <close> = setmetatable({}, { __close = function() while true do end end }) f() end f()",
            "error[E0301]|error[E0302]|error[E0303]",
        ),
        (
            "local t = setmetatable({}, { __index = function(t, k) while true do end end }) return t.x",
            "error[E0301]",
        ),
        (
            "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
            "error[E0301]",
        ),
        (
            "error(setmetatable({}, { __tostring = function() while true do end end }))",
            "error[E0002]: the recipe raised a table",
        ),
        (
            "::again:: pcall(function() goto done ::done:: end) goto again",
            "error[E0301]",
        ),
        (
            "local t = {} for i = 1, 1e6 do t[i] = 1e6 - i end table.sort(t, function() return true end)",
            "error[E0301]",
        ),
        (
            "for k in pairs(setmetatable({}, { __pairs = function() return function() return 1 end end })) do end",
            "error[E0301]",
        ),
        (
            "(('x'):rep(1e6)):gsub('.', function() while true do end end)",
            "error[E0301]",
        ),
    ]);
}

/// Lua stays inside C there, where it counts nothing and calls no hook: a signal asks it where it is.
#[test]
fn a_timeout_says_where_the_recipe_was() {
    let text = "local function slow(s)\n  return s:find(('a?'):rep(40) .. ('a'):rep(40))\nend\n\nlocal x = slow(('a'):rep(40))\nreturn x";
    let said = eval_with(text, &bounded()).unwrap_err();
    let one = &said.0[0];
    assert_eq!(one.code.as_str(), "E0303");
    assert_eq!(one.message, "the recipe used more than 1 s of processor time");
    assert_eq!(one.place.as_ref().map(|place| place.line), Some(2));
    assert!(
        one.notes.iter().any(|note| note.ends_with("web.lua:5")),
        "{:?}",
        one.notes
    );
}

#[test]
fn a_timeout_in_a_required_file_names_that_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("slow.lua"),
        "return function(s)\n  local x = s:match(('.-'):rep(20) .. 'y')\n  return x\nend",
    )
    .unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(&path, "local slow = require 'slow'\nslow(('x'):rep(300000))\n").unwrap();
    let said = evaluate(&path, &bounded()).unwrap_err();
    let place = said.0[0].place.as_ref().unwrap();
    assert!(place.file.ends_with("/slow.lua") && place.line == 2, "{place:?}");
}

#[test]
fn no_address_is_shown() {
    let text = r#"
        local things = { {}, print, function() end, guest, unset, append {}, secret "a", template "t" { }, setmetatable({}, { __name = "N" }),
          string.gmatch("x", "x"), require "hostel.net", setmetatable({}, { __metatable = "locked", __tostring = false }) }
        local all = {}
        for i, thing in ipairs(things) do
          all[#all + 1] = tostring(thing)
          all[#all + 1] = ("%s|%-20s|%.3s"):format(thing, thing, thing)
          local ok, why = pcall(function() return thing .. "x" end)
          all[#all + 1] = ok or tostring(why)
          ok, why = pcall(function() return thing < 1 end)
          all[#all + 1] = ok or tostring(why)
          ok, why = pcall(string.rep, thing)
          all[#all + 1] = ok or tostring(why)
        end
        for _, format in ipairs { "%p", "%20p", "%-20p", "%%%p", "%5.3p" } do assert(not pcall(string.format, format, {}), format) end
        for _, text in ipairs(all) do
          text = tostring(text)
          assert(not text:find("0x%x%x%x%x") and not text:find("%x%x%x%x%x%x%x%x"), text)
          print(text)
        end"#;
    let evaluated = eval(text).unwrap_or_else(|d| panic!("{d}"));
    assert!(evaluated.output.len() > 40);
}

#[test]
fn the_environment_cannot_be_tampered_with() {
    for text in [
        "setmetatable(_G, {})",
        "_ENV.x = 1",
        "_ENV = {} x = print",
        "rawset({}, 'x', 1)",
        "getmetatable('').__index.upper = nil",
        "('').x = 1",
        "debug.getregistry()",
        "return load('return 1')()",
        "return string.dump(print)",
        "return io.open('/etc/passwd')",
        "return os.getenv('HOME')",
        "return coroutine.wrap(function() while true do end end)()",
        "return require('os')",
        "return package.loaded.os",
        "setmetatable('', {})",
        "setmetatable(guest, {})",
        "setmetatable(unset, { __gc = print })",
    ] {
        let said = eval_with(text, &bounded()).map_or_else(|d| d.to_string(), |_| "nothing".to_owned());
        // A table of its own in place of the environment leads nowhere: what it lacks is nil.
        let is_harmless = text.starts_with("_ENV") && said == "nothing";
        assert!(said.starts_with("error[E0") || is_harmless, "{text}: {said}");
        assert!(!said.starts_with("error[E0304]"), "{text}: {said}");
    }
}

#[test]
fn what_is_no_recipe_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.lua");
    let said = |path: &Path| match evaluate(path, &bounded()) {
        Ok(evaluated) => format!("{} guests", evaluated.specs.len()),
        Err(diagnostics) => diagnostics
            .to_string()
            .replace(&format!("{}/", dir.path().display()), ""),
    };
    for (bytes, expected) in [
        (
            &b"-- \xff\nguest 'a' {}"[..],
            "error[E0003]: read `web.lua`: not UTF-8 in line 1, byte 4 of the file\n",
        ),
        (
            b"\n\nguest '\0' {}",
            "error[E0003]: read `web.lua`: a NUL byte in line 3; a recipe is text\n",
        ),
        (
            b"\xef\xbb\xbfguest 'a' {\r\n  image = 'busybox',\r\n}\r\n",
            "1 guests",
        ),
        (b"\x1bLua", "error[E0001]"),
        (b"", "0 guests"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let found = said(&path);
        assert!(found.starts_with(expected), "{bytes:?}: {found}");
    }
    let big = std::fs::File::create(&path).unwrap();
    big.set_len(100 << 20).unwrap();
    assert_eq!(said(&path), "error[E0003]: read `web.lua`: larger than 16 MiB\n");
    let fifo = dir.path().join("fifo.lua");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(said(&fifo), "error[E0003]: read `fifo.lua`: not a file\n");
    assert_eq!(
        said(Path::new("/dev/zero")),
        "error[E0003]: read `/dev/zero`: not a file\n"
    );
    std::fs::write(&path, "require 'fifo'").unwrap();
    assert!(
        said(&path).starts_with("error[E0114]: read `fifo.lua`: not a file\n"),
        "{}",
        said(&path)
    );
}

/// What a recipe says is the same under another user, place, time zone, language, environment and memory layout.
#[test]
fn a_hundred_runs_are_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(
        dir.path().join("own.lua"),
        "return { b = 1, a = 2, [3] = 'c', [true] = 'd' }",
    )
    .unwrap();
    std::fs::write(&path, r#"
        local seen = {}
        for key, value in pairs(require "own") do seen[#seen + 1] = tostring(key) .. "=" .. tostring(value) end
        local keys = {}
        for i = 1, 200 do keys[("k%d"):format(i * 7919 % 1000)] = { i } end
        for key, value in pairs(keys) do seen[#seen + 1] = key .. tostring(value) end
        local ok, why = pcall(function() return nil + 1 end)
        for i = 1, 40 do
          guest(("g%02d"):format(i)) {
            image = "busybox", env = { A = table.concat(seen, " "), E = why, F = ("%.3f %s"):format(i / 3, print) },
            limits = { memory = "64M", cpus = 0.5 },
          }
        end
        print(seen[1], unset, {})
    "#).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&path, 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // Where another user cannot reach the program that is tested, a copy that everybody can.
    let program = dir.path().join("hostel");
    // By another process: a child that another test forks meanwhile would hold the copy open for writing (ETXTBSY).
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_hostel"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let is_root = nix::unistd::geteuid().is_root();
    let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
    for run in 0..100 {
        let mut command = Command::new(&program);
        command.args(["check", "--json"]).arg(&path);
        command.env_clear().env("RUN", "x".repeat(run * 37));
        let variety = [
            ("LANG", "de_DE.UTF-8", "TZ", "Asia/Tokyo"),
            ("LC_ALL", "tr_TR.UTF-8", "TZ", "UTC"),
            ("LC_NUMERIC", "fr_FR", "HOME", "/nonexistent"),
            ("LANGUAGE", "C", "MALLOC_PERTURB_", "170"),
        ];
        let (a, b, c, d) = variety[run % 4];
        command
            .env(a, b)
            .env(c, d)
            .current_dir(if run % 3 == 0 { "/" } else { "/tmp" });
        if is_root && run % 2 == 1 {
            command.uid(65_534 - u32::try_from(run).unwrap()).gid(65_534);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found = (output.stdout, output.stderr);
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "run {run}");
    }
}

/// The values are put into the specifications by the process that hands them on; no output shows one.
#[test]
fn no_output_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("secrets/web")).unwrap();
    let file = root.join("secrets/web/db");
    std::fs::write(&file, "hunter2-the-secret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = dir.path().join("web.lua");
    let body = "local s = secret 'web/db'\nprint(s, tostring(s), ('%s'):format(s))\nlocal ok, why = pcall(function() return s .. 'x' end)\nprint(why)\nguest 'a' { image = 'busybox', env = { P = s }, files = { ['/k'] = s }";
    let run = |arguments: &[&str], text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_hostel"))
            .args(arguments)
            .arg(&path)
            .env("HOSTEL_ROOT", &root)
            .env("HOSTEL_LOG", "trace")
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    };
    for end in [
        " }",
        ", limits = { memroy = 1 } }",
        " } error(tostring(s))",
        " } error(s)",
        " } return s.x.y",
    ] {
        let text = format!("{body}{end}");
        for arguments in [
            &["check"][..],
            &["check", "--json"],
            &["plan"],
            &["plan", "--json"],
        ] {
            let found = run(arguments, &text);
            assert!(!found.contains("hunter2"), "{arguments:?} {end}: {found}");
        }
    }
    // What is readable by others is refused, and what is unset is named, both without a value.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = run(&["plan"], &format!("{body} }}"));
    assert!(found.contains("E0111") && !found.contains("hunter2"), "{found}");
}
