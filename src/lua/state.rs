//! What one evaluation gathers while the recipe runs.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Table};

use super::DeclaredInput;
use super::diagnostic::{Code, Diagnostic, Finder, Place, Scan};
use super::read::{At, Mistake, Room};
use super::require;
use super::source::Modules;
use super::value::{LayerId, Node};

/// A source file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// As Lua knows it. Of a recipe's files that is the path below its folder: a recipe that catches an error reads
    /// it, and must not learn from it where it is or how it was named.
    pub(crate) name: String,
    /// As it is named in messages: the way to it as it was typed.
    pub(crate) shown: String,
    pub(crate) text: Cow<'static, str>,
    /// Whether it is hostel's own.
    pub(crate) is_own: bool,
    /// Its tokens, once a place in it was looked for.
    scan: OnceCell<Scan>,
}

impl Source {
    /// A file of the user's.
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            shown: name.clone(),
            name,
            text: Cow::Owned(text.into()),
            is_own: false,
            scan: OnceCell::new(),
        }
    }

    /// A file of hostel's own, by its path below stdlib-lua.
    pub(crate) fn own(path: &str, text: &'static str) -> Self {
        let name = format!("{}{path}", require::OWN);
        Self {
            shown: name.clone(),
            name,
            text: Cow::Borrowed(text),
            is_own: true,
            scan: OnceCell::new(),
        }
    }

    /// Its chunk. A user's is text and nothing else: Lua believes every word of what is parsed already.
    pub(crate) fn load(&self, lua: &Lua, environment: Option<&Table>) -> mlua::Result<Function> {
        let chunk = if self.is_own {
            require::own(lua, &self.name[require::OWN.len()..])?
        } else {
            // What is run by its path begins with `#!`.
            let text = if self.text.starts_with("#!") {
                format!("--{}", self.text)
            } else {
                self.text.clone().into_owned()
            };
            lua.load(text).set_name(self.chunk()).set_mode(ChunkMode::Text)
        };
        match environment {
            Some(environment) => chunk.set_environment(environment.clone()).into_function(),
            None => chunk.into_function(),
        }
    }

    /// The same, named in messages by this way.
    pub(crate) fn shown_as(mut self, shown: impl Into<String>) -> Self {
        self.shown = shown.into();
        self
    }

    /// The name of its chunk. Only hostel's own start with `=`: that is how their lines are told from a user's.
    pub(crate) fn chunk(&self) -> String {
        format!("{}{}", if self.is_own { '=' } else { '@' }, self.name)
    }

    /// How Lua writes its name before an error: of a long one, the end.
    pub(crate) fn in_errors(&self) -> Cow<'_, str> {
        // `luaO_chunkid` has room for LUA_IDSIZE bytes: `@` or the NUL, three dots, and the rest for the name.
        const ROOM: usize = 60 - 1;
        const END: usize = ROOM - 3;
        if self.name.len() <= ROOM {
            return Cow::Borrowed(&self.name);
        }
        let end = &self.name.as_bytes()[self.name.len() - END..];
        Cow::Owned(format!("...{}", String::from_utf8_lossy(end)))
    }

    /// Where things are in it.
    pub(crate) fn find(&self) -> Finder<'_> {
        let scan = self.scan.get_or_init(|| Scan::of(&self.text));
        Finder::new(&self.shown, &self.text, scan)
    }
}

/// One body: where it is and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) is_guest: bool,
    pub(crate) name: String,
    /// The name that Lua knows it by.
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// A guest or template that was named; complete once its body has been read.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) layer: LayerId,
    /// With everything that it inherits.
    pub(crate) merged: Option<Node>,
}

/// A line of the recipe that was running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The name that Lua knows it by.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) function: Option<String>,
}

/// A mistake that ends the run, raised by a word or by the environment.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Raised {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// More to know, a line each.
    pub(crate) notes: Vec<String>,
    /// What to point at on the line.
    pub(crate) word: Option<String>,
    /// Where, when it is known better than by the frames.
    pub(crate) at: Option<(String, usize)>,
    /// What kind of failure it is to a script that catches it.
    pub(crate) kind: Option<crate::Kind>,
}

impl Raised {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            notes: Vec::new(),
            word: None,
            at: None,
            kind: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn kind(mut self, kind: crate::Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    pub(crate) fn word(mut self, word: impl Into<String>) -> Self {
        self.word = Some(word.into());
        self
    }
}

impl From<Raised> for mlua::Error {
    fn from(raised: Raised) -> Self {
        mlua::Error::external(raised)
    }
}

/// What became of a module that was required. It is read once: a file that changes meanwhile must not be seen to.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// It is running.
    Begun,
    /// It cannot be read, or raised an error.
    Failed,
    /// It returned this.
    Done(mlua::Value),
}

