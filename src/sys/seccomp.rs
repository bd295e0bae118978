//! System call filters: `seccomp(2)`.
//!
//! A [`Filter`] is compiled once, on the host's side, and installed later, in a child that may neither allocate nor
//! lock. What is in it is the caller's policy; nothing here decides. Of several installed filters the strictest
//! answer of each call holds, and none can be taken off again.

use std::collections::BTreeMap;

use nix::errno::Errno;
use seccompiler::{SeccompFilter, SeccompRule, TargetArch};

pub use seccompiler::{
    SeccompAction as Action, SeccompCmpArgLen as Width, SeccompCmpOp as Compare, SeccompCondition,
};

use crate::error::{Error, Kind, Result};

/// The largest program that the kernel takes (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// A test of one argument of a call. Pointers are compared as numbers: what they point to can change after the
/// test, so it cannot be part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Which, from 0 to 5.
    pub index: u8,
    /// How much of the register counts: `Dword` for an `int`, whose upper half a caller may fill with anything.
    pub width: Width,
    /// How it is compared with `value`.
    pub compare: Compare,
    /// What it is compared with.
    pub value: u64,
}

/// The calls of a filter, by number (`libc::SYS_...`). Each has alternatives: it matches when all tests of one of
/// them hold. A call without alternatives always matches.
#[derive(Debug, Clone, Default)]
pub struct Calls(BTreeMap<i64, Vec<Vec<Argument>>>);

impl Calls {
    /// No calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call, whatever its arguments are.
    pub fn any(&mut self, number: libc::c_long) -> &mut Self {
        self.0.insert(number, Vec::new());
        self
    }

    /// Adds a call whose arguments pass all `tests`. Further alternatives of the same call may follow; a call that
    /// was added with [`Calls::any`] stays as it is.
    pub fn when(&mut self, number: libc::c_long, tests: Vec<Argument>) -> &mut Self {
        if tests.is_empty() {
            return self.any(number);
        }
        match self.0.get_mut(&number) {
            Some(there) if there.is_empty() => {}
            Some(there) => there.push(tests),
            None => {
                self.0.insert(number, vec![tests]);
            }
        }
        self
    }
}

/// A program for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(seccompiler::BpfProgram);

impl Filter {
    /// The program that answers `matched` to `calls` and `otherwise` to every other. A call of another architecture
    /// than this program's (a 32-bit one, say) ends the process, whatever the actions are: its numbers mean other
    /// calls.
    pub fn compile(calls: &Calls, matched: Action, otherwise: Action) -> Result<Self> {
        let invalid = |source: seccompiler::BackendError| {
            Error::new(Kind::Internal, "compile a system call filter").with_source(source)
        };
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|source| {
            Error::new(Kind::Unsupported, "filter system calls of this architecture").with_source(source)
        })?;
        let mut rules = BTreeMap::new();
        for (number, alternatives) in &calls.0 {
            let mut chain = Vec::with_capacity(alternatives.len());
            for tests in alternatives {
                let tests: Result<Vec<_>, _> = tests
                    .iter()
                    .map(|t| SeccompCondition::new(t.index, t.width.clone(), t.compare.clone(), t.value))
                    .collect();
                chain.push(SeccompRule::new(tests.map_err(invalid)?).map_err(invalid)?);
            }
            rules.insert(*number, chain);
        }
        let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(invalid)?;
        let program: seccompiler::BpfProgram = filter.try_into().map_err(invalid)?;
        if program.len() > LONGEST {
            let message = format!(
                "a system call filter of {} instructions; the kernel takes {LONGEST}",
                program.len()
            );
            return Err(Error::new(Kind::Internal, message));
        }
        Ok(Self(program))
    }

    /// Confines the calling thread, and what it starts, from the next call on. There is no way back.
    ///
    /// Allocates nothing. Needs `no_new_privs` ([`no_new_privs`]) or `CAP_SYS_ADMIN` in the caller's user namespace:
    /// `EACCES` otherwise. Where seccomp is not built in, `ENOSYS` or `EINVAL`.
    pub fn install(&self) -> Result<(), Errno> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).unwrap_or(u16::MAX),
            filter: self.0.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` names the whole of `self.0`, whose items are laid out as the kernel's `sock_filter`
        // (`seccompiler` declares them `repr(C)` for this call); the kernel copies them and writes nothing.
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
pub fn is_available(action: &Action) -> bool {
    let action = u32::from(action.clone());
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

    fn equals(index: u8, value: u64) -> Argument {
        Argument {
            index,
            width: Width::Dword,
            compare: Compare::Eq,
            value,
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
        calls
            .when(libc::SYS_socket, vec![equals(0, libc::AF_UNIX as u64)])
            .when(
                libc::SYS_socket,
                vec![
                    equals(0, libc::AF_INET as u64),
                    equals(1, libc::SOCK_DGRAM as u64),
                ],
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
    fn a_filter_that_decides_nothing_is_a_mistake() {
        let err = Filter::compile(&Calls::new(), Action::Allow, Action::Allow).unwrap_err();
        assert_eq!(err.kind(), Kind::Internal);
        let mut calls = Calls::new();
        calls.when(libc::SYS_read, vec![equals(6, 0)]);
        assert!(Filter::compile(&calls, Action::Allow, Action::KillProcess).is_err());
    }

    #[test]
    fn a_call_that_always_matches_stays_so() {
        let mut calls = Calls::new();
        calls.any(libc::SYS_read).when(libc::SYS_read, vec![equals(0, 0)]);
        assert_eq!(calls.0[&libc::SYS_read], Vec::<Vec<Argument>>::new());
    }

    #[test]
    fn answers_are_known_to_the_kernel() {
        assert!(is_available(&Action::Allow));
        assert!(is_available(&Action::KillProcess));
    }
}
