//! The verbs of a guest: `start`, `stop`, `restart`, `pause`, `resume`, `kill`, `wait_healthy`, `destroy`.

use mlua::{IntoLuaMulti as _, Table, UserDataMethods, Value};
use serde::Deserialize;

use super::super::failure::{mistake, raise, text};
use super::super::take::options;
use super::{Handle, act};
use crate::guest::{Span, schema};
use crate::life::observe::State;
use crate::life::stop::{self, StopHow, Stopped};
use crate::life::{Host, destroy, health, init_config, observe, pause, start};
use crate::lua::hooks::to_stderr;

#[derive(Deserialize, Default)]
struct How {
    timeout: Option<Span>,
    #[serde(default)]
    kill: bool,
}

#[derive(Deserialize, Default)]
struct Wait {
    timeout: Option<Span>,
}

#[derive(Deserialize, Default)]
struct Removal {
    #[serde(default)]
    force: bool,
}

fn how(word: &str, table: Option<&Table>) -> mlua::Result<StopHow> {
    let how: How = match table {
        Some(table) => options(word, table, &schema::STOP_OPTIONS)?,
        None => How::default(),
    };
    Ok(StopHow {
        timeout: how.timeout,
        kill: how.kill,
    })
}

pub(super) fn add<M: UserDataMethods<Handle>>(methods: &mut M) {
    methods.add_method("start", |lua, this, ()| {
        act(lua, this, "start", (), |host| {
            start::start(host, &this.name, &to_stderr()).map(|()| true)
        })
    });
    methods.add_method("stop", |lua, this, table: Option<Table>| {
        let how = how("stop", table.as_ref())?;
        act(lua, this, "stop", table, |host| {
            Ok(match stop::stop(host, &this.name, how, &to_stderr())? {
                Stopped::Gracefully => "gracefully",
                Stopped::Killed => "killed",
                Stopped::DidNotRun => "did_not_run",
            })
        })
    });
    methods.add_method("restart", |lua, this, table: Option<Table>| {
        let how = how("restart", table.as_ref())?;
        act(lua, this, "restart", table, |host| {
            stop::stop(host, &this.name, how, &to_stderr())?;
            start::start(host, &this.name, &to_stderr()).map(|()| true)
        })
    });
    methods.add_method("pause", |lua, this, ()| {
        act(lua, this, "pause", (), |host| {
            pause::pause(host, &this.name).map(|()| true)
        })
    });
    methods.add_method("resume", |lua, this, ()| {
        act(lua, this, "resume", (), |host| {
            pause::resume(host, &this.name).map(|()| true)
        })
    });
    methods.add_method("kill", |lua, this, signal: Option<Value>| {
        let name = match &signal {
            None | Some(Value::Nil) => "KILL".to_owned(),
            Some(value) => text("kill", "the signal", value)?,
        };
        let signal = init_config::signal_number(&name).map_err(|err| mistake("kill", err))?;
        act(lua, this, "kill", name, |host| {
            pause::kill(host, &this.name, signal).map(|()| true)
        })
    });
    methods.add_method("wait_healthy", |lua, this, table: Option<Table>| {
        let wait: Wait = match &table {
            Some(table) => options("wait_healthy", table, &schema::WAIT)?,
            None => Wait::default(),
        };
        if let Some(answer) = this.asked(lua, "wait_healthy", table)? {
            return Ok(answer);
        }
        // Always raised: a step that only waits must not pass because a guest is gone.
        Host::open()
            .and_then(|host| {
                let applied = observe::applied(&host, &this.name)?;
                observe::running_group(&host, &this.name, applied.xid)?;
                health::wait_healthy(&host, &this.name, wait.timeout)
            })
            .map_err(|err| raise(lua, "wait_healthy", &err))?;
        true.into_lua_multi(lua)
    });
    methods.add_method("destroy", |lua, this, table: Option<Table>| {
        let removal: Removal = match &table {
            Some(table) => options("destroy", table, &schema::DESTROY)?,
            None => Removal::default(),
        };
        act(lua, this, "destroy", table, |host| {
            if removal.force && observe::status(host, &this.name)?.state != State::Stopped {
                stop::stop(host, &this.name, StopHow::default(), &to_stderr())?;
            }
            destroy::destroy(host, &this.name).map(|()| true)
        })
    });
}
