//! System call filters: `seccomp(2)`.
//!
//! A [`Filter`] is compiled once, on the host's side, and installed later, in a child that may neither allocate nor
//! lock. What is in it is the caller's policy; nothing here decides. Of several installed filters the strictest
//! answer of each call holds, and none can be taken off again.

mod tree;

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::error::{Error, Kind, Result};
use crate::guest::syscalls::{Answer, Test};

/// The largest program that the kernel takes (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// What is answered to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is carried out.
    Allow,
    /// It fails with this errno, at most 4095.
    Errno(u32),
    /// It ends the process, as `SIGSYS` does.
    KillProcess,
    /// It is carried out and told to the kernel's log.
    Log,
}

impl Action {
    fn code(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | (errno & libc::SECCOMP_RET_DATA),
            Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Action::Log => libc::SECCOMP_RET_LOG,
        }
    }
}

/// How calls from one number on are answered, up to the next segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Always(Action),
    /// The first where all tests of one alternative hold, the second otherwise.
    When(Vec<Vec<Test>>, Action, Action),
}

/// The calls of a filter, by number (`libc::SYS_...`). Each has alternatives: it matches when all tests of one of
/// them hold. A call without alternatives always matches.
#[derive(Debug, Clone, Default)]
pub struct Calls(BTreeMap<u32, Vec<Vec<Test>>>);

impl Calls {
    /// No calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call, whatever its arguments are.
    pub fn any(&mut self, number: libc::c_long) -> &mut Self {
        self.0.insert(number_of(number), Vec::new());
        self
    }

    /// Adds a call whose arguments pass all `tests`. Further alternatives of the same call may follow; a call that
    /// was added with [`Calls::any`] stays as it is.
    pub fn when(&mut self, number: libc::c_long, tests: Vec<Test>) -> &mut Self {
        if tests.is_empty() {
            return self.any(number);
        }
        match self.0.get_mut(&number_of(number)) {
            Some(there) if there.is_empty() => {}
            Some(there) => there.push(tests),
            None => {
                self.0.insert(number_of(number), vec![tests]);
            }
        }
        self
    }
}

/// As the kernel compares it. There is no negative call; one would match nothing.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's own width"
)]
fn number_of(number: libc::c_long) -> u32 {
    number as u32
}

/// A program for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// The program that answers `matched` to `calls` and `otherwise` to every other. A call of another architecture
    /// than this program's (a 32-bit one, say) ends the process, whatever the actions are: its numbers mean other
    /// calls.
    pub fn compile(calls: &Calls, matched: Action, otherwise: Action) -> Result<Self> {
        let mut segments = BTreeMap::from([(0, Segment::Always(otherwise))]);
        for (number, alternatives) in &calls.0 {
            let segment = if alternatives.is_empty() {
                Segment::Always(matched)
            } else {
                Segment::When(alternatives.clone(), matched, otherwise)
            };
            segments.insert(*number, segment);
            if let Some(next) = number.checked_add(1) {
                segments.entry(next).or_insert(Segment::Always(otherwise));
            }
        }
        Self::of_segments(segments)
    }

    /// The program that answers to each number as `answers` says, and to every higher one that there is no such
    /// call (`ENOSYS`).
    pub fn of_answers(answers: impl Iterator<Item = Answer>) -> Result<Self> {
        let errno = |errno: i32| Action::Errno(errno.unsigned_abs());
        let beyond = std::iter::once(Answer::Refuse(libc::ENOSYS));
        Self::of_segments((0..).zip(answers.chain(beyond)).map(|(number, answer)| {
            let segment = match answer {
                Answer::Allow => Segment::Always(Action::Allow),
                Answer::Refuse(no) => Segment::Always(errno(no)),
                Answer::When(alternatives, no) => Segment::When(
                    alternatives
                        .into_iter()
                        .flatten()
                        .map(|tests| tests.to_vec())
                        .collect(),
                    Action::Allow,
                    errno(no),
                ),
            };
            (number, segment)
        }))
    }

    fn of_segments(segments: impl IntoIterator<Item = (u32, Segment)>) -> Result<Self> {
        let mut merged: Vec<(u32, Segment)> = Vec::new();
        for (start, segment) in segments {
            if merged.last().is_none_or(|(_, before)| *before != segment) {
                merged.push((start, segment));
            }
        }
        let program = tree::compile(&merged)?;
        if program.len() > LONGEST {
            let message = format!(
                "a system call filter of {} instructions; the kernel takes {LONGEST}",
                program.len()
            );
            return Err(Error::new(Kind::Internal, message));
        }
        Ok(Self(program))
    }

    /// The instructions as the kernel takes them, eight bytes each (`struct sock_filter`), in this machine's byte
    /// order: for a process that installs them itself.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 8);
        for instruction in &self.0 {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// Confines the calling thread, and what it starts, from the next call on. There is no way back.
    ///
    /// Allocates nothing. Needs `no_new_privs` ([`no_new_privs`]) or `CAP_SYS_ADMIN` in the caller's user namespace:
    /// `EACCES` otherwise. Where seccomp is not built in, `ENOSYS` or `EINVAL`.
    pub fn install(&self) -> Result<(), Errno> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).unwrap_or(u16::MAX),
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: `program` names the whole of `self.0`; the kernel copies it and writes nothing.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0 as libc::c_ulong,
                &raw const program,
            )
        };
        Errno::result(done).map(drop)
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none; no compiled filter is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Gives up for ever that executing a set-user-id program or one with file capabilities gains anything
/// (`PR_SET_NO_NEW_PRIVS`). Not for a guest's own processes, whose `su` and `sudo` need it.
pub fn no_new_privs() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()
}

