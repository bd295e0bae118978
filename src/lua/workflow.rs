//! Workflows that scripts return: their arguments, their plan, and their runs with a journal.

use std::rc::Rc;

use mlua::{Function, Table, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::api::arguments::Arguments;
use super::api::{flow as core, json};
use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::script::{Failed, Loaded, Script, failed};
use super::{evaluate, state};
use crate::error::{Error, Kind, Result};
use crate::storage::Layout;
use crate::storage::flow::{self, FlowState, Hold, Journal};

/// A workflow.
pub struct Workflow {
    loaded: Loaded,
    table: Table,
    arguments: Arguments,
    /// Its name.
    pub name: String,
    /// What it does.
    pub doc: Option<String>,
}

/// A step that would be taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a record for a program: each is a fact of its own"
)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Whether it can be undone.
    pub undo: bool,
    /// Whether it is the point of no return.
    pub commit: bool,
    /// Whether it depends on what is known only then.
    pub conditional: bool,
    /// Whether it would not run.
    pub skipped: bool,
    /// Whether it may run twice.
    pub idempotent: bool,
    /// Seconds for all tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Seconds for one try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// How often it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// What is done with a run that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It goes on.
    Resume,
    /// It is taken back.
    Undo,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its journal.
    pub journal: Journal,
    /// Why it failed.
    pub failed: Option<Failed>,
}

fn internal(err: &mlua::Error) -> Failed {
    Diagnostics::one(Diagnostic::new(Code::Child, err.to_string(), None)).into()
}

impl Workflow {
    /// The workflow that a script returned.
    pub fn of(loaded: Loaded) -> Result<Option<Self>, Failed> {
        if !core::is_workflow(&loaded.returned) {
            return Ok(None);
        }
        let Value::Table(table) = loaded.returned.clone() else {
            return Ok(None);
        };
        let read = || -> mlua::Result<_> {
            Ok((
                Arguments::read(&table.get("args")?)?,
                table.get("name")?,
                table.get("doc")?,
            ))
        };
        let (arguments, name, doc) =
            read().map_err(|err| failed(&loaded.vm, &Value::Error(Box::new(err))))?;
        Ok(Some(Self {
            loaded,
            table,
            arguments,
            name,
            doc,
        }))
    }

    /// Its arguments as options of a command.
    pub fn options(&self) -> Vec<clap::Arg> {
        self.arguments.options()
    }

    /// What was typed, as the journal keeps it.
    pub fn typed(&self, matches: &clap::ArgMatches) -> Json {
        self.arguments.typed(matches)
    }

    fn engine(&self, name: &str) -> mlua::Result<Function> {
        let require: Function = self.loaded.vm.lua.globals().get("require")?;
        let module: Table = require.call("hostel.flow")?;
        module.get(name)
    }

    /// The steps that it would take.
    pub fn plan(&self, typed: &Json) -> Result<Vec<Planned>, Failed> {
        let vm = &self.loaded.vm;
        let prepare = || Ok((self.engine("plan")?, self.arguments.values(&vm.lua, typed)?));
        let (plan, args) = prepare().map_err(|err: mlua::Error| failed(vm, &Value::Error(Box::new(err))))?;
        let mut returned = vm
            .ask(&plan, (&self.table, args))
            .map_err(|err| failed(vm, &err))?;
        let steps = returned.pop_front().unwrap_or(Value::Nil);
        let json = json::encode(&vm.lua, &steps).map_err(|err| internal(&mlua::Error::external(err)))?;
        serde_json::from_value(json).map_err(|err| internal(&mlua::Error::external(err)))
    }

    /// Runs it.
    pub fn run(&self, layout: &Layout, typed: &Json) -> Result<Ended, Failed> {
        let (hold, id) = Hold::create(layout, &self.name).map_err(|err| as_failed(&err))?;
        let now = super::api::rfc3339_now();
        let journal = Journal {
            id,
            flow: self.name.clone(),
            script: Script::lasting(&self.loaded.script.name),
            sources: std::collections::BTreeMap::new(),
            args: typed.clone(),
            state: FlowState::Running,
            committed: false,
            error: None,
            started: now.clone(),
            updated: now,
            hostel: env!("CARGO_PKG_VERSION").to_owned(),
            steps: Vec::new(),
        };
        crate::lua::hooks::tell(&format!("run {}", journal.id));
        self.execute(layout, hold, &journal, "run", false)
    }

    /// Goes on with a run, or takes it back.
    pub fn again(
        &self,
        layout: &Layout,
        journal: &Journal,
        what: Again,
        force: bool,
    ) -> Result<Ended, Failed> {
        if self.name != journal.flow {
            return Err(as_failed(&changed(
                journal,
                &format!("the script is now the workflow `{}`", self.name),
            )));
        }
        let hold = Hold::take(layout, &journal.id).map_err(|err| as_failed(&err))?;
        // It may have changed before the lock was taken.
        let journal = flow::read(layout, &journal.id).map_err(|err| as_failed(&err))?;
        may(&journal, what, force).map_err(|err| as_failed(&err))?;
        let mode = match what {
            Again::Resume => "resume",
            Again::Undo => "undo",
        };
        self.execute(layout, hold, &journal, mode, force)
    }

