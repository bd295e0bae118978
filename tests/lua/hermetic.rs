//! What a recipe cannot do: leave its environment, hang, use up memory, differ from run to run.

use std::time::{Duration, Instant};

use hostel::lua::{EvalOptions, evaluate};

use crate::support::{eval, eval_with, plain, printed};

fn bounded() -> EvalOptions {
    EvalOptions {
        instructions: 5_000_000,
        memory: 32 << 20,
        cpu_seconds: 1,
        ..EvalOptions::default()
    }
}

/// Lua's order of keys differs from state to state. Of two mistakes always the same one is told, and a recipe that catches
/// one learns nothing of the state.
#[test]
fn the_first_of_two_mistakes_does_not_depend_on_the_state() {
    for (text, told) in [
        ("requires { hostel = '>=9', api = 0, c = 1, d = 2 }", "of api 0"),
        (
            "input('n', { z = 1, c = 2, d = 3, b = 4, default = 'x' })",
            "unknown field `b`",
        ),
        (
            "local ok, err = pcall(require('hostel.json').encode, { z = print, c = { [1.5] = 1 }, d = print, b = { x = print } })\nerror(tostring(err))",
            "b.x",
        ),
        (
            "guest 'a' { image = 'busybox', [true] = 1, [2.5] = 3, ['\\xff'] = 4, ['\\xfe'] = {} }",
            "a name that is not UTF-8",
        ),
    ] {
        let first = printed(text);
        assert!(first.contains(told), "{first}");
        // Deeper in the stack, in a thread, in a process: each has another seed.
        let deeper = std::thread::scope(|scope| scope.spawn(|| printed(text)).join()).unwrap();
        assert_eq!(deeper, first);
        let hermetic = eval_with(text, &EvalOptions::default()).unwrap_err();
        let plain = eval_with(text, &plain()).unwrap_err();
        let messages = |found: hostel::lua::Diagnostics| -> Vec<String> {
            found.0.into_iter().map(|d| d.message).collect()
        };
        assert_eq!(messages(hermetic), messages(plain));
    }
}

#[test]
fn there_is_nothing_but_the_words() {
    for word in [
        "io",
        "os",
        "package",
        "debug",
        "coroutine",
        "load",
        "loadfile",
        "dofile",
        "collectgarbage",
        "next",
        "rawset",
        "_G",
        "math.random",
        "math.randomseed",
        "string.dump",
        "warn",
    ] {
        let text = format!("local ok, v = pcall(function() return {word} end)\nassert(not ok or v == nil)");
        assert!(eval(&text).is_ok(), "{word}");
    }
}

#[test]
fn no_word_leads_out() {
    for text in [
        "getmetatable('').__index = {}",
        "getmetatable(unset).__index = 1",
        "local env = getmetatable(guest)",
        "local e = pcall(require, '../x')\nassert(not e)",
        "local e = pcall(require, '/etc/passwd')\nassert(not e)",
        "local mt = getmetatable(setmetatable({}, { __metatable = 1 }))\nassert(mt == 1)",
    ] {
        let _ = eval(text);
    }
    assert!(eval("assert(not pcall(setmetatable, {}, { __gc = function() end }))").is_ok());
    assert!(eval("assert(not pcall(setmetatable, {}, { __mode = 'k' }))").is_ok());
    assert!(eval("assert(not pcall(function() x = 1 end))").is_ok());
    assert!(eval("assert(not pcall(require, 'web.x'))").is_ok());
}

#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside.lua");
    std::fs::write(&outside, "return 1").unwrap();
    let inside = dir.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("linked.lua")).unwrap();
    std::fs::write(inside.join("web.lua"), "require 'linked'").unwrap();
    let err = evaluate(&inside.join("web.lua"), &plain()).unwrap_err();
    assert_eq!(err.0[0].code.as_str(), "E0114");
    std::fs::write(inside.join("own.lua"), "return { 7 }").unwrap();
    std::fs::write(
        inside.join("web.lua"),
        "assert(require('own')[1] == 7 and require 'own' == require 'own')",
    )
    .unwrap();
    let evaluated = evaluate(&inside.join("web.lua"), &plain()).unwrap();
    assert_eq!(evaluated.sources.len(), 2);
}

