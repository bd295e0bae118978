//! `hostel run [NAME|FILE] [ARGS]`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Parser};
use clap_complete::engine::CompletionCandidate;
use serde_json::json;

use crate::cli::exit::Exit;
use crate::cli::help::print_verb;
use crate::cli::output::color::Paint;
use crate::cli::output::table::{Align, Cell, Table, clean};
use crate::cli::recipe::tell;
use crate::cli::session::Session;
use crate::cli::verb::{Entry, Example, Group, Verb};
use crate::cli::{args, usage};
use crate::lua::script::{self, Args, Failed, Script};
use crate::lua::workflow::{Ended, Planned, Workflow, shown, sweep};
use crate::storage::Layout;
use crate::{Error, Kind, Result};

/// Run a workflow or a script, written in Lua; without a name, list them
///
/// NAME is looked for as scripts/NAME.lua, in /etc/hostel/scripts and among those that hostel ships; what has a `/` is
/// a file. `hostel run NAME --help` shows what it takes.
///
/// A workflow (`require "hostel.flow"`) declares its arguments. Its steps are kept in a journal: `hostel flow` goes on
/// with a run that was killed, or takes it back. `--plan` shows the steps without running them and needs no root;
/// `--json` prints the plan, or the journal when it has ended.
///
/// A script (`require "hostel"`, which `hostel doc hostel` lists) is given what follows its name: `--name=value`,
/// `--name value` and `--name` are `flags.name`, the rest is `args`.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
pub(crate) struct Run {
    /// The workflow or script
    #[arg(value_name = "NAME|FILE", value_hint = clap::ValueHint::FilePath, add = scripts())]
    file: Option<PathBuf>,
    /// What it is given
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true, add = args::guests())]
    args: Vec<String>,
    /// Print help, of NAME if it is given
    #[arg(short, long)]
    help: bool,
    /// Print JSON: the list, the plan, or the journal of the run
    #[arg(long)]
    json: bool,
}

impl Verb for Run {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        ("hostel run", "list the workflows and scripts that there are"),
        (
            "hostel run rolling-restart --match web* --plan",
            "the steps of a workflow, without taking them",
        ),
        ("hostel run rolling-restart --help", "what it takes"),
        (
            "hostel run examples/07-primitives.lua --plan",
            "a script that knows `--plan` itself",
        ),
    ];

    fn run(mut self, session: &mut Session) -> Result<Exit> {
        let Some(file) = &self.file else {
            if self.help {
                return itself(session);
            }
            return list(session);
        };
        session.flush()?;
        let script = match Script::find(file) {
            Ok(script) => script,
            Err(diagnostics) => return Ok(told(session, &diagnostics.into())),
        };
        let before_dashes = self.args.iter().take_while(|arg| *arg != "--");
        let wants_help = self.help || before_dashes.clone().any(|arg| arg == "--help" || arg == "-h");
        if wants_help && !script.is_workflow() {
            session.print(&script.comment())?;
            return Ok(Exit::Success);
        }
        if self.json {
            self.args.insert(0, "--json".to_owned());
        }
        let loaded = match script::load(&script, &Args::parse(&self.args)) {
            Ok(loaded) => loaded,
            Err(failed) => return Ok(told(session, &failed)),
        };
        match Workflow::of(loaded) {
            Ok(None) => Ok(Exit::Success),
            Ok(Some(workflow)) => {
                if self.help {
                    self.args.insert(0, "--help".to_owned());
                }
                let name = file.to_string_lossy().into_owned();
                invoke(session, &workflow, &name, &self.args)
            }
            Err(failed) => Ok(told(session, &failed)),
        }
    }
}

/// Runs a workflow that hostel ships, or the operator's own of that name.
pub(super) fn shipped(session: &mut Session, name: &str, given: &[String]) -> Result<Exit> {
    session.flush()?;
    let loaded = Script::find(std::path::Path::new(name))
        .map_err(Failed::from)
        .and_then(|script| script::load(&script, &Args::parse(given)))
        .and_then(Workflow::of);
    match loaded {
        Ok(Some(workflow)) => invoke(session, &workflow, name, given),
        Ok(None) => Ok(Exit::Success),
        Err(failed) => Ok(told(session, &failed)),
    }
}

fn itself(session: &mut Session) -> Result<Exit> {
    if let Some(verb) = Entry::find("run") {
        print_verb(session, verb, &["--help".as_ref()], true)?;
    }
    Ok(Exit::Success)
}

fn list(session: &mut Session) -> Result<Exit> {
    let scripts = Script::list();
    if session.is_json {
        let list: Vec<_> = scripts
            .iter()
            .map(|(name, place, about)| json!({ "name": name, "place": place, "about": about }))
            .collect();
        session.json(&list)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("FROM", Align::Left),
        ("ABOUT", Align::Left),
    ]);
    for (name, place, about) in scripts {
        table.row(vec![Cell::from(name), place.into(), about.into()]);
    }
    let text = table.render(session.paint);
    session.print(&text)?;
    Ok(Exit::Success)
}

