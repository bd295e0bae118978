//! One evaluation in this process: run the recipe, then make specifications of what it declared.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;

use mlua::Value;
use sha2::{Digest as _, Sha256};

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::source::{self, Folder, Modules};
use super::state::{Raised, Source, State};
use super::vm::Vm;
use super::{EvalOptions, Evaluated, SourceFile, Wanted, finish, require};

/// A recipe that has run, with the Lua state in which its functions live.
pub(super) struct Run {
    pub(super) vm: Vm,
    pub(super) evaluated: Evaluated,
    /// The number of a hook's function, by guest and moment.
    pub(super) hooks: finish::HookFunctions,
}

/// A recipe's text, and the folder that it can require from.
pub(super) struct Recipe {
    /// As it was named.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) folder: Folder,
}

impl Recipe {
    pub(super) fn read(path: &Path) -> Result<Self, Diagnostics> {
        let fail = |message: String| Diagnostics::one(Diagnostic::new(Code::Read, message, None));
        let parent = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        Ok(Self {
            name: path.display().to_string(),
            text: source::read(path).map_err(fail)?,
            folder: Folder::open(parent).map_err(fail)?,
        })
    }

    /// What comes before a file's name in messages, and the recipe's own name below its folder.
    pub(super) fn split(&self) -> (&str, &str) {
        split(&self.name)
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_at(name.rfind('/').map_or(0, |slash| slash + 1))
}

/// Evaluates a recipe in this process.
pub(super) fn here(recipe: &Path, options: &EvalOptions) -> Result<Run, Diagnostics> {
    let recipe = Recipe::read(recipe)?;
    run(
        &recipe.name,
        &recipe.text,
        Modules::Folder(recipe.folder),
        options,
    )
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Runs a recipe, and makes specifications of what it declares.
pub(super) fn run(
    name: &str,
    text: &str,
    modules: Modules,
    options: &EvalOptions,
) -> Result<Run, Diagnostics> {
    let fail = |code, message: String| Diagnostics::one(Diagnostic::new(code, message, None));
    let (prefix, file) = split(name);
    let recipe = Source::new(file, text).shown_as(name);
    let state = Rc::new(RefCell::new(State {
        modules,
        prefix: prefix.to_owned(),
        sources: vec![Source::own("sandbox.lua", require::SANDBOX)],
        inputs: options.inputs.clone(),
        wants_own: options.provenance != Wanted::None,
        ..State::default()
    }));
    let internal = |source: mlua::Error| fail(Code::Child, format!("make a Lua state: {source}"));
    let vm = Vm::new(options, Rc::clone(&state)).map_err(internal)?;
    if options.isolated {
        crate::sys::lua_position::watch(&vm.lua);
    }
    let function = recipe.load(&vm.lua, Some(&vm.environment));
    // The first: a place is looked for in the user's files before hostel's own.
    state.borrow_mut().sources.insert(0, recipe);
    let outcome = match function {
        Ok(function) => vm.call(&function, ()),
        Err(error) => Err(Value::Error(Box::new(error))),
    };
    // What Lua itself does from here on (a `__tostring` of an error) is over; the budget has done its work.
    let fatal = outcome.err().map(|error| describe(&vm, &error, options));
    let (evaluated, hooks) = finish::finish(&mut state.borrow_mut(), fatal, options).map_err(bounded)?;
    Ok(Run { vm, evaluated, hooks })
}

/// The most of one text of a diagnostic, and the most diagnostics, that are shown. A recipe can raise an error of a
/// hundred megabytes, and make as many mistakes as it has guests.
const LONGEST: usize = 4000;
const MOST: usize = 200;

/// A text that is not longer than `most` bytes; what is left out is said.
pub(super) fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}... ({} bytes more)", &text[..end], text.len() - end))
}

