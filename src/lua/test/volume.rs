//! The volumes of a fake host: what their verbs would change, and what a real one would refuse.

use mlua::{AnyUserData, IntoLua as _, Lua, MultiValue, Table, Value};

use super::host::{FakeHost, raised};
use super::rehearsal::shown;
use super::words::misuse;
use crate::Kind;
use crate::error::{Error, Result};
use crate::guest::{Invalid, Storage, Volume, VolumeName};
use crate::life::volume::set::Change;
use crate::lua::api::Failure;
use crate::lua::api::volume::{VolumeHandle, change, said};

/// A volume of a fake host.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeVolume {
    /// What it is like.
    said: Volume,
    /// Its snapshots, the oldest first.
    snapshots: Vec<String>,
}

impl FakeVolume {
    pub(super) fn of(said: &Volume) -> Self {
        Self {
            said: said.clone(),
            snapshots: Vec::new(),
        }
    }

    /// Becomes what a recipe says.
    pub(super) fn take(&mut self, said: &Volume) {
        let storage = said.storage.or(self.said.storage);
        self.said = Volume {
            storage,
            ..said.clone()
        };
    }

    fn storage(&self) -> Storage {
        self.said.storage.unwrap_or(Storage::Dir)
    }
}

/// `on_volume(host, "snapshot", "data", { name = "x" })`: what the verb gives, or `nil` and why.
pub(super) fn on_volume(
    lua: &Lua,
    (host, verb, name, given, more): (AnyUserData, String, Option<String>, Value, Option<Table>),
) -> mlua::Result<MultiValue> {
    let mut host = host.borrow_mut::<FakeHost>()?;
    let host = &mut *host;
    let named = |text: &str| -> mlua::Result<VolumeName> {
        text.parse()
            .map_err(|invalid: Invalid| misuse("flow", invalid.message))
    };
    let text = |value: &Value| {
        value
            .as_string()
            .map_or_else(String::new, mlua::LuaString::to_string_lossy)
    };
    let handle = |name: VolumeName| lua.create_userdata(VolumeHandle(name)).map(Value::UserData);
    let name = name.as_deref().map(named).transpose()?;
    let done: Result<Value> = match (verb.as_str(), name) {
        ("volumes", _) => {
            let all: mlua::Result<Vec<Value>> = host.volumes.keys().cloned().map(handle).collect();
            lua.create_sequence_from(all?).map(|all| Ok(Value::Table(all)))?
        }
        ("volume", _) => {
            let name = named(&text(&given))?;
            let found = host.known_volume(&name).map(drop);
            given_handle(found, || handle(name))?
        }
        ("create_volume", _) => {
            let name = named(&text(&given))?;
            let said = said("create_volume", more.as_ref())?;
            given_handle(host.make_volume(&name, FakeVolume::of(&said)), || handle(name))?
        }
        ("import_volume", _) => {
            let asked: Option<String> = more.map(|more| more.get("name")).transpose()?.flatten();
            let name = named(asked.as_deref().unwrap_or("imported"))?;
            given_handle(host.make_volume(&name, FakeVolume::default()), || handle(name))?
        }
        (verb, Some(name)) => match verb {
            "status" => match host.status_of(&name) {
                Ok(status) => Ok(shown(lua, &status)?),
                Err(err) => Err(err),
            },
            "set" => {
                let Value::Table(table) = &given else {
                    return Err(misuse("flow", "`set` takes a table"));
                };
                let change = change(lua, table)?;
                host.set_volume(&name, change).map(|()| Value::Boolean(true))
            }
            "snapshot" => {
                let asked = |key: &str| match &given {
                    Value::Table(table) => table.get::<Option<Value>>(key),
                    _ => Ok(None),
                };
                let (label, keep) = (asked("name")?, asked("keep")?.and_then(|keep| keep.as_usize()));
                match host.snapshot_volume(&name, label.as_ref().map(text), keep) {
                    Ok(label) => Ok(label.into_lua(lua)?),
                    Err(err) => Err(err),
                }
            }
            "snapshots" => match host.known_volume(&name) {
                Ok(volume) => {
                    let one = |label: &String| serde_json::json!({ "label": label, "created": "1970-01-01T00:00:00Z", "storage": volume.storage(), "size": 0 });
                    Ok(shown(lua, &volume.snapshots.iter().map(one).collect::<Vec<_>>())?)
                }
                Err(err) => Err(err),
            },
            "remove_snapshot" => host
                .find_snapshot(&name, &text(&given))
                .map(|(volume, place)| drop(volume.snapshots.remove(place)))
                .map(|()| Value::Boolean(true)),
            "rollback" => host
                .unmounted(&name)
                .and_then(|()| host.find_snapshot(&name, &text(&given)).map(drop))
                .map(|()| Value::Boolean(true)),
            "clone" => {
                let to = named(&text(&given))?;
                let volume = host
                    .known_volume(&name)
                    .map(|volume| FakeVolume::of(&volume.said));
                let made = volume.and_then(|volume| host.make_volume(&to, volume));
                given_handle(made, || handle(to))?
            }
            // How many files a volume has, no fake host knows.
            "export" => host.known_volume(&name).map(|_| Value::Integer(0)),
            "remove" => host.remove_volume(&name).map(|()| Value::Boolean(true)),
            other => return Err(misuse("flow", format!("a fake volume knows no `{other}`"))),
        },
        (other, None) => return Err(misuse("flow", format!("`{other}` of no volume"))),
    };
    match done {
        Ok(value) => Ok(MultiValue::from_iter([value])),
        // As the real ones.
        Err(err) if matches!(err.kind(), Kind::NotFound | Kind::State) => {
            let failure = Failure::new(lua, err.kind(), err.to_string()).into_lua(lua)?;
            Ok(MultiValue::from_iter([Value::Nil, failure]))
        }
        Err(err) => Err(raised(&verb, &err)),
    }
}

