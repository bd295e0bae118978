//! The functions of `require "hostel"`, held as data: `hostel doc hostel.context` and the editor's meta file are made
//! from it, and a test compares it with what there is.

use std::fmt::Write as _;

use crate::guest::Invalid;
use crate::guest::caps::nearest;

/// A function or method.
#[derive(Debug)]
pub struct Function {
    /// As it is called: `hostel.context`, `context:run`, `guest:stop`.
    pub name: &'static str,
    /// Its parameters, each with its LuaCATS type.
    pub params: &'static [(&'static str, &'static str)],
    /// The LuaCATS types of what it returns.
    pub returns: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
    /// The first version of hostel that has it.
    pub since: &'static str,
}

const fn function(
    name: &'static str,
    params: &'static [(&'static str, &'static str)],
    returns: &'static str,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function {
        name,
        params,
        returns,
        doc,
        example,
        since: "0.1",
    }
}

/// All of them.
pub static FUNCTIONS: &[Function] = &[
    function(
        "hostel.context",
        &[("options", "hostel.context_options")],
        "hostel.Context",
        "Begins the description of a context: what a command and all that it starts are confined to. Nothing happens before `run`.",
        "hostel.context { hostname = \"bar\", isolate = { \"pid\", \"uts\" } }",
    ),
    function(
        "hostel.bind",
        &[("addresses", "string|string[]")],
        "hostel.Context",
        "A context that is confined to addresses (chbind) and to nothing else.",
        "hostel.bind { \"127.9.0.1\" }:run { \"nginx\" }",
    ),
    function(
        "hostel.chroot",
        &[("path", "string")],
        "hostel.Context",
        "A context with another root directory; the old root is gone for it.",
        "hostel.chroot(\"/srv/rootfs\"):run { \"/bin/sh\" }",
    ),
    function(
        "hostel.caps",
        &[("caps", "hostel.caps")],
        "hostel.Context",
        "A context with fewer capabilities. `drop` alone takes from all there are, `keep` adds to a guest's default set.",
        "hostel.caps { drop = { \"sys_admin\" } }:run { \"sh\" }",
    ),
    function(
        "hostel.limit",
        &[("limits", "hostel.limits")],
        "hostel.Context",
        "A context that may use no more than this.",
        "hostel.limit { memory = \"256M\" }:run { \"make\" }",
    ),
    function(
        "hostel.guest",
        &[("name", "string")],
        "hostel.GuestHandle?, hostel.Failure?",
        "A guest that was applied; `nil, err` when there is none of that name.",
        "hostel.guest(\"web\")",
    ),
    function(
        "hostel.guests",
        &[],
        "hostel.GuestHandle[]",
        "Every guest that was applied, by name.",
        "for _, g in ipairs(hostel.guests()) do print(g.name) end",
    ),
    function(
        "hostel.apply",
        &[("recipe", "string"), ("options?", "hostel.apply_options")],
        "{ guest: string, verb: string }[]",
        "Makes the host what a recipe says, and returns what was done.",
        "hostel.apply(\"web.lua\", { inputs = { region = \"eu\" } })",
    ),
    function(
        "context:bind",
        &[("addresses", "string|string[]")],
        "hostel.Context",
        "Every socket carries one of these addresses (chbind).",
        "c:bind { \"127.9.0.1\", \"fd00::9\" }",
    ),
    function(
        "context:chroot",
        &[("path", "string")],
        "hostel.Context",
        "Another root directory, by pivot_root(2).",
        "c:chroot(\"/srv/rootfs\")",
    ),
    function(
        "context:mount",
        &[("mount", "hostel.mount")],
        "hostel.Context",
        "Host data that it sees below its new root.",
        "c:mount { source = \"/srv/data\", target = \"/data\", readonly = true }",
    ),
    function(
        "context:caps",
        &[("caps", "hostel.caps")],
        "hostel.Context",
        "The capabilities that its root keeps.",
        "c:caps { only = { \"chown\", \"setuid\" } }",
    ),
    function(
        "context:limit",
        &[("limits", "hostel.limits")],
        "hostel.Context",
        "What it may use at most; a second call adds to the first.",
        "c:limit { memory = \"256M\", pids = 64 }",
    ),
    function(
        "context:plan",
        &[("command?", "string[]")],
        "string[]",
        "The steps that `run` would carry out, in their order; `tostring` numbers them. Needs no root.",
        "print(c:plan())",
    ),
    function(
        "context:run",
        &[("command", "string[]|hostel.run_options")],
        "hostel.Result",
        "Runs a command in the context and waits. Everything of the context is gone when it returns. What fails before the command runs is raised.",
        "c:run { \"/bin/sh\", \"-c\", \"id\", timeout = \"10s\" }",
    ),
    function(
        "context:close",
        &[],
        "nil",
        "Ends it. There is nothing left of a context after `run`; it is here for `local c <close>`.",
        "c:close()",
    ),
    function(
        "guest:status",
        &[],
        "table?, hostel.Failure?",
        "What the kernel tells of it: `state`, `xid`, `pid`, `uptime_s`, `processes`, `memory_bytes`, `cpu_us`, `addresses`, `image`.",
        "g:status().state",
    ),
    function(
        "guest:start",
        &[],
        "true?, hostel.Failure?",
        "Starts it, with its hooks; `nil, err` when it runs already.",
        "g:start()",
    ),
    function(
        "guest:stop",
        &[("options?", "hostel.stop_options")],
        "string?, hostel.Failure?",
        "Stops it, with its hooks: `gracefully`, `killed` or `did_not_run`.",
        "g:stop { timeout = \"10s\" }",
    ),
    function(
        "guest:restart",
        &[("options?", "hostel.stop_options")],
        "true?, hostel.Failure?",
        "Stops it and starts it again; one that does not run is started.",
        "g:restart()",
    ),
    function(
        "guest:exec",
        &[("command", "string[]|hostel.exec_options")],
        "hostel.Result?, hostel.Failure?",
        "Runs a command inside; `nil, err` when the guest does not run or has no such program.",
        "g:exec { \"nginx\", \"-t\", capture = true }",
    ),
    function(
        "guest:limit",
        &[("limits", "hostel.limits")],
        "true?, hostel.Failure?",
        "Changes limits at once, and for its next start; `\"max\"` takes a limit away.",
        "g:limit { memory = \"1G\", pids = \"max\" }",
    ),
    function(
        "guest:pause",
        &[],
        "true?, hostel.Failure?",
        "Freezes its processes; `nil, err` when it does not run or is paused already.",
        "g:pause()",
    ),
    function(
        "guest:resume",
        &[],
        "true?, hostel.Failure?",
        "Lets a paused guest go on.",
        "g:resume()",
    ),
    function(
        "guest:kill",
        &[("signal?", "string")],
        "true?, hostel.Failure?",
        "Sends a signal to each of its processes; SIGKILL without a name.",
        "g:kill(\"TERM\")",
    ),
    function(
        "guest:wait_healthy",
        &[("options?", "hostel.wait_options")],
        "true",
        "Waits until its health check succeeds. What prevents it is always raised: a step that only waits must not pass by mistake.",
        "g:wait_healthy { timeout = \"30s\" }",
    ),
    function(
        "guest:destroy",
        &[("options?", "hostel.destroy_options")],
        "true?, hostel.Failure?",
        "Removes it with all its files; `nil, err` when it runs and `force` is not set.",
        "g:destroy { force = true }",
    ),
];

