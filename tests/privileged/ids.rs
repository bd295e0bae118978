//! Nobody else has a guest's user ids: numbers whose ids somebody has are passed over, and refused by name.

use std::fs;

use crate::life::recipe;
use crate::support::{World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_number_whose_ids_somebody_has_is_refused_when_wanted,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_start_is_refused_when_somebody_has_got_the_ids_since,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => automatic_numbers_pass_over_ids_of_others,
    [Root, Cgroup2, Bpf, Verb("context")] => contexts_too,
}

/// `/etc/subuid` in this test's own mount namespace, until it is dropped.
struct Subuid;

impl Subuid {
    fn new(world: &World, text: &str) -> Self {
        let file = world.file("subuid", text);
        tool("mount", ["--bind".as_ref(), file.as_os_str(), "/etc/subuid".as_ref()]).ok();
        Self
    }
}

impl Drop for Subuid {
    fn drop(&mut self) {
        tool("umount", ["/etc/subuid"]).ok();
    }
}

fn base(world: &World, number: u32) -> u32 {
    world.xid(number) << 16
}

fn a_number_whose_ids_somebody_has_is_refused_when_wanted(world: &World) {
    let (xid, first) = (world.xid(0), base(world, 0));
    let _subuid = Subuid::new(world, &format!("alice:{}:10\n", first + 65_535));
    let recipe = recipe(world, "web", 0, "");
    let out = world.hostel(["apply".as_ref(), recipe.as_os_str()]).run().code(1);
    out.stderr_has(&format!(
        "the ids of the context {xid}, {first} to {}, meet the ids {} to {} of `alice` in `/etc/subuid`",
        first + 65_535,
        first + 65_535,
        first + 65_544
    ));
    world.hostel(["ls", "--quiet"]).ok().stdout("");
}

fn a_start_is_refused_when_somebody_has_got_the_ids_since(world: &World) {
    let recipe = recipe(world, "web", 0, "");
    world.hostel(["build".as_ref(), recipe.as_os_str()]).ok();
    {
        let _subuid = Subuid::new(world, &format!("root:{}:1000000\n", base(world, 0) - 1000));
        world.hostel(["start", "web"]).run().code(1).stdout("").stderr_has("of `root` in `/etc/subuid`");
        world.hostel(["doctor"]).run().stdout_has("guest `web`: the ids of the context");
        world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    }
    world.hostel(["start", "web"]).ok();
    // Nor does it start with a number that is not its own.
    world.hostel(["stop", "web"]).ok();
    let link = world.root.join(format!("xid/{}", world.xid(0)));
    fs::remove_file(&link).unwrap();
    world.hostel(["start", "web"]).run().code(1).stderr_has("is nobody's, not `web`'s");
    std::os::unix::fs::symlink("web", &link).unwrap();
    world.hostel(["destroy", "--force", "web"]).ok();
}

fn automatic_numbers_pass_over_ids_of_others(world: &World) {
    // Whatever is free to begin with, the numbers up to 1999 are not.
    let _subuid = Subuid::new(world, &format!("lxd:1000000:{}\n", 2000 * 65_536 - 1_000_000));
    let recipe = world.file("web.lua", "guest \"web\" { image = \"busybox\" }\n");
    world.hostel(["build".as_ref(), recipe.as_os_str()]).ok();
    let json = world.hostel(["status", "web", "--json"]).ok().stdout;
    assert!(json.contains("\"xid\": 2000"), "{json}");
    world.hostel(["destroy", "--force", "web"]).ok();
}

fn contexts_too(world: &World) {
    let xid = world.xid(0);
    let _subuid = Subuid::new(world, &format!("alice:{}:1\n", base(world, 0)));
    let number = xid.to_string();
    let argv = ["context", "--xid", &number, "--isolate", "user", "--", "true"];
    world.hostel(argv).run().code(125).stderr_has("of `alice` in `/etc/subuid`");
    world.hostel(["context", "--isolate", "user", "--", "true"]).ok();
}
