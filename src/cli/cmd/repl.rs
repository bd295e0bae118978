//! `hostel repl [FILE]`

use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueHint};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Editor, Helper};

use crate::cli::exit::Exit;
use crate::cli::recipe::tell;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::guest::caps::nearest;
use crate::lua::registry::doc;
use crate::lua::repl::{self, Words};
use crate::lua::script::Failed;
use crate::sys::interrupt;
use crate::{Error, Kind, Result};

/// Try Lua: each line runs with what scripts have
///
/// `hostel` and `inspect` are there; values are shown. A chunk may have several lines: it ends when it is complete. A
/// `local` lives for one chunk; without the word a name stays. Tab completes names, fields and modules. Ctrl-C gives up
/// the line or interrupts what runs, Ctrl-D leaves; `.help` lists the commands. Lines are kept in hostel/history in the
/// user's state directory (`$XDG_STATE_HOME`, ~/.local/state), but those that begin with a space. What comes from a
/// pipe or a file is run as a script.
#[derive(Debug, Parser)]
pub(crate) struct Repl {
    /// A script that is run first
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Keep no history, and read none
    #[arg(long)]
    no_history: bool,
}

const PROMPT: &str = "> ";

/// The commands, and what each does.
const COMMANDS: [(&str, &str); 4] = [
    (".help", "this list"),
    (".load FILE", "run a script here: its globals stay"),
    (".doc [NAME]", "what is known of a function, a field or a module"),
    (".quit", "leave, as Ctrl-D does"),
];

impl Verb for Repl {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        ("hostel repl", "`hostel.guests()` shows what is here"),
        ("hostel repl lib/web.lua", "with the globals of a script"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        session.flush()?;
        let mut repl = match repl::Repl::new() {
            Ok(repl) => repl,
            Err(failed) => return Ok(told(session, &failed)),
        };
        if let Some(file) = &self.file
            && let Err(failed) = repl.load(file)
        {
            return Ok(told(session, &failed));
        }
        if !std::io::stdin().is_terminal() {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context(|| "read standard input")?;
            return Ok(match repl.script("stdin", &text) {
                Ok(()) => Exit::Success,
                Err(failed) => told(session, &failed),
            });
        }
        self.talk(session, &mut repl)
    }
}

/// Tells of a failure; the exit code of a script that ends so.
fn told(session: &mut Session, failed: &Failed) -> Exit {
    tell(session, &failed.diagnostics);
    failed.signal.map_or(Exit::No, Exit::of_signal)
}

impl Repl {
    fn talk(&self, session: &mut Session, repl: &mut repl::Repl) -> Result<Exit> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .build();
        let mut editor: Editor<Help, DefaultHistory> = Editor::with_config(config).map_err(lost)?;
        editor.set_helper(Some(Help {
            words: repl.words(),
            files: FilenameCompleter::new(),
        }));
        let history = if self.no_history { None } else { history() };
        if let Some(history) = &history {
            // There is none at first.
            let _ = editor.load_history(history);
        }
        session.line("hostel's Lua. `.help` lists commands, Tab completes, Ctrl-D leaves.")?;
        loop {
            session.flush()?;
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                Err(ReadlineError::Eof) => return Ok(Exit::Success),
                Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => continue,
                Err(err) => match interrupt::pending() {
                    Some(Signal::SIGINT) => {
                        interrupt::forget();
                        continue;
                    }
                    Some(signal) => return Ok(Exit::of_signal(signal)),
                    None if is_eintr(&err) => continue,
                    None => return Err(lost(err)),
                },
            };
            if line.trim().is_empty() {
                continue;
            }
            // Before it runs: it may end the process. A history that cannot be written is no reason to stop.
            let _ = editor.add_history_entry(line.as_str());
            if let Some(history) = &history {
                let _ = editor.append_history(history);
            }
            let failed = if is_command(&line) {
                match command(session, repl, line.trim()) {
                    Ok(Done::Quit) => return Ok(Exit::Success),
                    Ok(Done::Failed(failed)) => Some(failed),
                    Ok(Done::Well) => None,
                    Err(err) => {
                        session.report(&err);
                        None
                    }
                }
            } else {
                match repl.eval(&line) {
                    Ok(values) => {
                        for value in values {
                            session.line(&value)?;
                        }
                        None
                    }
                    Err(failed) => Some(failed),
                }
            };
            if let Some(failed) = failed {
                tell(session, &failed.diagnostics);
                // Ctrl-C ends what runs; the others mean hostel itself.
                if let Some(signal) = failed.signal.filter(|signal| *signal != Signal::SIGINT) {
                    return Ok(Exit::of_signal(signal));
                }
            }
        }
    }
}

