//! What may be meant by a word that is begun: names of the live tables, and fields and methods of the registry.

use std::collections::BTreeMap;

use mlua::{Lua, ObjectLike as _, Table, Value};

use crate::guest::schema::Record;
use crate::lua::registry::{self, completion};

/// A word that may be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What is written.
    pub text: String,
    /// What it is.
    pub about: String,
}

/// Looks words up. It reads tables as they are: nothing of the user's runs.
pub struct Words {
    lua: Lua,
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// How many tables deep an `__index` is followed.
const DEEPEST: usize = 8;

impl Words {
    pub(super) fn of(lua: Lua) -> Self {
        Self { lua }
    }

    /// Whether more has to be written before it means anything.
    pub fn is_incomplete(&self, text: &str) -> bool {
        super::is_incomplete(&self.lua, text)
    }

    /// Where the word before the cursor begins, and what it may become.
    pub fn complete(&self, before: &str) -> (usize, Vec<Word>) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        let start = before.trim_end_matches(is_part).len();
        let (above, word) = before.split_at(start);
        if let Some(topic) = before.strip_prefix(".doc ") {
            let found = completion::topics(topic);
            let words = found.into_iter().map(|below| Word {
                text: below.name,
                about: below.signature,
            });
            return (".doc ".len(), words.collect());
        }
        if is_required(above) {
            let names = registry::MODULES.iter().filter(|module| !module.is_global);
            let names = names.filter(|module| module.name.starts_with(word));
            let words = names.map(|module| Word {
                text: module.name.to_owned(),
                about: registry::first_sentence(module.doc).to_owned(),
            });
            return (start, words.collect());
        }
        if let Some(record) = table_at(above)
            && !word.contains(['.', ':'])
        {
            let fields = record.fields.iter().filter(|field| field.name.starts_with(word));
            let words = fields.map(|field| Word {
                text: format!("{} = ", field.name),
                about: field.kind.lua(),
            });
            return (start, words.collect());
        }
        let (head, separator, last) = match word.rfind(['.', ':']) {
            Some(at) => (&word[..at], &word[at..=at], &word[at + 1..]),
            None => ("", "", word),
        };
        let mut found = BTreeMap::new();
        if separator.is_empty() {
            for keyword in KEYWORDS {
                found.insert(keyword.to_owned(), String::new());
            }
        }
        match self.value(head) {
            Value::Table(table) => members(&table, &mut found, separator == ":", DEEPEST),
            Value::String(_) => {
                if let Ok(strings) = self.lua.globals().raw_get::<Table>("string") {
                    members(&strings, &mut found, true, DEEPEST);
                }
            }
            Value::UserData(data) => {
                for (_, entry) in registry::entries().filter(|(_, entry)| entry.name.contains(':')) {
                    let name = entry.last();
                    if matches!(data.get::<Value>(name), Ok(Value::Function(_))) {
                        found.insert(name.to_owned(), entry.signature());
                    }
                }
            }
            _ => {}
        }
        let found = found.into_iter().filter(|(name, _)| name.starts_with(last));
        let words = found.map(|(name, about)| Word {
            text: format!("{head}{separator}{name}"),
            about,
        });
        (start, words.collect())
    }

    /// The value at a path of the globals; an empty path is the globals.
    fn value(&self, path: &str) -> Value {
        let mut at = Value::Table(self.lua.globals());
        for name in path.split(['.', ':']).filter(|_| !path.is_empty()) {
            let Value::Table(table) = &at else {
                return Value::Nil;
            };
            at = look_up(table, name, DEEPEST);
        }
        at
    }
}

/// A field, through tables that stand behind.
fn look_up(table: &Table, name: &str, left: usize) -> Value {
    match table.raw_get::<Value>(name) {
        Ok(Value::Nil) | Err(_) => match (behind(table), left.checked_sub(1)) {
            (Some(next), Some(left)) => look_up(&next, name, left),
            _ => Value::Nil,
        },
        Ok(value) => value,
    }
}

fn behind(table: &Table) -> Option<Table> {
    table.metatable()?.raw_get::<Table>("__index").ok()
}

