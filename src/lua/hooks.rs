//! Hooks: functions of a recipe that run on the host around a guest's start and stop.
//!
//! Only the recipe's path and hash are kept with an applied guest. To run a hook, the recipe is evaluated again in a
//! child, compared with the hash, and the function is called there with a handle: all its power. The child
//! leads a process group, so that nothing that the hook started outlives its timeout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::thread;

use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods, Value};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use super::api::{MOST, cannot_run};
use super::child::{Ended, in_child};
use super::order;
use super::read::described;
use super::state::Raised;
use super::{Code, Diagnostic, Diagnostics, EvalOptions, evaluate};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Bytes, GuestName, Hook, HookMoment, Span};
use crate::life::health::wait_healthy;
use crate::life::hooks::HookRunner;
use crate::life::host::Host;
use crate::storage::state::Applied;

/// The recipe of an applied guest.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Where it is.
    pub path: PathBuf,
    /// [`Evaluated::hash`](super::Evaluated::hash) when it was applied.
    pub hash: String,
    /// Its inputs when it was applied.
    pub inputs: BTreeMap<String, String>,
}

/// Runs the hooks of applied guests from their recipes: the one [`HookRunner`] of hostel.
pub struct RecipeHooks<L: Fn(&GuestName, &str), W: Fn(&GuestName, &Error)> {
    /// Told what a hook logs, a line at a time.
    pub log: L,
    /// Told of a failure that does not end the command.
    pub warn: W,
}

impl<L: Fn(&GuestName, &str), W: Fn(&GuestName, &Error)> HookRunner for RecipeHooks<L, W> {
    fn run(&self, applied: &Applied, moment: HookMoment, hook: &Hook) -> Result<()> {
        let name = &applied.spec.name;
        let Some(reference) = &applied.recipe else {
            return Err(
                Error::new(Kind::Invalid, format!("`{name}` was applied without a recipe"))
                    .with_hint("apply the recipe again"),
            );
        };
        let recipe = Recipe {
            path: reference.path.clone(),
            hash: reference.sha256.clone(),
            inputs: reference.inputs.clone(),
        };
        for line in run(&recipe, name, moment, hook)? {
            (self.log)(name, &line);
        }
        Ok(())
    }

    fn warn(&self, guest: &GuestName, err: &Error) {
        (self.warn)(guest, err);
    }
}

/// Writes a line to standard error, without what could steer a terminal. What cannot be told is lost: a closed
/// standard error is no reason to fail a start.
pub(crate) fn tell(text: &str) {
    let clean: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let _ = writeln!(std::io::stderr(), "{clean}");
}