fn given_handle(
    done: Result<()>,
    handle: impl FnOnce() -> mlua::Result<Value>,
) -> mlua::Result<Result<Value>> {
    match done {
        Ok(()) => handle().map(Ok),
        Err(err) => Ok(Err(err)),
    }
}

impl FakeHost {
    fn known_volume(&self, name: &VolumeName) -> Result<&FakeVolume> {
        self.volumes
            .get(name)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no volume `{name}`")))
    }

    fn make_volume(&mut self, name: &VolumeName, volume: FakeVolume) -> Result<()> {
        if self.volumes.contains_key(name) {
            return Err(Error::new(
                Kind::Exists,
                format!("volume `{name}` is there already"),
            ));
        }
        self.volumes.insert(name.clone(), volume);
        Ok(())
    }

    /// Who has it among its mounts, and whether that one runs.
    fn users(&self, name: &VolumeName) -> Vec<(&str, bool)> {
        let mounts = |spec: &crate::guest::Spec| spec.mounted_volumes().contains(name);
        let all = self.facts.values().filter_map(|fact| {
            let is_now = fact.started.as_ref().is_some_and(mounts);
            (is_now || mounts(&fact.spec)).then_some((fact.spec.name.as_str(), is_now))
        });
        all.collect()
    }

    fn status_of(&self, name: &VolumeName) -> Result<serde_json::Value> {
        let volume = self.known_volume(name)?;
        let users = self.users(name).into_iter();
        let users: Vec<_> = users
            .map(|(guest, running)| serde_json::json!({ "guest": guest, "running": running }))
            .collect();
        Ok(serde_json::json!({
            "name": name, "storage": volume.storage(), "size": volume.said.size.map(|size| size.0), "inodes": volume.said.inodes,
            "snapshots": volume.snapshots.len(), "users": users, "created": "1970-01-01T00:00:00Z",
        }))
    }

    fn unmounted(&self, name: &VolumeName) -> Result<()> {
        self.known_volume(name)?;
        let running = self.users(name).into_iter().filter(|(_, is_now)| *is_now);
        let running: Vec<&str> = running.map(|(guest, _)| guest).collect();
        if running.is_empty() {
            return Ok(());
        }
        let message = format!("volume `{name}` is mounted by {}, running", running.join(", "));
        Err(Error::new(Kind::State, message))
    }

    fn set_volume(&mut self, name: &VolumeName, change: Change) -> Result<()> {
        let storage = self.known_volume(name)?.storage();
        if change.storage.is_some_and(|wanted| wanted != storage) {
            self.unmounted(name)?;
        }
        if let Some(volume) = self.volumes.get_mut(name) {
            let said = &mut volume.said;
            said.size = change.size.unwrap_or(said.size);
            said.inodes = change.inodes.unwrap_or(said.inodes);
            said.storage = change.storage.or(said.storage);
        }
        Ok(())
    }

    fn snapshot_volume(
        &mut self,
        name: &VolumeName,
        label: Option<String>,
        keep: Option<usize>,
    ) -> Result<String> {
        self.known_volume(name)?;
        let all = &mut self.volumes.entry(name.clone()).or_default().snapshots;
        let label = label.unwrap_or_else(|| format!("snapshot-{}", all.len() + 1));
        if all.contains(&label) {
            let message = format!("`{name}` has a snapshot `{label}` already");
            return Err(Error::new(Kind::Exists, message));
        }
        all.push(label.clone());
        let many = all.len().saturating_sub(keep.unwrap_or(usize::MAX));
        all.drain(..many);
        Ok(label)
    }

    fn find_snapshot(&mut self, name: &VolumeName, label: &str) -> Result<(&mut FakeVolume, usize)> {
        self.known_volume(name)?;
        let volume = self.volumes.entry(name.clone()).or_default();
        match volume.snapshots.iter().position(|one| one == label) {
            Some(place) => Ok((volume, place)),
            None => Err(Error::new(
                Kind::NotFound,
                format!("`{name}` has no snapshot `{label}`"),
            )),
        }
    }

    fn remove_volume(&mut self, name: &VolumeName) -> Result<()> {
        self.known_volume(name)?;
        let users: Vec<String> = self
            .users(name)
            .iter()
            .map(|(guest, _)| format!("`{guest}`"))
            .collect();
        if !users.is_empty() {
            let message = format!("volume `{name}` is among the mounts of {}", users.join(", "));
            return Err(Error::new(Kind::State, message));
        }
        self.volumes.remove(name);
        Ok(())
    }
}