#[test]
fn what_does_not_end_is_ended() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("while true do end", "E0301"),
        (
            "while true do pcall(function() while true do end end) end",
            "E0301",
        ),
        ("local function f() pcall(f) while true do end end f()", "E0301"),
        (
            "local function f() return pcall(f) end while true do f() end",
            "E0301",
        ),
        (
            "while true do xpcall(error, function() while true do end end) end",
            "E0301",
        ),
        (
            "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
            "E0301",
        ),
        ("local s = ('x'):rep(1 << 60)", "E0002"),
        (
            "local t = {} for i = 1, 1 << 40 do t[i] = ('x'):rep(1000) .. i end",
            "E0302",
        ),
        ("local s = 'x' while true do s = s .. s end", "E0302"),
        ("(''):rep(1 << 60) table.move({}, 1, 1 << 60, 2)", "E0002"),
        (
            "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
            "E0002",
        ),
        (
            "table.concat(setmetatable({}, { __index = type }), '', 1, 1 << 60)",
            "E0002",
        ),
        ("table.unpack({}, 1, 1 << 60)", "E0002"),
        ("local f = function(f) return f(f) end f(f)", "E0301"),
        ("local function f() return 1 + f() end f()", "E0302"),
        // Inside C, where no instruction is counted: the kernel's limit on processor time.
        (
            "string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40))",
            "E0303",
        ),
        ("string.find(('x'):rep(300000), ('.-'):rep(20) .. 'y')", "E0303"),
    ] {
        let started = Instant::now();
        let found = eval_with(text, &bounded()).map_or_else(|d| d.to_string(), |_| "nothing".to_owned());
        // One second of processor time, on a machine that does other things.
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
        if !found.starts_with(&format!("error[{expected}]")) {
            wrong.push(format!("{text}: not {expected}, but {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_recipe_is_the_same_bytes() {
    let text = r#"
        local seen = {}
        for _, word in ipairs { "zeta", "alpha", "mid", "beta" } do seen[word] = { tag = word } end
        local order = {}
        for key, value in pairs(seen) do order[#order + 1] = key .. tostring(value) .. ("%s"):format(print) end
        local many = {}
        for i = 1, 500 do many[i] = { rank = i % 3, id = i } end
        table.sort(many, function(a, b) return a.rank < b.rank end)
        for i = 2, 500 do assert(many[i - 1].rank < many[i].rank or many[i - 1].id < many[i].id) end
        guest "a" { image = "busybox", env = { ORDER = table.concat(order, ","), FIRST = tostring(many[1].id) } }
    "#;
    let first = eval_with(text, &EvalOptions::default()).unwrap_or_else(|d| panic!("{d}"));
    assert_eq!(
        first.specs[0].env["ORDER"],
        "alphatablefunction,betatablefunction,midtablefunction,zetatablefunction"
    );
    assert_eq!(first.specs[0].env["FIRST"], "3");
    for _ in 0..3 {
        let again = eval_with(text, &EvalOptions::default()).unwrap();
        assert_eq!(
            serde_json::to_vec(&first.specs).unwrap(),
            serde_json::to_vec(&again.specs).unwrap()
        );
    }
}

#[test]
fn a_child_and_this_process_agree() {
    let text = "guest 'a' { image = 'busybox' }\nguest 'b' { imagee = 'busybox' }";
    let inside = eval_with(text, &plain()).unwrap_err();
    let child = eval_with(text, &EvalOptions::default()).unwrap_err();
    assert_eq!(inside.0[0].message, child.0[0].message);
}

/// mlua's `pcall` adds a result to a stack that many of them have filled: with Lua's own checks this aborted.
#[test]
fn many_results_of_a_protected_call() {
    let text = r"
        local many = {}
        for i = 1, 5000 do many[i] = i end
        local function all() return table.unpack(many) end
        assert(select('#', pcall(all)) == 5001)
        assert(select('#', xpcall(all, print)) == 5001)
        assert(select('#', pcall(pcall, pcall, all)) == 5003)
        local ok, why = pcall(error, 'x', 0)
        assert(not ok and why == 'x')
        return table.unpack(many)";
    let said = eval(text).err().map(|d| d.to_string());
    assert_eq!(said, None);
}

#[test]
fn a_recursion_of_protected_calls_ends_with_a_report() {
    for text in [
        "local function f() return pcall(f) end\nwhile true do f() end",
        "local function f() return xpcall(f, function(e) return e end) end\nwhile true do f() end",
        "local function f() return xpcall(error, f) end\nwhile true do f() end",
        "local function f() return pcall(string.gsub, 'x', 'x', f) end\nwhile true do f() end",
        "local t = setmetatable({}, { __index = function(t, k) return pcall(function() return t[k] end) end })\nwhile true do local _ = t.x end",
    ] {
        let said = eval_with(text, &bounded()).unwrap_err().to_string();
        assert!(
            said.contains("E0301") || said.contains("E0303") || said.contains("E0302"),
            "{text}\n{said}"
        );
    }
}

/// The arena of a thread, unlike the first one, asks `/proc` before it gives memory back; the child may open nothing.
#[test]
fn memory_is_given_back_in_a_thread_without_opening_a_file() {
    let text = "for i = 1, 30 do\n  local t = {}\n  for j = 1, 200 do t[j] = (\"x\"):rep(60000) .. i .. j end\nend\nguest 'a' { image = 'busybox' }";
    let evaluated = std::thread::spawn(move || eval_with(text, &EvalOptions::default()))
        .join()
        .unwrap();
    assert_eq!(evaluated.unwrap_or_else(|d| panic!("{d}")).specs.len(), 1);
}

/// The child is a copy of one thread: what another one held at that instant (the allocator, the lock on the panic hook)
/// stays held in it for ever.
#[test]
fn an_evaluation_ends_whatever_other_threads_hold() {
    const EACH: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(
        &path,
        "for i = 1, 20 do guest('g' .. i) { image = 'busybox' } end",
    )
    .unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = &|| is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        // Bursts: what holds a lock counts, not what uses up the processors.
        let pause = || std::thread::sleep(Duration::from_micros(100));
        for size in [64, 70_000] {
            scope.spawn(move || {
                while !over() {
                    let kept: Vec<Vec<u8>> = (1..50).map(|n| vec![1; size + n]).collect();
                    assert_eq!(kept.len(), 49);
                    pause();
                }
            });
        }
        scope.spawn(move || {
            while !over() {
                let _ = std::panic::catch_unwind(|| panic!("on purpose"));
                pause();
            }
        });
        let evaluations = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..EACH {
                    assert_eq!(evaluate(&path, &EvalOptions::default()).unwrap().specs.len(), 20);
                }
            })
        });
        let outcomes = evaluations.map(std::thread::ScopedJoinHandle::join);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
}
