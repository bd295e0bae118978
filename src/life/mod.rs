//! The verbs: each carries out a plan on the kernel.
//!
//! State is observed: whether a guest runs, its processes and limits are asked of the kernel by its context id.
//! A file is only kept for what the kernel cannot know (`storage::state`).

pub mod apply;
pub mod audit;
pub mod build;
pub mod clone;
pub mod command;
pub mod context;
pub mod convert;
pub mod crew;
pub mod destroy;
pub mod doctor;
pub mod exec;
pub mod export;
mod filter;
mod guest_dev;
pub mod health;
pub mod hooks;
pub mod host;
pub mod images;
pub mod import;
pub mod init_config;
pub mod init_status;
mod inside;
mod join;
pub mod launch;
pub mod logs;
mod masks;
pub mod observe;
pub mod order;
pub mod pause;
mod place;
mod reachable;
pub mod relay;
pub mod set;
pub mod snapshot;
pub mod start;
pub mod stop;
mod streams;
pub mod sweep;
mod tree;
pub mod unify;
pub mod users;
pub mod volume;

pub use command::Command;
pub use context::Outcome;
pub use host::Host;

/// The cgroup below a guest's in which an init of its own and everything under it run. The keeper is beside it, in
/// [`KEEPER`]: a cgroup whose controllers are handed down may have no processes of its own (`cgroups(7)`).
const PAYLOAD: &str = "payload";
/// See [`PAYLOAD`].
const KEEPER: &str = "keeper";
/// Beside them, the cgroup of what `hostel exec` and `enter` start in such a guest: into [`PAYLOAD`] nothing can be
/// born once the guest's init has handed controllers down in it.
const ENTERED: &str = "entered";

/// Locks a guest that must be there: one that is not is said by name, before anything about locks.
fn lock(host: &Host, name: &crate::guest::GuestName) -> crate::Result<crate::storage::lock::GuestLock> {
    observe::applied(host, name)?;
    crate::storage::lock::acquire(&host.layout, name, WAIT)
}

/// How long a command waits for another that works on the same guest: longer than any start or stop takes that
/// does not hang, shorter than a person's patience.
const WAIT: crate::storage::lock::Wait = crate::storage::lock::Wait::UpTo(crate::guest::Span::from_secs(60));
