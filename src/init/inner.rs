//! The child that becomes the guest's own init, process 1 of the inner PID namespace.
//!
//! The order matters:
//! 1. mounts private, or the next steps would spread to the keeper;
//! 2. the new /proc is made while the old one is still there: a user namespace may only mount proc where one is
//!    fully visible already (`mount_too_revealing` in fs/namespace.c). Then the old one goes, for it shows the
//!    keeper, and a guest that is allowed to unmount could uncover it;
//! 3. masks, resolved from the new mount's descriptor;
//! 4. what needs capabilities, then the capabilities.

use core::ffi::CStr;

use crate::config::{Config, Own};
use crate::console::{self, Console};
use crate::log;
use crate::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::spawn;
use crate::text::Text;
use crate::sys::{
    self, At, EEXIST, EINVAL, ENOENT, ENOTDIR, Errno, Fd, MAX_VECTOR, O_CREAT, O_EXCL, O_WRONLY,
};

const CLONE_NEWCGROUP: u64 = 0x0200_0000;

/// Exit code of a child that could not prepare the guest; 127 and 126 are those of a failed `execve`.
pub const SETUP_FAILED: i32 = 125;

type Step<T = ()> = core::result::Result<T, (&'static str, Errno)>;

/// Never returns.
pub fn become_init(config: &Config<'_>, own: &Own<'_>, console: Option<&Console>, report: Option<&Fd>) -> ! {
    let (what, errno) = match prepare(config, own, console) {
        Ok(()) => ("execute", execute(config, own)),
        Err(failed) => failed,
    };
    tell(report, what, errno);
    log::event(|line| {
        line.push("cannot start ")
            .text(own.path)
            .push(": ")
            .push(what)
            .push(": ")
            .errno(errno);
    });
    sys::exit(match (what, errno) {
        ("execute", ENOENT | ENOTDIR) => 127,
        ("execute", _) => 126,
        _ => SETUP_FAILED,
    })
}

/// Tells who started the guest what failed: errno, little-endian, and what was being done.
pub fn tell(report: Option<&Fd>, what: &str, errno: Errno) {
    if let Some(report) = report {
        let mut text = Text::<64>::new();
        text.push(errno.0.to_le_bytes()).push(what);
        // Nobody may listen any more; the log has it too.
        let _ = sys::write(report.raw(), text.bytes());
    }
}

fn prepare(config: &Config<'_>, own: &Own<'_>, console: Option<&Console>) -> Step {
    sys::setsid().map_err(|e| ("setsid", e))?;
    mount::make_private().map_err(|e| ("make mounts private", e))?;
    let proc = fresh_proc()?;
    for path in own.mask.iter() {
        mask(&proc, path).map_err(|e| ("mask a path", e))?;
    }
    for path in own.readonly.iter() {
        make_readonly(&proc, path).map_err(|e| ("make a path read-only", e))?;
    }
    // /dev/shm and /run of the last incarnation are gone with its mounts.
    let nothing_runs = NOSUID | NODEV;
    fresh_tmpfs(c"/run", c"755", nothing_runs).map_err(|e| ("mount /run", e))?;
    // systemd and Debian's sysvinit want it apart from /run, and may not mount it themselves.
    // Without /run there is no place for it.
    let _ = sys::mkdir(At::CWD, c"/run/lock", 0o755);
    fresh_tmpfs(c"/run/lock", c"1777", nothing_runs | NOEXEC).map_err(|e| ("mount /run/lock", e))?;
    if config.no_users {
        // Without /run there is nobody to tell either.
        let _ = tell_systemd();
    }
    fresh_tmpfs(c"/dev/shm", c"1777", nothing_runs | NOEXEC).map_err(|e| ("mount /dev/shm", e))?;
    // Here and not by clone: a cgroup namespace is rooted at the cgroup of whoever calls, and that is only now the
    // one that CLONE_INTO_CGROUP chose.
    sys::unshare(CLONE_NEWCGROUP).map_err(|e| ("unshare the cgroup namespace", e))?;
    if config.has_cgroup {
        fresh_cgroup2().map_err(|e| ("mount /sys/fs/cgroup", e))?;
    }
    sys::sethostname(config.hostname.to_bytes()).map_err(|e| ("set the hostname", e))?;
    if let Some(console) = console {
        take_console(console).map_err(|e| ("open the console", e))?;
    }
    // Before the capabilities go: to install a filter takes one of them.
    if !own.filter.is_empty() {
        sys::filter_calls(own.filter).map_err(|e| ("filter system calls", e))?;
    }
    if config.no_new_privs {
        sys::no_new_privs().map_err(|e| ("let nothing gain a right", e))?;
    }
    sys::limit_capabilities(config.caps).map_err(|e| ("drop capabilities", e))?;
    sys::block_signals(false).map_err(|e| ("unblock signals", e))
}

fn fresh_proc() -> Step<Fd> {
    let proc = mount::new(c"proc", &[], NOSUID | NODEV | NOEXEC).map_err(|e| ("make /proc", e))?;
    // More than one may lie on top of another. EINVAL: none is left, or what is left may not be taken away, and
    // then the guest cannot either.
    for _ in 0..16 {
        match mount::detach(c"/proc") {
            Ok(()) => {}
            Err(EINVAL) => break,
            Err(err) => return Err(("unmount /proc", err)),
        }
    }
    let place = mount::place(At::CWD, c"/proc").map_err(|e| ("find /proc", e))?;
    mount::attach(&proc, &place).map_err(|e| ("mount /proc", e))?;
    Ok(proc)
}

/// `path` and where it starts: below the new /proc it starts there.
fn resolve<'a>(proc: &'a Fd, path: &'a CStr) -> (At, &'a CStr) {
    let below = path.to_bytes_with_nul().strip_prefix(b"/proc/");
    match below.and_then(|below| CStr::from_bytes_with_nul(below).ok()) {
        Some(below) => (At::from(proc), below),
        None => (At::CWD, path),
    }
}

