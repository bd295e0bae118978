//! `hostel flow ls|show|resume|undo|rm|gc`

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::engine::CompletionCandidate;

use super::run::{finish, told};
use crate::cli::exit::Exit;
use crate::cli::output::color::Paint;
use crate::cli::output::table::{Align, Cell, Table, clean};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::Span;
use crate::lua::script::{self, Args, Script};
use crate::lua::workflow::{Again, Workflow, date, shown, sweep};
use crate::storage::Layout;
use crate::storage::flow::{self, FlowState, Hold, Journal, Step};
use crate::{Error, Kind, Result};

/// How long runs are kept that have nothing left to do.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Look at the runs of workflows, go on with one that was killed, or take it back
///
/// `hostel run` writes each step of a workflow into a journal, before and after. A run that was killed is `stopped`:
/// `resume` runs the workflow again from its beginning, and steps that are done give the values that they had;
/// the step in which it died runs again. `undo` takes back what was done, the last step first. An ID may be
/// shortened, as long as it is one.
#[derive(Debug, Parser)]
pub(crate) struct Flow {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the runs, the newest last
    Ls {
        /// Print JSON: an array of what `show --json` prints
        #[arg(long)]
        json: bool,
    },
    /// Show a run: its arguments and its steps
    Show {
        /// The run
        #[arg(value_name = "ID", add = runs())]
        id: String,
        /// Print JSON: the journal
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that was killed, or that failed behind its point of no return
    Resume {
        /// The run
        #[arg(value_name = "ID", add = runs())]
        id: String,
        /// Even when the script has changed, or a step that may not run twice was cut off
        #[arg(long)]
        force: bool,
        /// Print JSON: the journal when it has ended
        #[arg(long)]
        json: bool,
    },
    /// Take back what a run did, or what could not be taken back when it failed
    Undo {
        /// The run
        #[arg(value_name = "ID", add = runs())]
        id: String,
        /// Even when the script has changed
        #[arg(long)]
        force: bool,
        /// Print JSON: the journal when it has ended
        #[arg(long)]
        json: bool,
    },
    /// Forget runs that are over
    Rm {
        /// The runs
        #[arg(value_name = "ID", required = true, add = runs())]
        ids: Vec<String>,
        /// Also one that is not over: what it did stays as it is
        #[arg(long)]
        force: bool,
    },
    /// Forget all runs that have been over for some time
    Gc {
        /// How long they are kept
        #[arg(long, value_name = "TIME", default_value = "30d")]
        keep: Span,
    },
}

impl Verb for Flow {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        ("hostel flow ls", "the runs that there are, and which were killed"),
        ("hostel flow show rolling-restart-4f2a91", "what it has done"),
        ("hostel flow resume rolling-restart-4f2a91", "go on with it"),
        ("hostel flow undo rolling-restart-4f2a91", "take it back"),
        ("hostel flow gc --keep 7d", "forget what was over a week ago"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let layout = Layout::from_env();
        match self.what {
            What::Ls { json } => {
                session.is_json = json;
                list(session, &layout)
            }
            What::Show { id, json } => {
                session.is_json = json;
                show(session, &layout, &full(&layout, &id)?)
            }
            What::Resume { id, force, json } => {
                session.is_json = json;
                again(session, &layout, &id, Again::Resume, force)
            }
            What::Undo { id, force, json } => {
                session.is_json = json;
                again(session, &layout, &id, Again::Undo, force)
            }
            What::Rm { ids, force } => remove(session, &layout, &ids, force),
            What::Gc { keep } => {
                for id in sweep(&layout, &ago(keep.duration()))? {
                    session.line(&format!("removed {id}"))?;
                }
                Ok(Exit::Success)
            }
        }
    }
}

/// The date so long ago.
pub(super) fn ago(span: Duration) -> String {
    date(
        std::time::SystemTime::now()
            .checked_sub(span)
            .unwrap_or(std::time::UNIX_EPOCH),
    )
}

/// Completes ids of runs that are not over first.
fn runs() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        let ids = flow::list(&Layout::from_env()).unwrap_or_default();
        ids.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The id that begins so.
fn full(layout: &Layout, given: &str) -> Result<String> {
    let ids = flow::list(layout)?;
    if ids.iter().any(|id| id == given) {
        return Ok(given.to_owned());
    }
    let mut fitting = ids
        .into_iter()
        .filter(|id| !given.is_empty() && id.starts_with(given));
    let found = fitting.next().ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("there is no run `{}`", given.escape_debug()),
        )
        .with_hint("`hostel flow ls` lists them")
    })?;
    match fitting.next() {
        None => Ok(found),
        Some(other) => Err(Error::new(
            Kind::Usage,
            format!(
                "`{}` is `{found}`, `{other}` or another one",
                given.escape_debug()
            ),
        )),
    }
}

/// What is said of a run's state: one that nobody works on was stopped.
fn state(journal: &Journal, is_held: bool) -> (&'static str, fn(Paint, &str) -> String) {
    match journal.state {
        FlowState::Running if !is_held => ("stopped", Paint::yellow),
        FlowState::Undoing if !is_held => ("undo stopped", Paint::yellow),
        FlowState::Running => ("running", Paint::green),
        FlowState::Undoing => ("undoing", Paint::yellow),
        FlowState::Done => ("done", Paint::green),
        FlowState::Undone => ("undone", Paint::dim),
        FlowState::Failed => ("failed", Paint::red),
        FlowState::UndoFailed => ("undo failed", Paint::red),
    }
}

