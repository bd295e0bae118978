//! Diagnostics as text: the message, the place, the source line with a caret, what would be right.

use std::fmt::Write as _;

use super::{Diagnostic, Place};

/// Select Graphic Rendition of ECMA-48: bold red, bold blue, bold, and back to normal.
struct Colours {
    error: &'static str,
    frame: &'static str,
    bold: &'static str,
    end: &'static str,
}

const PLAIN: Colours = Colours {
    error: "",
    frame: "",
    bold: "",
    end: "",
};
const ANSI: Colours = Colours {
    error: "\x1b[1;31m",
    frame: "\x1b[1;34m",
    bold: "\x1b[1m",
    end: "\x1b[0m",
};

/// Lines longer than this are cut around the caret, so that a generated one does not fill the screen.
const WIDEST: usize = 140;

pub(super) fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let colours = if colour { &ANSI } else { &PLAIN };
    let mut text = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        one(diagnostic, colours, &mut text);
    }
    text
}

// Writing to a `String` cannot fail, so the results below are ignored.
fn one(d: &Diagnostic, c: &Colours, text: &mut String) {
    let _ = writeln!(
        text,
        "{}error[{}]{}{}: {}{}",
        c.error,
        d.code.as_str(),
        c.end,
        c.bold,
        clean(&d.message),
        c.end
    );
    let lines = d
        .place
        .iter()
        .chain(d.related.iter().map(|(place, _)| place))
        .map(|p| p.line);
    let gutter = lines.max().unwrap_or(0).to_string().len();
    let pad = " ".repeat(gutter);
    if let Some(place) = &d.place {
        let _ = writeln!(
            text,
            "{pad}{}-->{} {}:{}:{}",
            c.frame, c.end, place.file, place.line, place.column
        );
        snippet(place, "", &pad, c, text);
    }
    for (place, label) in &d.related {
        let _ = writeln!(
            text,
            "{pad}{}:::{} {}:{}:{}",
            c.frame, c.end, place.file, place.line, place.column
        );
        snippet(place, label, &pad, c, text);
    }
    if let Some(help) = &d.help {
        let _ = writeln!(
            text,
            "{pad} {}={} {}help{}: {}",
            c.frame,
            c.end,
            c.bold,
            c.end,
            clean(help)
        );
    }
    for note in &d.notes {
        let _ = writeln!(
            text,
            "{pad} {}={} {}note{}: {}",
            c.frame,
            c.end,
            c.bold,
            c.end,
            clean(note)
        );
    }
}

fn snippet(place: &Place, label: &str, pad: &str, c: &Colours, text: &mut String) {
    let characters: Vec<char> = place.text.chars().collect();
    let start = place.column.saturating_sub(1).min(characters.len());
    let from = if characters.len() > WIDEST {
        start.saturating_sub(WIDEST / 2)
    } else {
        0
    };
    let to = (from + WIDEST).min(characters.len());
    let shown = |range: &[char]| range.iter().map(|ch| visible(*ch)).collect::<String>();
    let line = shown(&characters[from..to]);
    let before = shown(&characters[from..start.max(from)]).chars().count();
    let width = place.width.clamp(1, (to.saturating_sub(start)).max(1));
    let caret = format!("{}{}", " ".repeat(before), "^".repeat(width));
    let gap = if label.is_empty() { "" } else { " " };
    let number = place.line;
    let _ = writeln!(text, "{pad} {}|{}", c.frame, c.end);
    let _ = writeln!(
        text,
        "{}{number:>width$} |{} {}",
        c.frame,
        c.end,
        line.trim_end(),
        width = pad.len()
    );
    let _ = writeln!(
        text,
        "{pad} {}|{} {}{caret}{gap}{label}{}",
        c.frame, c.end, c.error, c.end
    );
}

/// A tab is one column wide, so that the caret stands where it belongs; control characters could move the cursor.
fn visible(ch: char) -> char {
    match ch {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Without control characters: a recipe of someone else's must not drive the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { c } else { visible(c) })
        .collect()
}
