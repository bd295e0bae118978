//! Resource limits and priorities: `prlimit(2)`, `setpriority(2)`.
//!
//! [`set_raw`] and [`nice_raw`] neither allocate nor lock, for a child between clone and exec; the others put
//! names on what failed. A hard limit can be lowered by anyone and raised by `CAP_SYS_RESOURCE` alone.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{HostPid, Rlimit, RlimitKind};

/// The limit of process `pid`, or of this one.
pub fn read(pid: Option<HostPid>, kind: RlimitKind) -> Result<Rlimit> {
    let mut now = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the null pointer says that nothing is set; `now` is valid for writing during the call.
    let done = unsafe { libc::prlimit64(number(pid), kind.number(), std::ptr::null(), &raw mut now) };
    Errno::result(done).context(|| format!("read rlimit `{kind}` of {}", whose(pid)))?;
    let bounded = |value: u64| (value != libc::RLIM64_INFINITY).then_some(value);
    Ok(Rlimit {
        soft: bounded(now.rlim_cur),
        hard: bounded(now.rlim_max),
    })
}

/// Sets one limit of process `pid`, or of this one.
pub fn set(pid: Option<HostPid>, kind: RlimitKind, limit: Rlimit) -> Result<()> {
    match set_raw(number(pid), kind, limit) {
        Ok(()) => Ok(()),
        Err(errno) => {
            let err = Error::os(
                format!("set rlimit `{kind}` of {} to `{limit}`", whose(pid)),
                errno,
            );
            Err(match (errno, read(pid, kind)) {
                (Errno::EPERM, Ok(now)) if is_above(limit, now) => err.with_hint(format!(
                    "its hard limit is `{now}`, and only CAP_SYS_RESOURCE raises one"
                )),
                _ => err,
            })
        }
    }
}

/// Sets several limits of process `pid`, or of this one. When one fails, those before it are set back.
pub fn set_all(pid: Option<HostPid>, limits: &BTreeMap<RlimitKind, Rlimit>) -> Result<()> {
    let mut done: Vec<(RlimitKind, Rlimit)> = Vec::new();
    for (kind, limit) in limits {
        let before = read(pid, *kind)?;
        if let Err(err) = set(pid, *kind, *limit) {
            // A hard limit that was lowered cannot always be raised again; the soft one can, up to it.
            return Err(done.into_iter().rev().fold(err, |err, (kind, before)| {
                match set(pid, kind, before) {
                    Ok(()) => err,
                    Err(also) => err.and_also(also),
                }
            }));
        }
        done.push((*kind, before));
    }
    Ok(())
}

/// Sets one limit of process `pid` (0 is the caller), without allocating.
pub fn set_raw(pid: i32, kind: RlimitKind, limit: Rlimit) -> Result<(), Errno> {
    let new = libc::rlimit64 {
        rlim_cur: limit.soft.unwrap_or(libc::RLIM64_INFINITY),
        rlim_max: limit.hard.unwrap_or(libc::RLIM64_INFINITY),
    };
    // SAFETY: `new` is valid for reading during the call; the null pointer says that nothing is read back.
    let done = unsafe { libc::prlimit64(pid, kind.number(), &raw const new, std::ptr::null_mut()) };
    Errno::result(done).map(drop)
}

/// Keeps a crash of this process, and of all that come of it, from the host: where its `kernel.core_pattern` names a program,
/// the kernel would run that, as root of the host, on what a guest has left, and outside of the guest's limits. The limit is
/// not asked for a program, but for the value 1, which stands for none at all (fs/coredump.c); to a file it lets through
/// nothing either. Without allocating.
pub fn no_core_raw() -> Result<(), Errno> {
    let mut now = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the null pointer says that nothing is set; `now` is valid for writing during the call.
    let done = unsafe { libc::prlimit64(0, RlimitKind::CORE.number(), std::ptr::null(), &raw mut now) };
    Errno::result(done)?;
    if now.rlim_max == 0 {
        // hostel was given none, and cannot raise it for a guest.
        return Ok(());
    }
    let none = Rlimit {
        soft: Some(1),
        hard: Some(1),
    };
    set_raw(0, RlimitKind::CORE, none)
}

