//! `hostel context`: what needs no privilege. The rest is in `tests/privileged/cli_primitives.rs`.

use crate::support::hostel;

#[test]
fn the_plan_is_printed_and_nothing_done() {
    let run = hostel(&[
        "context",
        "--plan",
        "--xid",
        "101",
        "--hostname",
        "lab",
        "--",
        "hostname",
    ]);
    assert!(run.prints().contains("set hostname `lab`\n"), "{}", run.stdout);
}

#[test]
fn mistakes_are_told_apart() {
    for (args, stderr) in [
        (
            ["--isolate", "pid,ups"],
            "error: `ups` is not a namespace\nhint: pid, ipc, uts, mount, user, cgroup, net, or all (all but net)\n",
        ),
        (
            ["--xid", "50000"],
            "error: `50000` is not a guest's context id\nhint: 2 to 49151; 0 is the host, 1 the spectator\n",
        ),
        (
            ["--bind", "localhost"],
            "error: `localhost` is not an address\nhint: IPv4 or IPv6, such as `127.9.0.1` or `fd00::9`\n",
        ),
        (
            ["--mount", "/a"],
            "error: `/a` is not a mount: it has no target\n\
             hint: `SOURCE:TARGET`, then `:ro`, `:noexec`, `:host-ids` or `:owner=UID`, such as `/srv/data:/data:ro`\n",
        ),
        (
            ["--cap-drop", "sys_amdin"],
            "error: `sys_amdin` is not a capability\nhint: did you mean `sys_admin`?\n",
        ),
        (
            ["--limit", "memroy=1"],
            "error: `memroy` is not a limit\nhint: did you mean `memory`?\n",
        ),
    ] {
        hostel(&["context", args[0], args[1], "--", "true"]).fails(125, stderr);
    }
}
