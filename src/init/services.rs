//! hostel's init as the guest's own: starts the services in order, reaps, restarts, captures, stops.
//!
//! One loop waits for signals, output and the next deadline; nothing else blocks. When every service has ended the
//! guest stays: it is a server that runs, and may be entered.

use crate::config::{Config, List, MAX_SERVICES, Restart, Service, Services};
use crate::log;
use crate::order::{self, Backoff, Order};
use crate::spawn;
use crate::status;
use crate::sys::{self, Exit, Fd, Poll, SIGCHLD, SIGCONT, SIGHUP, SIGKILL, SIGTERM};

/// A service and what became of it.
pub struct Entry<'c> {
    pub spec: Service<'c>,
    pub state: State,
    /// 0 unless it runs.
    pub pid: i32,
    pub restarts: u32,
    pub last: Option<Exit>,
    /// Seconds since 1970 of the last change of state.
    pub since: u64,
    /// Read here, written by the service. Kept over restarts, so that a process that outlives its service can
    /// still write, and its output is still captured.
    output: Option<(Fd, Fd)>,
    backoff: Backoff,
    /// When it was last started, in milliseconds.
    started: u64,
    /// When it is due to start, in milliseconds.
    due: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is due to start, for the first time or again.
    Waiting,
    Running,
    /// It ended well and is not started again.
    Ended,
    /// It ended badly and is not started again.
    Failed,
    /// It was stopped together with the guest.
    Stopped,
}

impl State {
    pub fn text(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Ended => "ended",
            State::Failed => "failed",
            State::Stopped => "stopped",
        }
    }
}

impl Entry<'_> {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.since = sys::epoch();
    }

    fn start(&mut self, env: List<'_>, now: u64) {
        let result = match &self.output {
            Some((_, write)) => spawn::start(&self.spec, env, write.raw()),
            None => sys::pipe().and_then(|(read, write)| {
                let pid = spawn::start(&self.spec, env, write.raw());
                self.output = Some((read, write));
                pid
            }),
        };
        self.started = now;
        match result {
            Ok(pid) => {
                self.pid = pid;
                self.enter(State::Running);
                log::event(|line| {
                    line.push("started ")
                        .text(self.spec.name)
                        .push(" pid ")
                        .number(pid as u64);
                });
            }
            // No process or no descriptor to be had: as if it had failed at once.
            Err(errno) => {
                log::event(|line| {
                    line.push("cannot start ")
                        .text(self.spec.name)
                        .push(": ")
                        .errno(errno);
                });
                self.ended(Exit::Code(126), now);
            }
        }
    }

    fn ended(&mut self, exit: Exit, now: u64) {
        self.pid = 0;
        self.last = Some(exit);
        let is_good = exit == Exit::Code(0);
        let again = match self.spec.restart {
            Restart::Always => true,
            Restart::OnFailure => !is_good,
            Restart::Never => false,
        };
        let delay = if again {
            self.backoff.after(now.saturating_sub(self.started))
        } else {
            0
        };
        log::event(|line| {
            line.text(self.spec.name).push(" ended: ").exit(exit);
            if again {
                line.push(", again in ").number(delay).push(" ms");
            }
        });
        if again {
            self.due = now + delay;
            self.restarts = self.restarts.saturating_add(1);
            self.enter(State::Waiting);
        } else {
            self.enter(if is_good { State::Ended } else { State::Failed });
        }
    }
}

/// What the init is about.
#[derive(Clone, Copy)]
enum Phase {
    Running,
    /// Services are asked to end, the last one first. Number `at - 1` is being waited for; 0 before the first.
    Services {
        at: usize,
        order: Order,
        until: u64,
        total: u64,
    },
    /// Everything else is asked to end.
    Others {
        order: Order,
        until: u64,
    },
    /// Everything is killed; the kernel needs a moment.
    Killed {
        order: Order,
        until: u64,
    },
}

struct Init<'c> {
    entries: [Option<Entry<'c>>; MAX_SERVICES],
    count: usize,
    env: List<'c>,
    stop_ms: u64,
    phase: Phase,
    is_changed: bool,
}

