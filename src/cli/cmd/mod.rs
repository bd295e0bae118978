//! The verbs, one a file. What is typed is a struct; its doc comments are the help.

pub(crate) mod apply;
pub(crate) mod bind;
pub(crate) mod build;
pub(crate) mod caps;
pub(crate) mod check;
pub(crate) mod chroot;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod destroy;
pub(crate) mod doc;
pub(crate) mod doctor;
pub(crate) mod enter;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod gc;
pub(crate) mod help;
pub(crate) mod host;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod kill;
pub(crate) mod limit;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod set;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod version;

use super::exit::Exit;
use super::session::Session;
use crate::guest::GuestName;
use crate::{Kind, Result};

/// Does something with each guest. With several, a failure is told and the others have their turn; the exit code
/// is then 1. A signal ends it.
fn each(
    session: &mut Session,
    names: &[GuestName],
    mut act: impl FnMut(&mut Session, &GuestName) -> Result<()>,
) -> Result<Exit> {
    let mut exit = Exit::Success;
    for name in names {
        match act(session, name) {
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