fn lost(err: ReadlineError) -> Error {
    Error::new(Kind::System, "read a line from the terminal").with_source(err)
}

fn is_eintr(err: &ReadlineError) -> bool {
    match err {
        ReadlineError::Errno(errno) => *errno as i32 == Errno::EINTR as i32,
        ReadlineError::Io(err) => err.kind() == std::io::ErrorKind::Interrupted,
        _ => false,
    }
}

/// Where the history is; its directory is made, for its user only.
fn history() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let dir = state.join("hostel");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .ok()?;
    // The editor makes the file, for its user only.
    Some(dir.join("history"))
}

/// `.load`: no chunk begins so, but `.5` does.
fn is_command(line: &str) -> bool {
    let mut chars = line.trim_start().chars();
    chars.next() == Some('.') && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
}

/// How a command ended.
enum Done {
    Well,
    Quit,
    Failed(Failed),
}

fn command(session: &mut Session, repl: &mut repl::Repl, line: &str) -> Result<Done> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (name, rest.trim()) {
        (".quit" | ".exit", _) => return Ok(Done::Quit),
        (".help", _) => {
            for (name, what) in COMMANDS {
                session.line(&format!("{name:12}  {what}"))?;
            }
        }
        (".doc", "") => session.line(doc::overview().trim_end())?,
        (".doc", topic) => session.line(doc::topic(topic)?.to_string().trim_end())?,
        (".load", "") => return Err(Error::new(Kind::Usage, "`.load` needs a FILE")),
        (".load", file) => {
            session.flush()?;
            return Ok(match repl.load(Path::new(file)) {
                Ok(()) => Done::Well,
                Err(failed) => Done::Failed(failed),
            });
        }
        (other, _) => {
            let names = COMMANDS.iter().filter_map(|(name, _)| name.split(' ').next());
            let hint = match nearest(other, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`.help` lists the commands".to_owned(),
            };
            let message = format!("`{}` is no command", other.escape_debug());
            return Err(Error::new(Kind::Usage, message).with_hint(hint));
        }
    }
    Ok(Done::Well)
}

/// What the line editor asks.
struct Help {
    words: Words,
    files: FilenameCompleter,
}

impl Helper for Help {}
impl Highlighter for Help {}
impl Hinter for Help {
    type Hint = String;
}

impl Validator for Help {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        Ok(if !is_command(text) && self.words.is_incomplete(text) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with(".load ") {
            return self.files.complete_path(line, at);
        }
        let before = &line[..at];
        if is_command(before) && !before.contains(' ') {
            let names = COMMANDS.iter().filter_map(|(name, _)| name.split(' ').next());
            let names = names.filter(|name| name.starts_with(before)).map(|name| Pair {
                display: name.to_owned(),
                replacement: name.to_owned(),
            });
            return Ok((0, names.collect()));
        }
        let (start, words) = self.words.complete(before);
        let pairs = words.into_iter().map(|word| Pair {
            display: match word.about.as_str() {
                "" => word.text.clone(),
                about => format!("{}  {about}", word.text),
            },
            replacement: word.text,
        });
        Ok((start, pairs.collect()))
    }
}
