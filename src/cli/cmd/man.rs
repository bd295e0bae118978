//! `hostel man DIR`

use std::path::{Path, PathBuf};

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::docs;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, VERBS, Verb};
use crate::error::Context as _;
use crate::lua::registry;

/// Write the manual pages into a directory
///
/// Into `man1`, `man3`, `man5` and `man7` below it: hostel(1) and a page for each command, hostel-recipe(5),
/// hostel-lua(3) and a page for each module, hostel-errors(7). With `--markdown` it writes the commands only, as
/// `README.md` and `version.md`, into the directory itself.
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
            "hostel man /usr/local/share/man",
            "install the pages for everyone; then `man hostel-recipe`",
        ),
        (
            "hostel man --markdown docs/reference/cli",
            "renew the reference in the documentation",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let mut count = 0;
        let mut write = |name: String, page: &[u8]| {
            count += 1;
            write(&self.dir.join(name), page)
        };
        if self.markdown {
            write("README.md".to_owned(), docs::index_markdown().as_bytes())?;
            for verb in VERBS {
                write(format!("{}.md", verb.name), docs::verb_markdown(verb).as_bytes())?;
            }
        } else {
            write("man1/hostel.1".to_owned(), &docs::program_page()?)?;
            for verb in VERBS {
                write(format!("man1/hostel-{}.1", verb.name), &docs::verb_page(verb)?)?;
            }
            for registry::Page { name, section, text } in registry::manual() {
                write(format!("man{section}/{name}.{section}"), text.as_bytes())?;
            }
        }
        session.line(&format!("{count} pages in `{}`", self.dir.display()))?;
        Ok(Exit::Success)
    }
}

fn write(path: &Path, page: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).context(|| format!("make `{}`", dir.display()))?;
    }
    std::fs::write(path, page).context(|| format!("write `{}`", path.display()))
}
