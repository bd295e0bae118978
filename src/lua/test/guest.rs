//! The verbs of a guest on a fake host: what they would change, and what a real one would refuse.

use mlua::{AnyUserData, IntoLua as _, Lua, MultiValue, Table, Value};

use super::host::{FakeHost, raised};
use super::rehearsal::shown;
use super::tree::Shared;
use super::words::misuse;
use super::{recipe, tree};
use crate::Kind;
use crate::error::{Error, Result};
use crate::guest::{GuestName, Invalid, Storage, Xid};
use crate::life::clone::{self, CloneOptions};
use crate::life::observe::{State, Status};
use crate::lua::api::Failure;
use crate::lua::api::guest::{Handle, files, limit};
use crate::plan::{self, Fact};

/// `on_guest(host, "stop", "web", { timeout = "5s" })`: what the verb gives, or `nil` and why.
pub(super) fn on_guest(
    lua: &Lua,
    (host, verb, name, given, more): (AnyUserData, String, String, Value, Option<Table>),
) -> mlua::Result<MultiValue> {
    let mut host = host.borrow_mut::<FakeHost>()?;
    let name: GuestName = name
        .parse()
        .map_err(|invalid: Invalid| misuse("flow", invalid.message))?;
    let done = match verb.as_str() {
        "find" => host.known(&name).map(|()| Value::Boolean(true)),
        "status" => match host.status(&name) {
            Ok(status) => Ok(shown(lua, &status)?),
            Err(err) => Err(err),
        },
        "limit" => {
            let changes = limit::changes(lua, &given)?;
            host.limit(&name, &changes).map(|()| Value::Boolean(true))
        }
        "clone" => {
            let options = files::differences(more.as_ref())?;
            let to = named(&given)?;
            match host.clone(&name, &to, options) {
                Ok(xid) => {
                    let handle = Handle {
                        name: to,
                        xid: Some(xid),
                    };
                    Ok(Value::UserData(lua.create_userdata(handle)?))
                }
                Err(err) => Err(err),
            }
        }
        "convert" => {
            let storage: Storage = text(&given)
                .parse()
                .map_err(|invalid: Invalid| misuse("flow", invalid.message))?;
            host.convert(&name, storage).map(Value::Boolean)
        }
        // How many files a guest has, no fake host knows.
        "export" => host.known(&name).map(|()| Value::Integer(0)),
        "snapshot" => {
            let asked = |key: &str| match &given {
                Value::Table(table) => table.get::<Option<Value>>(key),
                _ => Ok(None),
            };
            let (label, keep) = (asked("name")?, asked("keep")?.and_then(|keep| keep.as_usize()));
            match host.snapshot(&name, label.as_ref().map(text), keep) {
                Ok(label) => Ok(label.into_lua(lua)?),
                Err(err) => Err(err),
            }
        }
        "snapshots" => match host.snapshots(&name) {
            Ok(all) => Ok(shown(lua, &all)?),
            Err(err) => Err(err),
        },
        "remove_snapshot" => host
            .remove_snapshot(&name, &text(&given))
            .map(|()| Value::Boolean(true)),
        "rollback" => host.rollback(&name, &text(&given)).map(|()| Value::Boolean(true)),
        "stop" => match host.stop(&name, flag(&given, "kill")) {
            Ok(how) => Ok(how.into_lua(lua)?),
            Err(err) => Err(err),
        },
        "destroy" => host
            .destroy(&name, flag(&given, "force"))
            .map(|()| Value::Boolean(true)),
        "kill" => {
            let is_end =
                matches!(&given, Value::String(signal) if signal.to_string_lossy().ends_with("KILL"));
            host.kill(&name, is_end).map(|()| Value::Boolean(true))
        }
        verb => {
            let done = match verb {
                "start" => host.start(&name),
                "restart" => host.stop(&name, false).and_then(|_| host.start(&name)),
                "pause" => host.pause(&name, true),
                "resume" => host.pause(&name, false),
                "exec" | "wait_healthy" => host.running(&name),
                other => return Err(misuse("flow", format!("a fake guest knows no `{other}`"))),
            };
            done.map(|()| Value::Boolean(true))
        }
    };
    match done {
        Ok(value) => Ok(MultiValue::from_iter([value])),
        // As the real ones: one that only waits must not pass because a guest is gone.
        Err(err) if matches!(err.kind(), Kind::NotFound | Kind::State) && verb != "wait_healthy" => {
            let failure = Failure::new(lua, err.kind(), err.to_string()).into_lua(lua)?;
            Ok(MultiValue::from_iter([Value::Nil, failure]))
        }
        Err(err) => Err(raised(&verb, &err)),
    }
}

