//! What a recipe can see is the recipe and its inputs: not where it is, how it was named, in which process, when, or on
//! which machine.

use std::path::Path;

use hostel::lua::{EvalOptions, Evaluated, evaluate};

use crate::support::{eval, plain};

/// Everything that could tell one evaluation from another, in one guest's file.
const CURIOUS: &str = r##"
local seen = {}
local function see(...)
  for i = 1, select("#", ...) do seen[#seen + 1] = tostring((select(i, ...))) end
end
local function caught(f, ...)
  local _, err = pcall(f, ...)
  see(err, type(err))
  see(xpcall(f, function(e) see(e) return tostring(e) end, ...))
end
local shop = require "lib.shop"

-- Errors name lines, and lines name files.
caught(error, "with a line")
caught(function() error("here") end)
caught(function() error("there", 2) end)
caught(shop.fail)
caught(shop.deep, 5)
caught(function() local x = nil; return x.field end)
caught(function() return #nil end)
caught(function() return {} .. "" end)
caught(function() return {} < {} end)
caught(function() undefined() end)
caught(function() defined = 1 end)
caught(require, "missing")
caught(require, "broken")
caught(require, "raises")
caught(require, "../x")
caught(guest, 5)
caught(template, {})
caught(append, 1)
caught(secret, "")
caught(input, "x")
caught(input, "x", {})
caught(requires, { hostel = ">=99" })
caught(("x").rep, "x", -1, {})
caught(string.format, "%d", "x")
caught(table.concat, { {} })
caught(pairs, 1)
caught(pairs, { [{}] = 1, [print] = 2, [unset] = 3 })
caught(setmetatable, 1, 2)
caught(require("hostel.json").decode, "{")
caught(require("hostel.json").encode, { print })
caught(require("hostel.toml").decode, "= 1")
caught(require("hostel.template").render, "<% x", {})
caught(require("hostel.net").pool, "x")

-- Values without a text of their own.
local base = template "base" { image = "busybox" }
for _, value in ipairs { print, {}, unset, append { "a" }, secret "a/b", base, require, shop, shop.fail, require("hostel.json") } do
  see(value, ("%s"):format(value), ("%-40s|"):format(value))
  caught(function() return "" .. value end)
  caught(function() return value + 1 end)
  caught(function() return value.x.y end)
  caught(function() return value() end)
  caught(function() return value < value end)
  see(getmetatable(value))
end
see(require("hostel.json").null)
caught(string.format, "%p", {})

-- Orders of keys, of equal items.
local names = {}
for i = 1, 60 do names["k" .. (i * 7919 % 1000)] = i; names[i * 1.5] = i; names[i % 2 == 0] = i end
for key, value in pairs(names) do see(key, value) end
local many = {}
for i = 1, 60 do many[i] = { rank = i % 5, id = i } end
table.sort(many, function(a, b) return a.rank < b.rank end)
for _, one in ipairs(many) do see(one.id) end
see(require("hostel.json").encode(names["k1"] and { a = names.k1, b = many[1] } or {}))

-- The length of a table with holes: where its values are depends on which keys collided.
local lengths = {}
for round = 1, 200 do
  local t = { ["a" .. round] = 1, ["b" .. round] = 1, ["c" .. round] = 1, ["d" .. round] = 1 }
  t["a" .. round] = nil
  t[1] = 1; t[2] = 2; t[4] = 4
  lengths[#lengths + 1] = #t
  local keyed = { [t] = 1, [names] = 1, [seen] = 1, [many] = 1 }
  keyed[t] = nil
  keyed[1] = 1; keyed[2] = 2; keyed[4] = 4
  lengths[#lengths + 1] = #keyed .. select("#", table.unpack(keyed))
end
see(table.concat(lengths, " "))

-- Numbers.
see(0/0, -(0/0), ("%f %g %5.1f"):format(0/0, -(0/0), 0/0), "" .. 0/0, table.concat { 0/0 }, (string.pack("d", -(0/0)):gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
for i = 1, 12 do
  local x = i / 7
  see(("%a"):format(x ^ 1.7), ("%a"):format(math.sin(x)), ("%a"):format(math.exp(-x)), ("%a"):format(math.log(x)), ("%a"):format(math.tan(x)), ("%a"):format(math.atan(x, 3)))
end

guest "seen" { from = base, files = { ["/seen"] = table.concat(seen, "\n") } }
"##;

const FILES: [(&str, &str); 4] = [
    (
        "lib/shop.lua",
        "local M = {}\nfunction M.fail() error('in the shop') end\nfunction M.deep(n) if n == 0 then error('deep', 3) end return (M.deep(n - 1)) end\nreturn M\n",
    ),
    ("broken.lua", "local x = = 1\n"),
    ("lib/raises.lua", "error('while it is required')\n"),
    ("web.lua", CURIOUS),
];

fn write(folder: &Path) {
    for (name, text) in FILES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn seen(evaluated: &Evaluated) -> (String, String) {
    (
        serde_json::to_string_pretty(&evaluated.specs).unwrap(),
        evaluated.hash.clone(),
    )
}

/// Where the first difference is, instead of two pages.
#[track_caller]
fn assert_same(a: &(String, String), b: &(String, String), what: &str) {
    for (one, other) in a.0.split("\\n").zip(b.0.split("\\n")) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(a, b, "{what}");
}

#[test]
fn where_a_recipe_is_and_how_it_is_named_is_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir
        .path()
        .join("a/very/long/way/of/folders/that/is/longer/than/lua/writes/before/an/error");
    let other = dir.path().join("b");
    write(&deep);
    write(&other);
    std::os::unix::fs::symlink(&deep, dir.path().join("link")).unwrap();
    let first = evaluate(&deep.join("web.lua"), &EvalOptions::default()).unwrap_or_else(|d| panic!("{d}"));
    let first = seen(&first);
    assert!(first.0.contains("web.lua:"), "errors name their lines");
    assert!(first.0.contains("lib/shop.lua:2: in the shop"));
    assert!(!first.0.contains("very/long"));
    for (path, what) in [
        (other.join("web.lua"), "another folder"),
        (other.join("./web.lua"), "./"),
        (other.join("lib/../web.lua"), "lib/.."),
        (dir.path().join("link/web.lua"), "a linked folder"),
    ] {
        for options in [EvalOptions::default(), plain()] {
            let again = evaluate(&path, &options).unwrap_or_else(|d| panic!("{d}"));
            assert_same(&first, &seen(&again), what);
        }
    }
    // Addresses differ from thread to thread and from child to child, the seed from state to state.
    for _ in 0..20 {
        let path = other.join("web.lua");
        let again = std::thread::spawn(move || evaluate(&path, &EvalOptions::default()).unwrap())
            .join()
            .unwrap();
        assert_same(&first, &seen(&again), "another child");
    }
}

/// The snapshot was made on x86-64; another machine that sees something else fails here.
#[test]
fn what_is_seen_on_every_machine() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let evaluated = evaluate(&dir.path().join("web.lua"), &plain()).unwrap_or_else(|d| panic!("{d}"));
    let text = evaluated.specs[0].files.values().next().unwrap();
    let text = serde_json::to_value(text).unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned();
    insta::assert_snapshot!("seen", text);
}

/// How many instructions have run decides whether a recipe runs too long, so it must be the same in every state.
#[test]
fn the_budget_is_used_up_at_the_same_instruction() {
    let text = "local t = {}\nfor i = 1, 200 do t['k' .. i] = i end\nlocal n = 0\nwhile true do\n  for _, v in pairs(t) do n = n + v end\n  print(n)\nend";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.lua");
    let count = |instructions: u64| {
        // What was printed when the budget was over is counted by a guest that is only declared once it is not.
        let text = text.replace("while true do", &format!("for _ = 1, {instructions} do"));
        std::fs::write(&path, text).unwrap();
        let options = EvalOptions {
            instructions: 1_000_000,
            ..plain()
        };
        evaluate(&path, &options).is_ok()
    };
    // The most rounds that fit.
    let most = || {
        let (mut fits, mut too_many) = (1, 10_000);
        while too_many - fits > 1 {
            let middle = u64::midpoint(fits, too_many);
            if count(middle) {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    };
    let first = most();
    for _ in 0..5 {
        assert_eq!(most(), first);
    }
}

/// A folder of a recipe's that is called as hostel's own is not taken for it: its lines are the user's.
#[test]
fn a_folder_that_is_named_like_hostels_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("stdlib-lua")).unwrap();
    std::fs::write(
        dir.path().join("stdlib-lua/mine.lua"),
        "return function()\n  guest \"web\" { image = \"busybox\", limitz = {} }\nend\n",
    )
    .unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(&path, "require \"stdlib-lua.mine\"()\n").unwrap();
    let found = evaluate(&path, &plain()).unwrap_err();
    let place = found.0[0].place.as_ref().unwrap();
    assert!(place.file.ends_with("/stdlib-lua/mine.lua"), "{}", place.file);
    assert_eq!(place.line, 2);
}

/// Lua writes of a long name only the end before an error.
#[test]
fn an_error_in_a_file_with_a_long_name_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let name = "a_module_with_a_name_that_is_longer_than_lua_has_room_for_before_an_error";
    std::fs::write(dir.path().join(format!("{name}.lua")), "\nerror('why')\n").unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(&path, format!("require '{name}'\n")).unwrap();
    let found = evaluate(&path, &plain()).unwrap_err();
    assert_eq!(found.0[0].message, "why");
    let place = found.0[0].place.as_ref().unwrap();
    assert!(place.file.ends_with(&format!("/{name}.lua")), "{}", place.file);
    assert_eq!(place.line, 2);
    assert!(eval("error('x')").unwrap_err().0[0].place.is_some());
}