/// Runs the guest. Returns when it is to end.
pub fn run(config: &Config<'_>, services: Services<'_>, signals: &Fd) {
    let mut init = Init {
        entries: [const { None }; MAX_SERVICES],
        count: 0,
        env: config.env,
        stop_ms: u64::from(config.stop_ms),
        phase: Phase::Running,
        is_changed: true,
    };
    for (slot, spec) in init.entries.iter_mut().zip(services.iter()) {
        *slot = Some(Entry {
            spec,
            state: State::Waiting,
            pid: 0,
            restarts: 0,
            last: None,
            since: sys::epoch(),
            output: None,
            backoff: Backoff::new(),
            started: 0,
            due: 0,
        });
        init.count += 1;
    }
    log::event(|line| {
        line.push("guest starts, services: ").number(init.count as u64);
    });
    loop {
        if init.step() {
            init.drain();
            init.record();
            log::event(|line| {
                line.push("guest ends");
            });
            return;
        }
        init.record();
        init.wait(signals);
        while let Some(signal) = sys::next_signal(signals) {
            if signal != SIGCHLD {
                init.obey(signal);
            }
        }
        // SIGCHLD is merged when several come at once, so the children themselves are asked, every time.
        while let Ok(Some((pid, exit))) = sys::reap() {
            init.reaped(pid, exit);
        }
    }
}

