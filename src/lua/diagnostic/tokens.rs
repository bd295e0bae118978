//! Just enough of Lua's lexical grammar (reference manual, 3.1) to find a key in a source text.

/// A token and where it is, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
    pub(super) line: usize,
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
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
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
        found.push(Token {
            kind,
            text: &source[at..end],
            start: at,
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
        let found: Vec<(&str, usize)> = tokens(source).iter().map(|t| (t.text, t.line)).collect();
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
            tokens(source);
        }
    }
}
