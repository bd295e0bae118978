//! What `/proc` says of processes (`proc_pid_stat(5)`, `proc_pid_status(5)`).
//!
//! A process may end between any two reads: "gone" is `None`, never an error. Its name is whatever it chose,
//! spaces, parentheses and newlines included, so nothing is parsed from before the last parenthesis.

use std::io::Read as _;
use std::time::Duration;

use nix::errno::Errno;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::guest::{Bytes, HostPid};

/// `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// The process.
    pub pid: HostPid,
    /// Its name, at most 15 bytes; bytes that are no UTF-8 are replaced.
    pub comm: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z` ...
    pub state: char,
    /// Whether it is past its last instruction: `PF_EXITING` of its flags.
    pub is_exiting: bool,
    /// Its parent; 0 when that is in another pid namespace.
    pub parent: HostPid,
    /// Its session.
    pub session: HostPid,
    /// Its controlling terminal's device number; 0 is none.
    pub tty: i32,
    /// Processor time in its own code, in clock ticks.
    pub user_ticks: u64,
    /// Processor time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Its priority, -20 to 19.
    pub nice: i8,
    /// Its threads.
    pub threads: u64,
    /// When it started, in clock ticks since boot. With the pid it names a process for ever.
    pub start: u64,
    /// Virtual memory.
    pub virtual_memory: Bytes,
    /// Resident memory in pages.
    pub resident_pages: u64,
}

/// What hostel needs of `/proc/PID/status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// Its parent; 0 when that is in another pid namespace.
    pub parent: i32,
    /// Its number in each pid namespace, from the reader's inwards.
    pub ns_pids: Vec<i32>,
    /// Its real user, as the reader's user namespace sees it.
    pub uid: u32,
    /// Its real group.
    pub gid: u32,
    /// Resident memory; `None` for a zombie or a kernel thread.
    pub resident: Option<Bytes>,
    /// Threads.
    pub threads: u64,
    /// Capability masks: inheritable, permitted, effective, bounding, ambient.
    pub capabilities: [u64; 5],
    /// Whether it can gain no privilege by exec (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
}

/// The `stat` of `pid`; `None` when it is gone.
pub fn stat(pid: HostPid) -> Result<Option<Stat>> {
    let Some(text) = read(pid, "stat")? else {
        return Ok(None);
    };
    parse_stat(&text).map(Some).ok_or_else(|| {
        Error::new(
            Kind::Internal,
            format!("`/proc/{pid}/stat` is not as proc_pid_stat(5) says"),
        )
    })
}

/// The `status` of `pid`; `None` when it is gone.
pub fn status(pid: HostPid) -> Result<Option<Status>> {
    Ok(read(pid, "status")?.map(|text| parse_status(&text)))
}