impl<'c> Init<'c> {
    fn each(&mut self) -> impl Iterator<Item = &mut Entry<'c>> {
        self.entries[..self.count].iter_mut().flatten()
    }

    /// Does what is due. Whether the guest is to end.
    fn step(&mut self) -> bool {
        let now = sys::monotonic();
        match self.phase {
            Phase::Running => {
                let env = self.env;
                let mut is_changed = false;
                for entry in self
                    .each()
                    .filter(|entry| entry.state == State::Waiting && entry.due <= now)
                {
                    entry.start(env, now);
                    is_changed = true;
                }
                self.is_changed |= is_changed;
            }
            Phase::Services {
                at,
                order,
                until,
                total,
            } => {
                if now < until && at > 0 && self.entries[at - 1].as_ref().is_some_and(|entry| entry.pid != 0)
                {
                    return false;
                }
                // Those before `at` that run, from the back; a deadline that has passed leaves them to the next phase.
                let next = if now >= until {
                    None
                } else {
                    self.running_before(at.wrapping_sub(1))
                };
                let Some(next) = next else {
                    self.phase = Phase::Others {
                        order,
                        until: total.min(now + OTHERS_MS),
                    };
                    // What a shell that ignores SIGTERM, a stopped process and everything else listen to.
                    for signal in [SIGTERM, SIGHUP, SIGCONT] {
                        let _ = sys::kill(-1, signal);
                    }
                    return self.step();
                };
                self.phase = Phase::Services {
                    at: next + 1,
                    order,
                    until,
                    total,
                };
                if let Some(entry) = &self.entries[next] {
                    let _ = sys::kill(entry.pid, entry.spec.stop_signal);
                    let _ = sys::kill(entry.pid, SIGCONT);
                }
            }
            Phase::Others { order, until } => {
                if is_alone() {
                    return self.stopped(order);
                }
                if now >= until {
                    log::event(|line| {
                        line.push("killing what did not end");
                    });
                    let _ = sys::kill(-1, SIGKILL);
                    self.phase = Phase::Killed {
                        order,
                        until: now + KILLED_MS,
                    };
                }
            }
            Phase::Killed { order, until } => {
                if is_alone() || now >= until {
                    return self.stopped(order);
                }
                // Again: something may have forked between the list and the signal.
                let _ = sys::kill(-1, SIGKILL);
            }
        }
        false
    }

    /// The last service that runs, of the first `before` ones; of all if it is too many.
    fn running_before(&self, before: usize) -> Option<usize> {
        let before = before.min(self.count);
        self.entries[..before]
            .iter()
            .rposition(|entry| entry.as_ref().is_some_and(|entry| entry.pid != 0))
    }

    /// Everything has ended. Whether the guest is to.
    fn stopped(&mut self, order: Order) -> bool {
        for entry in self.each() {
            if entry.state == State::Running {
                entry.pid = 0;
            }
            entry.enter(State::Stopped);
        }
        self.is_changed = true;
        if order == Order::Halt {
            return true;
        }
        log::event(|line| {
            line.push("guest starts again");
        });
        self.phase = Phase::Running;
        for entry in self.each() {
            (entry.due, entry.restarts, entry.backoff) = (0, 0, Backoff::new());
            entry.enter(State::Waiting);
        }
        self.step()
    }

    fn obey(&mut self, signal: i32) {
        let Some(wanted) = order::of(signal) else { return };
        match &mut self.phase {
            Phase::Running => {
                log::event(|line| {
                    line.push(if wanted == Order::Halt { "halt" } else { "reboot" });
                    line.push(" asked for by signal ").number(signal as u64);
                });
                for entry in self.each().filter(|entry| entry.state == State::Waiting) {
                    entry.enter(State::Stopped);
                }
                let now = sys::monotonic();
                let total = now + self.stop_ms;
                // A quarter is left to processes that are no service.
                let until = now + self.stop_ms - self.stop_ms / 4;
                self.phase = Phase::Services {
                    at: 0,
                    order: wanted,
                    until,
                    total,
                };
                self.is_changed = true;
            }
            // A halt during a reboot counts; a reboot during a halt does not.
            Phase::Services { order, .. } | Phase::Others { order, .. } | Phase::Killed { order, .. } => {
                if wanted == Order::Halt {
                    *order = Order::Halt;
                }
            }
        }
    }

    fn reaped(&mut self, pid: i32, exit: Exit) {
        let now = sys::monotonic();
        let is_running = matches!(self.phase, Phase::Running);
        let Some(entry) = self.each().find(|entry| entry.pid == pid) else {
            return;
        };
        if is_running {
            entry.ended(exit, now);
        } else {
            entry.pid = 0;
            entry.last = Some(exit);
            entry.enter(State::Stopped);
        }
        self.is_changed = true;
    }

    fn record(&mut self) {
        if self.is_changed {
            self.is_changed = false;
            let _ = status::write(self.entries[..self.count].iter().flatten());
        }
    }

    fn drain(&mut self) {
        for entry in self.each() {
            if let Some((read, _)) = &entry.output {
                let _ = log::drain(entry.spec.name.to_bytes(), read);
            }
        }
    }

    /// Waits for a signal, for output, which is taken, or for what is due next.
    fn wait(&mut self, signals: &Fd) {
        let now = sys::monotonic();
        let timeout = match self.phase {
            Phase::Running => {
                let waiting = self.each().filter(|entry| entry.state == State::Waiting);
                waiting.map(|entry| entry.due.saturating_sub(now)).min()
            }
            Phase::Services { until, .. } => Some(until.saturating_sub(now)),
            // Processes that were put into the guest are no children of the init: their end is not signalled.
            Phase::Others { .. } | Phase::Killed { .. } => Some(20),
        };
        let mut fds = [Poll::NONE; MAX_SERVICES + 1];
        fds[MAX_SERVICES] = Poll::readable(signals);
        for (fd, entry) in fds.iter_mut().zip(self.each()) {
            if let Some((read, _)) = &entry.output {
                *fd = Poll::readable(read);
            }
        }
        sys::poll(&mut fds, timeout);
        for (fd, entry) in fds.iter().zip(self.each()) {
            if let (true, Some((read, _))) = (fd.ready != 0, &entry.output) {
                let _ = log::drain(entry.spec.name.to_bytes(), read);
            }
        }
    }
}

/// How long processes that are no service may take to end. An interactive shell ignores SIGTERM and a process may
/// ignore both signals, so waiting longer rarely helps.
const OTHERS_MS: u64 = 5_000;
/// How long killed processes may take to vanish before the init goes on, for one that hangs in the kernel.
const KILLED_MS: u64 = 2_000;

/// Whether there is no other process in the guest: signal 0 to all of them finds nobody.
fn is_alone() -> bool {
    sys::kill(-1, 0).is_err()
}
