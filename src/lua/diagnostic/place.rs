//! From a call's line to the column of a key: Lua keeps only the line of a call, so the key is looked for in the
//! source from there. This costs nothing while a recipe is right.

use super::Place;
use super::tokens::{Kind, Scan, Token, Tokens};
use crate::lua::read::At;

/// How many tokens before a line the beginning of what ends there is looked for.
const LOOK_BACK: usize = 2000;

/// How often a name is followed to the table that it stands for; a recipe that names itself ends there.
const FOLLOW: usize = 8;

fn place(file: &str, source: &str, start: usize, len: usize, line: usize) -> Place {
    let line_start = source[..start].rfind('\n').map_or(0, |n| n + 1);
    let line_end = source[start..].find('\n').map_or(source.len(), |n| start + n);
    // A line's end may be a carriage return or several: no caret stands below those.
    let line_end = line_start + source[line_start..line_end].trim_end_matches('\r').len();
    let end = (start + len).min(line_end).max(start);
    Place {
        file: file.to_owned(),
        line,
        column: source[line_start..start].chars().count() + 1,
        width: source[start..end].chars().count().max(1),
        text: source[line_start..line_end].to_owned(),
    }
}

/// A source in which places are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finder<'a> {
    file: &'a str,
    all: Tokens<'a>,
}

impl<'a> Finder<'a> {
    /// `scan` is of this `source`.
    pub(crate) fn new(file: &'a str, source: &'a str, scan: &'a Scan) -> Self {
        Self {
            file,
            all: Tokens::new(source, scan),
        }
    }

    fn token(self, token: &Token<'_>) -> Place {
        place(
            self.file,
            self.all.source,
            token.start,
            token.text.len(),
            token.line,
        )
    }

    fn spanning(self, from: usize, to: usize) -> Place {
        let (first, last) = (self.all.at(from), self.all.at(to.max(from)));
        let length = last.start + last.text.len() - first.start;
        place(self.file, self.all.source, first.start, length, first.line)
    }

    /// A whole line, from its first character that is no blank.
    fn whole_line(self, line: usize) -> Option<Place> {
        let (start, text) = self.all.line_text(line)?;
        // First the end: of a line of blanks alone the beginning is shown.
        let text = text.trim_end();
        let indent = text.len() - text.trim_start().len();
        Some(place(
            self.file,
            self.all.source,
            start + indent,
            text.trim().len(),
            line,
        ))
    }

    /// The name of a guest or template in the call whose body opens on `line`, or else that line.
    pub(crate) fn call(self, line: usize, name: &str) -> Option<Place> {
        let all = self.all;
        let is_name = |t: &Token<'_>| t.literal() == Some(name);
        if let Some(open) = opening(all, line, name) {
            let near = open.saturating_sub(6);
            if let Some(token) = all.range(near..open + 1).rev().find(is_name) {
                return Some(self.token(&token));
            }
            let is_word = |t: &Token<'_>| t.text == "guest" || t.text == "template";
            if let Some(word) = all.range(near..open).rev().find(is_word) {
                return Some(self.token(&word));
            }
        } else if let Some(token) = all.range(all.line(line)).rev().find(is_name) {
            return Some(self.token(&token));
        }
        self.whole_line(line)
    }

    /// A word on a line, or else the line.
    pub(crate) fn word(self, line: usize, word: &str) -> Option<Place> {
        let is_it = |t: &Token<'_>| t.text == word || t.literal() == Some(word);
        match self.all.range(self.all.line(line)).find(is_it) {
            Some(token) => Some(self.token(&token)),
            None => match self.given(line, word) {
                Some(index) => Some(self.spanning(index, index)),
                None => self.whole_line(line),
            },
        }
    }

    /// Where a name is given a value by what ends on `line`: of `base = template "base" { ... }` over several lines, Lua
    /// says the last one.
    fn given(self, line: usize, word: &str) -> Option<usize> {
        let before = 0..self.all.line(line).start;
        let is_given =
            |i: &usize| self.all.at(*i).text == word && self.all.get(i + 1).is_some_and(|t| t.is("="));
        before.rev().take(LOOK_BACK).find(is_given)
    }