fn bounded(mut diagnostics: Diagnostics) -> Diagnostics {
    let all = diagnostics.0.len();
    diagnostics.0.truncate(MOST);
    for diagnostic in &mut diagnostics.0 {
        let texts = [&mut diagnostic.message].into_iter();
        for text in texts.chain(&mut diagnostic.help).chain(&mut diagnostic.notes) {
            if let Cow::Owned(short) = shorten(text, LONGEST) {
                *text = short;
            }
        }
        let related = diagnostic.related.iter_mut().map(|(place, _)| place);
        for place in diagnostic.place.iter_mut().chain(related) {
            if place.text.len() > LONGEST {
                // A line that a program wrote: what stands before the place is needed to show it.
                let end = place
                    .text
                    .char_indices()
                    .nth(place.column + LONGEST / 8)
                    .map(|(at, _)| at);
                match end {
                    Some(end) if end <= LONGEST => place.text.truncate(end),
                    _ => place.text.clear(),
                }
            }
        }
    }
    if let (true, Some(last)) = (all > MOST, diagnostics.0.last_mut()) {
        last.notes
            .push(format!("{} more mistakes are not shown", all - MOST));
    }
    diagnostics
}

/// The error that ended a run, with its place and the lines that led there.
pub(super) fn describe(vm: &Vm, error: &Value, options: &EvalOptions) -> Diagnostic {
    let state = vm.state.borrow();
    let mut diagnostic = match error {
        Value::Error(error) => from_error(&state, error, options),
        Value::String(text) => from_message(&state, &text.to_string_lossy()),
        Value::Table(table) => {
            // `error { message = ... }`; a `__tostring` is not called: it is the recipe's code.
            let text = match table.raw_get::<Value>("message") {
                Ok(Value::String(text)) => text.to_string_lossy(),
                _ => "the recipe raised a table".to_owned(),
            };
            from_message(&state, &text)
        }
        Value::UserData(data) if data.is::<super::api::Failure>() => from_failure(&state, data),
        other => from_message(
            &state,
            &format!("the recipe raised {}", super::read::described(other)),
        ),
    };
    let frames = &state.frames;
    let is_placed = |d: &Diagnostic| d.place.is_some();
    if !is_placed(&diagnostic)
        && let Some(frame) = frames.first()
    {
        diagnostic.place = state.word_place(&frame.file, frame.line, "");
    }
    let place = diagnostic.place.as_ref().map(|p| (p.file.as_str(), p.line));
    let is_elsewhere = |frame: &&super::state::Frame| place != Some((state.shown(&frame.file), frame.line));
    // Ten lines say where it came from; a recursion has thousands.
    // A word that is not known is looked for from the first one's line, and found on another of its statement.
    let placed = usize::from(diagnostic.code == Code::UnknownWord);
    for frame in frames.iter().skip(placed).filter(is_elsewhere).take(10) {
        let what = match &frame.function {
            Some(function) => format!("in `{function}` at {}:{}", state.shown(&frame.file), frame.line),
            None => format!("called from {}:{}", state.shown(&frame.file), frame.line),
        };
        diagnostic.notes.push(what);
    }
    diagnostic
}

fn from_error(state: &State, error: &mlua::Error, options: &EvalOptions) -> Diagnostic {
    let mut at = error;
    loop {
        match at {
            // mlua's name for what stands before the colon.
            mlua::Error::BadArgument {
                to: Some(to),
                name: Some(name),
                ..
            } if name == "self" => return without_colon(state, to),
            mlua::Error::CallbackError { cause, .. }
            | mlua::Error::BadArgument { cause, .. }
            | mlua::Error::WithContext { cause, .. } => at = cause,
            mlua::Error::SyntaxError { message, .. } => return from_syntax(state, message),
            mlua::Error::MemoryError(_) => {
                let message = format!("the recipe uses more than {} MiB of memory", options.memory >> 20);
                return Diagnostic::new(Code::Memory, message, None);
            }
            mlua::Error::RuntimeError(message) => return from_message(state, message),
            other => {
                let Some(raised) = other.downcast_ref::<Raised>() else {
                    return Diagnostic::new(Code::Runtime, other.to_string(), None);
                };
                let place = match (&raised.at, state.frames.first()) {
                    (Some((file, line)), _) => {
                        state.word_place(file, *line, raised.word.as_deref().unwrap_or(""))
                    }
                    (None, Some(frame)) => {
                        state.word_place(&frame.file, frame.line, raised.word.as_deref().unwrap_or(""))
                    }
                    (None, None) => None,
                };
                let mut diagnostic = Diagnostic::new(raised.code, raised.message.clone(), place)
                    .with_help(raised.help.clone());
                diagnostic.notes.clone_from(&raised.notes);
                return diagnostic;
            }
        }
    }
}

