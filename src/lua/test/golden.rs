//! Golden files: what a test came to when somebody last looked at it.
//!
//! `web_test.lua` has them in `web_test.golden/NAME.txt`.

use std::path::{Path, PathBuf};

use super::tree::File;

/// How many differing lines are shown.
const MOST: usize = 20;

/// What a comparison comes to.
pub(super) enum Compared {
    Same,
    /// Why not, and what differs line by line.
    Differs(String, Vec<String>),
}

/// The file of this name beside the test file.
fn path(test: &Path, name: &str) -> PathBuf {
    test.with_extension("golden").join(format!("{name}.txt"))
}

/// Whether a name can be a file's: it is not to lead anywhere else.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Compares `text` with the file, or writes it where that is asked for.
pub(super) fn compare(file: &mut File, name: &str, text: &str) -> std::io::Result<Compared> {
    let path = path(&file.path, name);
    let mut text = text.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let old = match std::fs::read_to_string(&path) {
        Ok(old) => Some(old),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => None,
        Err(err) => return Err(err),
    };
    if old.as_deref() == Some(text.as_str()) {
        return Ok(Compared::Same);
    }
    if file.options.bless {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&path, &text)?;
        file.blessed.push(path);
        return Ok(Compared::Same);
    }
    let shown = path.display();
    Ok(match old {
        None => Compared::Differs(format!("there is no golden file `{shown}`"), Vec::new()),
        Some(old) => Compared::Differs(format!("not what `{shown}` says"), differences(&old, &text)),
    })
}

/// The lines that only one of two texts has, with one line of what both have around them.
fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |a: Option<&&str>, b: Option<&&str>| a.is_some() && a == b;
    let mut start = 0;
    while same(old.get(start), new.get(start)) {
        start += 1;
    }
    let mut tail = 0;
    while tail < old.len().min(new.len()) - start && old[old.len() - 1 - tail] == new[new.len() - 1 - tail] {
        tail += 1;
    }
    let mut lines = Vec::new();
    if let Some(before) = start.checked_sub(1).and_then(|index| old.get(index)) {
        lines.push(format!("{start:>4}   {before}"));
    }
    for (sign, all) in [('-', &old), ('+', &new)] {
        let middle = &all[start..all.len() - tail];
        for (offset, line) in middle.iter().take(MOST).enumerate() {
            lines.push(format!("{:>4} {sign} {line}", start + offset + 1));
        }
        if middle.len() > MOST {
            lines.push(format!("     {sign} and {} more lines", middle.len() - MOST));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_the_line_before_it() {
        let lines = differences("a\nb\nc\nd\n", "a\nB\nc\nd\n");
        assert_eq!(lines, ["   1   a", "   2 - b", "   2 + B"]);
        assert_eq!(differences("a\n", "a\nb\n"), ["   1   a", "   2 + b"]);
        assert_eq!(differences("a\na\n", "a\n"), ["   1   a", "   2 - a"]);
    }

    #[test]
    fn names_lead_nowhere() {
        for name in ["", "..", "a/b", ".x", "a b"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("plan-1.web"));
    }
}