    /// For a syntax error: what stands near it on its line, and the bracket that is still open, by its line.
    pub(crate) fn unbalanced(self, line: usize, near: &str) -> Option<Place> {
        let on_line = self.all.line(line);
        // A value is given to names and to fields, never to a text or a call: that `=` is the one of `guest "web" = {`.
        let is_stray = |i: &usize| {
            let before = i.checked_sub(1).and_then(|before| self.all.get(before));
            near == "=" && before.is_some_and(|before| before.kind == Kind::Text || before.is(")"))
        };
        let is_near = |i: &usize| self.all.at(*i).text == near;
        let mut stray = on_line.clone().filter(is_near).filter(is_stray);
        match stray.next().or_else(|| on_line.rev().find(is_near)) {
            Some(index) => Some(self.spanning(index, index)),
            None => self.whole_line(line.min(self.all.lines())),
        }
    }

    /// The field at `path` of the body that opens on `line`.
    pub(crate) fn key(self, line: usize, name: &str, path: &[String], at: At) -> Option<Place> {
        if let Some(open) = opening(self.all, line, name) {
            match descend(self.all, open, path, at, FOLLOW) {
                Ok((from, to)) => return Some(self.spanning(from, to)),
                Err(nearest) => {
                    if let Some(index) = only_key(self.all, path, line) {
                        return Some(self.spanning(index, index));
                    }
                    if let Some((from, to)) = nearest {
                        return Some(self.spanning(from, to));
                    }
                }
            }
        } else if let Some(index) = only_key(self.all, path, line) {
            return Some(self.spanning(index, index));
        }
        self.call(line, name)
    }
}

/// The `{` of the body: Lua gives the line on which a call's arguments begin.
fn opening(all: Tokens<'_>, line: usize, name: &str) -> Option<usize> {
    let is_argument = |i: usize| {
        let Some(before) = i.checked_sub(1).and_then(|b| all.get(b)) else {
            return false;
        };
        before.kind == Kind::Text || before.is(")") || before.is("(") || before.kind == Kind::Name
    };
    let on_line = all.line(line);
    let candidates: Vec<usize> = on_line
        .clone()
        .filter(|i| all.at(*i).is("{") && is_argument(*i))
        .collect();
    let is_named = |i: &&usize| {
        all.range(i.saturating_sub(3)..**i)
            .any(|t| t.literal() == Some(name))
    };
    let is_call = |i: &&usize| {
        all.range(i.saturating_sub(8)..**i)
            .any(|t| t.text == "guest" || t.text == "template")
    };
    if let Some(found) = candidates
        .iter()
        .find(is_named)
        .or_else(|| candidates.iter().find(is_call))
    {
        return Some(*found);
    }
    if let Some(found) = candidates.first() {
        return Some(*found);
    }
    // `guest "web" (body)`: the table that the name stands for.
    on_line
        .filter(|i| all.at(*i).is("("))
        .filter(|i| is_argument(*i))
        .find_map(|i| variable(all, i + 1))
}

/// The table that the name at `index` was last given before, when it was given one: `local limits = { ... }`.
fn variable(all: Tokens<'_>, index: usize) -> Option<usize> {
    let name = all.get(index).filter(|t| t.kind == Kind::Name)?.text;
    (0..index)
        .rev()
        .find(|i| {
            all.at(*i).text == name
                && all.get(i + 1).is_some_and(|t| t.is("="))
                && all.get(i + 2).is_some_and(|t| t.is("{"))
        })
        .map(|i| i + 2)
}

/// One entry of a table: its key (none for an item), and the tokens of its value.
struct Entry {
    key: Option<(usize, usize)>,
    from: usize,
    to: usize,
}

/// The entries of the table that opens at `open`.
fn entries(all: Tokens<'_>, open: usize) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut at = open + 1;
    while at < all.len() && !all.at(at).is("}") {
        let mut key = None;
        if all.at(at).kind == Kind::Name && all.get(at + 1).is_some_and(|t| t.is("=")) {
            key = Some((at, at));
            at += 2;
        } else if all.at(at).is("[") {
            let close = skip(all, at);
            if all.get(close + 1).is_some_and(|t| t.is("=")) {
                key = Some((at + 1, close.saturating_sub(1)));
                at = close + 2;
            }
        }
        let from = at;
        while at < all.len() && !(all.at(at).is(",") || all.at(at).is(";") || all.at(at).is("}")) {
            at = skip(all, at) + 1;
        }
        if at > from {
            found.push(Entry {
                key,
                from,
                to: at - 1,
            });
        }
        if at < all.len() && !all.at(at).is("}") {
            at += 1;
        }
    }
    found
}

