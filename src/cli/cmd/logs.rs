//! `hostel logs GUEST [SERVICE]`

use std::io::IsTerminal as _;

use clap::Parser;
use nix::poll::{PollTimeout, poll};

use crate::cli::args::OneGuest;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{Host, logs};
use crate::{Result, sys};

/// How often a followed log is looked at, in milliseconds: as tail(1) would feel.
const INTERVAL: u16 = 250;

/// Show what the services of a guest have written
///
/// hostel's init keeps it in the guest, in /var/log/hostel. On a terminal control characters are escaped.
#[derive(Debug, Parser)]
pub(crate) struct Logs {
    #[command(flatten)]
    guest: OneGuest,
    /// One service only; `init` is what hostel's init itself tells
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// How many lines of each service
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

impl Verb for Logs {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel logs web", "the last lines of all services"),
        ("hostel logs web nginx -n 500", "more, of one"),
        ("hostel logs -f web", "as they are written"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let mut logs = logs::open(&host, &self.guest.guest, self.service.as_deref())?;
        let is_terminal = std::io::stdout().is_terminal();
        let width = logs.iter().map(|log| log.service.len()).max().unwrap_or(0);
        // A single log needs no names before its lines.
        let names: Vec<String> = match logs.as_slice() {
            [_] => vec![String::new()],
            all => all
                .iter()
                .map(|log| session.paint.cyan(&format!("{:<width$} | ", log.service)))
                .collect(),
        };
        for (log, name) in logs.iter_mut().zip(&names) {
            let text = log.tail(self.lines)?;
            print(session, name, &text, is_terminal)?;
        }
        session.flush()?;
        if !self.follow {
            return Ok(Exit::Success);
        }
        loop {
            // Nothing to wait for but time and signals.
            let _ = poll(&mut [], PollTimeout::from(INTERVAL));
            if let Some(signal) = sys::interrupt::pending() {
                return Ok(Exit::of_signal(signal));
            }
            for (log, name) in logs.iter_mut().zip(&names) {
                let text = log.more()?;
                print(session, name, &text, is_terminal)?;
            }
            session.flush()?;
        }
    }
}

fn print(session: &mut Session, name: &str, text: &[u8], is_terminal: bool) -> Result<()> {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        session.print(name)?;
        if is_terminal {
            session.line(&harmless(&String::from_utf8_lossy(line)))?;
        } else {
            session.write(line)?;
            session.write(b"\n")?;
        }
    }
    Ok(())
}

/// `line` without what could drive the terminal. Tabs are harmless.
fn harmless(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.trim_end_matches('\r').chars() {
        if c.is_control() && c != '\t' {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\tb\x1b]0;x\x07\r"), "a\tb\\u{1b}]0;x\\u{7}");
    }
}
