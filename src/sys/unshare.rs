//! Programs of the host that work for hostel in a mount and pid namespace of their own, and die with it:
//! `unshare(2)`, `PR_SET_PDEATHSIG`.
//!
//! A builder mounts, and starts dozens of processes. When hostel is killed, even by SIGKILL, the kernel ends all of
//! them with the pid namespace and unmounts everything with the mount namespace; nothing is left to clean up.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::{Context as _, Result};
use crate::guest::Emulator;
use crate::sys::{binfmt, idmap, mount};

/// Makes `command` run as process 1 of a pid namespace, in a private mount namespace with a fresh /proc, with the
/// umask 022, and, if there is a `root`, below it with the host's /dev (`chroot(2)`: a place to work in, not a wall,
/// so the programs there must be trusted). With an `emulator` it has a user namespace of its own as well, with the
/// same ids, in which the kernel is told of it; there it can make no device. Its exit
/// status is passed on; a signal that killed it becomes 128 + N.
///
/// The caller's thread must live as long as the command: `PR_SET_PDEATHSIG` follows the thread, not the process.
pub fn in_own_namespaces(
    command: &mut Command,
    root: Option<&Path>,
    emulator: Option<&Emulator>,
) -> Result<()> {
    let text = |path: &Path| {
        let text = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        text.context(|| format!("enter `{}`", path.display()))
    };
    let root = match root {
        Some(path) => Some((text(path)?, text(&path.join("dev"))?)),
        None => None,
    };
    let emulated = match emulator {
        Some(emulator) => Some((idmap::of_same()?, emulator.rule())),
        None => None,
    };
    // SAFETY: getpid always succeeds and touches no memory.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the closure runs between fork and exec; it makes system calls on memory that is allocated before the
    // fork, and neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            enter(
                parent,
                root.as_ref().map(|(root, dev)| (root.as_c_str(), dev.as_c_str())),
                emulated
                    .as_ref()
                    .map(|(users, rule)| (users.as_raw_fd(), rule.as_slice())),
            )
        })
    };
    Ok(())
}

/// Runs in the child, before exec. It splits in two: the outer process waits and never returns, the inner one,
/// process 1 of the new namespace, returns to exec.
fn enter(
    parent: libc::pid_t,
    root: Option<(&CStr, &CStr)>,
    emulated: Option<(libc::c_int, &[u8])>,
) -> io::Result<()> {
    if let Some((users, _)) = emulated {
        // First: it takes the signal of a parent's death away.
        // SAFETY: a descriptor that the caller holds, and a flag.
        check(unsafe { libc::setns(users, libc::CLONE_NEWUSER) })?;
    }
    die_with_parent()?;
    // SAFETY: getppid always succeeds and touches no memory.
    if unsafe { libc::getppid() } != parent {
        // It died before the signal was armed.
        // SAFETY: _exit ends the process at once.
        unsafe { libc::_exit(1) };
    }
    // SAFETY: flags alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID) })?;
    // Before anything is mounted: nothing may propagate to the host.
    mount_path(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;

    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for the two descriptors.
    check(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [alive, held] = pipe;
    // SAFETY: this process has one thread, and the child goes on to exec.
    let child = check(unsafe { libc::fork() })?;
    if child != 0 {
        wait_for(child, held);
    }
    // SAFETY: a descriptor that this process has just got.
    check(unsafe { libc::close(held) })?;
    die_with_parent()?;
    // Across pid namespaces getppid(2) is 0 and cannot tell whether the parent lives; its end of the pipe can.
    let mut poll = libc::pollfd {
        fd: alive,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd, no waiting.
    if check(unsafe { libc::poll(&raw mut poll, 1, 0) })? != 0 {
        // SAFETY: _exit ends the process at once.
        unsafe { libc::_exit(1) };
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount_path(c"proc", c"/proc", Some(c"proc"), flags)?;
    if let Some((_, rule)) = emulated {
        let instance = binfmt::mount(rule)?;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let place = nix::fcntl::open(binfmt::PLACE, flags, Mode::empty())?;
        mount::attach(instance, place)?;
    }
    if let Some((root, dev)) = root {
        mount_path(c"/dev", dev, None, libc::MS_BIND)?;
        // SAFETY: the path ends in NUL.
        check(unsafe { libc::chroot(root.as_ptr()) })?;
        // SAFETY: the path ends in NUL.
        check(unsafe { libc::chdir(c"/".as_ptr()) })?;
    }
    // SAFETY: umask always succeeds and touches no memory.
    unsafe { libc::umask(0o022) };
    Ok(())
}

/// Ends this process as `child` ends. It keeps only `held`: a descriptor more would keep pipes of the caller open,
/// among them the one by which the standard library learns that exec succeeded.
fn wait_for(child: libc::pid_t, held: libc::c_int) -> ! {
    // SAFETY: both are plain descriptor numbers; 3 is closed or replaced.
    unsafe { libc::dup2(held, 3) };
    // SAFETY: descriptors of this process, none of which is used again.
    unsafe { libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0) };
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live integer.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            break;
        }
    }
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    // SAFETY: _exit ends the process at once.
    unsafe { libc::_exit(code) }
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: integers alone.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

fn mount_path(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> io::Result<()> {
    let kind = kind.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in NUL, and no data is passed.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Stdio;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        in_own_namespaces(&mut command, None, None).unwrap();
        command
    }

    #[test]
    fn is_process_1_and_mounts_nothing_on_the_host() {
        let output = sh("mount -t tmpfs hostel-test /mnt && echo $$ $(ls -d /proc/[0-9]* | wc -l)")
            .output()
            .unwrap();
        // Itself, and ls and wc or the subshell that starts them.
        let text = String::from_utf8(output.stdout).unwrap();
        let (pid, count) = text.trim().split_once(' ').unwrap();
        assert_eq!(pid, "1");
        assert!(count.parse::<u32>().unwrap() < 6, "{text}");
        assert!(
            !fs::read_to_string("/proc/self/mounts")
                .unwrap()
                .contains("hostel-test")
        );
    }

    #[test]
    fn passes_the_status_on() {
        assert_eq!(sh("exit 7").status().unwrap().code(), Some(7));
        let mut missing = Command::new("/nonexistent");
        in_own_namespaces(&mut missing, None, None).unwrap();
        assert_eq!(missing.status().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn everything_dies_with_the_outer_process() {
        // The sleeper holds the pipe open until it is gone, whatever became of its parent.
        let mut child = sh("sleep 1000 & echo ready; wait")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        io::Read::read_exact(&mut output, &mut ready).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        io::Read::read_to_end(&mut output, &mut rest).unwrap();
    }
}