/// A file of procfs. Its length is not known before it was read, and growing from nothing takes eight reads.
pub(crate) fn whole(path: impl AsRef<std::path::Path>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    // `take` keeps the standard library from asking for the length, which is 0.
    std::fs::File::open(path)?
        .take(u64::MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file `name` of `pid` as text; `None` when the process is gone.
fn read(pid: HostPid, name: &str) -> Result<Option<String>> {
    let path = format!("/proc/{pid}/{name}");
    match whole(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        // ENOENT before the open, ESRCH after it.
        Err(source)
            if matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ESRCH)
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(Error::io(format!("read `{path}`"), source)),
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

/// Any text as `stat` and `status`.
pub(crate) fn parse_any(text: &str) {
    let _ = (parse_stat(text), parse_status(text));
}

fn parse_stat(text: &str) -> Option<Stat> {
    // `PID (COMM) STATE ...`, where COMM may hold any byte but NUL: it ends at the last parenthesis.
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let pid = text[..open].trim().parse().ok()?;
    let rest: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    // Field n of the manual page, which counts from 1: the state, number 3, is rest[0].
    let field = |n: usize| rest.get(n - 3).copied();
    Some(Stat {
        pid: HostPid(pid),
        comm: text.get(open + 1..close)?.to_owned(),
        state: field(3)?.chars().next()?,
        // PF_EXITING of linux/sched.h.
        is_exiting: number::<u32>(field(9))? & 4 != 0,
        parent: HostPid(number(field(4))?),
        session: HostPid(number(field(6))?),
        tty: number(field(7))?,
        user_ticks: number(field(14))?,
        system_ticks: number(field(15))?,
        nice: number(field(19))?,
        threads: number(field(20))?,
        start: number(field(22))?,
        virtual_memory: Bytes(number(field(23))?),
        resident_pages: number(field(24))?,
    })
}

fn parse_status(text: &str) -> Status {
    let mut status = Status::default();
    // `Name:` comes first and has its newlines escaped by the kernel, so no name can forge a line.
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let mut words = value.split_ascii_whitespace();
        let first = words.clone().next().unwrap_or_default();
        let mask = || u64::from_str_radix(first, 16).unwrap_or_default();
        match key {
            "PPid" => status.parent = first.parse().unwrap_or_default(),
            "NSpid" => status.ns_pids = words.by_ref().filter_map(|word| word.parse().ok()).collect(),
            "Uid" => status.uid = first.parse().unwrap_or_default(),
            "Gid" => status.gid = first.parse().unwrap_or_default(),
            "VmRSS" => status.resident = first.parse().ok().map(|kib: u64| Bytes(kib << 10)),
            "Threads" => status.threads = first.parse().unwrap_or_default(),
            "CapInh" => status.capabilities[0] = mask(),
            "CapPrm" => status.capabilities[1] = mask(),
            "CapEff" => status.capabilities[2] = mask(),
            "CapBnd" => status.capabilities[3] = mask(),
            "CapAmb" => status.capabilities[4] = mask(),
            "NoNewPrivs" => status.no_new_privs = first == "1",
            "Seccomp" => status.seccomp = first.parse().unwrap_or_default(),
            _ => {}
        }
    }
    status
}

/// Time since boot, suspension included.
pub fn uptime() -> Result<Duration> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_err(|errno| Error::os("read the time since boot", errno))?;
    Ok(Duration::from(now))
}

/// When the host booted, as seconds since 1970. It moves when the clock is set.
pub fn boot_time() -> Result<u64> {
    let path = "/proc/stat";
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(format!("read `{path}`"), source))?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        .ok_or_else(|| Error::new(Kind::Internal, "`/proc/stat` has no btime"))
}

/// How long `ticks` of the kernel's clock are (`stat`'s unit).
pub fn ticks(ticks: u64) -> Duration {
    // 100 on every Linux architecture but Alpha's past; asked for all the same.
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|hertz| u64::try_from(hertz).ok())
        .filter(|hertz| *hertz > 0)
        .unwrap_or(100);
    Duration::from_millis(ticks.saturating_mul(1000) / hertz)
}

/// How long `process` has been there.
pub fn age(process: &Stat) -> Result<Duration> {
    Ok(uptime()?.saturating_sub(ticks(process.start)))
}

/// Whether `pid` has a handler of its own for `signal`, or ignores it; `false` is the default action. `None` when
/// it is gone.
pub fn catches(pid: HostPid, signal: i32) -> Result<Option<bool>> {
    let path = format!("/proc/{pid}/status");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(err) => return Err(Error::io(format!("read `{path}`"), err)),
    };
    let mask = |field: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(field));
        line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
            .unwrap_or(0)
    };
    let bit = 1_u64
        .checked_shl(u32::try_from(signal - 1).unwrap_or(64))
        .unwrap_or(0);
    Ok(Some((mask("SigCgt:") | mask("SigIgn:")) & bit != 0))
}

/// Whether `pid` has come to wait for something: an event, a child, a clock. One that is paged in, is traced or ends
/// does not; one that is gone has not.
pub fn is_waiting(pid: HostPid) -> Result<bool> {
    // An init that ends waits for its processes in the same state, but says before that it ends; and the kernel
    // tells the state before the flags.
    Ok(stat(pid)?.is_some_and(|stat| stat.state == 'S' && !stat.is_exiting))
}

