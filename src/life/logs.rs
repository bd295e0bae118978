//! `hostel logs`: what services have written, as hostel's init keeps it in the guest.
//!
//! The files lie in the guest's own tree (`/var/log/hostel/SERVICE.log`, older ones with `.1` to `.3` behind) and
//! the guest can do with them what it likes: they are opened inside the tree only, and only so much is read.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::host::Host;
use super::{observe, tree};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{GuestName, Init};
use crate::storage::Inside;
use crate::storage::files::Access;

/// How many older files the init keeps.
const OLD_FILES: usize = 3;

/// As much as is ever read of one file. The init rotates at a mebibyte; a guest that wrote more itself gets the end
/// of it shown.
const MOST: u64 = 4 << 20;

/// The log of one service.
pub struct Log {
    /// The service; `init` for what hostel's init tells itself.
    pub service: String,
    inside: Inside,
    current: Option<File>,
}

/// The logs of a guest: of `service`, or of all its services and of the init.
///
/// # Errors
/// [`Kind::NotFound`] when it has no such service. A guest with an init of its own has `console`, what was written
/// there; the other logs are that init's.
pub fn open(host: &Host, name: &GuestName, service: Option<&str>) -> Result<Vec<Log>> {
    let applied = observe::applied(host, name)?;
    let spec = &applied.spec;
    // The keeper of a guest's own init keeps what is written to the console. The rest is that init's.
    let own = applied.services();
    let mut services: Vec<&str> = match &spec.init {
        Init::Hostel => own.keys().map(String::as_str).collect(),
        Init::Own(_) => vec!["console"],
    };
    services.push("init");
    if let Some(wanted) = service {
        if !services.contains(&wanted) {
            let message = format!("guest `{name}` has no service `{}`", wanted.escape_debug());
            let hint = format!("it has {}", services.join(", "));
            return Err(Error::new(Kind::NotFound, message).with_hint(match &spec.init {
                Init::Hostel => hint,
                Init::Own(_) => {
                    format!("{hint}; its own init keeps the rest: `hostel exec {name} -- ls /var/log`")
                }
            }));
        }
        services = vec![wanted];
    }
    services
        .into_iter()
        .map(|service| {
            Ok(Log {
                service: service.to_owned(),
                inside: tree::open(host, &applied, Access::Read)?,
                current: None,
            })
        })
        .collect()
}

impl Log {
    /// The last `lines` lines. [`Log::more`] goes on after them.
    pub fn tail(&mut self, lines: usize) -> Result<Vec<u8>> {
        let mut text = self.more()?;
        for old in 1..=OLD_FILES {
            if count(&text) >= lines {
                break;
            }
            let Some(mut file) = self.file(&format!(".{old}"))? else {
                break;
            };
            let mut older = read(&mut file)?;
            older.extend_from_slice(&text);
            text = older;
        }
        Ok(last(&text, lines).to_vec())
    }

    /// What was written since the last call; nothing is lost when the file was rotated once in between.
    pub fn more(&mut self) -> Result<Vec<u8>> {
        let mut text = match &mut self.current {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        let Some(mut now) = self.file("")? else {
            return Ok(text);
        };
        let is_same = match &self.current {
            Some(file) => number(file)? == number(&now)?,
            None => false,
        };
        if !is_same {
            text.extend(read(&mut now)?);
            self.current = Some(now);
        }
        Ok(text)
    }

    fn file(&self, suffix: &str) -> Result<Option<File>> {
        let path = PathBuf::from(format!("/var/log/hostel/{}.log{suffix}", self.service));
        if !self.inside.exists(&path)? {
            return Ok(None);
        }
        self.inside.open_file(&path).map(Some)
    }
}

/// What is behind the position, but no more than [`MOST`]: the end of it.
fn read(file: &mut File) -> Result<Vec<u8>> {
    let mut read = || -> std::io::Result<Vec<u8>> {
        let (at, size) = (file.stream_position()?, file.metadata()?.len());
        // Truncated by the guest: from the start again.
        let from = if at > size { 0 } else { at };
        file.seek(SeekFrom::Start(from.max(size.saturating_sub(MOST))))?;
        let mut text = Vec::new();
        file.by_ref().take(MOST).read_to_end(&mut text)?;
        Ok(text)
    };
    read().context(|| "read the log")
}

fn number(file: &File) -> Result<(u64, u64)> {
    let meta = file.metadata().context(|| "stat the log")?;
    Ok((meta.dev(), meta.ino()))
}

fn count(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

/// The last `lines` lines of `text`.
fn last(text: &[u8], lines: usize) -> &[u8] {
    let skip = text
        .split_inclusive(|byte| *byte == b'\n')
        .count()
        .saturating_sub(lines);
    let start: usize = text
        .split_inclusive(|byte| *byte == b'\n')
        .take(skip)
        .map(<[u8]>::len)
        .sum();
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tail_reaches_into_older_files_and_follows_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("var/log/hostel");
        fs::create_dir_all(&logs).unwrap();
        fs::write(logs.join("web.log.1"), "1\n2\n").unwrap();
        fs::write(logs.join("web.log"), "3\n4\n").unwrap();
        let mut log = Log {
            service: "web".into(),
            inside: Inside::open(dir.path(), "web").unwrap(),
            current: None,
        };
        assert_eq!(log.tail(3).unwrap(), b"2\n3\n4\n");
        assert_eq!(log.more().unwrap(), b"");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(logs.join("web.log"))
            .unwrap();
        std::io::Write::write_all(&mut file, b"5\n").unwrap();
        fs::rename(logs.join("web.log"), logs.join("web.log.1")).unwrap();
        fs::write(logs.join("web.log"), "6\n").unwrap();
        assert_eq!(log.more().unwrap(), b"5\n6\n");
        assert_eq!(log.more().unwrap(), b"");
    }

    #[test]
    fn the_last_lines() {
        assert_eq!(last(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last(b"a\nb\nc", 1), b"c");
        assert_eq!(last(b"", 5), b"");
        assert_eq!(last(b"a\n", 0), b"");
    }
}
