//! `require "hostel.exec"`: commands of the host. Never a shell: what is given is what the program gets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mlua::{IntoLuaMulti as _, Lua, MultiValue, Table, Value};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::command::{argv, flush};
use super::deadline::within;
use super::failure::{check, mistake, raise};
use super::program::cannot_run;
use super::stage::effect;
use super::streams::MOST;
use super::take::options;
use crate::error::{Context as _, Result};
use crate::guest::schema::{Record, Type, field, scalars as s};
use crate::guest::{Bytes, Span};
use crate::lua::read::described;
use crate::sys::interrupt;

/// What `exec.run` takes beside the command.
pub(in crate::lua) static OPTIONS: Record = Record {
    name: "host_exec_options",
    doc: "How a command of the host is run. The command itself is the list part of the table.",
    one_of: &[],
    fields: &[
        field("stdin", Type::Scalar(&s::TEXT), "What it reads.", "\"yes\\n\"").default("nothing"),
        field(
            "env",
            Type::Map(&s::ENV_NAME, &Type::Scalar(&s::TEXT)),
            "Added to its environment.",
            "{ LANG = \"C\" }",
        ),
        field(
            "dir",
            Type::Scalar(&s::HOST_PATH),
            "Its working directory.",
            "\"/srv\"",
        )
        .default("the script's"),
        field(
            "timeout",
            Type::Scalar(&s::SPAN),
            "When it is over, SIGTERM, and SIGKILL five seconds later, to it and what it started.",
            "\"1m\"",
        )
        .default("\"10m\""),
        field(
            "limit",
            Type::Scalar(&s::SIZE),
            "How much is kept of each of its outputs; the rest is read and forgotten.",
            "\"1M\"",
        )
        .default("\"16M\""),
    ],
};

/// Without a timeout of its own.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long what a command left behind may go on writing.
const TAIL: Duration = Duration::from_millis(500);
/// How often the end of a command is looked for whose output something else holds open.
const TICK: Duration = Duration::from_millis(50);

#[derive(serde::Deserialize, Default)]
struct Options {
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dir: Option<PathBuf>,
    timeout: Option<Span>,
    limit: Option<Bytes>,
}

/// How it ended.
#[derive(Default)]
struct Outcome {
    code: Option<i32>,
    signal: Option<i32>,
    is_timed_out: bool,
    is_cut: bool,
    output: [Vec<u8>; 2],
}

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set(
        "run",
        lua.create_function(|lua, command: Value| run(lua, &command))?,
    )?;
    Ok(module)
}

fn run(lua: &Lua, command: &Value) -> mlua::Result<MultiValue> {
    let Value::Table(table) = command else {
        let message = format!(
            "takes a table such as {{ \"id\", \"-u\" }}, not {}",
            described(command)
        );
        return Err(mistake("run", message));
    };
    let words = argv("run", table)?;
    let named = lua.create_table()?;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if !key.is_integer() {
            named.raw_set(key, value)?;
        }
    }
    let options: Options = options("run", &named, &OPTIONS)?;
    check(lua)?;
    if let Some(answer) = effect(lua, "exec.run", None, command)? {
        return Ok(answer);
    }
    flush(lua);
    let patience = within(lua, options.timeout.map_or(PATIENCE, Span::duration));
    let outcome = carry_out(&words, &options, patience).map_err(|err| raise(lua, "run", &err))?;
    if outcome.is_timed_out {
        check(lua)?;
    }
    let [stdout, stderr] = &outcome.output;
    let result = lua.create_table()?;
    result.set("ok", outcome.code == Some(0))?;
    result.set("code", outcome.code)?;
    result.set("signal", outcome.signal)?;
    result.set("timed_out", outcome.is_timed_out)?;
    result.set("truncated", outcome.is_cut)?;
    result.set("stdout", lua.create_string(stdout)?)?;
    result.set("stderr", lua.create_string(stderr)?)?;
    result.into_lua_multi(lua)
}

