//! hostel runs complete Linux servers ("guests") on one stock kernel, and lets Lua say everything about them.
//!
//! This page is the crate's map. Data flows one way:
//!
//! ```text
//! recipe.lua ──lua──▶ guest::Spec ──plan──▶ plan::Plan (steps with undo) ──life──▶ sys ──▶ kernel
//! ```
//!
//! | module | owns | refuses |
//! |---|---|---|
//! | [`sys`] | every system call and all `unsafe`; one kernel facility a file | policy |
//! | [`bpf`] | the programs that are chbind: loading, attaching, their maps | to let an unknown cgroup speak |
//! | [`guest`] | a guest as plain validated data | I/O, Lua |
//! | [`plan`] | specification + host facts → ordered steps, each printable and with its undo | to touch the host |
//! | [`life`] | the verbs: build, start, enter, exec, stop, destroy, observe | to remember what the kernel knows |
//! | [`storage`] | a guest's files: images, the state directory, safe access to hostile trees | to follow a guest's links |
//! | [`selftest`] | the known ways out of a guest, each tried | an attack that cannot work anywhere |
//! | [`lua`] | the VM, the sandbox, tables ↔ guest types, diagnostics | to enforce: it decides |
//! | [`cli`] | arguments → requests, output, exit codes | logic |
//!
//! Dependencies point one way: `sys`, `bpf`, `guest` ← `plan` ← `life`, `storage` ← `lua`, `selftest` ← `cli`.

pub mod bpf;
pub mod cli;
pub mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod guest;
pub mod life;
pub mod lua;
pub mod plan;
pub mod selftest;
pub mod storage;
pub mod sys;

pub use error::{Error, Kind, Result};