/// Whether the kernel can answer a filtered call like this; older kernels lack some answers.
pub fn is_available(action: Action) -> bool {
    let action = action.code();
    // SAFETY: the kernel reads one u32 behind the pointer, which lives during the call.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    asked == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(argument: u8, value: i32) -> Test {
        Test {
            argument,
            mask: u32::MAX,
            value: value.unsigned_abs(),
            not: false,
        }
    }

    /// Filters are per thread: the test's other threads stay free.
    fn inside<T: Send>(filter: &Filter, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    no_new_privs().unwrap();
                    filter.install().unwrap();
                    work()
                })
                .join()
                .unwrap()
        })
    }

    #[test]
    fn a_named_call_is_refused_and_others_are_not() {
        let mut calls = Calls::new();
        calls.any(libc::SYS_getppid);
        let filter = Filter::compile(&calls, Action::Errno(libc::ENOSYS as u32), Action::Allow).unwrap();
        let (refused, allowed) = inside(&filter, || {
            // SAFETY: getppid touches no memory.
            let refused = Errno::result(unsafe { libc::syscall(libc::SYS_getppid) });
            // SAFETY: getpid touches no memory.
            let allowed = Errno::result(unsafe { libc::syscall(libc::SYS_getpid) });
            (refused, allowed)
        });
        assert_eq!(refused, Err(Errno::ENOSYS));
        assert!(allowed.is_ok());
    }

    #[test]
    fn arguments_decide() {
        let mut calls = Calls::new();
        calls.when(libc::SYS_socket, vec![equals(0, libc::AF_UNIX)]).when(
            libc::SYS_socket,
            vec![equals(0, libc::AF_INET), equals(1, libc::SOCK_DGRAM)],
        );
        let filter = Filter::compile(&calls, Action::Errno(libc::EPERM as u32), Action::Allow).unwrap();
        let socket = |domain: i32, kind: i32| {
            // SAFETY: three integers; the descriptor is closed with the thread's process.
            Errno::result(unsafe { libc::socket(domain, kind, 0) })
        };
        let found = inside(&filter, move || {
            [
                socket(libc::AF_UNIX, libc::SOCK_STREAM),
                socket(libc::AF_INET, libc::SOCK_DGRAM),
                socket(libc::AF_INET, libc::SOCK_STREAM).map(|_| 0),
            ]
        });
        assert_eq!(found, [Err(Errno::EPERM), Err(Errno::EPERM), Ok(0)]);
    }

    #[test]
    fn the_strictest_of_two_filters_holds() {
        let mut calls = Calls::new();
        calls.any(libc::SYS_getppid);
        let refuse = Filter::compile(&calls, Action::Errno(libc::EPERM as u32), Action::Allow).unwrap();
        let log = Filter::compile(&calls, Action::Log, Action::Allow).unwrap();
        let refused = inside(&refuse, || {
            log.install().unwrap();
            // SAFETY: getppid touches no memory.
            Errno::result(unsafe { libc::syscall(libc::SYS_getppid) })
        });
        assert_eq!(refused, Err(Errno::EPERM));
    }

    #[test]
    fn an_argument_that_does_not_exist_is_a_mistake() {
        let mut calls = Calls::new();
        calls.when(libc::SYS_read, vec![equals(6, 0)]);
        let err = Filter::compile(&calls, Action::Allow, Action::KillProcess).unwrap_err();
        assert_eq!(err.kind(), Kind::Internal);
    }

    #[test]
    fn a_call_that_always_matches_stays_so() {
        let mut calls = Calls::new();
        calls.any(libc::SYS_read).when(libc::SYS_read, vec![equals(0, 0)]);
        assert_eq!(calls.0[&number_of(libc::SYS_read)], Vec::<Vec<Test>>::new());
    }

    #[test]
    fn answers_are_known_to_the_kernel() {
        assert!(is_available(Action::Allow));
        assert!(is_available(Action::KillProcess));
    }
}
