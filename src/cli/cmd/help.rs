//! `hostel help [TOPIC]`

use std::ffi::OsStr;

use clap::Parser;
use clap_complete::ArgValueCandidates;
use clap_complete::engine::CompletionCandidate;

use crate::cli::exit::Exit;
use crate::cli::help::{TOPICS, overview, print_verb};
use crate::cli::session::Session;
use crate::cli::verb::{Entry, Example, Group, VERBS, Verb};
use crate::guest::caps::nearest;
use crate::{Error, Kind, Result};

/// Show the commands, or tell about one of them or a topic
#[derive(Debug, Parser)]
pub(crate) struct Help {
    /// A command, or one of the topics: environment, exit, limits
    #[arg(add = ArgValueCandidates::new(topics))]
    topic: Option<String>,
}

impl Verb for Help {
    const GROUP: Group = Group::About;
    const EXAMPLES: &'static [Example] = &[
        ("hostel help", "list all commands and topics"),
        ("hostel help version", "the same as `hostel version --help`"),
        ("hostel help limits", "how limits and sizes are written"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let Some(name) = self.topic.as_deref() else {
            let text = overview(session.paint);
            session.print(&text)?;
            return Ok(Exit::Success);
        };
        if let Some(verb) = Entry::find(name) {
            print_verb(session, verb, &[OsStr::new("--help")], true)?;
        } else if let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) {
            let heading = session.paint.bold(topic.about);
            session.print(&format!("{heading}\n\n{}", topic.text))?;
        } else {
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`hostel help` lists all commands and topics".to_owned(),
            };
            let message = format!("`{}` is no command and no topic", name.escape_debug());
            return Err(Error::new(Kind::Usage, message).with_hint(hint));
        }
        Ok(Exit::Success)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    let verbs = VERBS.iter().map(|verb| verb.name);
    verbs.chain(TOPICS.iter().map(|topic| topic.name))
}

fn topics() -> Vec<CompletionCandidate> {
    names().map(CompletionCandidate::new).collect()
}
