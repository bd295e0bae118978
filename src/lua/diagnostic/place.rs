//! From a call's line to the column of a key: Lua keeps only the line of a call, so the key is looked for in the
//! source from there. This costs nothing while a recipe is right.

use super::Place;
use super::tokens::{Kind, Token, tokens};
use crate::lua::read::At;

/// How often a name is followed to the table that it stands for; a recipe that names itself ends there.
const FOLLOW: usize = 8;

fn place(file: &str, source: &str, start: usize, len: usize, line: usize) -> Place {
    let line_start = source[..start].rfind('\n').map_or(0, |n| n + 1);
    let line_end = source[start..].find('\n').map_or(source.len(), |n| start + n);
    let end = (start + len).min(line_end).max(start);
    Place {
        file: file.to_owned(),
        line,
        column: source[line_start..start].chars().count() + 1,
        width: source[start..end].chars().count().max(1),
        text: source[line_start..line_end].to_owned(),
    }
}

/// A whole line, from its first character that is no blank.
fn whole_line(file: &str, source: &str, line: usize) -> Option<Place> {
    let text = source.split('\n').nth(line.checked_sub(1)?)?;
    let start = source
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum::<usize>();
    let indent = text.len() - text.trim_start().len();
    Some(place(file, source, start + indent, text.trim().len(), line))
}

/// The name of a guest or template in the call whose body opens on `line`, or else that line.
pub(crate) fn find_call(file: &str, source: &str, line: usize, name: &str) -> Option<Place> {
    let all = tokens(source);
    let open = opening(&all, line, name);
    let near = open.map_or(0, |o| o.saturating_sub(6));
    let named = all[near..open.map_or(all.len(), |o| o + 1)]
        .iter()
        .rev()
        .find(|t| t.literal() == Some(name) && (open.is_some() || t.line == line));
    if let Some(token) = named {
        return Some(place(file, source, token.start, token.text.len(), token.line));
    }
    if let Some(open) = open
        && let Some(word) = all[near..open]
            .iter()
            .rev()
            .find(|t| t.text == "guest" || t.text == "template")
    {
        return Some(place(file, source, word.start, word.text.len(), word.line));
    }
    whole_line(file, source, line)
}

/// A word on a line, or else the line.
pub(crate) fn find_word(file: &str, source: &str, line: usize, word: &str) -> Option<Place> {
    let all = tokens(source);
    let on_line = |t: &&Token<'_>| t.line == line && (t.text == word || t.literal() == Some(word));
    match all.iter().find(on_line) {
        Some(token) => Some(place(file, source, token.start, token.text.len(), line)),
        None => whole_line(file, source, line),
    }
}

/// For a syntax error: what stands near it on its line, and the bracket that is still open, by its line.
pub(crate) fn unbalanced(file: &str, source: &str, line: usize, near: &str) -> Option<Place> {
    let all = tokens(source);
    match all.iter().rev().find(|t| t.line == line && t.text == near) {
        Some(token) => Some(place(file, source, token.start, token.text.len(), line)),
        None => whole_line(file, source, line.min(source.split('\n').count())),
    }
}

/// The field at `path` of the body that opens on `line`.
pub(crate) fn find_key(
    file: &str,
    source: &str,
    line: usize,
    name: &str,
    path: &[String],
    at: At,
) -> Option<Place> {
    let all = tokens(source);
    if let Some(open) = opening(&all, line, name) {
        match descend(&all, open, path, at, FOLLOW) {
            Ok((from, to)) => return Some(spanning(file, source, &all, from, to)),
            Err(nearest) => {
                if let Some(index) = only_key(&all, path, line) {
                    return Some(spanning(file, source, &all, index, index));
                }
                if let Some((from, to)) = nearest {
                    return Some(spanning(file, source, &all, from, to));
                }
            }
        }
    } else if let Some(index) = only_key(&all, path, line) {
        return Some(spanning(file, source, &all, index, index));
    }
    find_call(file, source, line, name)
}

