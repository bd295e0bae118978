//! `hostel doc [FIELD]`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::lua::registry::doc;

/// Tell what a field of a recipe means
#[derive(Debug, Parser)]
pub(crate) struct Doc {
    /// The field, such as guest.limits or limits.memory
    #[arg(value_name = "FIELD", default_value = "guest")]
    field: String,
}

impl Verb for Doc {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel doc", "all fields of a guest"),
        ("hostel doc guest.limits.memory", "one of them"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let text = doc::topic(&self.field)?.to_string();
        session.line(text.trim_end())?;
        Ok(Exit::Success)
    }
}