/// The runner of scripts: everything goes to standard error.
pub(crate) fn to_stderr() -> impl HookRunner {
    RecipeHooks {
        log: |guest: &GuestName, line: &str| tell(&format!("{guest}: {line}")),
        warn: |guest: &GuestName, err: &Error| tell(&format!("{guest}: warning: {err}")),
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Report {
    log: Vec<String>,
    failure: Option<Diagnostics>,
}

/// Runs a guest's hook for `moment`. Returns what it logged.
pub fn run(recipe: &Recipe, guest: &GuestName, moment: HookMoment, hook: &Hook) -> Result<Vec<String>> {
    let patience = hook.timeout.duration();
    let (bytes, ended) = in_child(patience, |pipe| {
        // Of its own, so that the commands of the hook can be killed with it.
        if nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).is_err()
            || crate::sys::clone::die_with_parent().is_err()
        {
            return 1;
        }
        let report = inside(recipe, guest, moment);
        let Ok(bytes) = serde_json::to_vec(&report) else {
            return 1;
        };
        i32::from(File::from(pipe).write_all(&bytes).is_err())
    })?;
    let report: Report = match ended {
        Ended::Late => {
            return Err(
                Error::new(Kind::Timeout, format!("it took longer than {}", hook.timeout))
                    .with_hint("`timeout` of the hook says how long it may take"),
            );
        }
        Ended::Code(0) => serde_json::from_slice(&bytes)
            .map_err(|source| Error::new(Kind::Internal, "read what the hook reports").with_source(source))?,
        Ended::Code(code) => {
            return Err(Error::new(
                Kind::External,
                format!("the hook's process ended with status {code}"),
            ));
        }
        Ended::Signal(signal) => {
            return Err(Error::new(
                Kind::External,
                format!("the hook's process died of {signal}"),
            ));
        }
    };
    match report.failure {
        None => Ok(report.log),
        Some(diagnostics) => Err(as_error(&diagnostics)),
    }
}

/// The first mistake, with its place before it as compilers have it.
fn as_error(diagnostics: &Diagnostics) -> Error {
    let Some(first) = diagnostics.0.first() else {
        return Error::new(Kind::Internal, "a hook failed without a reason");
    };
    let place = first
        .place
        .as_ref()
        .map(|p| format!("{}:{}: ", p.file, p.line))
        .unwrap_or_default();
    let err = Error::new(Kind::External, format!("{place}{}", first.message));
    match &first.help {
        Some(help) => err.with_hint(help.clone()),
        None => err,
    }
}

fn inside(recipe: &Recipe, guest: &GuestName, moment: HookMoment) -> Report {
    let log = Rc::new(std::cell::RefCell::new(Vec::new()));
    let failure = call(recipe, guest, moment, &log).err();
    let log = log.take();
    Report { log, failure }
}

type Log = Rc<std::cell::RefCell<Vec<String>>>;

fn call(recipe: &Recipe, guest: &GuestName, moment: HookMoment, log: &Log) -> Result<(), Diagnostics> {
    let options = EvalOptions {
        inputs: recipe.inputs.clone(),
        isolated: false,
        ..EvalOptions::default()
    };
    let run = evaluate::here(&recipe.path, &options)?;
    let fail = |message: String, help: &str| {
        let diagnostic = Diagnostic::new(Code::Hook, message, None);
        Err(Diagnostics::one(diagnostic.with_help(Some(help.to_owned()))))
    };
    if run.evaluated.hash != recipe.hash {
        return fail(
            format!(
                "`{}` is not the recipe that `{guest}` was applied from",
                recipe.path.display()
            ),
            "apply it again, and its hooks are the new ones",
        );
    }
    let number = run.hooks.get(&(guest.as_str().to_owned(), moment));
    let function = number.and_then(|n| run.vm.state.borrow().functions.get(*n).cloned());
    let Some(function) = function else {
        return fail(
            format!("the recipe has no such hook for `{guest}`"),
            "apply it again",
        );
    };
    // The timeout of the hook bounds it from here on.
    run.vm.lua.remove_global_hook();
    let handle = Handle {
        guest: guest.as_str().to_owned(),
        log: Rc::clone(log),
    };
    let checked = checked(&run.vm.lua, &function).map_err(|source| {
        Diagnostics::one(Diagnostic::new(
            Code::Child,
            format!("call the hook: {source}"),
            None,
        ))
    })?;
    match run.vm.call(&checked, handle) {
        Ok(()) => Ok(()),
        Err(error) => Err(Diagnostics::one(evaluate::describe(&run.vm, &error, &options))),
    }
}

/// The hook, with a look at what it returns: elsewhere in Lua `false`, or nothing and a text, says that something failed,
/// and a start must not go on as if it had not.
fn checked(lua: &Lua, hook: &mlua::Function) -> mlua::Result<mlua::Function> {
    let judge = lua.create_function(|_, (first, second): (Value, Value)| {
        let what = match (&first, &second) {
            (Value::Boolean(false) | Value::Nil, Value::String(text)) => {
                format!(
                    "the hook returned {} and \"{}\"",
                    described(&first),
                    text.to_string_lossy()
                )
            }
            (Value::Boolean(false), _) => "the hook returned false".to_owned(),
            _ => return Ok(()),
        };
        Err(failed(what)
            .help("a hook fails by `error \"why\"`, and needs to return nothing")
            .into())
    })?;
    lua.load("local hook, judge = ... return function(h) judge(hook(h)) end")
        .set_name("=hook")
        .call((hook, judge))
}

/// The methods of a hook's argument.
pub(crate) const METHODS: &[&str] = &["exec", "log", "require_free"];

/// The methods of its `guest`.
pub(crate) const GUEST_METHODS: &[&str] = &["wait_healthy"];

/// The argument of a hook.
pub(super) struct Handle {
    guest: String,
    log: Log,
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("guest", |_, this| Ok(HookGuest(this.guest.clone())));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("log", |_, this, message: mlua::LuaString| {
            this.log.borrow_mut().push(message.to_string_lossy());
            Ok(())
        });
        methods.add_method("exec", |lua, _, command: Value| exec(lua, &command));
        methods.add_method("require_free", |_, _, (path, size): (String, Value)| {
            require_free(Path::new(&path), &size)
        });
    }
}

