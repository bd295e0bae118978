//! The privileged suite: what only root on a real kernel can show.
//!
//! One file a property or command. Every test runs in a process, a mount namespace and a network namespace of its
//! own, with its own `HOSTEL_ROOT`, `HOSTEL_CGROUP` and `HOSTEL_RUN`, and fails when it leaves anything behind.
//! `docs/development.md` says how to write one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test panics to fail, and prints to say why"
)]

#[allow(
    dead_code,
    reason = "shared with tests/lua/docs.rs, which reads more of a page"
)]
#[path = "../docs/page.rs"]
mod page;
mod support;

use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal};

/// Declares every file of this directory. A file that is not named here fails the suite.
macro_rules! files {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        const FILES: &[&str] = &[$(stringify!($file)),*];
        fn tests() -> Vec<support::Test> {
            let mut all = vec![];
            $(all.extend($file::tests());)*
            all
        }
    };
}

// In alphabetical order, one a line, so that two branches that each add one merge.
files! {
    allow,
    arch,
    archive,
    backup,
    behind,
    bpf,
    bpf_refused,
    bpf_sockets,
    bpf_tcp,
    bpf_udp,
    caps,
    cgroup,
    cgroup_limits,
    cli_primitives,
    crash,
    debian_services,
    debian_work,
    disk,
    docs,
    enter,
    faults,
    flow,
    harness,
    hogs,
    hooks,
    hostile,
    ids,
    image,
    init,
    interrupt,
    isolation,
    join,
    landlock,
    life,
    many,
    limits,
    lua_primitives,
    mounts,
    netlink,
    oci,
    own_init,
    remote,
    rows,
    secrets,
    spectator,
    storage,
    terminal,
    unify,
    userns,
    volumes,
    waiting,
}

fn main() -> ExitCode {
    // What a runner has in the background of a script begins with SIGINT and SIGQUIT ignored, and hands that on:
    // Ctrl-C would mean nothing in the terminals of the tests.
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: the default action is no handler, and nothing else runs yet.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.expect("a signal's default action");
    }
    // Before scripts/dev/vm boots a machine without a network.
    if std::env::var_os("HOSTEL_TEST_FETCH").is_some() {
        return match support::fetch(&debian_services::image_packages()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                eprintln!("{err}");
                ExitCode::FAILURE
            }
        };
    }
    support::run(tests(), FILES)
}
