//! What is longer than a screen, through the user's pager, as git does it: on a terminal only, by `PAGER` or less.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use crate::cli::session::Session;
use crate::{Kind, Result};

/// Without one of the user's.
const PAGER: &str = "less";

/// Shows a text. `PAGER=` and `PAGER=cat` are for who wants none.
pub(crate) fn show(session: &mut Session, text: &str) -> Result<()> {
    let pager = std::env::var_os("PAGER").unwrap_or_else(|| PAGER.into());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if !std::io::stdout().is_terminal() || is_dumb || pager.is_empty() || pager == "cat" {
        return session.line(text);
    }
    session.flush()?;
    // `PAGER` may hold arguments: it is the shell's to read.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    // Quits when all of it is on one screen, shows colours, leaves the screen as it is.
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else {
        return session.line(text);
    };
    if let Some(mut input) = child.stdin.take() {
        // Who has read enough quits before the end.
        let _ = input
            .write_all(text.as_bytes())
            .and_then(|()| input.write_all(b"\n"));
    }
    let status = loop {
        match child.wait() {
            // Ctrl-C is the pager's: it ends a search, and not hostel below it.
            Err(source) if source.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    match status {
        // The shell's word for a pager that is not there.
        Ok(status) if matches!(status.code(), Some(126 | 127)) => session.line(text),
        Ok(_) => Ok(()),
        Err(source) => Err(crate::Error::new(Kind::System, "wait for the pager").with_source(source)),
    }
}
