//! Just enough of Lua's lexical grammar (reference manual, 3.1) to find a key in a source text.

/// A token and where it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
    pub(super) line: usize,
}

/// A token without its text, which is kept beside the source that it is of.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    kind: Kind,
    start: usize,
    end: usize,
    line: usize,
}

/// What one reading of a source finds: kept, because a file with a thousand mistakes is asked for a place as often.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    spans: Vec<Span>,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Scan {
    pub(crate) fn of(source: &str) -> Self {
        let after = source.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            spans: spans(source),
            lines: std::iter::once(0).chain(after).collect(),
        }
    }
}

/// The tokens of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) source: &'a str,
    scan: &'a Scan,
}

impl<'a> Tokens<'a> {
    /// `scan` is of this `source`.
    pub(super) fn new(source: &'a str, scan: &'a Scan) -> Self {
        Self { source, scan }
    }

    fn token(self, span: &Span) -> Token<'a> {
        Token {
            kind: span.kind,
            text: &self.source[span.start..span.end],
            start: span.start,
            line: span.line,
        }
    }

    pub(super) fn len(self) -> usize {
        self.scan.spans.len()
    }

    pub(super) fn get(self, index: usize) -> Option<Token<'a>> {
        self.scan.spans.get(index).map(|span| self.token(span))
    }

    /// The token at an index that is there.
    pub(super) fn at(self, index: usize) -> Token<'a> {
        self.token(&self.scan.spans[index])
    }

    pub(super) fn range(self, range: std::ops::Range<usize>) -> impl DoubleEndedIterator<Item = Token<'a>> {
        self.scan.spans[range].iter().map(move |span| self.token(span))
    }

    /// The indices of the tokens of a line.
    pub(super) fn line(self, line: usize) -> std::ops::Range<usize> {
        let spans = &self.scan.spans;
        spans.partition_point(|t| t.line < line)..spans.partition_point(|t| t.line <= line)
    }

    /// Where a line, counted from 1, starts, and its text without its end.
    pub(super) fn line_text(self, line: usize) -> Option<(usize, &'a str)> {
        let index = line.checked_sub(1)?;
        let start = *self.scan.lines.get(index)?;
        let end = self
            .scan
            .lines
            .get(index + 1)
            .map_or(self.source.len(), |next| next - 1);
        Some((start, &self.source[start..end]))
    }

    /// How many lines there are.
    pub(super) fn lines(self) -> usize {
        self.scan.lines.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Text,
    Number,
    Sign,
}

impl Token<'_> {
    pub(super) fn is(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// What a string literal holds, where it has no escapes that matter for a key.
    pub(super) fn literal(&self) -> Option<&str> {
        if self.kind != Kind::Text {
            return None;
        }
        let inner = self.text.get(1..self.text.len().checked_sub(1)?)?;
        if self.text.starts_with('[') {
            let inner = inner.trim_matches('=');
            return inner.get(1..inner.len().checked_sub(1)?);
        }
        Some(inner)
    }
}

/// The tokens of a text. What is no Lua becomes a sign of one character; nothing fails.
fn spans(source: &str) -> Vec<Span> {
    let bytes = source.as_bytes();
    let mut found = Vec::with_capacity(bytes.len() / 4);
    let (mut at, mut line) = (0, 1);
    if bytes.first() == Some(&b'#') {
        at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    }
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            line += usize::from(byte == b'\n');
            at += 1;
            continue;
        }
        if bytes[at..].starts_with(b"--") {
            let end = match long_bracket(bytes, at + 2) {
                Some(end) => end,
                None => bytes[at..]
                    .iter()
                    .position(|b| *b == b'\n')
                    .map_or(bytes.len(), |n| at + n),
            };
            line += newlines(bytes, at, end);
            at = end;
            continue;
        }
        let (kind, end) = match byte {
            b'"' | b'\'' => (Kind::Text, quoted(bytes, at)),
            b'[' => match long_bracket(bytes, at) {
                Some(end) => (Kind::Text, end),
                None => (Kind::Sign, at + 1),
            },
            b if b.is_ascii_alphabetic() || b == b'_' => (
                Kind::Name,
                run(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_'),
            ),
            b if b.is_ascii_digit() => (
                Kind::Number,
                run(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'.'),
            ),
            _ => {
                let pairs: [&[u8]; 8] = [b"==", b"~=", b"<=", b">=", b"//", b"::", b"..", b"<<"];
                let width = if pairs.iter().any(|p| bytes[at..].starts_with(p)) {
                    2
                } else {
                    1
                };
                (Kind::Sign, at + width)
            }
        };
        let mut end = end.min(bytes.len());
        while !source.is_char_boundary(end) {
            end += 1;
        }
        found.push(Span {
            kind,
            start: at,
            end,
            line,
        });
        line += newlines(bytes, at, end);
        at = end;
    }
    found
}

fn run(bytes: &[u8], from: usize, is_part: impl Fn(u8) -> bool) -> usize {
    bytes[from..]
        .iter()
        .position(|b| !is_part(*b))
        .map_or(bytes.len(), |n| from + n)
}

fn newlines(bytes: &[u8], from: usize, to: usize) -> usize {
    bytes[from..to].split(|b| *b == b'\n').count() - 1
}

fn quoted(bytes: &[u8], from: usize) -> usize {
    let quote = bytes[from];
    let mut at = from + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' => return at,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `[[...]]` or `[==[...]==]` at `from`, if one starts there.
fn long_bracket(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from) != Some(&b'[') {
        return None;
    }
    let level = bytes[from + 1..].iter().take_while(|b| **b == b'=').count();
    if bytes.get(from + 1 + level) != Some(&b'[') {
        return None;
    }
    let mut close = vec![b'='; level + 2];
    close[0] = b']';
    close[level + 1] = b']';
    let body = from + 2 + level;
    let end = bytes[body..].windows(close.len()).position(|w| w == close);
    Some(end.map_or(bytes.len(), |n| body + n + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_behind_comments_and_long_strings() {
        let source = "#!x\n-- a\n--[==[ b\n]] ]==] c = [[\nd]] .. 'e\\'f' g";
        let scan = Scan::of(source);
        let all = Tokens::new(source, &scan);
        let found: Vec<(&str, usize)> = all.range(0..all.len()).map(|t| (t.text, t.line)).collect();
        assert_eq!(
            found,
            [
                ("c", 4),
                ("=", 4),
                ("[[\nd]]", 4),
                ("..", 5),
                ("'e\\'f'", 5),
                ("g", 5)
            ]
        );
    }

    #[test]
    fn never_fails() {
        for source in ["", "\"", "[==[", "--[[", "'\\", "é = 1", "#", "[=", "a\u{0}b"] {
            Scan::of(source);
        }
    }
}
