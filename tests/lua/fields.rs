//! Fields that no other test sets, and what they become; words of Lua's own that no other test calls.

use hostel::lua::Code;

use crate::support::{eval, plain, printed};

#[test]
fn limits_reach_the_specification() {
    let evaluated = eval(
        r#"
        requires { hostel = ">=0.1", api = 1 }
        guest "web" {
          image = "busybox",
          limits = {
            io_weight = 50,
            io = { ["/dev/vda"] = { read = "50M", write = "20M", read_iops = 1000, write_iops = 500 } },
            rlimits = { nofile = "1024:4096" },
            core = 0, stack = "8M", memlock = "64K", fsize = "1G",
          },
          net = { mode = "private", address = "10.1.2.3/24", gateway = "10.1.2.1" },
          mounts = { { source = "/srv/a", target = "/a", noexec = true } },
          allow = { "ptrace" },
          no_new_privs = true,
        }
        "#,
    )
    .unwrap_or_else(|d| panic!("{d}"));
    let spec = serde_json::to_value(&evaluated.specs[0]).unwrap();
    let at = |path: &str| {
        spec.pointer(path)
            .unwrap_or_else(|| panic!("{path} in {spec:#}"))
            .clone()
    };
    assert_eq!(at("/limits/io_weight"), 50);
    assert_eq!(at("/limits/io/~1dev~1vda/read"), "50M");
    assert_eq!(at("/limits/io/~1dev~1vda/write"), "20M");
    assert_eq!(at("/limits/io/~1dev~1vda/read_iops"), 1000);
    assert_eq!(at("/limits/io/~1dev~1vda/write_iops"), 500);
    assert_eq!(at("/mounts/0/noexec"), true);
    assert_eq!(at("/allow"), serde_json::json!(["ptrace"]));
    assert_eq!(at("/no_new_privs"), true);
    assert!(at("/net").to_string().contains("10.1.2.1"), "{}", at("/net"));
    let rlimits = at("/limits/rlimits");
    for kind in ["nofile", "core", "stack", "memlock", "fsize"] {
        assert!(rlimits.get(kind).is_some(), "{kind} in {rlimits}");
    }
}

#[test]
fn iterators_of_texts_work_in_recipes() {
    let evaluated = eval(
        r#"
        local count = 0
        for word in ("web db cache"):gmatch("%a+") do
          guest(word) { image = "busybox" }
        end
        for place, code in utf8.codes("äb") do count = count + place * 1000 + code end
        print(count)
        "#,
    )
    .unwrap_or_else(|d| panic!("{d}"));
    let names: Vec<&str> = evaluated.specs.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["web", "db", "cache"]);
    assert_eq!(evaluated.output, [(1000 + 228 + 3000 + 98).to_string()]);
}

/// They are of Lua 5.2 and older; editors and linters do not know them.
#[test]
fn what_lua_deprecated_is_not_there() {
    for name in ["pow", "atan2", "log10", "cosh", "sinh", "tanh", "frexp", "ldexp"] {
        let text = printed(&format!("print(math.{name}(1, 1))"));
        assert!(text.contains("E0002"), "{name}: {text}");
    }
}

#[test]
fn a_recipe_that_is_not_there_is_e0003() {
    let diagnostics = hostel::lua::evaluate("/nonexistent/web.lua".as_ref(), &plain()).unwrap_err();
    assert_eq!(diagnostics.0[0].code, Code::Read);
    assert!(
        diagnostics.to_string().starts_with("error[E0003]: "),
        "{diagnostics}"
    );
}

#[test]
fn what_is_loosened_is_a_list_of_words() {
    let evaluated = eval(
        r#"guest "web" { image = "busybox", allow = { "keyring", "ptrace" }, no_new_privs = true }
           guest "db" { image = "busybox" }"#,
    )
    .unwrap_or_else(|d| panic!("{d}"));
    let [web, db] = evaluated.specs.as_slice() else {
        panic!("two guests")
    };
    let given = serde_json::to_value(web).unwrap();
    assert_eq!(given["allow"], serde_json::json!(["keyring", "ptrace"]));
    assert!(web.no_new_privs && !db.no_new_privs);
    let text =
        printed("guest \"web\" { image = \"busybox\", net = { mode = \"host\" }, allow = { \"tcpdump\" } }");
    assert!(
        text.contains("`tcpdump` needs a network stack of the guest's own"),
        "{text}"
    );
    let text = printed("guest \"web\" { image = \"busybox\", allow = { \"ptrase\" }, no_new_privs = 1 }");
    assert!(
        text.contains("did you mean \"ptrace\"?") && text.contains("no_new_privs"),
        "{text}"
    );
}
