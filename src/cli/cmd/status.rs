//! `hostel status GUEST`

use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::Result;
use crate::cli::args::OneGuest;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::table::clean;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::Limits;
use crate::life::Host;
use crate::life::observe;
use crate::storage::bounds::Usage;

/// Show how a guest is
#[derive(Debug, Parser)]
pub(crate) struct Status {
    #[command(flatten)]
    guest: OneGuest,
    /// Print JSON: one object with `name`, `xid`, `state`, `limits` and what can be seen of it
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    status: &'a observe::Status,
    limits: &'a Limits,
}

/// What its files take, of how much, and who sees to it.
fn disk(usage: Usage) -> String {
    let part = |used: String, limit: Option<String>| match limit {
        Some(limit) => format!("{used} of {limit}"),
        None => used,
    };
    let mut text = part(human::bytes(usage.used), usage.limit.map(human::bytes));
    if let Some(inodes) = usage.inodes {
        text.push_str(", ");
        text.push_str(&part(
            inodes.to_string(),
            usage.inode_limit.map(|max| max.to_string()),
        ));
        text.push_str(" inodes");
    }
    format!("{text} ({})", usage.kept_by)
}

impl Verb for Status {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel status web", "its state, processes, memory and addresses"),
        ("hostel status web --json", "for a program"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let status = observe::status(&host, &self.guest.guest)?;
        let limits = observe::limits(&host, &self.guest.guest)?;
        if self.json {
            session.json(&Whole {
                status: &status,
                limits: &limits,
            })?;
            return Ok(Exit::Success);
        }
        let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
        let rows = [
            ("name", Some(status.name.to_string())),
            ("xid", Some(status.xid.to_string())),
            ("state", Some(status.state.to_string())),
            ("pid", status.pid.map(|pid| pid.to_string())),
            (
                "uptime",
                status.uptime_s.map(|s| human::span(Duration::from_secs(s))),
            ),
            ("processes", Some(status.processes.to_string())),
            ("memory", status.memory_bytes.map(human::bytes)),
            ("disk", status.disk.map(disk)),
            (
                "cpu",
                status.cpu_us.map(|us| human::cpu(Duration::from_micros(us))),
            ),
            (
                "addresses",
                Some(addresses.join(" ")).filter(|text| !text.is_empty()),
            ),
            ("limits", Some(limits.to_string()).filter(|text| !text.is_empty())),
            ("image", Some(status.image)),
            (
                "autostart",
                Some(if status.autostart { "yes" } else { "no" }.to_owned()),
            ),
        ];
        for (key, value) in rows {
            if let Some(value) = value {
                let key = session.paint.bold(&format!("{key:<10}"));
                session.line(&format!("{key} {}", clean(&value)))?;
            }
        }
        Ok(Exit::Success)
    }
}