fn members(table: &Table, found: &mut BTreeMap<String, String>, only_functions: bool, left: usize) {
    for pair in table.pairs::<Value, Value>() {
        let Ok((Value::String(name), value)) = pair else {
            continue;
        };
        let name = name.to_string_lossy();
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_name && (!only_functions || value.is_function()) {
            found.entry(name).or_insert_with(|| value.type_name().to_owned());
        }
    }
    if let (Some(next), Some(left)) = (behind(table), left.checked_sub(1)) {
        members(&next, found, only_functions, left);
    }
}

/// Whether a module's name follows.
fn is_required(above: &str) -> bool {
    let Some(above) = above.strip_suffix(['"', '\'']) else {
        return false;
    };
    let above = above.trim_end();
    let above = above.strip_suffix('(').unwrap_or(above).trim_end();
    above.ends_with("require")
}

/// What stands before an open brace.
enum Open {
    /// A call, by the name of what is called.
    Call(String),
    /// `name =`.
    Field(String),
    /// Something else.
    Other,
}

/// The fields of the table in which a key may follow.
fn table_at(above: &str) -> Option<&'static Record> {
    if !above.trim_end().ends_with(['{', ',', ';']) {
        return None;
    }
    let mut stack: Vec<Open> = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in above.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => stack.push(opened(&above[..at])),
            (None, '}') => drop(stack.pop()),
            _ => {}
        }
    }
    let call = stack.iter().rposition(|open| matches!(open, Open::Call(_)))?;
    let mut fields = stack[call..].iter();
    let Some(Open::Call(name)) = fields.next() else {
        return None;
    };
    let method = name.rsplit([':', '.']).next()?;
    let is_meant = |entry: &registry::Entry| {
        entry.name == name || (name.contains(':') && entry.name.contains(':') && entry.last() == method)
    };
    let mut entries = registry::entries().map(|(_, entry)| entry);
    let entry = entries.find(|entry| is_meant(entry))?;
    let mut record = entry.params?.iter().find_map(registry::Param::record)?;
    for open in fields {
        let Open::Field(name) = open else { return None };
        record = record.field(name)?.kind.record()?;
    }
    Some(record)
}

fn opened(above: &str) -> Open {
    let above = above.trim_end();
    let name_of = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        text[text.trim_end_matches(is_part).len()..].to_owned()
    };
    if let Some(field) = above.strip_suffix('=') {
        return Open::Field(name_of(field.trim_end()));
    }
    let called = above.strip_suffix('(').unwrap_or(above).trim_end();
    match name_of(called) {
        name if name.is_empty() => Open::Other,
        name => Open::Call(name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Repl;

    fn complete(before: &str) -> Vec<String> {
        let mut repl = Repl::new().unwrap_or_else(|failed| panic!("{}", failed.diagnostics.render(false)));
        repl.eval("web = { tier = { one = 1 } } c = hostel.context {}")
            .unwrap_or_else(|failed| panic!("{}", failed.diagnostics.render(false)));
        let (_, words) = repl.words().complete(before);
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn names_come_from_the_live_tables() {
        assert_eq!(complete("web.ti"), ["web.tier"]);
        assert_eq!(complete("print(web.tier.o"), ["web.tier.one"]);
        assert_eq!(complete("hostel.cont"), ["hostel.context"]);
        assert_eq!(complete("repe"), ["repeat"]);
        assert_eq!(complete("string.rep"), ["string.rep"]);
        assert!(complete("nothing.x").is_empty());
    }

    #[test]
    fn fields_methods_and_modules_come_from_the_registry() {
        assert_eq!(complete("hostel.context { hostn"), ["hostname = "]);
        assert_eq!(complete("c:limit { memory = \"1{M\", pi"), ["pids = "]);
        assert_eq!(complete("require \"hostel.ins"), ["hostel.inspect"]);
        assert_eq!(complete("c:chro"), ["c:chroot"]);
        assert_eq!(complete(".doc hostel.cont"), ["hostel.context"]);
    }
}
