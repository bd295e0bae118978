//! `hostel audit`: what is asked of the host for it.

use super::host::Host;
use super::observe;
use crate::error::Result;
use crate::guest::audit::Kernel;
use crate::guest::{GuestName, Spec, Xid};
use crate::storage::RecipeRef;
use crate::sys::landlock;

/// The first ABI of Landlock that scopes abstract sockets.
const SCOPES: u32 = 6;

/// A guest whose confinement is looked at: what it runs with, or what it would be started with.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it was told to be.
    pub spec: Spec,
    /// Its context id.
    pub xid: Xid,
    /// The recipe that it came from, if it came from one.
    pub recipe: Option<RecipeRef>,
}

/// A guest of this host.
pub fn subject(host: &Host, name: &GuestName) -> Result<Subject> {
    let applied = observe::applied(host, name)?;
    let is_running = match observe::group(host, applied.xid)? {
        Some(group) => group.is_populated()?,
        None => false,
    };
    // What runs counts: a change that waits for a restart confines nobody yet.
    let spec = match applied.started {
        Some(started) if is_running => started,
        _ => applied.spec,
    };
    Ok(Subject {
        spec,
        xid: applied.xid,
        recipe: applied.recipe,
    })
}

/// What the kernel of this host has and does.
pub fn kernel() -> Kernel {
    let is_on = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
    Kernel {
        scopes_abstract_sockets: landlock::abi().is_ok_and(|abi| abi >= SCOPES),
        forwards: is_on("/proc/sys/net/ipv4/ip_forward") || is_on("/proc/sys/net/ipv6/conf/all/forwarding"),
    }
}
