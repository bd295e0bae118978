//! `hostel test [PATH...]`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum, ValueHint};
use serde_json::json;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::testing::{self as tests, Totals};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::guest::Span;
use crate::lua::test::{Coverage, FileReport, Options, discover, run};
use crate::sys::inotify;

/// Test recipes and scripts: files named `NAME_test.lua`
///
/// They `require "hostel.test"` (see `hostel doc hostel.test`). Recipes are evaluated and planned as always, on hosts
/// that the tests make up: neither root nor a host is needed, and nothing is touched. Each file runs in a process of its
/// own. The exit code is 0 if everything holds, 1 if something does not, 2 if nothing could be tested.
#[derive(Debug, Parser)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option that can be typed"
)]
pub(crate) struct Test {
    /// Test files, and directories that are searched for them
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Only tests whose name contains this; groups are part of it: `fleet > has an address each`
    #[arg(short, long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write golden files instead of comparing with them
    #[arg(long)]
    bless: bool,
    /// Tell which lines of recipes and scripts ran
    #[arg(long)]
    coverage: bool,
    /// Write which lines ran, as lcov has it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    lcov: Option<PathBuf>,
    /// How the results are told
    #[arg(long, value_name = "FORMAT", default_value = "human", conflicts_with = "json")]
    format: Format,
    /// Print JSON: `passed`, `failed`, `skipped` and `files` with their `cases`
    #[arg(long)]
    json: bool,
    /// How long one file may take
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
    /// Run again whenever a file changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// The forms of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// The Test Anything Protocol
    Tap,
    /// XML for continuous integration
    Junit,
}

/// How long nothing must change before tests run again.
const QUIET: Duration = Duration::from_millis(60);

impl Verb for Test {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel test", "every test below this directory"),
        (
            "hostel test web_test.lua --filter address",
            "some tests of one file",
        ),
        ("hostel test --coverage", "and the lines that no test reaches"),
        (
            "hostel test --format junit > results.xml",
            "for continuous integration",
        ),
        ("hostel test --watch", "again after each change"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        if !self.watch {
            return self.once(session);
        }
        loop {
            // Before the tests run, so that what changes meanwhile is not missed.
            let watch = inotify::Watch::new(self.watched().iter().map(PathBuf::as_path))?;
            match self.once(session) {
                Ok(_) => {}
                Err(err) if err.kind() == crate::Kind::NotFound => session.report(&err),
                Err(err) => return Err(err),
            }
            session.line(&session.paint.dim("waiting for changes; Ctrl-C ends"))?;
            session.flush()?;
            watch.wait(QUIET, |name| {
                name.extension()
                    .is_none_or(|ext| ext == "lua" || ext == "json" || ext == "toml")
            })?;
            session.line("")?;
        }
    }
}

impl Test {
    fn once(&self, session: &mut Session) -> Result<Exit> {
        let began = Instant::now();
        let files = match discover(&self.paths) {
            Ok(files) => files,
            Err(err) if self.watch => return Err(err),
            // Nothing was tested: that is neither a yes nor a no.
            Err(err) => return Err(err.with_kind(crate::Kind::Usage)),
        };
        let options = Options {
            filter: self.filter.clone(),
            bless: self.bless,
            coverage: self.coverage || self.lcov.is_some(),
            timeout: self.timeout.duration(),
        };
        let is_told = self.format == Format::Human && !self.json;
        let mut reports: Vec<FileReport> = Vec::new();
        for file in &files {
            if is_told {
                let name = session.paint.bold(&file.display().to_string());
                session.line(&name)?;
                session.flush()?;
            }
            let mut told = Ok(());
            let report = run(file, &options, &mut |case| {
                if is_told && told.is_ok() {
                    let text = tests::case(case, session.paint);
                    told = session.print(&text).and_then(|()| session.flush());
                }
            })?;
            told?;
            if is_told {
                let text = tests::after(&report, session.paint);
                session.print(&text)?;
            }
            reports.push(report);
        }
        let coverage = options.coverage.then(|| Coverage::of(&reports));
        if let (Some(path), Some(coverage)) = (&self.lcov, &coverage) {
            std::fs::write(path, coverage.lcov()).context(|| format!("write `{}`", path.display()))?;
        }
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let totals = Totals::of(&reports);
        self.tell(session, &reports, coverage.as_ref(), totals, millis)?;
        let ran = totals.passed + totals.failed + totals.skipped + totals.broken;
        if ran == 0 {
            let filter = self.filter.as_deref().unwrap_or_default();
            let message = format!("no test's name contains `{}`", filter.escape_debug());
            return Err(crate::Error::new(crate::Kind::Usage, message));
        }
        Ok(if totals.is_failed() {
            Exit::No
        } else {
            Exit::Success
        })
    }

    fn tell(
        &self,
        session: &mut Session,
        reports: &[FileReport],
        coverage: Option<&Coverage>,
        totals: Totals,
        millis: u64,
    ) -> Result<()> {
        if self.json {
            return session.json(&json!({
                "passed": totals.passed,
                "failed": totals.failed,
                "skipped": totals.skipped,
                "broken": totals.broken,
                "left_out": totals.left_out,
                "millis": millis,
                "files": reports,
                "coverage": coverage,
            }));
        }
        match self.format {
            Format::Human => {
                if let Some(coverage) = coverage.filter(|_| self.coverage) {
                    let text = tests::coverage(coverage, session.paint);
                    session.print(&format!("\n{text}"))?;
                }
                let text = tests::summary(totals, reports.len(), millis, session.paint);
                session.print(&format!("\n{text}"))
            }
            Format::Tap => session.print(&tests::tap(reports)),
            Format::Junit => session.print(&tests::junit(reports)),
        }
    }

    /// The directories below the paths: recipes and what they require change too.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut dirs = BTreeSet::new();
        for path in &self.paths {
            let dir = if path.is_dir() {
                path.as_path()
            } else {
                path.parent()
                    .filter(|dir| !dir.as_os_str().is_empty())
                    .unwrap_or(Path::new("."))
            };
            gather(dir, &mut dirs);
        }
        dirs
    }
}

/// How many directories are watched: each costs the kernel memory, and the user has a limit of them.
const MOST: usize = 4096;

fn gather(dir: &Path, dirs: &mut BTreeSet<PathBuf>) {
    if dirs.len() >= MOST || !dirs.insert(dir.to_owned()) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules";
        if !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&entry.path(), dirs);
        }
    }
}