fn list(session: &mut Session, layout: &Layout) -> Result<Exit> {
    let mut runs = Vec::new();
    for id in flow::list(layout)? {
        match flow::read(layout, &id) {
            Ok(journal) => runs.push((journal, flow::is_held(layout, &id)?)),
            // It is just being made or removed, or died before it did anything.
            Err(_) if !flow::has_journal(layout, &id) => {}
            Err(err) => session.report(&err),
        }
    }
    runs.sort_by(|(a, _), (b, _)| (&a.started, &a.id).cmp(&(&b.started, &b.id)));
    if session.is_json {
        let all: Vec<_> = runs
            .iter()
            .map(|(journal, is_held)| shown(journal, *is_held))
            .collect();
        session.json(&all)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("STEPS", Align::Right),
        ("STARTED", Align::Left),
        ("WHY", Align::Left),
    ]);
    for (journal, is_held) in &runs {
        let (word, paint) = state(journal, *is_held);
        let done = journal.steps.iter().filter(|step| step.state == "done").count();
        table.row(vec![
            journal.id.as_str().into(),
            Cell::painted(word, paint),
            format!("{done}/{}", journal.steps.len()).into(),
            journal.started.as_str().into(),
            journal.error.clone().unwrap_or_default().into(),
        ]);
    }
    let text = table.render(session.paint);
    session.print(&text)?;
    Ok(Exit::Success)
}

fn show(session: &mut Session, layout: &Layout, id: &str) -> Result<Exit> {
    let journal = flow::read(layout, id)?;
    let is_held = flow::is_held(layout, id)?;
    if session.is_json {
        session.json(&shown(&journal, is_held))?;
        return Ok(Exit::Success);
    }
    let (word, paint) = state(&journal, is_held);
    let mut text = format!(
        "{} {}\n",
        session.paint.bold(&journal.id),
        paint(session.paint, word)
    );
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "  script   {}", clean(&journal.script));
    let _ = writeln!(text, "  started  {}", clean(&journal.started));
    for (name, value) in journal.args.as_object().into_iter().flatten() {
        let _ = writeln!(text, "  --{name} {}", clean(&plain(value)));
    }
    if let Some(error) = &journal.error {
        let _ = writeln!(text, "  why      {}", clean(error));
    }
    for (index, step) in journal.steps.iter().enumerate() {
        let _ = writeln!(text, "{:>2}. {}", index + 1, line(step));
    }
    if !is_held && !journal.state.is_over() {
        if !journal.committed {
            let _ = writeln!(text, "`hostel flow undo {id}` takes it back");
        }
        if matches!(journal.state, FlowState::Running | FlowState::Failed) {
            let _ = writeln!(text, "`hostel flow resume {id}` goes on");
        }
    }
    session.print(&text)?;
    Ok(Exit::Success)
}

fn line(step: &Step) -> String {
    let mut text = format!("{}: {}", clean(&step.name), clean(&step.state.replace('_', " ")));
    if let Some(seconds) = step.seconds {
        let _ = write!(text, " in {seconds:.1}s");
    }
    if step.tries > 1 {
        let _ = write!(text, ", {} tries", step.tries);
    }
    if let Some(value) = step.value.as_ref().filter(|value| !value.is_null()) {
        let _ = write!(text, " = {}", clean(&plain(value)));
    }
    if let Some(error) = &step.error {
        let _ = write!(text, ": {}", clean(error));
    }
    text
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn again(session: &mut Session, layout: &Layout, id: &str, what: Again, force: bool) -> Result<Exit> {
    let journal = flow::read(layout, &full(layout, id)?)?;
    let script = match Script::find(journal.script.as_ref()) {
        Ok(script) => script,
        Err(diagnostics) => return Ok(told(session, &diagnostics.into())),
    };
    Workflow::may(&journal, what, force)?;
    let workflow = match script::load(&script, &Args::default()).and_then(Workflow::of) {
        Ok(Some(workflow)) => workflow,
        Ok(None) => {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` is no workflow any more", journal.script),
            ));
        }
        Err(failed) => return Ok(told(session, &failed)),
    };
    match workflow.again(layout, &journal, what, force) {
        Ok(ended) => finish(session, ended),
        Err(failed) => Ok(told(session, &failed)),
    }
}

fn remove(session: &mut Session, layout: &Layout, ids: &[String], force: bool) -> Result<Exit> {
    for id in ids {
        let id = full(layout, id)?;
        let hold = Hold::take(layout, &id)?;
        let is_over = match flow::read(layout, &id) {
            Ok(journal) => journal.state.is_over(),
            Err(_) => !flow::has_journal(layout, &id),
        };
        if !is_over && !force {
            return Err(
                Error::new(Kind::State, format!("run `{id}` is not over")).with_hint(format!(
                    "`hostel flow undo {id}` takes it back; `--force` forgets it as it is"
                )),
            );
        }
        hold.remove()?;
        session.line(&format!("removed {id}"))?;
    }
    Ok(Exit::Success)
}
