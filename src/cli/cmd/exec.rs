//! `hostel exec GUEST -- COMMAND`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::Result;
use crate::cli::args::{OneGuest, Variable};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::exec::{self, ExecRequest, Terminal, Whom};
use crate::life::{Host, users::UserSpec};

/// Run a command in a guest
///
/// The exit code is the command's, 128 + N when signal N ended it; 125, 126 and 127 are hostel's own
/// (`hostel help exit`).
#[derive(Debug, Parser)]
pub(crate) struct Exec {
    #[command(flatten)]
    guest: OneGuest,
    /// Run it as this user of the guest: a name or a number, and :GROUP behind it
    #[arg(short, long, value_name = "USER")]
    user: Option<UserSpec>,
    /// Set a variable of its environment: NAME=VALUE, or NAME to pass your own on; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<Variable>,
    /// Run it in this directory of the guest
    #[arg(short = 'w', long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Give it a terminal; without -t and -T it gets one when you have one
    #[arg(short = 't', long = "terminal", overrides_with = "no_terminal")]
    terminal: bool,
    /// Give it no terminal
    #[arg(short = 'T', long)]
    no_terminal: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<OsString>,
}

impl Verb for Exec {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel exec web -- nginx -s reload",
            "tell a service of the guest",
        ),
        (
            "hostel exec web -u www-data -w /srv -- ls -l",
            "as another user, in another directory",
        ),
        (
            "hostel exec web -T -- tar -c /etc > etc.tar",
            "copy files out of a guest",
        ),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        session.command = self.argv.first().cloned();
        let request = ExecRequest {
            argv: self.argv,
            env: self
                .env
                .into_iter()
                .map(|variable| (variable.0, variable.1))
                .collect(),
            user: self.user,
            dir: self.dir,
            terminal: match (self.terminal, self.no_terminal) {
                (true, _) => Terminal::Yes,
                (false, true) => Terminal::No,
                (false, false) => Terminal::Auto,
            },
        };
        let ended = exec::exec(&Host::open()?, &Whom::Guest(self.guest.guest), &request)?;
        Ok(Exit::of(ended))
    }
}
