//! `hostel doc [TOPIC]`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::pager;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::lua::registry::doc::{self, Below};
use crate::{Error, Kind};

/// Tell what Lua can call or set: fields, functions, modules
///
/// Without a topic it shows where to begin. On a terminal it goes through $PAGER, or less.
#[derive(Debug, Parser)]
pub(crate) struct Doc {
    /// A field such as guest.limits, a function such as hostel.context, a module such as hostel.net, or `topics`
    #[arg(value_name = "TOPIC", add = args::topics())]
    topic: Option<String>,
    /// Look for topics with these words in their name or documentation
    #[arg(short, long, value_name = "WORDS", conflicts_with = "topic")]
    search: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Verb for Doc {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel doc", "all fields of a guest, and what else there is"),
        ("hostel doc guest.limits.memory", "one of them"),
        ("hostel doc --search swap", "whatever tells of it"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let found = match (&self.search, self.topic.as_deref()) {
            (Some(words), _) => doc::search(words),
            (None, Some("topics")) => doc::all(),
            (None, None) if self.json => doc::all(),
            (None, None) => {
                pager::show(session, doc::overview().trim_end())?;
                return Ok(Exit::Success);
            }
            (None, Some(topic)) => {
                let topic = doc::topic(topic)?;
                if self.json {
                    session.json(&topic)?;
                } else {
                    pager::show(session, topic.to_string().trim_end())?;
                }
                return Ok(Exit::Success);
            }
        };
        if found.is_empty() {
            let words = self.search.unwrap_or_default();
            let message = format!("no topic has `{}`", words.escape_debug());
            return Err(Error::new(Kind::NotFound, message).with_hint("`hostel doc topics` lists all"));
        }
        show(session, &found, self.json)?;
        Ok(Exit::Success)
    }
}

fn show(session: &mut Session, found: &[Below], json: bool) -> Result<()> {
    if json {
        return session.json(&found);
    }
    let mut text = String::new();
    doc::list(found, &mut text);
    pager::show(session, text.trim_end())
}