/// Sets the priority of every thread of process `pid`, -20 (first) to 19. Threads and processes that it starts
/// later inherit it.
pub fn set_nice(pid: HostPid, nice: i8) -> Result<()> {
    let tasks = format!("/proc/{pid}/task");
    // setpriority(2) reaches one thread on Linux. A thread that starts meanwhile inherits the old priority from
    // one that was not reached yet, so look until nothing is new.
    let mut done = std::collections::BTreeSet::new();
    loop {
        let mut is_complete = true;
        for entry in std::fs::read_dir(&tasks).context(|| format!("list `{tasks}`"))? {
            let name = entry.context(|| format!("list `{tasks}`"))?.file_name();
            let Some(tid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if !done.insert(tid) {
                continue;
            }
            is_complete = false;
            match nice_raw(tid, nice) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(nice_error(pid, nice, errno)),
            }
        }
        if is_complete {
            return Ok(());
        }
    }
}

fn nice_error(pid: HostPid, nice: i8, errno: Errno) -> Error {
    let err = Error::os(format!("set the priority of process {pid} to {nice}"), errno);
    match errno {
        Errno::EACCES => err
            .with_kind(Kind::Denied)
            .with_hint("only CAP_SYS_NICE raises a priority (a lower number)"),
        _ => err,
    }
}

/// Sets the priority of thread `tid` (0 is the caller), without allocating.
pub fn nice_raw(tid: i32, nice: i8) -> Result<(), Errno> {
    // SAFETY: setpriority(2) takes three integers and touches no memory of ours. A thread id is not negative.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, tid.unsigned_abs(), i32::from(nice)) };
    Errno::result(done).map(drop)
}

fn number(pid: Option<HostPid>) -> i32 {
    pid.map_or(0, |pid| pid.0)
}

fn whose(pid: Option<HostPid>) -> String {
    pid.map_or_else(|| "this process".to_owned(), |pid| format!("process {pid}"))
}

fn is_above(wanted: Rlimit, now: Rlimit) -> bool {
    now.hard
        .is_some_and(|now| wanted.hard.is_none_or(|wanted| wanted > now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of our own to try it on: `cat` waits for us to close its input.
    struct Cat(std::process::Child);

    impl Cat {
        fn new() -> Self {
            use std::process::{Command, Stdio};
            Self(
                Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            )
        }

        fn pid(&self) -> HostPid {
            HostPid(i32::try_from(self.0.id()).unwrap())
        }
    }

    impl Drop for Cat {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn kind(name: &str) -> RlimitKind {
        name.parse().unwrap()
    }

    #[test]
    fn lowers_and_reads_back() {
        let cat = Cat::new();
        let pid = Some(cat.pid());
        let limit = Rlimit {
            soft: Some(10),
            hard: Some(20),
        };
        set_all(
            pid,
            &BTreeMap::from([(kind("nofile"), limit), (kind("core"), limit)]),
        )
        .unwrap();
        assert_eq!(read(pid, kind("nofile")).unwrap(), limit);
        assert_eq!(read(pid, kind("core")).unwrap(), limit);
    }

    #[test]
    fn a_failure_takes_the_others_back() {
        let cat = Cat::new();
        let pid = Some(cat.pid());
        let before = read(pid, kind("core")).unwrap();
        let wrong = Rlimit {
            soft: Some(2),
            hard: Some(1),
        };
        let soft = Rlimit {
            soft: Some(4096),
            hard: before.hard,
        };
        let limits = BTreeMap::from([(kind("core"), soft), (kind("nofile"), wrong)]);
        let err = set_all(pid, &limits).unwrap_err();
        assert!(
            err.to_string().starts_with("set rlimit `nofile` of process"),
            "{err}"
        );
        assert_eq!(err.errno(), Some(Errno::EINVAL));
        assert_eq!(read(pid, kind("core")).unwrap(), before);
    }

    #[test]
    fn every_thread_gets_the_priority() {
        let cat = Cat::new();
        set_nice(cat.pid(), 7).unwrap();
        assert_eq!(crate::sys::proc::stat(cat.pid()).unwrap().unwrap().nice, 7);
    }
}
