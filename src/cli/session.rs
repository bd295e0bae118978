//! What a verb may write to, and how.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use super::output::color::{Paint, When};
use super::output::error;
use crate::{Error, Result};

/// The streams of one command.
pub(crate) struct Session {
    out: BufWriter<io::Stdout>,
    /// How to paint standard output.
    pub(crate) paint: Paint,
    /// How to paint standard error.
    pub(crate) paint_err: Paint,
    /// Whether `--json` was typed: output and errors are JSON.
    pub(crate) is_json: bool,
    /// The program of the user's that is being run, if one is.
    pub(crate) command: Option<OsString>,
}

impl Session {
    /// Standard output and standard error as `when` says.
    pub(crate) fn new(when: When, is_json: bool) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            paint: Paint::for_stream(when, &io::stdout()),
            paint_err: Paint::for_stream(when, &io::stderr()),
            is_json,
            command: None,
        }
    }

    /// Writes `text` to standard output as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        self.write(text.as_bytes())
    }

    /// Writes `text` and a line's end to standard output.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Writes `bytes` to standard output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(lost)
    }

    /// Writes `value` to standard output as JSON.
    pub(crate) fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|source| Error::new(crate::Kind::Internal, "write JSON").with_source(source))?;
        self.line(&text)
    }

    /// Writes what is still buffered: before a command of the user's writes to the same stream, and at the end.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(lost)
    }

    /// Tells of a failure after which the command goes on, with other guests.
    pub(crate) fn report(&mut self, err: &Error) {
        let text = if self.is_json {
            error::json(err)
        } else {
            error::text(err, self.paint_err)
        };
        self.note(text.trim_end());
    }

    /// Writes a line to standard error. When that fails there is nobody left to tell.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// The message of [`lost`], by which the end of the program knows it.
const STDOUT: &str = "write to standard output";

fn lost(source: io::Error) -> Error {
    Error::io(STDOUT, source)
}

/// Whether `err` says that nobody reads standard output any more (`hostel ls | head -1`): no failure worth words.
pub(crate) fn is_broken_pipe(err: &Error) -> bool {
    err.errno() == Some(nix::errno::Errno::EPIPE) && err.to_string().starts_with(STDOUT)
}
