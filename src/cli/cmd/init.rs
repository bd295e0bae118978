//! `hostel init [DIR]`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::{Error, Kind, Result, lua};

/// Write a recipe to start from, and what editors need to know its words
///
/// Files that are there already are not touched: then nothing is written.
#[derive(Debug, Parser)]
pub(crate) struct Init {
    /// The directory; it is made when it is not there
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

impl Verb for Init {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel init", "in this directory"),
        ("hostel init fleet", "in a new one"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let files: Vec<_> = lua::starter()
            .into_iter()
            .map(|(name, text)| (self.dir.join(name), text))
            .collect();
        for (path, _) in &files {
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(
                    Error::new(Kind::Exists, format!("`{}` is there already", path.display()))
                        .with_hint("name another directory: `hostel init DIR`"),
                );
            }
        }
        for (path, text) in &files {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).context(|| format!("make `{}`", dir.display()))?;
            }
            std::fs::write(path, text).context(|| format!("write `{}`", path.display()))?;
            session.line(&format!("wrote {}", path.display()))?;
        }
        let recipe = self.dir.join("web.lua");
        for (command, what) in [
            (
                format!("hostel plan {}", recipe.display()),
                "shows what the recipe would do",
            ),
            (
                "hostel doc".to_owned(),
                "lists what a guest can have; `hostel doc limits` tells of one",
            ),
            (
                "hostel test".to_owned(),
                "runs tests that you write: `hostel doc hostel.test`",
            ),
        ] {
            session.line(&format!("next: {command:<24}  {what}"))?;
        }
        Ok(Exit::Success)
    }
}
