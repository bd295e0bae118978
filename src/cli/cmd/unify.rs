//! `hostel unify [GUEST...]`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::Parser;

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::progress::Progress;
use crate::cli::output::table::{Align, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{Bytes, GuestName};
use crate::life::Host;
use crate::life::unify::{self, Direction};
use crate::storage::unify::{MIN_SIZE, Options, Outcome, Paths, Report};
use crate::{Error, Kind, Result};

/// Share the files that are equal in several guests
///
/// Files are equal when their content, mode, owner and extended attributes are, with capabilities and ACLs; bytes are
/// compared before they are shared. No guest sees any of it, and what one writes no other sees. Guests whose storage is
/// overlay share disk and memory, and must be stopped; those of a file system whose files can share extents (btrfs, xfs)
/// share the disk, and may run. What cannot take part is named with the reason, and the exit code is 0 all the same.
///
/// Left out are /etc, /var, /home, /root, /proc, /sys, /dev, /mnt, /tmp and the configuration files of Debian packages.
/// Of --include and --exclude, the longest path that leads to a file decides.
///
/// What was read is remembered: the next run reads what has changed since, and does not look at guests on btrfs or xfs
/// that have not run since the last run over all of them. One that is killed leaves every guest as it was, and the next
/// one goes on where it stopped.
#[derive(Debug, Parser)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option that can be typed"
)]
pub(crate) struct Unify {
    /// The names of the guests; all of them without
    #[arg(value_name = "GUEST", add = args::guests())]
    guests: Vec<GuestName>,
    /// Give each its own again; guests that run are left as they are
    #[arg(long, conflicts_with_all = ["include", "exclude"])]
    undo: bool,
    /// Tell what would be saved, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Also look at guests whose files nothing can have changed: those that have not run since the last run over all
    #[arg(long, conflicts_with = "undo")]
    full: bool,
    /// Also share what is at or below this path of the guests; may be repeated
    #[arg(long, value_name = "PATH")]
    include: Vec<PathBuf>,
    /// Leave out what is at or below this path; may be repeated
    #[arg(long, value_name = "PATH")]
    exclude: Vec<PathBuf>,
    /// Leave smaller files alone, of guests on btrfs and xfs: to share one is as much work, for a block at most
    #[arg(long, value_name = "SIZE", default_value_t = MIN_SIZE, conflicts_with = "undo")]
    min_size: Bytes,
    /// How many threads work [default: one a processor, 2 to 8]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Print JSON: `guests`, `files`, `saved` and `read` in bytes, `looked_at`, `idle`, `dry_run`
    #[arg(long)]
    json: bool,
}

impl Verb for Unify {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel unify", "all guests, as a timer may do it every night"),
        ("hostel unify --dry-run", "what that would save"),
        (
            "hostel unify web db --include /var/lib/gems",
            "also what a language's packages bring",
        ),
        (
            "hostel unify --min-size 1",
            "on xfs: also the many small files, which takes twice as long",
        ),
        ("hostel unify web --undo", "web shares nothing any more"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let paths = Paths::new(&self.include, &self.exclude).map_err(|invalid| {
            let err = Error::new(Kind::Usage, invalid.message);
            match invalid.hint {
                Some(hint) => err.with_hint(hint),
                None => err,
            }
        })?;
        let processors = || available_parallelism().map_or(2, NonZeroUsize::get).clamp(2, 8);
        let options = Options {
            paths,
            is_dry: self.dry_run,
            is_full: self.full,
            min_size: self.min_size,
            threads: self.jobs.map_or_else(processors, NonZeroUsize::get),
        };
        let direction = if self.undo {
            Direction::Undo
        } else {
            Direction::Share
        };
        let host = Host::open()?;
        let progress = Progress::new(session.paint_err);
        let report = unify::unify(&host, &self.guests, direction, &options, &progress)?;
        drop(progress);
        if self.json {
            session.json(&report)?;
        } else {
            self.tell(session, &report)?;
        }
        Ok(Exit::Success)
    }
}

impl Unify {
    fn tell(&self, session: &mut Session, report: &Report) -> Result<()> {
        let mut table = Table::new(&[
            ("GUEST", Align::Left),
            ("STORAGE", Align::Left),
            ("OUTCOME", Align::Left),
            ("FILES", Align::Right),
            ("SAVED", Align::Right),
        ]);
        for told in &report.guests {
            let outcome = match told.outcome {
                Outcome::Unified => "unified",
                Outcome::Unchanged => "unchanged",
                Outcome::Left => "left",
                Outcome::Undone => "undone",
            };
            table.row(vec![
                told.guest.as_str().into(),
                told.storage.name().into(),
                outcome.into(),
                told.files.to_string().into(),
                human::bytes(told.saved).into(),
            ]);
        }
        if !report.guests.is_empty() {
            let text = table.render(session.paint);
            session.print(&text)?;
        }
        for told in &report.guests {
            if let Some(why) = &told.why {
                session.line(&format!("{} was left: {why}", told.guest))?;
            }
        }
        if self.undo {
            return Ok(());
        }
        let would = if report.dry_run { "would be " } else { "" };
        session.line(&format!(
            "{} in {} files {would}saved; {} files looked at, {} read",
            human::bytes(report.saved),
            report.files,
            report.looked_at,
            human::bytes(report.read)
        ))?;
        match report.idle {
            0 => Ok(()),
            idle => session.line(&format!(
                "{idle} guests have not run since the last time, and were not looked at"
            )),
        }
    }
}
