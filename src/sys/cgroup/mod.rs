//! Control groups of either version: limits, membership, freezing, killing, and what was used.
//!
//! hostel keeps one cgroup of its own ([`Root`], `$HOSTEL_CGROUP`) and below it one a guest or context
//! ([`Group`]). On the cgroup2 mount both always exist: a process is born there (`CLONE_INTO_CGROUP`), BPF is
//! keyed by its id, and `cgroup.freeze` and `cgroup.kill` need no controller. The controllers themselves may sit
//! on cgroup2 or on v1 hierarchies ("hybrid"), each on its own: a v1 hierarchy is touched only when a limit needs
//! it, because attaching a process there takes a lock of the whole kernel (`cgroup_threadgroup_rwsem`).
//!
//! What a limit means in files is plain data (`knob`, made by `v1` and `v2`), so it is tested without a kernel;
//! `group` writes it, keeps a journal, and writes the old values back when a later one fails.
//!
//! It refuses, by name, every limit that the host cannot enforce ([`Host::refuse`]); nothing is left out
//! silently. See `cgroups(7)` and the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`.

mod dir;
mod events;
mod group;
mod host;
mod id;
mod kill;
mod knob;
mod root;
mod stats;
mod v1;
mod v2;

pub use group::{Change, Group};
pub(crate) use host::parse_any;
pub use host::{Controller, Description, Hierarchy, Host, IoWeight, Layout, Refusal, Unified};
pub use root::Root;
pub use stats::{Glance, Usage};
