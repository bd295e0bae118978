//! `hostel backup create|verify|restore|ls`

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::run::shipped;
use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::table::{Align, Cell, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::guest::GuestName;

/// Back guests up, and prove that what was backed up starts
///
/// It runs the workflow `backup` of scripts/backup.lua: `hostel run backup --help` lists every option, which can be given
/// here too; `hostel flow` goes on with a run that was killed, or takes it back. A backup is an archive of `hostel
/// export` below DIR/GUEST: whole, or what has changed since the one before.
#[derive(Debug, Parser)]
pub(crate) struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Back a guest up, which may run, and remove backups that need not be kept
    Create {
        #[command(flatten)]
        of: Of,
        /// More options of the workflow, such as --keep-daily 7
        #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Restore a backup to a scratch guest, start it, run its health check, and remove it
    Verify {
        #[command(flatten)]
        of: Of,
        /// More options of the workflow, such as --id ID or --address 10.0.0.2/30
        #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Make a guest of a backup; it is not started
    Restore {
        #[command(flatten)]
        of: Of,
        /// The new guest
        #[arg(value_name = "NAME")]
        name: GuestName,
        /// More options of the workflow, such as --id ID or --trust
        #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// List the backups of a guest, the oldest first
    Ls {
        #[command(flatten)]
        of: Of,
        /// Print JSON: an array of backups, each with `id`, `since`, `file` and `size`
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Of {
    /// The guest
    #[arg(value_name = "GUEST", add = args::guests())]
    guest: GuestName,
    /// The directory of all backups
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    to: PathBuf,
}

impl Of {
    fn options(&self, more: Vec<String>) -> Vec<String> {
        let mut options = vec![
            "--guest".to_owned(),
            self.guest.to_string(),
            "--to".to_owned(),
            self.to.to_string_lossy().into_owned(),
        ];
        options.extend(more);
        options
    }
}

impl Verb for Backup {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel backup create web --to /srv/backup --keep-last 24 --keep-daily 7",
            "what has changed since the last one, and nothing that need not be kept",
        ),
        (
            "hostel backup verify web --to /srv/backup",
            "that the newest one starts and is healthy",
        ),
        (
            "hostel backup restore web --to /srv/backup web2",
            "a guest of the newest one",
        ),
        ("hostel backup ls web --to /srv/backup", "what there is"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        match self.what {
            What::Create { of, more } => shipped(session, "backup", &of.options(more)),
            What::Verify { of, mut more } => {
                more.push("--verify".to_owned());
                shipped(session, "backup", &of.options(more))
            }
            What::Restore { of, name, mut more } => {
                more.extend(["--restore".to_owned(), name.to_string()]);
                shipped(session, "backup", &of.options(more))
            }
            What::Ls { of, json } => ls(session, &of.to.join(of.guest.as_str()), json),
        }
    }
}

#[derive(serde::Serialize)]
struct Kept {
    id: String,
    since: Option<String>,
    file: String,
    size: u64,
}

fn ls(session: &mut Session, dir: &Path, json: bool) -> Result<Exit> {
    let list = || format!("list `{}`", dir.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).context(list)? {
        let entry = entry.context(list)?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some((id, since)) = named(&file) else { continue };
        let size = entry.metadata().context(list)?.len();
        let since = since.map(str::to_owned);
        all.push(Kept {
            id: id.to_owned(),
            since,
            size,
            file,
        });
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    if json {
        session.json(&all)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("SINCE", Align::Left),
        ("SIZE", Align::Right),
    ]);
    for kept in all {
        let since = kept.since.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            Cell::from(kept.id),
            since.into(),
            human::bytes(kept.size).into(),
        ]);
    }
    let text = table.render(session.paint);
    session.print(&text)?;
    Ok(Exit::Success)
}

/// What the name of a backup says, as scripts/backup.lua writes it: its id, and that of the one that it is made against.
fn named(file: &str) -> Option<(&str, Option<&str>)> {
    let (id, rest) = file.split_once('.')?;
    let (kind, _compressed) = rest.split_once(".tar.")?;
    let is_id = |id: &str| id.len() > 16 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match kind.strip_prefix("since-") {
        Some(base) => (is_id(id) && is_id(base)).then_some((id, Some(base))),
        None => (is_id(id) && kind == "full").then_some((id, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_script_writes_them() {
        let id = "20261128-001500-0a1b2c";
        assert_eq!(named(&format!("{id}.full.tar.zst")), Some((id, None)));
        assert_eq!(named(&format!("{id}.since-{id}.tar.gz")), Some((id, Some(id))));
        for other in ["x", ".web.tar.new", "20261128.full.tar.zst", "a.b.tar.zst"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