fn text(given: &Value) -> String {
    given
        .as_string()
        .map_or_else(String::new, mlua::LuaString::to_string_lossy)
}

fn named(given: &Value) -> mlua::Result<GuestName> {
    text(given)
        .parse()
        .map_err(|invalid: Invalid| misuse("flow", invalid.message))
}

fn flag(given: &Value, name: &str) -> bool {
    matches!(given, Value::Table(table) if table.get::<bool>(name).unwrap_or(false))
}

/// `on_host(host, "guests")`, `on_host(host, "apply", "web.lua", { inputs = { ... } })`.
pub(super) fn on_host(
    lua: &Lua,
    shared: &tree::Shared,
    (host, verb, given, options): (AnyUserData, String, Value, Option<Table>),
) -> mlua::Result<Value> {
    let mut host = host.borrow_mut::<FakeHost>()?;
    if verb == "guests" {
        return shown(lua, &host.facts.keys().collect::<Vec<_>>());
    }
    let done = apply(&mut host, shared, &given, options.as_ref())?;
    shown(lua, &done)
}

#[derive(serde::Serialize)]
struct Done {
    guest: GuestName,
    verb: String,
}

/// `hostel.apply` of a recipe that is found beside the test.
fn apply(
    host: &mut FakeHost,
    shared: &Shared,
    recipe: &Value,
    options: Option<&Table>,
) -> mlua::Result<Vec<Done>> {
    // What is not of an evaluation says how a real host waits.
    let inputs = options.map(|options| -> mlua::Result<Option<Value>> { options.get("inputs") });
    let mut named = recipe::named(shared, "apply", recipe, None)?;
    if let Some(Value::Table(inputs)) = inputs.transpose()?.flatten() {
        for pair in inputs.pairs::<String, String>() {
            let (name, value) = pair?;
            named.options.inputs.insert(name, value);
        }
    }
    let evaluated =
        recipe::evaluated(shared, &named).map_err(|diagnostics| recipe::mistaken(&named, &diagnostics))?;
    let plan = plan::diff(&evaluated.specs, &host.facts, &plan::Options::default())
        .map_err(|err| raised("apply", &err))?;
    let before = host.facts.clone();
    for action in &plan.actions {
        let spec = evaluated.specs.iter().find(|spec| spec.name == action.guest);
        if let Err(err) = host.carry_out(action, spec) {
            host.facts = before;
            return Err(raised("apply", &err));
        }
    }
    Ok(plan
        .actions
        .iter()
        .map(|action| Done {
            guest: action.guest.clone(),
            verb: action.verb.to_string(),
        })
        .collect())
}

