//! A host that is only described: facts as `plan::diff` takes them, kept in memory, and the refusals of a real one.

use std::collections::{BTreeMap, BTreeSet};

use mlua::{AnyUserData, Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::recipe::{PlanHandle, specs};
use super::volume::FakeVolume;
use super::words::misuse;
use crate::Error;
use crate::guest::net::NetMode;
use crate::guest::{Bytes, GuestName, LimitChange, Spec, VolumeName, Xid};
use crate::lua::diagnostic::Code;
use crate::lua::order;
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::plan::{Action, Fact, Facts, Verb};
use crate::sys::cgroup::{self, Controller, Description, IoWeight, Layout};
use crate::sys::landlock;

/// The Landlock ABI of a kernel, by the release that brought it (landlock(7)).
const ABIS: &[((u32, u32), u32)] = &[
    ((6, 15), 7),
    ((6, 12), 6),
    ((6, 10), 5),
    ((6, 7), 4),
    ((6, 2), 3),
    ((5, 19), 2),
    ((5, 13), 1),
];

/// A failure of hostel's own, at the test's line.
pub(super) fn raised(word: &str, err: &Error) -> mlua::Error {
    let mut raised = Raised::new(Code::Runtime, err.to_string())
        .word(word)
        .kind(err.kind());
    raised.help = err.hint().map(str::to_owned);
    raised.into()
}

/// A fake host.
pub(in crate::lua) struct FakeHost {
    pub(super) facts: Facts,
    cgroups: cgroup::Host,
    landlock: u32,
    memory: Option<Bytes>,
    cpus: u16,
    pub(super) paused: BTreeSet<GuestName>,
    /// The snapshots of each guest, the oldest first.
    pub(super) snapshots: BTreeMap<GuestName, Vec<String>>,
    /// Its volumes.
    pub(super) volumes: BTreeMap<VolumeName, FakeVolume>,
}

impl FakeHost {
    /// The recipe that everything on it came from: a test has no path on the host.
    pub(super) const RECIPE: &'static str = "recipe.lua";

    /// The same refusals as before a start: the limits and the sockets that this host cannot confine.
    pub(super) fn refuse(&self, spec: &Spec) -> crate::Result<()> {
        let unnamed = || -> crate::Result<()> {
            self.cgroups.unified()?;
            self.cgroups.require(&spec.limits)?;
            let is_there =
                |name: &VolumeName| self.volumes.contains_key(name) || spec.volumes.contains_key(name);
            if let Some(name) = spec.mounted_volumes().into_iter().find(|name| !is_there(name)) {
                return Err(Error::new(
                    crate::Kind::NotFound,
                    format!("there is no volume `{name}`"),
                ));
            }
            let on_host_stack = matches!(spec.net.mode, NetMode::Bind | NetMode::Host);
            if on_host_stack && !spec.net.shared_abstract_sockets {
                landlock::require_abi(self.landlock)?;
            }
            Ok(())
        };
        unnamed().map_err(|err| err.context(format!("start `{}`", spec.name)))
    }

    /// The number that a guest gets: the wanted one, the one it has, or the lowest that is free.
    pub(super) fn xid(&self, spec: &Spec) -> crate::Result<Xid> {
        if let Some(xid) = spec.xid {
            return Ok(xid);
        }
        if let Some(fact) = self.facts.get(&spec.name) {
            return Ok(fact.xid);
        }
        let taken: BTreeSet<u32> = self.facts.values().map(|fact| fact.xid.get()).collect();
        let free = (Xid::FIRST_AUTOMATIC.get()..=Xid::MAX.get()).find(|number| !taken.contains(number));
        Ok(Xid::new(free.unwrap_or(Xid::MAX.get()))?)
    }

    pub(super) fn carry_out(&mut self, action: &Action, spec: Option<&Spec>) -> crate::Result<()> {
        let name = &action.guest;
        match (action.verb, spec) {
            (Verb::Destroy, _) => {
                self.paused.remove(name);
                self.facts.remove(name);
            }
            (verb, Some(spec)) => {
                self.refuse(spec)?;
                let is_running =
                    verb != Verb::Update || self.facts.get(name).is_some_and(|fact| fact.started.is_some());
                let fact = Fact {
                    spec: spec.clone(),
                    started: is_running.then(|| spec.clone()),
                    xid: self.xid(spec)?,
                    drift: Vec::new(),
                    recipe: Some(Self::RECIPE.to_owned()),
                };
                for (volume, said) in &spec.volumes {
                    let made = self.volumes.entry(volume.clone()).or_default();
                    made.take(said);
                }
                self.facts.insert(name.clone(), fact);
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// A guest that is there already, and runs.
    pub(super) fn create(&mut self, spec: &Spec) -> crate::Result<()> {
        let action = Action {
            guest: spec.name.clone(),
            verb: Verb::Create,
            changes: Vec::new(),
            volumes: Vec::new(),
            after: Vec::new(),
        };
        self.carry_out(&action, Some(spec))
    }

    /// Refuses limits that this host cannot keep.
    pub(super) fn require(&self, limits: &crate::guest::Limits) -> crate::Result<()> {
        self.cgroups.require(limits)
    }

    fn fact(&mut self, word: &str, name: &str) -> mlua::Result<&mut Fact> {
        let known = name.parse::<GuestName>().ok();
        known.and_then(|name| self.facts.get_mut(&name)).ok_or_else(|| {
            misuse(
                word,
                format!("there is no guest `{}` on this host", name.escape_debug()),
            )
        })
    }
}

/// One with nothing on it, as `t.fake_host()` makes it.
pub(super) fn fake() -> mlua::Result<FakeHost> {
    fake_host(&Lua::new(), None)
}

/// `t.fake_host { memory = "64G", cpus = 8, kernel = "6.12", cgroup = "v2", guests = fleet }`.
pub(super) fn fake_host(lua: &Lua, options: Option<Table>) -> mlua::Result<FakeHost> {
    let wrong = |message: String| misuse("fake_host", message);
    let mut description = Description {
        layout: Layout::V2,
        controllers: Controller::ALL.to_vec(),
        cpus: 4,
        swap: true,
        io_weight: Some(IoWeight::Bfq),
    };
    let (mut memory, mut kernel, mut guests) = (None, (6, 12), Value::Nil);
    let mut volumes = BTreeMap::new();
    for pair in options
        .into_iter()
        .flat_map(|table| table.pairs::<String, Value>().collect::<Vec<_>>())
    {
        let (key, value) = pair?;
        let bad = || wrong(format!("`{key}` cannot be {}", shown(&value)));
        match (key.as_str(), &value) {
            ("memory", Value::String(text)) => {
                let bytes = text.to_string_lossy().parse::<Bytes>();
                memory = Some(bytes.map_err(|invalid| wrong(format!("memory: {}", invalid.message)))?);
            }
            ("cpus", Value::Integer(count)) => {
                description.cpus = u16::try_from(*count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or_else(bad)?;
            }
            ("kernel", Value::String(text)) => {
                kernel = release(&text.to_string_lossy()).ok_or_else(bad)?;
            }
            ("cgroup", Value::String(text)) => {
                description.layout = match text.to_string_lossy().as_str() {
                    "v2" => Layout::V2,
                    "hybrid" => Layout::Hybrid,
                    "v1" => Layout::V1,
                    _ => return Err(bad()),
                };
            }
            ("controllers", Value::Table(list)) => {
                description.controllers = Vec::new();
                let items = order::only_list(list)?;
                for name in items.map_err(|odd| wrong(format!("`controllers` has {odd}")))? {
                    let Value::String(name) = name else {
                        return Err(wrong(format!("`controllers` has {}", described(&name))));
                    };
                    let name = name.to_string_lossy();
                    let controller = Controller::ALL.into_iter().find(|c| c.name() == name);
                    let controller = controller.ok_or_else(|| {
                        let all: Vec<&str> = Controller::ALL.iter().map(|c| c.name()).collect();
                        wrong(format!("`{name}` is no controller; there are {}", all.join(", ")))
                    })?;
                    description.controllers.push(controller);
                }
            }
            ("swap", Value::Boolean(swap)) => description.swap = *swap,
            ("io_weight", Value::Boolean(false)) => description.io_weight = None,
            ("io_weight", Value::String(text)) => {
                description.io_weight = match text.to_string_lossy().as_str() {
                    "bfq" => Some(IoWeight::Bfq),
                    "iocost" => Some(IoWeight::Iocost),
                    _ => return Err(bad()),
                };
            }
            ("guests", table @ Value::Table(_)) => guests = table.clone(),
            ("volumes", Value::Table(list)) => {
                for name in list.sequence_values::<String>() {
                    let name = name?.parse::<VolumeName>();
                    let name = name.map_err(|invalid| wrong(format!("volumes: {}", invalid.message)))?;
                    volumes.insert(name, FakeVolume::default());
                }
            }
            (
                "memory" | "cpus" | "kernel" | "cgroup" | "controllers" | "swap" | "io_weight" | "guests"
                | "volumes",
                _,
            ) => return Err(bad()),
            (other, _) => {
                return Err(wrong(format!(
                    "a host has no `{}`; there are cgroup, controllers, cpus, guests, io_weight, kernel, memory, swap, volumes",
                    other.escape_debug()
                )));
            }
        }
    }
    let mut host = FakeHost {
        facts: Facts::new(),
        cgroups: cgroup::Host::described(&description),
        landlock: ABIS
            .iter()
            .find(|(from, _)| kernel >= *from)
            .map_or(0, |(_, abi)| *abi),
        memory,
        cpus: description.cpus,
        paused: BTreeSet::new(),
        snapshots: BTreeMap::new(),
        volumes,
    };
    if !guests.is_nil() {
        for spec in specs(lua, "fake_host", &guests)? {
            host.create(&spec).map_err(|err| raised("fake_host", &err))?;
        }
    }
    Ok(host)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", text.to_string_lossy().escape_debug()),
        Value::Integer(number) => number.to_string(),
        other => described(other),
    }
}

/// `6.12` and `6.12.3-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl UserData for FakeHost {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("cpus", |_, this| Ok(this.cpus));
        fields.add_field_method_get("memory", |_, this| Ok(this.memory.map(|bytes| bytes.0)));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("apply", |_, this, plan: Value| apply(this, &plan));
        methods.add_method("names", |_, this, ()| {
            Ok(this
                .facts
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect::<Vec<_>>())
        });
        methods.add_method("is_running", |_, this, name: String| {
            let fact = name
                .parse()
                .ok()
                .and_then(|name: GuestName| this.facts.get(&name));
            Ok(fact.is_some_and(|fact| fact.started.is_some()))
        });
        methods.add_method_mut("xid", |_, this, name: String| {
            Ok(this.fact("xid", &name)?.xid.get())
        });
        methods.add_method_mut("stop", |_, this, name: String| {
            let name = this.fact("stop", &name)?.spec.name.clone();
            this.set_up(&name, false);
            Ok(())
        });
        methods.add_method_mut("start", |_, this, name: String| {
            let fact = this.fact("start", &name)?;
            fact.started = Some(fact.spec.clone());
            Ok(())
        });
        methods.add_method_mut("drift", |_, this, (name, limit): (String, String)| {
            let limit = LimitChange::of_cgroup()
                .find(|known| *known == limit)
                .ok_or_else(|| {
                    misuse(
                        "drift",
                        format!("`{}` is no limit of a cgroup", limit.escape_debug()),
                    )
                })?;
            this.fact("drift", &name)?.drift.push(limit);
            Ok(())
        });
        methods.add_method("left", |lua, this, ()| left(lua, this));
        methods.add_meta_method(mlua::MetaMethod::ToString, |_, this, ()| {
            Ok(format!("fake host with {} guests", this.facts.len()))
        });
    }
}

/// What the plan says becomes what is on the host; all of it, or nothing.
fn apply(host: &mut FakeHost, plan: &Value) -> mlua::Result<()> {
    let handle: Option<AnyUserData> = match plan {
        Value::Table(table) => match table.metatable() {
            Some(meta) => meta.raw_get("handle")?,
            None => None,
        },
        _ => None,
    };
    let handle = handle.ok_or_else(|| {
        misuse(
            "apply",
            format!("takes a plan of `t.plan`, not {}", described(plan)),
        )
    })?;
    let handle = handle.borrow::<PlanHandle>()?;
    let before = host.facts.clone();
    for action in &handle.plan.actions {
        if let Err(err) = host.carry_out(action, handle.specs.get(&action.guest)) {
            host.facts = before;
            return Err(raised("apply", &err));
        }
    }
    Ok(())
}

/// What the limits of the running guests leave: `memory` in bytes and `cpus`; a value is nil where a guest has no such
/// limit, or the host's is not known.
fn left(lua: &Lua, host: &FakeHost) -> mlua::Result<Table> {
    let running = || host.facts.values().filter_map(|fact| fact.started.as_ref());
    let memory: Option<u64> = running()
        .map(|spec| spec.limits.memory.map(|bytes| bytes.0))
        .sum();
    let memory = host
        .memory
        .zip(memory)
        .map(|(all, used)| i128::from(all.0) - i128::from(used));
    let cpus: Option<f64> = running()
        .map(|spec| {
            spec.limits
                .cpus
                .as_ref()
                .and_then(|cpus| cpus.to_string().parse::<f64>().ok())
        })
        .sum();
    let table = lua.create_table()?;
    table.set("memory", memory.and_then(|bytes| i64::try_from(bytes).ok()))?;
    table.set("cpus", cpus.map(|used| f64::from(host.cpus) - used))?;
    Ok(table)
}
