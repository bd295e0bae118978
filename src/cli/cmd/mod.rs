//! The verbs, one a file. What is typed is a struct; its doc comments are the help.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bind;
pub(crate) mod build;
pub(crate) mod caps;
pub(crate) mod check;
pub(crate) mod chroot;
pub(crate) mod clone;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod convert;
pub(crate) mod destroy;
pub(crate) mod doc;
pub(crate) mod doctor;
pub(crate) mod enter;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod flow;
pub(crate) mod fmt;
pub(crate) mod gc;
pub(crate) mod help;
pub(crate) mod host;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod kill;
pub(crate) mod limit;
pub(crate) mod lint;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod repl;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod selftest;
pub(crate) mod set;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod test;
pub(crate) mod unify;
pub(crate) mod version;
pub(crate) mod volume;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::{Exit, cause};
use super::session::Session;
use crate::guest::GuestName;
use crate::life::{Host, crew, order};
use crate::{Kind, Result};

/// Stops or takes away guests: as [`each`], but several at once, for most of the time is spent waiting. Those that depend
/// on another come before it.
fn each_ending<T: Serialize + DeserializeOwned>(
    session: &mut Session,
    host: &Host,
    names: &[GuestName],
    end: impl Fn(&GuestName) -> Result<T>,
    line: impl Fn(&GuestName, T) -> String,
) -> Result<Exit> {
    let before = match names {
        [_] => BTreeMap::new(),
        _ => order::before(host, names)?,
    };
    each_at_once(session, names, &before, AT_ONCE, end, |session, name, ended| {
        session.line(&line(name, ended))
    })
}

/// Does something with each guest, as [`each`], but as many as `jobs` at once, each after those that `before` names for it.
fn each_at_once<T: Serialize + DeserializeOwned>(
    session: &mut Session,
    names: &[GuestName],
    before: &BTreeMap<GuestName, Vec<GuestName>>,
    jobs: usize,
    act: impl Fn(&GuestName) -> Result<T>,
    mut told: impl FnMut(&mut Session, &GuestName, T) -> Result<()>,
) -> Result<Exit> {
    if let [only] = names {
        let done = act(only)?;
        told(session, only, done)?;
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    crew::each(names, before, jobs, act, |name, result| {
        match result.map_err(cause) {
            Ok(done) => told(session, name, done).and_then(|()| session.flush()),
            // Told once, by who asks for the signal; what could not be undone is told.
            Err(err) if err.kind() == Kind::Interrupted && err.also().is_empty() => Ok(()),
            Err(err) => {
                session.report(&err);
                exit = Exit::No;
                Ok(())
            }
        }
    })?;
    Ok(exit)
}

/// A worker waits for its guest and takes a megabyte: enough that a slow guest holds up no other.
const AT_ONCE: usize = 32;

/// Does something with each guest. With several, a failure is told and the others have their turn; the exit code
/// is then 1. A signal ends it.
fn each(
    session: &mut Session,
    names: &[GuestName],
    mut act: impl FnMut(&mut Session, &GuestName) -> Result<()>,
) -> Result<Exit> {
    let mut exit = Exit::Success;
    for name in names {
        match act(session, name).map_err(cause) {
            Ok(()) => session.flush()?,
            Err(err) if names.len() == 1 || err.kind() == Kind::Interrupted => return Err(err),
            Err(err) => {
                session.report(&err);
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}
