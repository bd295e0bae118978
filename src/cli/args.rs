//! Arguments that several verbs take.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::TypedValueParser as _;
use clap_complete::engine::CompletionCandidate;
use ipnet::IpNet;

use super::output::color::When;
use crate::guest::mounts::guest_path;
use crate::guest::{Cap, GuestName, Invalid, Isolate, LimitChange, Limits, Mount, Owner, Source, Span};
use crate::lua::registry::completion;

/// `--color WHEN`, which every verb takes.
pub(crate) fn color() -> clap::Arg {
    clap::Arg::new("color")
        .long("color")
        .value_name("WHEN")
        .help("Colour the output: auto (on a terminal, without NO_COLOR), always or never")
        .value_parser(clap::builder::PossibleValuesParser::new(When::NAMES).map(|name| When::known(&name)))
        .hide_possible_values(true)
        .display_order(1000)
}

/// What `--color` was given.
pub(crate) fn color_of(matches: &clap::ArgMatches) -> Option<When> {
    matches.get_one::<When>("color").copied()
}

/// What `--color` seems to be given in arguments that did not parse.
pub(crate) fn color_typed(args: &[&OsStr]) -> Option<When> {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let value = match word.strip_prefix("--color=") {
            Some(value) => value,
            None if word == "--color" => words.get(at + 1)?,
            None => return None,
        };
        When::parse(value).ok()
    })
}

/// A command that is run in a context. It stands after `--`, so that its options are its own.
#[derive(Debug, clap::Args)]
pub(crate) struct CommandLine {
    /// Run it in this directory, as it sees it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// End it after this time, such as 10s: SIGTERM, and SIGKILL five seconds later; the exit code is 124
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Span>,
    /// Give it no terminal; without -T it gets one of its own when you have one
    #[arg(short = 'T', long)]
    pub(crate) no_terminal: bool,
    /// Print the steps that would be carried out, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandName)]
    pub(crate) argv: Vec<OsString>,
}

/// A guest that is there.
#[derive(Debug, clap::Args)]
pub(crate) struct OneGuest {
    /// The name of the guest
    #[arg(value_name = "GUEST", add = guests())]
    pub(crate) guest: GuestName,
}

/// Some guests, or all.
#[derive(Debug, clap::Args)]
pub(crate) struct SomeGuests {
    /// The names of the guests
    #[arg(value_name = "GUEST", required_unless_present = "all", conflicts_with = "all", add = guests())]
    pub(crate) guests: Vec<GuestName>,
}

/// Completes names of guests: the directories that the state directory holds.
pub(crate) fn guests() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        let names = crate::storage::state::list(&crate::storage::Layout::from_env());
        // A completion that cannot be made is none: an error would land in the middle of the typed line.
        let names = names.unwrap_or_default();
        names
            .iter()
            .map(|name| CompletionCandidate::new(name.as_str()))
            .collect()
    })
}

/// Completes names of volumes.
pub(crate) fn volumes() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        let names = crate::storage::volume::list(&crate::storage::Layout::from_env());
        // A completion that cannot be made is none: an error would land in the middle of the typed line.
        let names = names.unwrap_or_default();
        names
            .iter()
            .map(|name| CompletionCandidate::new(name.as_str()))
            .collect()
    })
}

/// Completes topics of `hostel doc`, a step of a path at a time.
pub(crate) fn topics() -> clap_complete::ArgValueCompleter {
    clap_complete::ArgValueCompleter::new(|typed: &OsStr| {
        let found = completion::topics(&typed.to_string_lossy());
        found
            .into_iter()
            .map(|topic| told(topic.name, topic.doc))
            .collect()
    })
}

/// Completes `GUEST.FIELD`: guests that were applied, then fields a step at a time; codes of mistakes.
pub(crate) fn guest_fields() -> clap_complete::ArgValueCompleter {
    clap_complete::ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy();
        if let Some((guest, field)) = typed.split_once('.') {
            let found = completion::fields(field);
            return found
                .into_iter()
                .map(|field| told(format!("{guest}.{}", field.name), field.doc))
                .collect();
        }
        // A completion that cannot be made is none.
        let names = crate::storage::state::list(&crate::storage::Layout::from_env()).unwrap_or_default();
        let names = names.iter().map(|name| format!("{name}."));
        let guests = names
            .filter(|name| name.starts_with(&*typed))
            .map(CompletionCandidate::new);
        let codes = crate::lua::Code::ALL
            .iter()
            .filter(|code| code.as_str().starts_with(&*typed));
        guests
            .chain(codes.map(|code| told(code.as_str().to_owned(), code.title().to_owned())))
            .collect()
    })
}

fn told(name: String, doc: String) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(doc.into()))
}