/// What this kernel does not have needs no mask.
fn mask(proc: &Fd, path: &CStr) -> sys::Result<()> {
    let (at, path) = resolve(proc, path);
    let place = match mount::place(at, path) {
        Ok(place) => place,
        Err(ENOENT) => return Ok(()),
        Err(err) => return Err(err),
    };
    let cover = if mount::is_directory(at, path) {
        mount::new(
            c"tmpfs",
            &[(c"size", c"4k"), (c"mode", c"555")],
            RDONLY | NOSUID | NODEV | NOEXEC,
        )?
    } else {
        mount::copy(At::CWD, c"/dev/null")?
    };
    mount::attach(&cover, &place)
}

fn make_readonly(proc: &Fd, path: &CStr) -> sys::Result<()> {
    let (at, path) = resolve(proc, path);
    let copy = match mount::copy(at, path) {
        Ok(copy) => copy,
        Err(ENOENT) => return Ok(()),
        Err(err) => return Err(err),
    };
    mount::set(&copy, RDONLY | NOSUID | NODEV | NOEXEC)?;
    mount::attach(&copy, &mount::place(at, path)?)
}

fn fresh_tmpfs(path: &CStr, mode: &CStr, attributes: u64) -> sys::Result<()> {
    if !mount::is_directory(At::CWD, path) {
        return Ok(());
    }
    let tmpfs = mount::new(c"tmpfs", &[(c"mode", mode)], attributes)?;
    mount::attach(&tmpfs, &mount::place(At::CWD, path)?)
}

/// systemd up to 252 starts no unit with `PrivateUsers=` where no user namespace can be made (`217/USER`), though it
/// passes over every other sandbox that it cannot have. A drop-in for all services, in the guest's fresh /run, says so; a
/// unit's own drop-in may say otherwise. Not in /run/systemd/system: where that is there, programs take systemd for running
/// (sd_booted(3)), and Debian's scripts under another init do nothing but call it.
fn tell_systemd() -> sys::Result<()> {
    if !mount::is_directory(At::CWD, c"/run") {
        return Ok(());
    }
    for path in [c"/run/systemd", c"/run/systemd/system.control", c"/run/systemd/system.control/service.d"] {
        sys::mkdir(At::CWD, path, 0o755)?;
    }
    let path = c"/run/systemd/system.control/service.d/10-hostel.conf";
    let file = sys::open(At::CWD, path, O_WRONLY | O_CREAT | O_EXCL, 0o644)?;
    sys::write(file.raw(), b"# A guest of hostel has no user namespaces, unless its recipe allows `nested`.\n[Service]\nPrivateUsers=no\n").map(drop)
}

/// The guest's own cgroup and what it makes below, writable: systemd ends without it. Nothing above shows, because
/// the namespace is rooted here.
fn fresh_cgroup2() -> sys::Result<()> {
    let Ok(place) = mount::place(At::CWD, c"/sys/fs/cgroup") else {
        return Ok(());
    };
    let cgroup = mount::new(c"cgroup2", &[], NOSUID | NODEV | NOEXEC)?;
    mount::attach(&cgroup, &place)
}

/// The slave becomes this session's terminal, descriptors 0 to 2 and /dev/console.
fn take_console(console: &Console) -> sys::Result<()> {
    let slave = console.slave().ok_or(ENOENT)?;
    console::control(slave)?;
    let device = mount::copy(At::CWD, console.path()?.c_str())?;
    match sys::open(At::CWD, c"/dev/console", O_WRONLY | O_CREAT | O_EXCL, 0o600) {
        Ok(_) | Err(EEXIST) => {}
        Err(err) => return Err(err),
    }
    mount::attach(&device, &mount::place(At::CWD, c"/dev/console")?)?;
    for number in [0, 1, 2] {
        sys::dup_to(slave.raw(), number)?;
    }
    Ok(())
}

fn execute(config: &Config<'_>, own: &Own<'_>) -> Errno {
    let mut env = [None; MAX_VECTOR];
    // The guest's own variables first: getenv(3) takes the first of two.
    let defaults = [c"container=hostel", spawn::PATH, c"HOME=/", c"TERM=dumb"];
    for (slot, variable) in env.iter_mut().zip(config.env.iter().chain(defaults)) {
        *slot = Some(variable);
    }
    sys::exec(own.path, &[Some(own.path)], &env)
}
