//! Which lines ran, and the two forms in which it is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;

use mlua::{HookTriggers, Lua, VmState};
use serde::Serialize;

use super::{FileReport, lines, tree};
use crate::lua::api;
use crate::sys::interrupt;

/// How often lines ran, by file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hits(pub(super) BTreeMap<String, BTreeMap<usize, u64>>);

impl Hits {
    pub(super) fn add(&mut self, more: BTreeMap<String, BTreeMap<usize, u64>>) {
        for (file, lines) in more {
            let all = self.0.entry(file).or_default();
            for (line, count) in lines {
                *all.entry(line).or_default() += count;
            }
        }
    }
}

/// Counts the lines of everything that runs in this state but hostel's own Lua; signals end it all the same.
pub(super) fn watch(lua: &Lua, shared: &tree::Shared) -> mlua::Result<()> {
    let shared = Rc::clone(shared);
    lua.set_global_hook(HookTriggers::new().every_line(), move |lua, debug| {
        if let Some(signal) = interrupt::pending() {
            return Err(api::interrupted(lua, signal));
        }
        let source = debug.source();
        let file = source.source.as_deref().and_then(|name| name.strip_prefix('@'));
        if let (Some(file), Some(line)) = (file, debug.current_line())
            && let Ok(mut all) = shared.try_borrow_mut()
        {
            let lines = match all.hits.0.get_mut(file) {
                Some(lines) => lines,
                None => all.hits.0.entry(file.to_owned()).or_default(),
            };
            *lines.entry(line).or_default() += 1;
        }
        Ok(VmState::Continue)
    })
}

/// The coverage of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileCoverage {
    /// The file.
    pub file: String,
    /// How often each line that has code ran.
    pub lines: BTreeMap<usize, u64>,
}

impl FileCoverage {
    /// How many lines have code and ran.
    pub fn hit(&self) -> usize {
        self.lines.values().filter(|count| **count > 0).count()
    }

    /// The lines that did not run, as ranges: `3, 7-9`.
    pub fn missed(&self) -> String {
        let missed: Vec<usize> = self
            .lines
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(line, _)| *line)
            .collect();
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for line in missed {
            // Lines without code in between do not part a range.
            let is_next = |end: usize| !self.lines.range(end + 1..line).any(|(_, count)| *count > 0);
            match ranges.last_mut() {
                Some((_, end)) if is_next(*end) => *end = line,
                _ => ranges.push((line, line)),
            }
        }
        let texts: Vec<String> = ranges
            .iter()
            .map(|(from, to)| {
                if from == to {
                    from.to_string()
                } else {
                    format!("{from}-{to}")
                }
            })
            .collect();
        texts.join(", ")
    }
}

/// The coverage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The files that ran, by name; test files and hostel's own are left out.
    pub files: Vec<FileCoverage>,
}

impl Coverage {
    /// What `reports` ran. Lines are looked up in the files as they are now.
    pub fn of(reports: &[FileReport]) -> Self {
        let mut hits = Hits::default();
        for report in reports {
            hits.add(report.hits.0.clone());
        }
        for report in reports {
            hits.0.remove(&report.file.display().to_string());
        }
        let lua = Lua::new();
        let files = hits.0.into_iter().filter_map(|(file, counts)| {
            let file = file.strip_prefix("./").map_or(file.clone(), str::to_owned);
            let text = std::fs::read_to_string(Path::new(&file)).ok()?;
            let text = if text.starts_with('#') {
                format!("--{text}")
            } else {
                text
            };
            let function = lua.load(text).into_function().ok()?;
            let lines = lines::of(&function.dump(false))?;
            let lines = lines
                .into_iter()
                .map(|line| (line, counts.get(&line).copied().unwrap_or(0)))
                .collect();
            Some(FileCoverage { file, lines })
        });
        Self {
            files: files.collect(),
        }
    }

    /// Lines that have code, and those of them that ran.
    pub fn total(&self) -> (usize, usize) {
        let count = |of: fn(&FileCoverage) -> usize| self.files.iter().map(of).sum();
        (count(|file| file.lines.len()), count(FileCoverage::hit))
    }

    /// As `lcov` and what reads its files have it.
    pub fn lcov(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        for file in &self.files {
            let _ = writeln!(text, "TN:\nSF:{}", file.file);
            for (line, count) in &file.lines {
                let _ = writeln!(text, "DA:{line},{count}");
            }
            let _ = writeln!(text, "LF:{}\nLH:{}\nend_of_record", file.lines.len(), file.hit());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lcov() {
        let lines = [(1, 2), (2, 0), (4, 0), (5, 1), (9, 0)].into();
        let file = FileCoverage {
            file: "web.lua".to_owned(),
            lines,
        };
        assert_eq!((file.missed().as_str(), file.hit()), ("2-4, 9", 2));
        let all = Coverage { files: vec![file] };
        assert_eq!(all.total(), (5, 2));
        assert_eq!(
            all.lcov(),
            "TN:\nSF:web.lua\nDA:1,2\nDA:2,0\nDA:4,0\nDA:5,1\nDA:9,0\nLF:5\nLH:2\nend_of_record\n"
        );
    }
}