/// `h.guest`: the guest whose hook it is.
pub(super) struct HookGuest(String);

impl UserData for HookGuest {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.0.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // Its power is the operator's; the hook's own timeout ends the wait at the latest.
        methods.add_method("wait_healthy", |_, this, options: Option<Table>| {
            let timeout = match options {
                Some(table) => table.get::<Option<String>>("timeout")?,
                None => None,
            };
            let timeout: Option<Span> = timeout
                .map(|text| text.parse())
                .transpose()
                .map_err(|invalid: crate::guest::Invalid| failed(invalid.message).word("wait_healthy"))?;
            let wait = || {
                let name: GuestName = this.0.parse()?;
                wait_healthy(&Host::open()?, &name, timeout)
            };
            wait().map_err(|err: Error| refused("wait_healthy", &err).into())
        });
        methods.add_meta_method(mlua::MetaMethod::ToString, |_, this, ()| {
            Ok(format!("guest \"{}\"", this.0))
        });
    }
}

fn failed(message: impl Into<String>) -> Raised {
    Raised::new(Code::Hook, message)
}

/// What hostel itself says, at the word of the hook that asked for it.
fn refused(word: &str, err: &Error) -> Raised {
    let mut raised = failed(err.to_string()).word(word);
    raised.help = err.hint().map(str::to_owned);
    raised
}

