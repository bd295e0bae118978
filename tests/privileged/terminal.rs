//! A session's terminal: the guest's own, copied to and from the caller's.
//!
//! The caller is a process of the test with a terminal of the test; "inside" is a child of it with a terminal of
//! this namespace's devpts. What `enter` adds is only the guest around it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use hostel::error::Kind;
use hostel::guest::HostPid;
use hostel::life::relay::{Pipes, relay, relay_pipes};
use hostel::sys::pidfd::{self, Ended};
use hostel::sys::terminal::{self, Size};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::support::{World, tests};

tests! {
    [Root] => a_session_has_a_terminal_of_its_own_and_the_exit_code_is_the_childs,
    [Root] => a_resized_window_is_resized_inside,
    [Root] => ctrl_c_reaches_the_foreground_process_inside,
    [Root] => the_callers_terminal_is_restored_when_the_session_is_ended,
    [Root] => input_that_is_no_terminal_ends_with_end_of_input,
    [Root] => pipes_carry_all_output_and_the_signal_that_ended_the_child,
}

/// A process that runs `body` with `input`, `output` as its standard streams; its exit code is the body's.
fn process(body: impl FnOnce() -> i32) -> Pid {
    // SAFETY: every test has a process of its own, in which no other thread holds a lock that the child needs.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(125);
            std::process::exit(code)
        }
    }
}

/// What `enter` does, without a guest: a child whose terminal is new, and the relay.
fn session(script: &str) -> i32 {
    let (host, child) = UnixStream::pair().unwrap();
    let script = script.to_owned();
    let inside = process(move || {
        let master = terminal::open_inside().unwrap();
        terminal::hand_over(child.as_fd(), master.as_fd()).unwrap();
        terminal::take_slave(master, 0).unwrap();
        let err = Command::new("sh").args(["-c", &script]).exec();
        panic!("{err}")
    });
    let child = pidfd::open(HostPid(inside.as_raw())).unwrap();
    let master = terminal::receive(host.as_fd()).unwrap();
    match relay(master, &child) {
        Ok(Ended::Code(code)) => code,
        Ok(Ended::Signal(signal)) => 128 + signal,
        Err(err) if err.kind() == Kind::Interrupted => {
            waitpid(inside, None).unwrap();
            130
        }
        Err(err) => panic!("{err}"),
    }
}

/// A caller with a terminal: the terminal's master and the process.
struct Caller {
    master: File,
    pid: Pid,
    seen: String,
}

impl Caller {
    fn enter(script: &'static str) -> Self {
        let master = terminal::open_inside().unwrap();
        terminal::set_size(master.as_fd(), Size { rows: 33, columns: 99 }).unwrap();
        let for_child = master.try_clone().unwrap();
        let pid = process(move || {
            terminal::take_slave(for_child, 0).unwrap();
            session(script)
        });
        let flags = nix::fcntl::OFlag::empty();
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        Self { master: master.into(), pid, seen: String::new() }
    }

    /// Reads until `text` has been seen. The suite's deadline bounds it.
    fn expect(&mut self, text: &str) {
        let mut chunk = [0; 4096];
        while !self.seen.contains(text) {
            let count = self.master.read(&mut chunk).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_owned();
    }

    fn end(self) -> i32 {
        match waitpid(self.pid, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }
}

fn a_session_has_a_terminal_of_its_own_and_the_exit_code_is_the_childs(_: &World) {
    let mut caller = Caller::enter("test -t 0 -a -t 1 -a -t 2 && tty && stty size && exit 42");
    let own = std::fs::read_link(format!("/proc/{}/fd/0", caller.pid)).unwrap();
    caller.expect("/dev/pts/");
    caller.expect("\n");
    assert_ne!(own.to_str(), None);
    caller.expect("33 99");
    assert_eq!(caller.end(), 42);
}

fn a_resized_window_is_resized_inside(_: &World) {
    let mut caller = Caller::enter("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done");
    caller.expect("ready");
    terminal::set_size(caller.master.as_fd(), Size { rows: 11, columns: 44 }).unwrap();
    caller.expect("11 44");
    assert_eq!(caller.end(), 0);
}

fn ctrl_c_reaches_the_foreground_process_inside(_: &World) {
    let mut caller = Caller::enter("trap 'echo trapped; exit 7' INT; echo ready; while :; do sleep 0.05; done");
    caller.expect("ready");
    caller.master.write_all(&[3]).unwrap();
    caller.expect("trapped");
    assert_eq!(caller.end(), 7);
}

fn the_callers_terminal_is_restored_when_the_session_is_ended(_: &World) {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut caller = Caller::enter("echo ready; sleep 60");
        let before = {
            caller.expect("ready");
            let raw = tcgetattr(&caller.master).unwrap();
            assert!(!raw.local_flags.contains(nix::sys::termios::LocalFlags::ICANON));
            raw
        };
        kill(caller.pid, signal).unwrap();
        // A master answers for its slave, which itself hangs up with the session's leader.
        let master = caller.master.try_clone().unwrap();
        assert_eq!(caller.end(), 130);
        let after = tcgetattr(&master).unwrap();
        assert_ne!(after, before);
        assert!(after.local_flags.contains(nix::sys::termios::LocalFlags::ICANON));
    }
}

fn input_that_is_no_terminal_ends_with_end_of_input(_: &World) {
    let (mut write, read) = UnixStream::pair().unwrap();
    let (out_write, mut out_read) = UnixStream::pair().unwrap();
    let pid = process(move || {
        nix::unistd::dup2_stdin(read).unwrap();
        nix::unistd::dup2_stdout(out_write).unwrap();
        session("stty -echo; echo ready; cat | sed s/^/got-/; exit 3")
    });
    let mut first = [0; 7];
    out_read.read_exact(&mut first).unwrap();
    write.write_all(b"one\ntwo").unwrap();
    write.shutdown(std::net::Shutdown::Write).unwrap();
    drop(write);
    let mut seen = String::new();
    let status = waitpid(pid, None).unwrap();
    out_read.set_nonblocking(true).unwrap();
    let _ = out_read.read_to_string(&mut seen);
    assert_eq!(status, WaitStatus::Exited(pid, 3), "{seen}");
    assert_eq!(seen, "got-one\r\ngot-two");
}

fn pipes_carry_all_output_and_the_signal_that_ended_the_child(_: &World) {
    let (out_write, mut out_read) = UnixStream::pair().unwrap();
    let pid = process(move || {
        nix::unistd::dup2_stdout(out_write).unwrap();
        #[allow(clippy::zombie_processes, reason = "`relay_pipes` waits for it by its pidfd")]
        let mut child = Command::new("sh")
            .args(["-c", "head -c 300000 /dev/zero; kill -9 $$"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipes = Pipes {
            stdout: child.stdout.take().map(OwnedFd::from),
            ..Pipes::default()
        };
        let pid = pidfd::open(HostPid(child.id().cast_signed())).unwrap();
        relay_pipes(pipes, &pid).unwrap().shell_code()
    });
    let mut seen = Vec::new();
    out_read.read_to_end(&mut seen).unwrap();
    assert_eq!(seen.len(), 300_000);
    assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 137));
}
