//! `hostel volume ls` and `show`.

use std::fmt::Write as _;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::table::{Align, Table};
use crate::cli::session::Session;
use crate::guest::VolumeName;
use crate::life::Host;
use crate::life::volume::{self, Seen, User};

pub(super) fn ls(session: &mut Session, host: &Host, unused: bool, quiet: bool, json: bool) -> Result<Exit> {
    let mut all = volume::list(host)?;
    if unused {
        all.retain(|seen| seen.users.is_empty());
    }
    if json {
        session.json(&all)?;
    } else if quiet {
        for seen in &all {
            session.line(seen.name.as_str())?;
        }
    } else {
        let mut table = Table::new(&[
            ("VOLUME", Align::Left),
            ("STORAGE", Align::Left),
            ("SIZE", Align::Right),
            ("SNAPSHOTS", Align::Right),
            ("GUESTS", Align::Left),
        ]);
        for seen in &all {
            table.row(vec![
                seen.name.as_str().into(),
                seen.storage.name().into(),
                size(seen).into(),
                seen.snapshots.to_string().into(),
                guests(&seen.users).into(),
            ]);
        }
        let text = table.render(session.paint);
        session.print(&text)?;
    }
    Ok(Exit::Success)
}

/// What it takes, where the file system counts it, and of how much.
fn size(seen: &Seen) -> String {
    let used = seen
        .disk
        .map_or_else(|| "-".to_owned(), |disk| human::bytes(disk.used));
    match seen.size {
        None => used,
        Some(size) => format!("{used}/{}", human::bytes(size)),
    }
}

/// Each once.
fn guests(users: &[User]) -> String {
    let mut names: Vec<&str> = users.iter().map(|user| user.guest.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(" ")
    }
}

pub(super) fn show(session: &mut Session, host: &Host, name: &VolumeName, json: bool) -> Result<Exit> {
    let seen = volume::show(host, name)?;
    if json {
        session.json(&seen)?;
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<11}{value}", format!("{key}:"));
    };
    line("name", seen.name.to_string());
    line("storage", seen.storage.to_string());
    // Without the fractions of a second.
    line(
        "created",
        format!("{}Z", seen.created.get(..19).unwrap_or(&seen.created)),
    );
    line("size", size(&seen));
    if let Some(inodes) = seen.inodes {
        line("inodes", inodes.to_string());
    }
    line("snapshots", seen.snapshots.to_string());
    for user in &seen.users {
        let access = if user.readonly { "read-only" } else { "writable" };
        let state = if user.running { "running" } else { "stopped" };
        line(
            "guest",
            format!("{} on {}, {access}, {state}", user.guest, user.target.display()),
        );
    }
    session.print(&text)?;
    Ok(Exit::Success)
}