fn carry_out(words: &[String], options: &Options, patience: Duration) -> Result<Outcome> {
    let (program, args) = words
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(&options.env)
        .stdin(if options.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what it started is ended with it.
        .process_group(0);
    if let Some(dir) = &options.dir {
        command.current_dir(dir);
    }
    let child = command.spawn().map_err(|source| {
        let search = options.env.get("PATH").map(String::as_str);
        cannot_run(program, options.dir.as_deref(), search, source)
    })?;
    let limit = options
        .limit
        .map_or(MOST, |limit| usize::try_from(limit.0).unwrap_or(usize::MAX));
    let mut running = Running {
        child,
        is_reaped: false,
    };
    running.watch(options.stdin.as_bytes(), limit, Instant::now() + patience)
}

/// A command that is killed with all that it started when nobody waits for it any more.
struct Running {
    child: Child,
    is_reaped: bool,
}

impl Running {
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // ESRCH: all of it has just ended.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    fn watch(&mut self, stdin: &[u8], limit: usize, deadline: Instant) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut input = self.child.stdin.take();
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        if let Some(input) = &input {
            fcntl(input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .context(|| "prepare the input of a command")?;
        }
        let mut rest = stdin;
        let mut next = deadline;
        let mut is_asked = false;
        let mut ended: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if ended.is_none() {
                interrupt::check()?;
                if now >= next {
                    outcome.is_timed_out = true;
                    self.signal(if is_asked {
                        Signal::SIGKILL
                    } else {
                        Signal::SIGTERM
                    });
                    is_asked = true;
                    next = now + GRACE;
                }
                if let Some(status) = self.child.try_wait().context(|| "wait for a command")? {
                    (outcome.code, outcome.signal) = (status.code(), status.signal());
                    self.is_reaped = true;
                    ended = Some(now);
                }
            }
            let is_silent = out.is_none() && err.is_none();
            match ended {
                Some(_) if is_silent => return Ok(outcome),
                Some(at) if now >= at + TAIL => return Ok(outcome),
                _ => {}
            }
            let mut fds = Vec::with_capacity(3);
            if let Some(out) = &out {
                fds.push(PollFd::new(out.as_fd(), PollFlags::POLLIN));
            }
            if let Some(err) = &err {
                fds.push(PollFd::new(err.as_fd(), PollFlags::POLLIN));
            }
            if let Some(input) = input.as_ref().filter(|_| !rest.is_empty()) {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT));
            }
            let left = TICK.min(next.saturating_duration_since(now));
            let _ = poll(
                &mut fds,
                PollTimeout::from(u16::try_from(left.as_millis()).unwrap_or(50).max(1)),
            );
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            drop(fds);
            let mut ready = ready.into_iter();
            if out.is_some()
                && ready.next() == Some(true)
                && !take(&mut out, &mut outcome.output[0], limit, &mut outcome.is_cut)?
            {
                out = None;
            }
            if err.is_some()
                && ready.next() == Some(true)
                && !take(&mut err, &mut outcome.output[1], limit, &mut outcome.is_cut)?
            {
                err = None;
            }
            if ready.next() == Some(true)
                && let Some(pipe) = &mut input
            {
                match pipe.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(source) if source.kind() == std::io::ErrorKind::WouldBlock => {}
                    // It reads no more: that is its own business.
                    Err(_) => rest = &[],
                }
            }
            if rest.is_empty() {
                input = None;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Reads what is there; false at the end.
fn take(
    pipe: &mut Option<impl std::io::Read>,
    kept: &mut Vec<u8>,
    limit: usize,
    is_cut: &mut bool,
) -> Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    let mut chunk = [0; 1 << 14];
    let count = match pipe.read(&mut chunk) {
        Err(source) if source.kind() == std::io::ErrorKind::Interrupted => return Ok(true),
        other => other.context(|| "read the output of a command")?,
    };
    let room = limit.saturating_sub(kept.len()).min(count);
    *is_cut |= room < count;
    kept.extend_from_slice(&chunk[..room]);
    Ok(count > 0)
}