/// The documentation of `hostel` (all functions), `hostel.context` or `guest:stop`; `None` when the path is of
/// another kind.
pub(super) fn doc(path: &str) -> Option<Result<String, Invalid>> {
    if path == "hostel" {
        let width = FUNCTIONS.iter().map(|f| f.name.len()).max().unwrap_or(0);
        let mut text =
            String::from("hostel: The functions of `local hostel = require \"hostel\"`, for `hostel run`.\n");
        for function in FUNCTIONS {
            let first = function.doc.split_inclusive(". ").next().unwrap_or(function.doc);
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {:width$}  {}", function.name, first.trim_end());
        }
        return Some(Ok(text));
    }
    if !path.contains(':') && !path.starts_with("hostel.") {
        return None;
    }
    let Some(f) = FUNCTIONS.iter().find(|f| f.name == path) else {
        let hint = match nearest(path, FUNCTIONS.iter().map(|f| f.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`hostel doc hostel` lists the functions".to_owned(),
        };
        return Some(Err(Invalid::new(
            format!("there is no function `{}`", path.escape_debug()),
            hint,
        )));
    };
    Some(Ok(format!(
        "{}\n  {}\n  example  {}\n  since    {}\n",
        signature(f),
        f.doc,
        f.example,
        f.since
    )))
}

fn signature(f: &Function) -> String {
    let params: Vec<String> = f
        .params
        .iter()
        .map(|(name, kind)| format!("{name}: {kind}"))
        .collect();
    format!("{}({}): {}", f.name, params.join(", "), f.returns)
}

/// The LuaCATS meta file of `require "hostel"`.
pub fn module_meta() -> String {
    let mut text = String::from("---@meta hostel\n---Made from hostel's list of functions.\n");
    let mut seen = Vec::new();
    for record in super::OPTIONS {
        super::meta::class(record, &mut text, &mut seen);
    }
    text.push_str(CLASSES);
    for f in FUNCTIONS {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\n---{} Since {}. Example: `{}`", f.doc, f.since, f.example);
        for (name, kind) in f.params {
            let _ = writeln!(text, "---@param {name} {kind}");
        }
        let _ = writeln!(text, "---@return {}", f.returns);
        let params: Vec<&str> = f
            .params
            .iter()
            .map(|(name, _)| name.trim_end_matches('?'))
            .collect();
        let name = f
            .name
            .replace("context:", "Context:")
            .replace("guest:", "GuestHandle:");
        let _ = writeln!(text, "function {name}({}) end", params.join(", "));
    }
    text.push_str("\nreturn hostel\n");
    text
}

const CLASSES: &str = r"
---@class hostel.Module
---@field version string
local hostel = {}

---@class hostel.Context
local Context = {}

---@class hostel.GuestHandle
---@field name string
---@field xid integer
local GuestHandle = {}

---@class hostel.Result
---@field code integer?
---@field signal integer?
---@field timed_out boolean
---@field memory_peak integer?
---@field stdout string?
---@field stderr string?

---@class hostel.Failure
---@field kind string
---@field message string
---@field hint string?

---@type table<string, string|true>
flags = {}
---@type string[]
args = {}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_documented() {
        for f in FUNCTIONS {
            assert!(f.doc.ends_with('.') || f.doc.ends_with(')'), "{}", f.name);
            assert!(!f.example.is_empty() && !f.returns.is_empty(), "{}", f.name);
            assert!(doc(f.name).unwrap().unwrap().contains(f.doc));
            assert!(module_meta().contains(f.doc));
        }
        assert!(doc("limits.memory").is_none());
        let err = doc("hostel.contxt").unwrap().unwrap_err();
        assert_eq!(err.hint.as_deref(), Some("did you mean `hostel.context`?"));
    }
}
