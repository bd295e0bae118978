//! `/run/hostel/services`: what the init knows of its services, for `hostel status`.
//!
//! One line a service, fields separated by tabs: name, state, pid (0 without one), restarts, last end (`-`,
//! `exit N`, `signal N`), seconds since 1970 of the last change. Replaced as a whole, so a reader never sees half.
//! Without a writable /run there is none, and nothing else changes.

use crate::services::Entry;
use crate::sys::{self, At, O_CREAT, O_EXCL, O_WRONLY, Result};
use crate::text::Line;

pub fn write<'a, 'c: 'a>(entries: impl Iterator<Item = &'a Entry<'c>>) -> Result<()> {
    let open = || sys::open_directory(c"/run/hostel");
    let directory = match open() {
        Err(sys::ENOENT) => {
            sys::mkdir(At::CWD, c"/run/hostel", 0o755)?;
            open()?
        }
        other => other?,
    };
    // Left over, or put there by the guest: a new file in any case, never one that is there.
    let _ = sys::unlink((&directory).into(), c".services");
    let file = sys::open(
        (&directory).into(),
        c".services",
        O_WRONLY | O_CREAT | O_EXCL,
        0o644,
    )?;
    for entry in entries {
        let mut line = Line::new();
        line.text(entry.spec.name)
            .push("\t")
            .push(entry.state.text())
            .push("\t")
            .number(entry.pid as u64);
        line.push("\t").number(u64::from(entry.restarts)).push("\t");
        match entry.last {
            Some(exit) => line.exit(exit),
            None => line.push("-"),
        };
        line.push("\t").number(entry.since).push("\n");
        sys::write(file.raw(), line.bytes())?;
    }
    sys::rename((&directory).into(), c".services", c"services")
}
