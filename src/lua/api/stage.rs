//! Who is asked instead of the host while a test rehearses a workflow: what would change a host or reach another machine
//! goes to a function of the test, after the same checks of its arguments.

use std::cell::RefCell;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Value};

use super::flow::planned;

/// Every call that a rehearsal is asked about, named as it is documented. `hostel.test` adds those of `io` and `os`.
pub(in crate::lua) const CALLS: &[&str] = &[
    "context:run",
    "exec.run",
    "files:copy",
    "files:mkdir",
    "files:remove",
    "files:write",
    "guest:clone",
    "guest:convert",
    "guest:destroy",
    "guest:exec",
    "guest:export",
    "guest:kill",
    "guest:limit",
    "guest:pause",
    "guest:remove_snapshot",
    "guest:restart",
    "guest:resume",
    "guest:rollback",
    "guest:snapshot",
    "guest:snapshots",
    "guest:start",
    "guest:status",
    "guest:stop",
    "guest:wait_healthy",
    "hostel.apply",
    "hostel.create_volume",
    "hostel.guest",
    "hostel.guests",
    "hostel.import",
    "hostel.import_volume",
    "hostel.volume",
    "hostel.volumes",
    "http.delete",
    "http.get",
    "http.head",
    "http.patch",
    "http.post",
    "http.put",
    "tcp.connect",
    "tcp.wait_open",
    "time.monotonic",
    "time.now",
    "time.sleep",
    "volume:clone",
    "volume:export",
    "volume:remove",
    "volume:remove_snapshot",
    "volume:rollback",
    "volume:set",
    "volume:snapshot",
    "volume:snapshots",
    "volume:status",
];

/// The test that is asked, if there is one.
#[derive(Default)]
struct Stage(RefCell<Option<Function>>);

/// From now on this function is asked; `None`: the host again.
pub(in crate::lua) fn set(lua: &Lua, asked: Option<Function>) {
    if lua.app_data_ref::<Stage>().is_none() {
        lua.set_app_data(Stage::default());
    }
    if let Some(stage) = lua.app_data_ref::<Stage>() {
        *stage.0.borrow_mut() = asked;
    }
}

/// What the test answers to a call on `subject` (a guest, a directory), or nothing where nothing is rehearsed.
pub(super) fn rehearsed(
    lua: &Lua,
    call: &str,
    subject: Option<&str>,
    args: impl IntoLuaMulti,
) -> mlua::Result<Option<MultiValue>> {
    let asked = match lua.app_data_ref::<Stage>() {
        None => return Ok(None),
        Some(stage) => stage.0.borrow().clone(),
    };
    let Some(asked) = asked else { return Ok(None) };
    debug_assert!(
        CALLS.contains(&call),
        "`{call}` is not among the calls of a rehearsal"
    );
    let mut args = args.into_lua_multi(lua)?;
    // What was left out is not `nil`: a spy tells what it was called with.
    while args.back().is_some_and(Value::is_nil) {
        args.pop_back();
    }
    let subject = subject.map(|subject| lua.create_string(subject)).transpose()?;
    args.push_front(subject.map_or(Value::Nil, Value::String));
    args.push_front(Value::String(lua.create_string(call)?));
    asked.call::<MultiValue>(args).map(Some)
}

/// Before what changes something: refused in a plan, answered by the test in a rehearsal, else `None`.
pub(super) fn effect(
    lua: &Lua,
    call: &str,
    subject: Option<&str>,
    args: impl IntoLuaMulti,
) -> mlua::Result<Option<MultiValue>> {
    planned(lua, call.rsplit(['.', ':']).next().unwrap_or(call))?;
    rehearsed(lua, call, subject, args)
}