/// A method that was called with a dot: `h.exec { "true" }`.
fn without_colon(state: &State, method: &str) -> Diagnostic {
    let name = method.rsplit('.').next().unwrap_or(method);
    let place = state
        .frames
        .first()
        .and_then(|frame| state.word_place(&frame.file, frame.line, name));
    let variable = place.as_ref().and_then(|place| {
        let before: String = place.text.chars().take(place.column - 1).collect();
        let before = before.strip_suffix('.')?;
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let from = before
            .rfind(|c| !is_part(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        Some(before[from..].to_owned()).filter(|name| !name.is_empty())
    });
    let variable = variable.as_deref().unwrap_or("x");
    Diagnostic::new(
        Code::Runtime,
        format!("`{name}` is called without what it belongs to"),
        place,
    )
    .with_help(Some(format!("with a colon: `{variable}:{name}(...)`")))
}

/// `error(err)` or `assert(nil, err)` of a script.
fn from_failure(state: &State, data: &mlua::AnyUserData) -> Diagnostic {
    let Ok(failure) = data.borrow::<super::api::Failure>() else {
        return Diagnostic::new(Code::Runtime, "a failure", None);
    };
    let place = failure
        .at
        .as_ref()
        .and_then(|(file, line)| state.word_place(file, *line, ""));
    Diagnostic::new(Code::Runtime, failure.message.clone(), place).with_help(failure.hint.clone())
}

/// `FILE:LINE: MESSAGE`, as Lua puts it.
fn split_place<'a>(state: &State, message: &'a str) -> Option<(String, usize, &'a str)> {
    state.sources.iter().find_map(|source| {
        let rest = message
            .strip_prefix(source.in_errors().as_ref())?
            .strip_prefix(':')?;
        let (line, rest) = rest.split_once(':')?;
        Some((source.name.clone(), line.parse().ok()?, rest.trim_start()))
    })
}

fn from_message(state: &State, message: &str) -> Diagnostic {
    // Where an error crosses `require`, mlua adds Lua's own list of calls to it: what of it is the recipe's is in the notes.
    let message = message
        .split_once("\nstack traceback:\n")
        .map_or(message, |(message, _)| message);
    if message == "not enough memory" {
        return Diagnostic::new(Code::Memory, "the recipe uses too much memory", None);
    }
    if message.starts_with("C stack overflow") {
        let message = "nested too deep: brackets, blocks or calls within each other, at most 200";
        return Diagnostic::new(Code::Runtime, message, None);
    }
    let Some((file, line, text)) = split_place(state, message) else {
        return Diagnostic::new(Code::Runtime, message, None);
    };
    // `attempt to index a nil value (local 'x')` names what it means.
    let word = text
        .rsplit_once('\'')
        .and_then(|(head, _)| head.rsplit_once('\''))
        .map_or("", |(_, word)| word);
    if state.source(&file).is_some_and(|s| s.is_own) {
        // `bad argument #1 to 'rep'`: the word that was called, on the user's line.
        let frame = state.frames.first();
        let place = frame.and_then(|frame| state.word_place(&frame.file, frame.line, word));
        return Diagnostic::new(Code::Runtime, text, place);
    }
    let mut place = state.word_place(&file, line, word);
    if text.starts_with("attempt to concatenate a secret") {
        place = state.word_place(&file, line, "secret");
    }
    Diagnostic::new(Code::Runtime, text, place).with_help(runtime_help(text))
}

/// What is mostly meant where Lua cannot go on.
fn runtime_help(text: &str) -> Option<String> {
    let what = text.strip_prefix("attempt to ")?;
    let help = if what.contains("a nil value") {
        "it is nil there: a name that is written differently, or a function that returned nothing"
    } else if what.starts_with("concatenate a secret") {
        "its value is put in after the recipe: let the secret be the whole value"
    } else if what.starts_with("add ") && what.contains("string") {
        "texts are joined by `..`: `\"web\" .. 1`"
    } else {
        return None;
    };
    Some(help.to_owned())
}

/// What is mostly meant where Lua's parser gives up.
fn syntax_help(text: &str, near: &str, place: Option<&super::Place>) -> Option<String> {
    let before: String = place.map_or_else(String::new, |place| {
        place.text.chars().take(place.column.saturating_sub(1)).collect()
    });
    let before = before.trim_end();
    let follows = |word: &str| {
        before
            .strip_suffix(word)
            .is_some_and(|head| !head.ends_with(is_word))
    };
    let is_name = near.chars().all(is_word);
    if text.starts_with("malformed number") && near.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(format!("a number with a unit is a text: `\"{near}\"`"));
    }
    if let Some(word) = ["guest", "template"].into_iter().find(|word| follows(word)) {
        return Some(format!(
            "the name is a text: `{word} \"{}\" {{ ... }}`",
            if is_name { near } else { "name" }
        ));
    }
    if near == "=" && text.starts_with("syntax error") && before.ends_with(['"', '\'', ')']) {
        return Some("the fields follow the name without `=`: `guest \"name\" { ... }`".to_owned());
    }
    if text.starts_with("'}' expected") && (near == "=" || near == "{" || near == "[" || is_name) {
        return Some("a comma may be missing before it".to_owned());
    }
    if near == "/" && (before.ends_with(['{', ',']) || text.starts_with("unexpected symbol")) {
        return Some("a key that is no word stands in brackets: `[\"/etc/motd\"] = ...`".to_owned());
    }
    if text.starts_with("'do' expected") && near != "=" {
        return Some("a `for` or `while` has a `do` before its block".to_owned());
    }
    if text.starts_with("'then' expected") && near != "=" {
        return Some("an `if` has a `then` before its block".to_owned());
    }
    if near == "=" && (text.starts_with("'then' expected") || text.starts_with("'do' expected")) {
        return Some("`==` compares, `=` gives a value".to_owned());
    }
    if text.starts_with("'end' expected") {
        return Some("write `end` where the block is over".to_owned());
    }
    if text.starts_with("unfinished string") {
        return Some("a text ends on its line; one of several lines stands in `[[` and `]]`".to_owned());
    }
    let closing = text.strip_prefix('\'')?.split_once("' expected")?.0;
    (near == "<eof>" && matches!(closing, "}" | ")" | "]"))
        .then(|| format!("the file ends before it is closed: write `{closing}`"))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn from_syntax(state: &State, message: &str) -> Diagnostic {
    let Some((file, line, text)) = split_place(state, message) else {
        return Diagnostic::new(Code::Syntax, message, None);
    };
    let near = text
        .rsplit_once(" near ")
        .map_or("", |(_, near)| near.trim_matches('\''));
    let place = state
        .source(&file)
        .and_then(|source| source.find().unbalanced(line, near));
    let mut diagnostic = Diagnostic::new(Code::Syntax, text, place);
    diagnostic.help = syntax_help(text, near, diagnostic.place.as_ref());
    if let Some((_, open)) = text.split_once("at line ")
        && let Ok(open) = open
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse::<usize>()
        && let Some(place) =
            state.word_place(&file, open, if text.contains("(to close '{'") { "{" } else { "" })
    {
        diagnostic.related.push((place, "opened here".to_owned()));
    }
    diagnostic
}

pub(super) fn sources(state: &State) -> Vec<SourceFile> {
    state
        .sources
        .iter()
        .filter(|source| !source.is_own)
        .map(|source| SourceFile {
            name: source.shown.clone(),
            sha256: sha256(source.text.as_bytes()),
        })
        .collect()
}

pub(super) fn hash(state: &State) -> String {
    let mut all = String::new();
    for source in state.sources.iter().filter(|source| !source.is_own) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(all, "{} {}", sha256(source.text.as_bytes()), source.name);
    }
    sha256(all.as_bytes())
}