/// Among the processes of a guest, its pid 1: the one that has exactly one pid namespace below ours and is the
/// first in it. With an own init that is the keeper.
pub fn init_of(pids: &[HostPid]) -> Result<Option<HostPid>> {
    find(pids, |status| matches!(status.ns_pids[..], [_, 1]))
}

/// Among the processes of a guest with an own init, that init: pid 1 of the namespace below the keeper's, and the
/// keeper's child. A container inside the guest has a pid 1 at that depth too, but another parent.
pub fn inner_init(pids: &[HostPid], keeper: HostPid) -> Result<Option<HostPid>> {
    find(pids, |status| {
        matches!(status.ns_pids[..], [_, _, 1]) && status.parent == keeper.0
    })
}

/// Whether two processes execute the same file: one that was forked from the other and has not executed its own yet. A file that
/// only has the same name is another.
pub fn is_same_program(one: HostPid, other: HostPid) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // By the link itself, which leads to the file and not to its name.
    let file =
        |pid: HostPid| std::fs::metadata(format!("/proc/{pid}/exe")).map(|meta| (meta.dev(), meta.ino()));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}

fn find(pids: &[HostPid], is_it: impl Fn(&Status) -> bool) -> Result<Option<HostPid>> {
    for pid in pids {
        // Most often the first: pids are sorted, and a guest's oldest process is its init.
        if let Some(status) = status(*pid)?
            && is_it(&status)
        {
            return Ok(Some(*pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> HostPid {
        HostPid(nix::unistd::getpid().as_raw())
    }

    #[test]
    fn a_name_may_hold_anything() {
        let tail =
            "S 1 42 42 34816 42 4194560 1 2 3 4 50 60 0 0 20 -5 3 0 12345 1048576 77 18446744073709551615";
        for comm in ["cat", "a b", ") R 1 (", "((", "))", "x\ny", ""] {
            let stat = parse_stat(&format!("42 ({comm}) {tail}\n")).unwrap();
            assert_eq!(stat.comm, comm);
            assert_eq!(
                (stat.pid, stat.parent, stat.state),
                (HostPid(42), HostPid(1), 'S')
            );
            assert_eq!((stat.user_ticks, stat.system_ticks, stat.nice), (50, 60, -5));
            assert_eq!((stat.threads, stat.start, stat.resident_pages), (3, 12345, 77));
        }
        for bad in ["", "42", "42 (x", "42 (x)", "x (y) S 1"] {
            assert!(parse_stat(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn status_lines() {
        let status = parse_status(
            "Name:\tevil\\nNSpid:\\t1\nPPid:\t7\nUid:\t100\t0\t0\t0\nNSpid:\t42\t5\t1\nVmRSS:\t     292 kB\n\
             CapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\nThreads:\t3\n",
        );
        assert_eq!(status.ns_pids, [42, 5, 1]);
        assert_eq!((status.parent, status.uid, status.threads), (7, 100, 3));
        assert_eq!(status.resident, Some(Bytes(292 << 10)));
        assert_eq!(status.capabilities[3], 0x1ff_ffff_ffff);
        assert!(status.no_new_privs);
        assert_eq!(status.seccomp, 2);
    }

    #[test]
    fn this_process() {
        let stat = stat(own()).unwrap().unwrap();
        let status = status(own()).unwrap().unwrap();
        assert_eq!(stat.parent.0, status.parent);
        assert_eq!(status.ns_pids[0], own().0);
        assert!(status.resident.is_some());
        assert!(age(&stat).unwrap() < uptime().unwrap());
        assert!(boot_time().unwrap() > 0);
    }

    #[test]
    fn one_that_waits_is_told_from_one_that_runs() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = HostPid(child.id().cast_signed());
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !is_waiting(pid).unwrap() {
            assert!(std::time::Instant::now() < end);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_waiting(pid).unwrap());
    }

    #[test]
    fn a_process_that_is_gone() {
        // Past the largest pid_max there is.
        let gone = HostPid(0x3fff_ffff);
        assert_eq!(stat(gone).unwrap(), None);
        assert_eq!(status(gone).unwrap(), None);
        assert_eq!(init_of(&[gone, own()]).unwrap(), None);
        assert_eq!(inner_init(&[gone, own()], gone).unwrap(), None);
    }
}