/// Everything that one evaluation gathers.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The folder of a script.
    pub(crate) folder: PathBuf,
    /// How a recipe's folder is named in messages: what comes before a file's name.
    pub(crate) prefix: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) mistakes: Vec<Mistake>,
    /// Mistakes whose place is known.
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) guests: Vec<Declared>,
    pub(crate) templates: Vec<Declared>,
    pub(crate) functions: Vec<mlua::Function>,
    /// How much may still be described.
    pub(crate) room: Room,
    pub(crate) output: Vec<String>,
    /// The values that were given, as texts.
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) declared_inputs: BTreeMap<String, DeclaredInput>,
    /// What each layer itself says, when the origins of fields are wanted.
    pub(crate) own: BTreeMap<LayerId, Node>,
    pub(crate) wants_own: bool,
    pub(crate) frames: Vec<Frame>,
    /// How often each line ran, by file.
    pub(crate) hits: BTreeMap<String, BTreeMap<usize, u64>>,
    pub(crate) is_exhausted: bool,
    /// Where `require` finds what is not hostel's own.
    pub(crate) modules: Modules,
    /// What was required, by its name.
    pub(crate) loaded: BTreeMap<String, Loaded>,
}

impl State {
    pub(crate) fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|s| s.name == name)
    }

    /// How a file is named in messages.
    pub(crate) fn shown<'a>(&'a self, name: &'a str) -> &'a str {
        self.source(name).map_or(name, |source| source.shown.as_str())
    }

    /// How often each line ran, by the file as it is named in messages.
    pub(crate) fn take_hits(&mut self) -> BTreeMap<String, BTreeMap<usize, u64>> {
        let hits = std::mem::take(&mut self.hits);
        hits.into_iter()
            .map(|(file, lines)| (self.shown(&file).to_owned(), lines))
            .collect()
    }

    pub(crate) fn layer(&self, id: LayerId) -> Option<&Layer> {
        self.layers.get(id as usize)
    }

    /// `guest "web"`.
    pub(crate) fn subject(&self, id: LayerId) -> String {
        self.layer(id).map_or_else(String::new, |layer| {
            let kind = if layer.is_guest { "guest" } else { "template" };
            format!("{kind} \"{}\"", layer.name)
        })
    }

    /// Where a layer is called.
    pub(crate) fn call_place(&self, id: LayerId) -> Option<Place> {
        let layer = self.layer(id)?;
        self.source(&layer.file)?.find().call(layer.line, &layer.name)
    }

    /// Where a field of a layer is written.
    pub(crate) fn key_place(&self, id: LayerId, path: &[String], at: At) -> Option<Place> {
        let layer = self.layer(id)?;
        let source = self.source(&layer.file)?;
        if path.is_empty() {
            return self.call_place(id);
        }
        source.find().key(layer.line, &layer.name, path, at)
    }

    /// Where a word stands on a line.
    pub(crate) fn word_place(&self, file: &str, line: usize, word: &str) -> Option<Place> {
        self.source(file)?.find().word(line, word)
    }

    /// The mistake with its place: ``unknown field `pidz` in guest "web" at `limits` ``.
    pub(crate) fn placed(&self, mistake: &Mistake) -> Diagnostic {
        let place = self.key_place(mistake.layer, &mistake.path, mistake.at);
        let above = path_text(&mistake.path[..mistake.path.len().saturating_sub(1)]);
        let at = if above.is_empty() {
            String::new()
        } else {
            format!(" at `{above}`")
        };
        let subject = self.subject(mistake.layer);
        // `... is not a path inside a guest in guest "web"` reads badly.
        let comma = if mistake.message.ends_with("guest") || mistake.message.ends_with("it") {
            ","
        } else {
            ""
        };
        let message = format!("{}{comma} in {subject}{at}", mistake.message);
        Diagnostic::new(mistake.code, message, place).with_help(mistake.help.clone())
    }
}

/// `mounts[1].source`, `files["/etc/motd"]`.
pub(crate) fn path_text(path: &[String]) -> String {
    // Writing to a `String` cannot fail.
    let mut text = String::new();
    for part in path {
        let is_word = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if part.bytes().all(|b| b.is_ascii_digit()) {
            let _ = write!(text, "[{part}]");
        } else if is_word {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        } else {
            let _ = write!(text, "[\"{}\"]", part.escape_debug());
        }
    }
    text
}