fn spanning(file: &str, source: &str, all: &[Token<'_>], from: usize, to: usize) -> Place {
    let (first, last) = (&all[from], &all[to.max(from)]);
    place(
        file,
        source,
        first.start,
        last.start + last.text.len() - first.start,
        first.line,
    )
}

/// The `{` of the body: Lua gives the line on which a call's arguments begin.
fn opening(all: &[Token<'_>], line: usize, name: &str) -> Option<usize> {
    let is_argument = |i: usize| {
        let Some(before) = i.checked_sub(1).and_then(|b| all.get(b)) else {
            return false;
        };
        before.kind == Kind::Text || before.is(")") || before.is("(") || before.kind == Kind::Name
    };
    let first = all.partition_point(|t| t.line < line);
    let candidates: Vec<usize> = (first..all.len())
        .take_while(|i| all[*i].line == line)
        .filter(|i| all[*i].is("{") && is_argument(*i))
        .collect();
    let is_named = |i: &&usize| {
        all[i.saturating_sub(3)..**i]
            .iter()
            .any(|t| t.literal() == Some(name))
    };
    let is_call = |i: &&usize| {
        all[i.saturating_sub(8)..**i]
            .iter()
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
    let paren = (first..all.len())
        .take_while(|i| all[*i].line == line)
        .filter(|i| all[*i].is("("));
    paren
        .filter(|i| is_argument(*i))
        .find_map(|i| variable(all, i + 1))
}

/// The table that the name at `index` was last given before, when it was given one: `local limits = { ... }`.
fn variable(all: &[Token<'_>], index: usize) -> Option<usize> {
    let name = all.get(index).filter(|t| t.kind == Kind::Name)?.text;
    (0..index)
        .rev()
        .find(|i| {
            all[*i].text == name
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
fn entries(all: &[Token<'_>], open: usize) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut at = open + 1;
    while at < all.len() && !all[at].is("}") {
        let mut key = None;
        if all[at].kind == Kind::Name && all.get(at + 1).is_some_and(|t| t.is("=")) {
            key = Some((at, at));
            at += 2;
        } else if all[at].is("[") {
            let close = skip(all, at);
            if all.get(close + 1).is_some_and(|t| t.is("=")) {
                key = Some((at + 1, close.saturating_sub(1)));
                at = close + 2;
            }
        }
        let from = at;
        while at < all.len() && !(all[at].is(",") || all[at].is(";") || all[at].is("}")) {
            at = skip(all, at) + 1;
        }
        if at > from {
            found.push(Entry {
                key,
                from,
                to: at - 1,
            });
        }
        if at < all.len() && !all[at].is("}") {
            at += 1;
        }
    }
    found
}

/// The last token of the bracket, or of the function, that starts at `at`; `at` itself for any other token.
fn skip(all: &[Token<'_>], at: usize) -> usize {
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
    if !opens(&all[at]) {
        return at;
    }
    let mut depth = 0_usize;
    for (index, token) in all.iter().enumerate().skip(at) {
        if opens(token) {
            depth += 1;
        } else if closes(token) {
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
    all: &[Token<'_>],
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
            let token = &all[from];
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
    let value_end = if all[entry.from].is("{") {
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
    let table = if all[entry.from].is("{") {
        Some(entry.from)
    } else if all[entry.from].text == "append" {
        (entry.from..=entry.to).find(|i| all[*i].is("{"))
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
        None if rest.len() == 1 && all[entry.from].kind != Kind::Name => Ok((entry.from, value_end)),
        None => Err(Some(own)),
    }
}

/// A field that the body does not hold may be set by code: the one place that gives a key of this name a value, or
/// of several the first after the call's line.
fn only_key(all: &[Token<'_>], path: &[String], line: usize) -> Option<usize> {
    let last = path
        .iter()
        .rev()
        .find(|p| !p.bytes().all(|b| b.is_ascii_digit()))?;
    let is_set = |i: &usize| {
        let next = |n: usize| all.get(i + n);
        match all[*i].kind {
            Kind::Name => all[*i].text == last && next(1).is_some_and(|t| t.is("=")),
            Kind::Text => {
                all[*i].literal() == Some(last.as_str())
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
        many => many.iter().copied().rfind(|i| all[*i].line <= line),
    }
}