/// Completes names of scripts.
fn scripts() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        let all = Script::list().into_iter();
        all.map(|(name, _, about)| CompletionCandidate::new(name).help(Some(about.into())))
            .collect()
    })
}

fn command(workflow: &Workflow, name: &str) -> clap::Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let own = [
        flag("plan", "Print the steps without taking them"),
        flag("json", "Print JSON: the plan, or the journal of the run"),
        args::color(),
    ];
    let options = workflow.options();
    let command = clap::Command::new("hostel")
        .bin_name(format!("hostel run {name}"))
        .disable_help_subcommand(true)
        .no_binary_name(true)
        .args(options)
        .next_help_heading("Options of every workflow")
        .args(own);
    match &workflow.doc {
        Some(doc) => command.about(doc.clone()),
        None => command,
    }
}

fn invoke(session: &mut Session, workflow: &Workflow, name: &str, given: &[String]) -> Result<Exit> {
    let mut command = command(workflow, name);
    let usage = command.render_usage().to_string();
    let matches = match command.try_get_matches_from_mut(given) {
        Ok(matches) => matches,
        Err(err) if err.kind() == clap::error::ErrorKind::DisplayHelp => {
            let help = command.render_long_help();
            let text = if session.paint.is_on() {
                help.ansi().to_string()
            } else {
                help.to_string()
            };
            session.print(&text)?;
            return Ok(Exit::Success);
        }
        Err(err) => return Err(usage::error(&err, &usage)),
    };
    session.is_json |= matches.get_flag("json");
    let typed = workflow.typed(&matches);
    if matches.get_flag("plan") {
        return match workflow.plan(&typed) {
            Ok(steps) => plan(session, &steps),
            Err(failed) => Ok(told(session, &failed)),
        };
    }
    let layout = Layout::from_env();
    // Runs that ended a month ago are of no interest to anybody. That this cannot be done is no reason not to run.
    let _ = sweep(&layout, &super::flow::ago(super::flow::KEPT));
    match workflow.run(&layout, &typed) {
        Ok(ended) => finish(session, ended),
        Err(failed) => Ok(told(session, &failed)),
    }
}

/// How a run ended, for who waited for it.
pub(super) fn finish(session: &mut Session, ended: Ended) -> Result<Exit> {
    if session.is_json {
        session.json(&shown(&ended.journal, false))?;
    }
    let Some(failed) = ended.failed else {
        return Ok(Exit::Success);
    };
    let exit = told(session, &failed);
    let id = &ended.journal.id;
    match ended.journal.state {
        crate::storage::flow::FlowState::UndoFailed => {
            session.note(&format!(
                "something could not be undone: `hostel flow undo {id}` tries again"
            ));
        }
        crate::storage::flow::FlowState::Failed => {
            session.note(&format!(
                "there is no way back: `hostel flow resume {id}` goes on"
            ));
        }
        _ => {}
    }
    Ok(exit)
}

pub(super) fn told(session: &mut Session, failed: &Failed) -> Exit {
    tell(session, &failed.diagnostics);
    failed.signal.map_or(Exit::No, Exit::of_signal)
}

fn plan(session: &mut Session, steps: &[Planned]) -> Result<Exit> {
    if session.is_json {
        session.json(steps)?;
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let mut notes = Vec::new();
        if step.skipped {
            notes.push("skipped".to_owned());
        }
        if step.conditional {
            notes.push("if it is so then".to_owned());
        }
        if let Some(seconds) = step.deadline {
            notes.push(format!("within {seconds}s"));
        }
        if let Some(seconds) = step.timeout {
            notes.push(format!("{seconds}s a try"));
        }
        if let Some(retries) = step.retries {
            notes.push(format!("tried again {retries} times"));
        }
        if !step.idempotent {
            notes.push("never twice".to_owned());
        }
        notes.push(
            match (step.commit, step.undo) {
                (true, _) => "no way back from here",
                (_, true) => "can be undone",
                _ => "no undo",
            }
            .to_owned(),
        );
        let paint: fn(Paint, &str) -> String = if step.commit { Paint::red } else { Paint::bold };
        let name = paint(session.paint, &clean(&step.name));
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{:>2}. {name} {}",
            index + 1,
            session.paint.dim(&format!("({})", notes.join(", ")))
        );
    }
    if steps.is_empty() {
        return Err(Error::new(Kind::Invalid, "the workflow has no steps"));
    }
    session.print(&text)?;
    Ok(Exit::Success)
}