/// The last token of the bracket, or of the function, that starts at `at`; `at` itself for any other token.
fn skip(all: Tokens<'_>, at: usize) -> usize {
    let opens = |t: &Token<'_>| {
        t.is("{")
            || t.is("(")
            || t.is("[")
            || (t.kind == Kind::Name && matches!(t.text, "function" | "do" | "then" | "repeat"))
    };
    let closes = |t: &Token<'_>| {
        t.is("}")
            || t.is(")")
            || t.is("]")
            || (t.kind == Kind::Name && matches!(t.text, "end" | "until" | "elseif"))
    };
    if !opens(&all.at(at)) {
        return at;
    }
    let mut depth = 0_usize;
    for (index, token) in (at..).zip(all.range(at..all.len())) {
        if opens(&token) {
            depth += 1;
        } else if closes(&token) {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    all.len() - 1
}

/// The tokens of the field at `path`; if it is not written there, those of the nearest field above it.
fn descend(
    all: Tokens<'_>,
    open: usize,
    path: &[String],
    at: At,
    follow: usize,
) -> Result<(usize, usize), Option<(usize, usize)>> {
    let Some((first, rest)) = path.split_first() else {
        return Ok((open, open));
    };
    let mut place = 0_usize;
    let mut found = None;
    for entry in entries(all, open) {
        let is_it = if let Some((from, to)) = entry.key {
            let token = all.at(from);
            from == to && (token.text == first || token.literal() == Some(first.as_str()))
        } else {
            place += 1;
            place.to_string() == *first
        };
        if is_it {
            // Of two entries with one key Lua keeps the later one.
            found = Some(entry);
        }
    }
    let Some(entry) = found else {
        return Err(None);
    };
    let value_end = if all.at(entry.from).is("{") {
        entry.from
    } else {
        entry.to
    };
    let here = match (entry.key, at) {
        (Some(key), At::Key) => key,
        _ => (entry.from, value_end),
    };
    if rest.is_empty() {
        return Ok(here);
    }
    let table = if all.at(entry.from).is("{") {
        Some(entry.from)
    } else if all.at(entry.from).text == "append" {
        (entry.from..=entry.to).find(|i| all.at(*i).is("{"))
    } else if entry.from == entry.to && follow > 0 {
        variable(all, entry.from)
    } else {
        None
    };
    // A value that stands for a list of one, or for one field: the field is where the value is.
    let own = entry.key.unwrap_or((entry.from, value_end));
    match table {
        Some(table) => {
            descend(all, table, rest, at, follow.saturating_sub(1)).map_err(|below| below.or(Some(own)))
        }
        None if rest.len() == 1 && all.at(entry.from).kind != Kind::Name => Ok((entry.from, value_end)),
        None => Err(Some(own)),
    }
}

/// A field that the body does not hold may be set by code: the one place that gives a key of this name a value, or
/// of several the first after the call's line.
fn only_key(all: Tokens<'_>, path: &[String], line: usize) -> Option<usize> {
    let last = path
        .iter()
        .rev()
        .find(|p| !p.bytes().all(|b| b.is_ascii_digit()))?;
    let is_set = |i: &usize| {
        let next = |n: usize| all.get(i + n);
        match all.at(*i).kind {
            Kind::Name => all.at(*i).text == last && next(1).is_some_and(|t| t.is("=")),
            Kind::Text => {
                all.at(*i).literal() == Some(last.as_str())
                    && next(1).is_some_and(|t| t.is("]"))
                    && next(2).is_some_and(|t| t.is("="))
            }
            _ => false,
        }
    };
    let found: Vec<usize> = (0..all.len()).filter(is_set).collect();
    match found.as_slice() {
        [] => None,
        [one] => Some(*one),
        many => many.iter().copied().rfind(|i| all.at(*i).line <= line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_carriage_returns_has_its_place_within_the_line() {
        let source = "local x\n\r\r\r\r\n  \t\nend";
        let scan = Scan::of(source);
        for line in [2, 3] {
            let place = Finder::new("web.lua", source, &scan).word(line, "b").unwrap();
            assert_eq!((place.line, place.column, place.width), (line, 1, 1));
        }
        assert_eq!(Finder::new("web.lua", source, &scan).word(5, "b"), None);
    }
}