/// Completes limits: the key and its `=`.
pub(crate) fn limits() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        LimitChange::keys()
            .map(|key| CompletionCandidate::new(format!("{key}=")))
            .collect()
    })
}

/// The limits that `changes` make out of none.
pub(crate) fn limits_of(changes: &[LimitChange]) -> Limits {
    let mut limits = Limits::default();
    for change in changes {
        change.apply_to(&mut limits);
    }
    limits
}

/// Namespaces, by their names and commas between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Namespaces(pub(crate) Isolate);

impl FromStr for Namespaces {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut isolate = Isolate::NONE;
        for name in text.split(',') {
            isolate.add(name)?;
        }
        Ok(Self(isolate))
    }
}

/// Capabilities, by their names and commas between them; `none` is the empty list.
#[derive(Debug, Clone)]
pub(crate) struct CapList(pub(crate) Vec<Cap>);

impl FromStr for CapList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// An address, with or without the length of its prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(pub(crate) IpNet);

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let net = match text.parse::<IpAddr>() {
            Ok(addr) => Some(IpNet::from(addr)),
            Err(_) => text.parse().ok(),
        };
        net.map(Self).ok_or_else(|| Invalid {
            message: format!("`{}` is not an address", text.escape_debug()),
            hint: Some("IPv4 or IPv6, such as `127.9.0.1` or `fd00::9`".to_owned()),
        })
    }
}

/// `SOURCE:TARGET` with `:ro`, `:noexec` or `:host-ids` behind.
#[derive(Debug, Clone)]
pub(crate) struct BindMount(pub(crate) Mount);

impl FromStr for BindMount {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: &str| {
            Invalid {
            message: format!("`{}` is not a mount: {why}", text.escape_debug()),
            hint: Some(
                "`SOURCE:TARGET`, then `:ro`, `:noexec`, `:host-ids` or `:owner=UID`, such as `/srv/data:/data:ro`"
                    .to_owned(),
            ),
        }
        };
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(invalid("it has no target"));
        };
        if !source.starts_with('/') {
            return Err(invalid("the source is no absolute path"));
        }
        guest_path(target.as_ref())?;
        let mut mount = Mount {
            source: Source::Path(source.into()),
            target: target.into(),
            readonly: false,
            noexec: false,
            idmap: true,
            owner: None,
        };
        for option in parts {
            match option {
                "ro" => mount.readonly = true,
                "noexec" => mount.noexec = true,
                "host-ids" => mount.idmap = false,
                other => match other.strip_prefix("owner=").map(str::parse::<u16>) {
                    Some(Ok(uid)) => {
                        mount.owner = Some(Owner {
                            uid: uid.into(),
                            gid: None,
                            host_uid: None,
                            host_gid: None,
                        });
                    }
                    _ => return Err(invalid(&format!("`{other}` is no option of it"))),
                },
            }
        }
        Ok(Self(mount))
    }
}

/// A variable of the environment: `NAME=VALUE`, or `NAME` for the caller's own.
#[derive(Debug, Clone)]
pub(crate) struct Variable(pub(crate) OsString, pub(crate) OsString);

impl FromStr for Variable {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.into()),
            None => (text, std::env::var_os(text).unwrap_or_default()),
        };
        if name.is_empty() {
            return Err(Invalid {
                message: format!("`{}` is not a variable", text.escape_debug()),
                hint: Some("`NAME=VALUE`, or `NAME` to pass your own on".to_owned()),
            });
        }
        Ok(Self(name.into(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_two_paths_and_options() {
        let mount = "/srv/data:/data:ro:noexec".parse::<BindMount>().unwrap().0;
        assert_eq!(mount.source.path(), Some(std::path::Path::new("/srv/data")));
        assert!(mount.readonly && mount.noexec && mount.idmap);
        for bad in ["/a", "a:/b", "/a:b", "/a:/../b", "/a:/b:rw"] {
            assert!(bad.parse::<BindMount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_needs_no_prefix() {
        for (text, net) in [
            ("127.9.0.1", "127.9.0.1/32"),
            ("10.0.0.5/24", "10.0.0.5/24"),
            ("fd00::9", "fd00::9/128"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().0.to_string(), net);
        }
        assert!("localhost".parse::<Address>().is_err());
    }

    #[test]
    fn lists_have_commas() {
        let isolate = "pid,uts".parse::<Namespaces>().unwrap().0;
        assert_eq!(isolate.words(), ["pid", "uts"]);
        assert!("pid,ups".parse::<Namespaces>().is_err());
        assert_eq!("chown,CAP_KILL".parse::<CapList>().unwrap().0.len(), 2);
        assert_eq!("none".parse::<CapList>().unwrap().0, []);
    }
}