impl FakeHost {
    pub(super) fn known(&self, name: &GuestName) -> Result<()> {
        if self.facts.contains_key(name) {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound, format!("there is no guest `{name}`")))
    }

    fn is_up(&self, name: &GuestName) -> bool {
        self.facts.get(name).is_some_and(|fact| fact.started.is_some())
    }

    fn running(&self, name: &GuestName) -> Result<()> {
        self.known(name)?;
        if self.is_up(name) {
            return Ok(());
        }
        Err(Error::new(Kind::State, format!("guest `{name}` does not run")))
    }

    fn status(&self, name: &GuestName) -> Result<Status> {
        self.known(name)?;
        let fact = &self.facts[name];
        let state = match (self.is_up(name), self.paused.contains(name)) {
            (false, _) => State::Stopped,
            (true, true) => State::Paused,
            (true, false) => State::Running,
        };
        Ok(Status {
            name: name.clone(),
            xid: fact.xid,
            state,
            pid: None,
            uptime_s: None,
            processes: u64::from(state != State::Stopped),
            memory_bytes: None,
            cpu_us: None,
            disk: None,
            addresses: fact.spec.net.addrs().collect(),
            image: fact.spec.image.to_string(),
            autostart: fact.spec.autostart,
        })
    }

    fn start(&mut self, name: &GuestName) -> Result<()> {
        self.known(name)?;
        if self.is_up(name) {
            return Err(Error::new(Kind::State, format!("guest `{name}` runs already")));
        }
        self.refuse(&self.facts[name].spec)?;
        self.set_up(name, true);
        Ok(())
    }

    pub(super) fn set_up(&mut self, name: &GuestName, is_up: bool) {
        self.paused.remove(name);
        if let Some(fact) = self.facts.get_mut(name) {
            fact.started = is_up.then(|| fact.spec.clone());
        }
    }

    fn stop(&mut self, name: &GuestName, is_kill: bool) -> Result<&'static str> {
        self.known(name)?;
        if !self.is_up(name) {
            return Ok("did_not_run");
        }
        self.set_up(name, false);
        Ok(if is_kill { "killed" } else { "gracefully" })
    }

    fn kill(&mut self, name: &GuestName, is_end: bool) -> Result<()> {
        self.running(name)?;
        if is_end {
            self.set_up(name, false);
        }
        Ok(())
    }

    fn pause(&mut self, name: &GuestName, is_wanted: bool) -> Result<()> {
        self.running(name)?;
        if self.paused.contains(name) == is_wanted {
            let what = if is_wanted {
                "is paused already"
            } else {
                "is not paused"
            };
            return Err(Error::new(Kind::State, format!("guest `{name}` {what}")));
        }
        if is_wanted {
            self.paused.insert(name.clone());
        } else {
            self.paused.remove(name);
        }
        Ok(())
    }

    fn destroy(&mut self, name: &GuestName, is_forced: bool) -> Result<()> {
        self.known(name)?;
        if self.is_up(name) && !is_forced {
            return Err(Error::new(Kind::State, format!("guest `{name}` runs")));
        }
        self.set_up(name, false);
        self.facts.remove(name);
        self.snapshots.remove(name);
        Ok(())
    }

    fn clone(&mut self, source: &GuestName, name: &GuestName, options: CloneOptions) -> Result<Xid> {
        self.known(source)?;
        if self.facts.contains_key(name) {
            return Err(Error::new(
                Kind::Exists,
                format!("there is a guest `{name}` already"),
            ));
        }
        let spec = clone::like(&self.facts[source].spec, name, options)?;
        let fact = Fact {
            xid: self.xid(&spec)?,
            spec,
            started: None,
            drift: Vec::new(),
            recipe: None,
        };
        let xid = fact.xid;
        self.facts.insert(name.clone(), fact);
        Ok(xid)
    }

    /// Called after how many there were: a test has no clock but its own.
    fn snapshot(&mut self, name: &GuestName, label: Option<String>, keep: Option<usize>) -> Result<String> {
        self.known(name)?;
        let all = self.snapshots.entry(name.clone()).or_default();
        let label = label.unwrap_or_else(|| format!("snapshot-{}", all.len() + 1));
        if all.contains(&label) {
            return Err(Error::new(
                Kind::Exists,
                format!("`{name}` has a snapshot `{label}` already"),
            ));
        }
        all.push(label.clone());
        let many = all.len().saturating_sub(keep.unwrap_or(usize::MAX));
        all.drain(..many);
        Ok(label)
    }

    fn snapshots(&self, name: &GuestName) -> Result<Vec<serde_json::Value>> {
        self.known(name)?;
        let storage = self.facts[name].spec.storage.unwrap_or(Storage::Dir);
        let all = self.snapshots.get(name).into_iter().flatten();
        let one = |label| serde_json::json!({ "label": label, "created": "1970-01-01T00:00:00Z", "storage": storage, "size": 0 });
        Ok(all.map(one).collect())
    }

    fn has_snapshot(&self, name: &GuestName, label: &str) -> Result<()> {
        self.known(name)?;
        if self
            .snapshots
            .get(name)
            .is_some_and(|all| all.iter().any(|one| one == label))
        {
            return Ok(());
        }
        Err(Error::new(
            Kind::NotFound,
            format!("`{name}` has no snapshot `{label}`"),
        ))
    }

    fn remove_snapshot(&mut self, name: &GuestName, label: &str) -> Result<()> {
        self.has_snapshot(name, label)?;
        if let Some(all) = self.snapshots.get_mut(name) {
            all.retain(|one| one != label);
        }
        Ok(())
    }

    fn rollback(&self, name: &GuestName, label: &str) -> Result<()> {
        self.known(name)?;
        if self.is_up(name) {
            return Err(Error::new(Kind::State, format!("guest `{name}` runs")));
        }
        self.has_snapshot(name, label)
    }

    fn convert(&mut self, name: &GuestName, storage: Storage) -> Result<bool> {
        self.known(name)?;
        if self.is_up(name) {
            return Err(Error::new(Kind::State, format!("guest `{name}` runs")));
        }
        let was = self
            .facts
            .get_mut(name)
            .and_then(|fact| fact.spec.storage.replace(storage));
        Ok(was != Some(storage))
    }

    fn limit(&mut self, name: &GuestName, changes: &[crate::guest::LimitChange]) -> Result<()> {
        self.known(name)?;
        let mut limits = self.facts[name].spec.limits.clone();
        for change in changes {
            change.apply_to(&mut limits);
        }
        self.require(&limits)?;
        if let Some(fact) = self.facts.get_mut(name) {
            fact.spec.limits = limits.clone();
            if let Some(started) = &mut fact.started {
                started.limits = limits;
            }
        }
        Ok(())
    }
}
