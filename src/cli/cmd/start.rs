//! `hostel start GUEST...`

use std::collections::BTreeSet;

use clap::Parser;

use crate::cli::args::SomeGuests;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::observe::{self, State};
use crate::life::{Host, health, order, start};
use crate::{Error, Kind, Result};

/// Start guests
///
/// What a guest depends on is started, and healthy, before it. When one fails, those that depend on it are left
/// out and the others are started; the exit code is then 1.
#[derive(Debug, Parser)]
pub(crate) struct Start {
    #[command(flatten)]
    which: SomeGuests,
    /// Every guest whose recipe says `autostart`, and what those depend on, unless it runs already
    #[arg(short, long)]
    all: bool,
}

impl Verb for Start {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel start web", "start one guest"),
        ("hostel start --all", "at boot: what shall run"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let names = if self.all {
            order::autostart(&host)?
        } else {
            order::starting(&host, &self.which.guests)?
        };
        let hooks = hooks::runner(session);
        let mut failed = BTreeSet::new();
        super::each(session, &names, |session, name| {
            // What was not asked for by name runs already more often than not.
            let is_named = self.which.guests.contains(name);
            if !is_named && observe::status(&host, name)?.state != State::Stopped {
                return Ok(());
            }
            let started = ready(&host, name, &failed).and_then(|()| start::start(&host, name, &hooks));
            if let Err(err) = started {
                failed.insert(name.clone());
                return Err(err);
            }
            session.line(&format!("started {name}"))
        })
    }
}

/// Waits until what the guest depends on is healthy.
fn ready(host: &Host, name: &GuestName, failed: &BTreeSet<GuestName>) -> Result<()> {
    let spec = observe::applied(host, name)?.spec;
    if let Some(on) = spec.depends.iter().find(|on| failed.contains(*on)) {
        let message = format!("`{name}` depends on `{on}`, which was not started");
        return Err(Error::new(Kind::State, message));
    }
    for on in &spec.depends {
        health::wait_healthy(host, on, None)?;
    }
    Ok(())
}
