//! `hostel man DIR`

use std::path::{Path, PathBuf};

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::docs;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, VERBS, Verb};
use crate::error::Context as _;

/// Write the manual pages into a directory
///
/// `hostel.1` and one page for each command, such as `hostel-version.1`; with `--markdown` `README.md` and
/// `version.md`.
#[derive(Debug, Parser)]
pub(crate) struct Man {
    /// The directory; it is made when it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Write Markdown, as in docs/reference/cli
    #[arg(long)]
    markdown: bool,
}

impl Verb for Man {
    const GROUP: Group = Group::About;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel man /usr/local/share/man/man1",
            "install the pages for everyone; then `man hostel-version`",
        ),
        (
            "hostel man --markdown docs/reference/cli",
            "renew the reference in the documentation",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        std::fs::create_dir_all(&self.dir).context(|| format!("make `{}`", self.dir.display()))?;
        if self.markdown {
            write(&self.dir.join("README.md"), docs::index_markdown().as_bytes())?;
        } else {
            write(&self.dir.join("hostel.1"), &docs::program_page()?)?;
        }
        for verb in VERBS {
            if self.markdown {
                let name = format!("{}.md", verb.name);
                write(&self.dir.join(name), docs::verb_markdown(verb).as_bytes())?;
            } else {
                let name = format!("hostel-{}.1", verb.name);
                write(&self.dir.join(name), &docs::verb_page(verb)?)?;
            }
        }
        session.line(&format!("{} pages in `{}`", VERBS.len() + 1, self.dir.display()))?;
        Ok(Exit::Success)
    }
}

fn write(path: &Path, page: &[u8]) -> Result<()> {
    std::fs::write(path, page).context(|| format!("write `{}`", path.display()))
}