    fn execute(
        &self,
        layout: &Layout,
        hold: Hold,
        journal: &Journal,
        mode: &str,
        force: bool,
    ) -> Result<Ended, Failed> {
        let vm = &self.loaded.vm;
        let state = Rc::clone(&vm.state);
        let complete = move |journal: &mut Journal| {
            journal.updated = super::api::rfc3339_now();
            journal.sources = sources(&state.borrow());
        };
        core::open(
            &vm.lua,
            core::Desk {
                hold,
                complete: Box::new(complete),
            },
        );
        let prepare = || -> mlua::Result<_> {
            let request = vm.lua.create_table()?;
            request.set("mode", mode)?;
            request.set("force", force)?;
            request.set("effects", self.engine("effects")?.call::<Table>(())?)?;
            let record = serde_json::to_value(journal).map_err(mlua::Error::external)?;
            request.set("record", json::decode(&vm.lua, &record)?)?;
            let args = self.arguments.values(&vm.lua, &journal.args)?;
            Ok((self.engine("execute")?, args, request))
        };
        let (execute, args, request) = prepare().map_err(|err| failed(vm, &Value::Error(Box::new(err))))?;
        let mut returned = vm
            .ask(&execute, (&self.table, args, request))
            .map_err(|err| failed(vm, &err))?;
        let _record = returned.pop_front();
        let failed = match returned.pop_front() {
            None | Some(Value::Nil) => None,
            Some(err) => Some(failed(vm, &err)),
        };
        core::close(&vm.lua);
        Ok(Ended {
            journal: flow::read(layout, &journal.id).map_err(|err| as_failed(&err))?,
            failed,
        })
    }
}

fn sources(state: &state::State) -> std::collections::BTreeMap<String, String> {
    evaluate::sources(state)
        .into_iter()
        .map(|source| (Script::lasting(&source.name), source.sha256))
        .collect()
}

/// A failure outside of Lua, in the form of one inside.
fn as_failed(err: &Error) -> Failed {
    let diagnostic = Diagnostic::new(Code::Flow, err.to_string(), None);
    Diagnostics::one(diagnostic.with_help(err.hint().map(str::to_owned))).into()
}

fn changed(journal: &Journal, what: &str) -> Error {
    Error::new(Kind::State, format!("run `{}`: {what}", journal.id))
        .with_hint("put the script back as it was; `--force` takes it as it is")
}

impl Workflow {
    /// Fails when it makes no sense for a run in this state, or the script is not what it was.
    pub fn may(journal: &Journal, what: Again, force: bool) -> Result<()> {
        may(journal, what, force)
    }
}

/// A date, RFC 3339.
pub fn date(at: std::time::SystemTime) -> String {
    super::api::rfc3339_of(at)
}

fn may(journal: &Journal, what: Again, force: bool) -> Result<()> {
    let id = &journal.id;
    let refuse =
        |why: &str, hint: String| Err(Error::new(Kind::State, format!("run `{id}` {why}")).with_hint(hint));
    match (what, journal.state) {
        (_, FlowState::Done) => refuse(
            "is done",
            "a workflow that undoes it is another workflow".to_owned(),
        ),
        (_, FlowState::Undone) => refuse("has been undone", "run the workflow anew".to_owned()),
        (Again::Resume, FlowState::Undoing | FlowState::UndoFailed) => refuse(
            "is being undone",
            format!("`hostel flow undo {id}` tries again what could not be undone"),
        ),
        (Again::Undo, _) if journal.committed => refuse(
            "is behind its point of no return",
            format!("`hostel flow resume {id}` goes on"),
        ),
        (Again::Resume, FlowState::Running | FlowState::Failed) | (Again::Undo, _) => {
            let differs = |(name, hash): (&String, &String)| Script::hash_of(name).as_ref() != Some(hash);
            match journal.sources.iter().find(|(name, hash)| differs((name, hash))) {
                Some((name, _)) if !force => Err(changed(
                    journal,
                    &format!("`{name}` is not what it was when the run began"),
                )),
                _ => Ok(()),
            }
        }
    }
}

/// Removes runs that are over and were last worked on before `before` (RFC 3339), and what was never begun. Returns
/// their ids.
pub fn sweep(layout: &Layout, before: &str) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for id in flow::list(layout)? {
        let is_old = match flow::read(layout, &id) {
            Ok(journal) => journal.state.is_over() && journal.updated.as_str() < before,
            Err(_) => !flow::has_journal(layout, &id),
        };
        if is_old && let Ok(hold) = Hold::take(layout, &id) {
            hold.remove()?;
            removed.push(id);
        }
    }
    Ok(removed)
}

/// A run for a program: its journal, and whether somebody works on it.
pub fn shown(journal: &Journal, is_held: bool) -> Json {
    let mut shown = serde_json::to_value(journal).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("active".to_owned(), json!(is_held));
    }
    shown
}
