//! `require "hostel.tcp"`: whether a port answers, and a few lines over a connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use mlua::{IntoLuaMulti as _, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};

use super::deadline::within;
use super::failure::{check, mistake, or_failure, text};
use super::stage::effect;
use super::time;
use crate::error::{Error, Kind, Result};
use crate::sys::interrupt;

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of `wait_open`.
const PAUSE: Duration = Duration::from_millis(100);
/// What one `read` keeps.
const MOST: u64 = 16 << 20;

/// A connection, until it is closed.
pub(in crate::lua) struct Connection {
    stream: Option<TcpStream>,
    peer: String,
}

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set(
        "connect",
        lua.create_function(|lua, (host, port, timeout): (Value, u16, Value)| {
            check(lua)?;
            let host = text("connect", "the host", &host)?;
            let patience = patience(lua, "connect", &timeout)?;
            if let Some(answer) = effect(lua, "tcp.connect", None, (host.as_str(), port, timeout))? {
                return Ok(answer);
            }
            let connected = connect(&host, port, patience).map(|stream| Connection {
                stream: Some(stream),
                peer: format!("{host}:{port}"),
            });
            or_failure(lua, connected)?.into_lua_multi(lua)
        })?,
    )?;
    module.set(
        "wait_open",
        lua.create_function(|lua, (host, port, timeout): (Value, u16, Value)| {
            check(lua)?;
            let host = text("wait_open", "the host", &host)?;
            let patience = patience(lua, "wait_open", &timeout)?;
            if let Some(answer) = effect(lua, "tcp.wait_open", None, (host.as_str(), port, timeout))? {
                return Ok(answer);
            }
            let over = Instant::now() + patience;
            loop {
                let left = over.saturating_duration_since(Instant::now());
                match connect(&host, port, left.max(Duration::from_millis(1))) {
                    Ok(_) => return true.into_lua_multi(lua),
                    Err(err) if left.is_zero() => {
                        return or_failure::<bool>(lua, Err(err.with_kind(Kind::Timeout)))?
                            .into_lua_multi(lua);
                    }
                    Err(_) => time::sleep(lua, PAUSE.min(left))?,
                }
            }
        })?,
    )?;
    Ok(module)
}

fn patience(lua: &Lua, word: &str, timeout: &Value) -> mlua::Result<Duration> {
    let wanted = match timeout {
        Value::Nil => PATIENCE,
        given => Duration::try_from_secs_f64(time::seconds(word, given)?).unwrap_or(PATIENCE),
    };
    Ok(within(lua, wanted.max(Duration::from_millis(1))))
}

/// Tries each address of a host.
pub(super) fn connect(host: &str, port: u16, patience: Duration) -> Result<TcpStream> {
    let over = Instant::now() + patience;
    let what = || format!("connect to `{}` port {port}", host.escape_debug());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = (bare, port)
        .to_socket_addrs()
        .map_err(|source| Error::new(Kind::NotFound, what()).with_source(source))?
        .collect();
    let mut last = Error::new(Kind::NotFound, what());
    for address in addresses {
        interrupt::check()?;
        let left = over
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                let kind = if source.kind() == std::io::ErrorKind::TimedOut {
                    Kind::Timeout
                } else {
                    Kind::External
                };
                last = Error::io(what(), source).with_kind(kind);
            }
        }
    }
    Err(last)
}

impl Connection {
    fn stream(&self, lua: &Lua, word: &str, timeout: &Value) -> mlua::Result<&TcpStream> {
        check(lua)?;
        let patience = patience(lua, word, timeout)?;
        let stream = self
            .stream
            .as_ref()
            .ok_or_else(|| mistake(word, "the connection is closed"))?;
        stream
            .set_read_timeout(Some(patience))
            .map_err(mlua::Error::external)?;
        stream
            .set_write_timeout(Some(patience))
            .map_err(mlua::Error::external)?;
        Ok(stream)
    }

    fn failed(&self, what: &str, source: std::io::Error) -> Error {
        let kind = match source.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Kind::Timeout,
            _ => Kind::External,
        };
        Error::io(format!("{what} `{}`", self.peer), source).with_kind(kind)
    }
}

impl UserData for Connection {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method(
            "write",
            |lua, this, (bytes, timeout): (mlua::LuaString, Value)| {
                let mut stream = this.stream(lua, "write", &timeout)?;
                let written = stream
                    .write_all(&bytes.as_bytes())
                    .map_err(|source| this.failed("write to", source));
                or_failure(lua, written.map(|()| true))
            },
        );
        methods.add_method("read", |lua, this, (most, timeout): (Option<u64>, Value)| {
            let stream = this.stream(lua, "read", &timeout)?;
            let mut bytes = Vec::new();
            let read = match most {
                // What is there, at least one byte unless it has ended.
                Some(most) => {
                    bytes.resize(usize::try_from(most.min(MOST)).unwrap_or(0), 0);
                    let mut stream = stream;
                    stream.read(&mut bytes).map(|count| bytes.truncate(count))
                }
                None => stream.take(MOST).read_to_end(&mut bytes).map(drop),
            };
            let read = read.map_err(|source| this.failed("read from", source));
            or_failure(lua, read.map(|()| lua.create_string(&bytes)))
                .and_then(|(text, failure)| Ok((text.transpose()?, failure)))
        });
        methods.add_method_mut("close", |_, this, ()| {
            this.stream = None;
            Ok(())
        });
        methods.add_meta_method_mut(MetaMethod::Close, |_, this, _: Value| {
            this.stream = None;
            Ok(())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("connection to {}", this.peer))
        });
    }
}
