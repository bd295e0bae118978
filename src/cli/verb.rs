//! What a verb is, and the one list of all of them.

use std::ffi::OsString;

use super::cmd;
use super::exit::{Exit, Failure};
use super::session::Session;
use super::usage;
use crate::Result;

/// One verb: a struct of what can be typed, whose doc comment is its help.
pub(crate) trait Verb: clap::Parser {
    /// Where it stands in the list of verbs.
    const GROUP: Group;
    /// Command lines and what each does. They are printed by `--help` and the man page; the tests parse each.
    const EXAMPLES: &'static [Example];
    /// What it exits with when it fails.
    const FAILURE: Failure = Failure::Plain;

    /// Does it.
    fn run(self, session: &mut Session) -> Result<Exit>;
}

/// A command line and what it does.
pub(crate) type Example = (&'static str, &'static str);

/// The parts of the list of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// On recipes.
    Recipes,
    /// On guests.
    Guests,
    /// What guests are made of.
    Primitives,
    /// On the host.
    Host,
    /// About hostel itself.
    About,
}

impl Group {
    /// Every group, in the order of the list.
    pub(crate) const ALL: [Group; 5] = [
        Group::Recipes,
        Group::Guests,
        Group::Primitives,
        Group::Host,
        Group::About,
    ];

    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Group::Recipes => "Recipes",
            Group::Guests => "Guests",
            Group::Primitives => "Primitives",
            Group::Host => "Host",
            Group::About => "About hostel",
        }
    }
}

/// A verb without its type, so that all of them fit in a list.
pub(crate) struct Entry {
    /// What is typed.
    pub(crate) name: &'static str,
    /// Where it stands in the list of verbs.
    pub(crate) group: Group,
    /// See [`Verb::EXAMPLES`].
    pub(crate) examples: &'static [Example],
    /// See [`Verb::FAILURE`].
    pub(crate) failure: Failure,
    parser: fn() -> clap::Command,
    run: fn(&clap::ArgMatches, &mut Session) -> Result<Exit>,
}

impl Entry {
    const fn of<V: Verb>(name: &'static str) -> Self {
        Self {
            name,
            group: V::GROUP,
            examples: V::EXAMPLES,
            failure: V::FAILURE,
            parser: V::command,
            run: |matches, session| {
                let verb = V::from_arg_matches(matches).map_err(|err| usage::error(&err, ""))?;
                verb.run(session)
            },
        }
    }

    /// The verb called `name`.
    pub(crate) fn find(name: &str) -> Option<&'static Entry> {
        VERBS.iter().find(|verb| verb.name == name)
    }

    /// Its parser, without examples: what a run needs.
    pub(crate) fn parser(&self) -> clap::Command {
        (self.parser)()
            .name(self.name)
            .bin_name(format!("hostel {}", self.name))
            .disable_help_subcommand(true)
            .arg(super::args::color())
    }

    /// Its parser with examples: what help and man pages need.
    pub(crate) fn documented(&self) -> clap::Command {
        self.parser().after_help(super::help::examples(self.examples))
    }

    /// Parses `args`, which follow the verb.
    pub(crate) fn parse(&self, args: &[OsString]) -> clap::error::Result<clap::ArgMatches> {
        self.parser()
            .no_binary_name(true)
            .try_get_matches_from(args.iter())
    }

    /// Does it.
    pub(crate) fn run(&self, matches: &clap::ArgMatches, session: &mut Session) -> Result<Exit> {
        (self.run)(matches, session)
    }
}

macro_rules! verbs {
    ($($module:ident :: $type:ident),+ $(,)?) => {
        &[$(Entry::of::<cmd::$module::$type>(stringify!($module))),+]
    };
}

/// Every verb, in the order in which its group lists it.
pub(crate) static VERBS: &[Entry] = verbs![
    init::Init,
    check::Check,
    plan::Plan,
    apply::Apply,
    build::Build,
    clone::Clone,
    destroy::Destroy,
    test::Test,
    fmt::Fmt,
    lint::Lint,
    explain::Explain,
    doc::Doc,
    start::Start,
    stop::Stop,
    restart::Restart,
    enter::Enter,
    exec::Exec,
    ls::Ls,
    status::Status,
    logs::Logs,
    audit::Audit,
    set::Set,
    snapshot::Snapshot,
    snapshots::Snapshots,
    rollback::Rollback,
    volume::Volume,
    convert::Convert,
    unify::Unify,
    export::Export,
    import::Import,
    pause::Pause,
    resume::Resume,
    kill::Kill,
    run::Run,
    repl::Repl,
    flow::Flow,
    context::Context,
    backup::Backup,
    bind::Bind,
    chroot::Chroot,
    caps::Caps,
    limit::Limit,
    doctor::Doctor,
    selftest::Selftest,
    images::Images,
    gc::Gc,
    host::Host,
    help::Help,
    version::Version,
    man::Man,
    completion::Completion,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parser_is_sound_and_explains_itself() {
        for verb in VERBS {
            verb.documented().debug_assert();
            let command = verb.parser();
            assert!(command.get_about().is_some(), "{} has no help", verb.name);
            assert!(!verb.examples.is_empty(), "{} has no example", verb.name);
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {} has no help",
                    verb.name,
                    arg.get_id()
                );
            }
        }
    }

    #[test]
    fn every_example_parses() {
        for verb in VERBS {
            for (line, _) in verb.examples {
                let command = line.split(['|', '>', '<']).next().unwrap_or_default();
                let words: Vec<OsString> = command.split_whitespace().map(OsString::from).collect();
                assert_eq!(words[0], "hostel", "{line}");
                assert_eq!(words[1], verb.name, "{line}");
                if let Err(err) = verb.parse(&words[2..]) {
                    panic!("{line}: {err}");
                }
            }
        }
    }
}
