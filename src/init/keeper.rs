//! hostel's init around the guest's own: starts it in namespaces of its own, and again when it reboots.
//!
//! `reboot(2)` in a PID namespace ends its process 1 with SIGHUP for a restart and SIGINT for halt and power-off
//! (`reboot_pid_ns` in kernel/pid_namespace.c). So there has to be someone outside who sees that, and it must not be
//! a process of the host: this keeper, process 1 of an outer PID namespace, which nothing inside can name.

use crate::cgroup::clear;
use crate::config::{Config, Own};
use crate::console::Console;
use crate::inner;
use crate::log;
use crate::order::{self, Backoff};
use crate::sys::{self, Clone, Exit, Fd, Poll, SIGCHLD, SIGHUP, SIGINT};

const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const CLONE_NEWIPC: u64 = 0x0800_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;

/// The guest's own init ended without asking for a halt.
const ENDED: i32 = 1;
/// It could not be started.
const NOT_STARTED: i32 = 3;

/// Keeps the guest's own init until it halts. The exit code of the init.
///
/// Whoever waits at the other end of `report` is told why the init could not be run, the first time; that it runs, by
/// the end of the pipe: the exec closes the last copy of it.
pub fn run(
    config: &Config<'_>,
    own: &Own<'_>,
    signals: &Fd,
    cgroup: Option<&Fd>,
    mut report: Option<Fd>,
) -> i32 {
    let mut backoff = Backoff::new();
    loop {
        let started = sys::monotonic();
        // A guest without /dev/pts has no console; its init has /dev/null.
        let mut console = Console::open().ok();
        let flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
        let pid = match sys::clone(flags, cgroup.map(Fd::raw)) {
            Ok(Clone::Child) => inner::become_init(config, own, console.as_ref(), report.as_ref()),
            Ok(Clone::Parent(pid)) => pid,
            Err(errno) => {
                inner::tell(report.as_ref(), "make namespaces", errno);
                log::event(|line| {
                    line.push("cannot make namespaces for ")
                        .text(own.path)
                        .push(": ")
                        .errno(errno);
                });
                return NOT_STARTED;
            }
        };
        // This copy of it; the child's is closed by its exec.
        drop(report.take());
        log::event(|line| {
            line.push("started ").text(own.path);
        });
        let exit = keep(pid, signals, &mut console);
        match exit {
            Exit::Signal(SIGHUP) => {
                let delay = backoff.after(sys::monotonic() - started);
                log::event(|line| {
                    line.push("guest reboots");
                });
                if !pause(delay, signals) {
                    return 0;
                }
                if let Some(Err(errno)) = cgroup.map(clear) {
                    log::event(|line| {
                        line.push("cannot clear the cgroup of ")
                            .text(own.path)
                            .push(": ")
                            .errno(errno);
                    });
                }
            }
            Exit::Signal(SIGINT) => {
                log::event(|line| {
                    line.push("guest halts");
                });
                return 0;
            }
            exit => {
                log::event(|line| {
                    line.text(own.path).push(" ended: ").exit(exit);
                });
                let is_started = !matches!(exit, Exit::Code(inner::SETUP_FAILED..=127));
                return if is_started { ENDED } else { NOT_STARTED };
            }
        }
    }
}

/// Passes signals in and the console out until the guest's init has ended.
fn keep(pid: i32, signals: &Fd, console: &mut Option<Console>) -> Exit {
    loop {
        let now = sys::monotonic();
        let mut fds = [Poll::readable(signals), Poll::NONE];
        let mut timeout = None;
        if let Some(console) = console {
            if let Some(fd) = console.watched(now) {
                fds[1] = Poll::readable(fd);
            }
            timeout = console.paused_until().map(|until| until.saturating_sub(now));
        }
        sys::poll(&mut fds, timeout);
        if let Some(console) = console
            && (fds[1].ready != 0 || timeout.is_some())
        {
            console.drain(sys::monotonic());
        }
        while let Some(signal) = sys::next_signal(signals) {
            // What asks an init to stop or reboot is asked of the guest's: it knows best what it means.
            if signal != SIGCHLD && order::of(signal).is_some() {
                let _ = sys::kill(pid, signal);
            }
        }
        let mut ended = None;
        while let Ok(Some((child, exit))) = sys::reap() {
            if child == pid {
                ended = Some(exit);
            }
        }
        if let Some(exit) = ended {
            // What it wrote last. Its processes are all gone: the kernel kills them before it reports their init.
            if let Some(console) = console {
                console.drain(sys::monotonic());
            }
            return exit;
        }
    }
}

/// Waits before the guest is started again. Whether it is to be: a halt meanwhile ends it.
fn pause(delay: u64, signals: &Fd) -> bool {
    let until = sys::monotonic() + delay;
    loop {
        let now = sys::monotonic();
        if now >= until {
            return true;
        }
        sys::poll(&mut [Poll::readable(signals)], Some(until - now));
        while let Some(signal) = sys::next_signal(signals) {
            if order::of(signal) == Some(order::Order::Halt) {
                return false;
            }
        }
    }
}