/// `h:exec { "lvs", "--noheadings" }`: runs a command of the host.
fn exec(lua: &Lua, command: &Value) -> mlua::Result<Table> {
    let Value::Table(table) = command else {
        let message = format!("`exec` takes a list, not {}", described(command));
        return Err(failed(message)
            .help("write `h:exec { \"program\", \"argument\" }`")
            .word("exec")
            .into());
    };
    let mut argv = Vec::new();
    for pair in order::entries(table)? {
        match pair {
            (Value::Integer(_), Value::String(_) | Value::Integer(_)) => {}
            (key, value) => {
                let message = format!(
                    "`exec` takes a list of texts; {} is {}",
                    described(&key),
                    described(&value)
                );
                return Err(failed(message).word("exec").into());
            }
        }
    }
    let items = order::list(table)?.map_err(|hole| {
        let message = format!("`exec` takes a list of texts, and has a hole at place {hole}");
        failed(message).word("exec")
    })?;
    for item in &items {
        argv.push(match item {
            Value::String(text) => text.to_string_lossy(),
            Value::Integer(number) => number.to_string(),
            // Looked at above.
            _ => continue,
        });
    }
    let Some((program, arguments)) = argv.split_first() else {
        return Err(failed("`exec` has nothing to run").word("exec").into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let output =
        output(&mut command).map_err(|source| refused("exec", &cannot_run(program, None, None, source)))?;
    if [&output.stdout, &output.stderr]
        .iter()
        .any(|bytes| bytes.len() > MOST)
    {
        let message = format!(
            "`{program}` writes more than {}, which nothing reads",
            Bytes(MOST as u64)
        );
        return Err(failed(message)
            .help("write to a file, or to a program that takes it: `h:exec { \"sh\", \"-c\", \"... > /srv/dump\" }`")
            .word("exec")
            .into());
    }
    let text = |bytes: &[u8]| lua.create_string(bytes);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.trim_end().lines().next_back().unwrap_or("").to_owned();
        let tail = if last.is_empty() {
            last
        } else {
            format!(": {last}")
        };
        return Err(failed(format!("`{program}` failed ({}){tail}", output.status))
            .word("exec")
            .into());
    }
    let result = lua.create_table()?;
    result.raw_set("code", output.status.code())?;
    result.raw_set("stdout", text(&output.stdout)?)?;
    result.raw_set("stderr", text(&output.stderr)?)?;
    Ok(result)
}

/// Runs it to its end, or until it has written more than [`MOST`]: then its stream is closed, and one byte more is there.
fn output(command: &mut Command) -> std::io::Result<Output> {
    let streams = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = streams.spawn()?;
    let stderr = child
        .stderr
        .take()
        .map(|stream| thread::spawn(|| bounded(stream)));
    let stdout = child.stdout.take().map_or_else(|| Ok(Vec::new()), bounded);
    let stderr = stderr
        .and_then(|reader| reader.join().ok())
        .unwrap_or_else(|| Ok(Vec::new()));
    let status = child.wait()?;
    Ok(Output {
        status,
        stdout: stdout?,
        stderr: stderr?,
    })
}

fn bounded(stream: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `h:require_free("/srv", "1G")`.
fn require_free(path: &Path, size: &Value) -> mlua::Result<()> {
    let wanted = match size {
        Value::Integer(n) => u64::try_from(*n)
            .map(Bytes)
            .map_err(|source| failed(source.to_string()))?,
        Value::String(text) => text
            .to_string_lossy()
            .parse::<Bytes>()
            .map_err(|invalid| failed(invalid.message))?,
        other => {
            return Err(failed(format!(
                "a size is a text such as \"1G\", not {}",
                described(other)
            ))
            .into());
        }
    };
    let shown = path.display();
    let stat = statvfs(path)
        .context(|| format!("ask for the free space of `{shown}`"))
        .map_err(|err| refused("require_free", &err))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < wanted.0 {
        let message = format!("`{shown}` has {} MiB free, and {wanted} are needed", free >> 20);
        return Err(failed(message).word("require_free").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_recipe(body: &str, timeout: Span) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.lua");
        let text = format!(
            "for i = 1, 2 do guest('g' .. i) {{ image = 'busybox', hooks = {{ pre_start = function(h)\n{body}\nend }} }} end"
        );
        std::fs::write(&path, text).unwrap();
        let evaluated = super::super::evaluate(&path, &EvalOptions::default()).unwrap();
        let spec = &evaluated.specs[1];
        let recipe = Recipe {
            path,
            hash: evaluated.hash,
            inputs: BTreeMap::new(),
        };
        let hook = Hook {
            timeout,
            ..spec.hooks[&HookMoment::PreStart]
        };
        run(&recipe, &spec.name, HookMoment::PreStart, &hook)
    }

    #[test]
    fn a_hook_logs_and_runs_commands() {
        let body =
            "h:log(h.guest.name) h:require_free('/', 1) local r = h:exec { 'echo', 'hi' } h:log(r.stdout)";
        assert_eq!(run_recipe(body, Span::from_secs(20)).unwrap(), ["g2", "hi\n"]);
    }

    /// What a test's handle records is what a hook has.
    #[test]
    fn the_methods_are_those_that_are_listed() {
        let list = |names: &[&str]| format!("{{ '{}' }}", names.join("', '"));
        let body = format!(
            "for _, m in ipairs {} do assert(h[m], m) end for _, m in ipairs {} do assert(h.guest[m], m) end",
            list(METHODS),
            list(GUEST_METHODS)
        );
        assert!(run_recipe(&body, Span::from_secs(20)).unwrap().is_empty());
    }

    #[test]
    fn a_failure_names_the_line() {
        let err = run_recipe("h:exec { 'false' }", Span::from_secs(20))
            .unwrap_err()
            .to_string();
        assert!(
            err.ends_with("web.lua:2: `false` failed (exit status: 1)"),
            "{err}"
        );
        let err = run_recipe("h:exec { 'head', '-c', '20M', '/dev/zero' }", Span::from_secs(20)).unwrap_err();
        let message = err.to_string();
        let end = "web.lua:2: `head` writes more than 16M, which nothing reads";
        assert!(message.ends_with(end), "{message}");
        let err = run_recipe("h:require_free('/', '900000T')", Span::from_secs(20)).unwrap_err();
        assert_eq!(err.kind(), Kind::External);
        let err = run_recipe("h:exec { 'no-such-program' }", Span::from_secs(20)).unwrap_err();
        let message = err.to_string();
        let end = "web.lua:2: run `no-such-program`: ENOENT (no such file or directory)";
        assert!(message.ends_with(end), "{message}");
        let hint = err.hint().unwrap();
        assert!(hint.starts_with("no directory of PATH has it ("), "{hint}");
        let err = run_recipe("h:require_free('/nowhere', 1)", Span::from_secs(20)).unwrap_err();
        let message = err.to_string();
        let end = "web.lua:2: ask for the free space of `/nowhere`: ENOENT (no such file or directory)";
        assert!(message.ends_with(end), "{message}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_commands() {
        for body in [
            "while true do end",
            "h:exec { 'sleep', '60' }",
            "while true do pcall(h.exec, h, { 'true' }) end",
        ] {
            let started = std::time::Instant::now();
            let err = run_recipe(body, Span::from_millis(300)).unwrap_err();
            assert_eq!(err.kind(), Kind::Timeout);
            assert!(started.elapsed().as_secs() < 20);
        }
    }

    #[test]
    fn the_api_that_is_misused_is_told_at_its_line() {
        for (body, message) in [
            ("h:exec 'lvs'", "`exec` takes a list, not the text"),
            ("h:exec { 'true', { 'x' } }", "`exec` takes a list of texts"),
            ("h:exec {}", "`exec` has nothing to run"),
            ("h:require_free('/', '1Q')", "1Q"),
            ("h.require_free('/', '1G')", "`require_free` is called without"),
            ("h:require_free('/', true)", "a size is a text such as"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("web.lua");
            let text = format!(
                "guest 'a' {{ image = 'busybox', hooks = {{ pre_start = function(h)\n{body}\nend }} }}"
            );
            std::fs::write(&path, text).unwrap();
            let hash = super::super::evaluate(&path, &EvalOptions::default())
                .unwrap()
                .hash;
            let recipe = Recipe {
                path,
                hash,
                inputs: BTreeMap::new(),
            };
            let failure = inside(&recipe, &"a".parse().unwrap(), HookMoment::PreStart)
                .failure
                .unwrap();
            let first = &failure.0[0];
            let expected = if body.starts_with("h.") {
                Code::Runtime
            } else {
                Code::Hook
            };
            assert_eq!(first.code, expected, "{failure}");
            assert!(first.message.contains(message), "{failure}");
            assert_eq!(first.place.as_ref().map(|p| p.line), Some(2), "{failure}");
        }
    }

    #[test]
    fn a_method_with_a_dot_is_told_of_the_colon() {
        let err = run_recipe("h.exec { 'true' }", Span::from_secs(20)).unwrap_err();
        assert_eq!(err.hint(), Some("with a colon: `h:exec(...)`"), "{err}");
        assert!(err.to_string().contains("web.lua:2: "), "{err}");
    }

    #[test]
    fn what_a_hook_returns_in_failure_is_a_failure() {
        for (body, message) in [
            ("return false", "the hook returned false"),
            ("return nil, 'no disk'", "the hook returned nil and \"no disk\""),
            ("return false, 'no disk'", "and \"no disk\""),
        ] {
            let err = run_recipe(body, Span::from_secs(20)).unwrap_err();
            assert!(err.to_string().contains(message), "{err}");
            assert!(err.hint().unwrap().contains("`error"), "{err}");
        }
        for body in ["return h:exec { 'true' }", "return true", "return nil", ""] {
            run_recipe(body, Span::from_secs(20)).unwrap();
        }
    }

    #[test]
    fn a_changed_recipe_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.lua");
        let text = "guest 'a' { image = 'busybox', hooks = { pre_start = function() end } }";
        std::fs::write(&path, text).unwrap();
        let hash = super::super::evaluate(&path, &EvalOptions::default())
            .unwrap()
            .hash;
        std::fs::write(&path, format!("{text} -- changed")).unwrap();
        let recipe = Recipe {
            path,
            hash,
            inputs: BTreeMap::new(),
        };
        let name: GuestName = "a".parse().unwrap();
        let err = run(&recipe, &name, HookMoment::PreStart, &Hook::default()).unwrap_err();
        assert!(err.to_string().contains("is not the recipe"), "{err}");
    }
}
