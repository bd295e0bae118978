//! What `context`, `bind`, `chroot`, `caps` and `limit` have in common: they run a command in a context.

use std::mem::ManuallyDrop;

use super::args::CommandLine;
use super::exit::Exit;
use super::session::Session;
use crate::Result;
use crate::guest::{CapSet, Caps, Context, Identity, Isolate, Xid};
use crate::life::exec::{self, ExecRequest, Terminal, Whom};
use crate::life::{self, Command, Host, context};

/// What timeout(1) exits with too.
const TIMED_OUT: u8 = 124;

/// Runs `line` in `context`.
pub(crate) fn run(session: &mut Session, context: &Context, line: CommandLine) -> Result<Exit> {
    if line.plan {
        let argv: Vec<String> = line
            .argv
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        for (index, step) in context::steps(context, &argv)?.iter().enumerate() {
            session.line(&format!("{:>2}. {step}", index + 1))?;
        }
        return Ok(Exit::Success);
    }
    session.command = line.argv.first().cloned();
    let mut env: Vec<_> = std::env::vars_os().collect();
    if context.root.is_some() {
        // Where the caller's programs are says nothing about another tree.
        env.retain(|(key, _)| key != "PATH");
        env.push(("PATH".into(), life::command::PATH.into()));
    }
    let command = Command {
        argv: line.argv,
        env,
        dir: line.dir,
        terminal: if line.no_terminal {
            Terminal::No
        } else {
            Terminal::Auto
        },
        ..Command::default()
    };
    session.flush()?;
    // Never dropped: the process ends next, and what it has open and allocated goes faster with it.
    let host = ManuallyDrop::new(Host::open()?);
    let mut command = ManuallyDrop::new(command);
    let outcome = context::chain(&host, context, &mut command, line.timeout)?;
    if outcome.is_timed_out {
        return Ok(Exit::Command(TIMED_OUT));
    }
    Ok(Exit::of(outcome.ended))
}

/// Runs `line` in what runs under this number.
pub(crate) fn join(session: &mut Session, number: Xid, line: CommandLine) -> Result<Exit> {
    if line.plan {
        session.line(&format!(" 1. join context {number}"))?;
        let words: Vec<_> = line.argv.iter().map(|word| word.to_string_lossy()).collect();
        session.line(&format!(" 2. run {}", words.join(" ")))?;
        return Ok(Exit::Success);
    }
    session.command = line.argv.first().cloned();
    let request = ExecRequest {
        argv: line.argv,
        dir: line.dir,
        terminal: if line.no_terminal {
            Terminal::No
        } else {
            Terminal::Auto
        },
        ..ExecRequest::default()
    };
    session.flush()?;
    exec::exec(&Host::open()?, &Whom::Context(number), &request).map(Exit::of)
}

/// The capabilities that are left. `only` is the whole set; `keep` adds to what a guest has by default; `drop`
/// alone takes from all there are, as Linux-VServer's reducecap did.
pub(crate) fn caps(caps: &Caps) -> Option<CapSet> {
    Context::caps_of(caps)
}

/// A context with nothing of its own and nothing taken from it.
pub(crate) fn plain() -> Context {
    Context {
        identity: Identity::Ephemeral,
        isolate: Isolate::NONE,
        open_network: true,
        ..Context::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_alone_starts_from_all() {
        let cap = |name: &str| name.parse::<crate::guest::Cap>().unwrap();
        let set = caps(&Caps {
            drop: vec![cap("net_raw")],
            ..Caps::default()
        })
        .unwrap();
        assert!(set.contains(cap("sys_admin")) && !set.contains(cap("net_raw")));
        let set = caps(&Caps {
            keep: vec![cap("net_raw")],
            ..Caps::default()
        })
        .unwrap();
        assert!(!set.contains(cap("sys_admin")) && set.contains(cap("net_raw")));
        assert_eq!(caps(&Caps::default()), None);
    }
}
