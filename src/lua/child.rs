//! Evaluation in a process of its own. The limits inside the Lua state give good messages; this is the guarantee:
//! whatever a recipe does, it uses bounded processor time and memory, and cannot reach hostel's descriptors.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::{EvalOptions, Evaluated};
use crate::guest::HostPid;
use crate::sys::fork;

/// What the child reports.
#[derive(Deserialize)]
enum Report {
    Right(Evaluated),
    Wrong(Diagnostics),
}

/// The same, from what the child has.
#[derive(Serialize)]
enum Reported<'a> {
    Right(&'a Evaluated),
    Wrong(&'a Diagnostics),
}

/// The most that is read from a child: a hundred thousand guests.
const LARGEST: u64 = 256 << 20;

fn broken(message: impl Into<String>) -> Diagnostics {
    Diagnostics::one(Diagnostic::new(Code::Child, message, None))
}

pub(super) fn evaluate(recipe: &Path, options: &EvalOptions) -> Result<Evaluated, Diagnostics> {
    // Processor time bounds what computes; real time bounds what waits, and is no measure on a busy machine.
    let patience = Duration::from_secs(options.cpu_seconds.saturating_mul(6).max(60));
    let (bytes, ended) = in_child(patience, |pipe| {
        if bound(options).is_err() {
            return 1;
        }
        // The process ends now: to take its Lua state apart piece by piece would be work for nothing.
        let outcome = std::mem::ManuallyDrop::new(super::evaluate::run(recipe, options));
        let report = match &*outcome {
            Ok(run) => Reported::Right(&run.evaluated),
            Err(diagnostics) => Reported::Wrong(diagnostics),
        };
        let Ok(bytes) = serde_json::to_vec(&report) else {
            return 1;
        };
        i32::from(File::from(pipe).write_all(&bytes).is_err())
    })
    .map_err(|source| broken(format!("start the process that evaluates the recipe: {source}")))?;
    match ended {
        Ended::Code(0) => match serde_json::from_slice(&bytes) {
            Ok(Report::Right(evaluated)) => Ok(evaluated),
            Ok(Report::Wrong(diagnostics)) => Err(diagnostics),
            Err(source) => Err(broken(format!("read what the evaluation reports: {source}"))),
        },
        Ended::Code(code) => Err(broken(format!(
            "the process that evaluates the recipe ended with status {code}"
        ))),
        Ended::Late => Err(broken(format!(
            "the evaluation took longer than {} s",
            patience.as_secs()
        ))),
        Ended::Signal(Signal::SIGXCPU | Signal::SIGKILL) => {
            let message = format!(
                "the recipe used more than {} s of processor time",
                options.cpu_seconds
            );
            let help = "a pattern with many `?`, `*` or `-` in a row, or a loop inside one call";
            let diagnostic = Diagnostic::new(Code::CpuTime, message, None);
            Err(Diagnostics::one(diagnostic.with_help(Some(help.to_owned()))))
        }
        // What runs out of memory says so itself; this is a mistake of hostel's or somebody's `kill`.
        Ended::Signal(signal) => {
            let message = format!("the process that evaluates the recipe died of {signal}");
            let diagnostic = Diagnostic::new(Code::Child, message, None);
            let help = "please report it with the recipe, or the part of it that does this";
            Err(Diagnostics::one(diagnostic.with_help(Some(help.to_owned()))))
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(Signal),
    /// It was killed because it took too long.
    Late,
}

/// Runs `inside` in a child and returns all that it writes.
pub(super) fn in_child(
    patience: Duration,
    inside: impl FnOnce(OwnedFd) -> i32,
) -> crate::Result<(Vec<u8>, Ended)> {
    use crate::error::Context as _;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe")?;
    let pid = fork::fork(write, |pipe| {
        // A panic must not run on into the parent's code, which believes that it is the only one.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inside(pipe))).unwrap_or(101)
    })?;
    let outcome = drain(read, Instant::now() + patience);
    if outcome.is_err() {
        kill(pid);
    }
    let status = fork::wait(pid)?;
    let bytes = match outcome {
        Ok(bytes) => bytes,
        Err(None) => return Ok((Vec::new(), Ended::Late)),
        Err(Some(source)) => return Err(crate::Error::io("read from the child", source)),
    };
    let ended = match Signal::try_from(-status) {
        Ok(signal) => Ended::Signal(signal),
        Err(_) => Ended::Code(status),
    };
    Ok((bytes, ended))
}

fn kill(pid: HostPid) {
    // The child leads a process group when it runs commands; one that has ended already is no failure.
    let pid = nix::unistd::Pid::from_raw(pid.0);
    let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
}

/// Everything until the writer closes; `Err(None)` when the deadline passes.
fn drain(pipe: OwnedFd, deadline: Instant) -> Result<Vec<u8>, Option<std::io::Error>> {
    let mut file = File::from(pipe);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(None);
        }
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(Some(errno.into())),
        }
        let count = file.read(&mut chunk).map_err(Some)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..count]);
        if bytes.len() as u64 > LARGEST {
            return Err(Some(std::io::ErrorKind::FileTooLarge.into()));
        }
    }
}

/// The kernel's limits: processor time, memory, no core (it would hold secrets), no file larger than a message.
fn bound(options: &EvalOptions) -> crate::Result<()> {
    use crate::error::Context as _;
    let set = |resource, soft: u64, hard: u64| {
        setrlimit(resource, soft, hard).context(|| format!("set {resource:?} of the evaluation"))
    };
    set(
        Resource::RLIMIT_CPU,
        options.cpu_seconds,
        options.cpu_seconds.saturating_add(1),
    )?;
    // On top of what the process has mapped already; serde needs about as much as the Lua state.
    let now = mapped();
    let space = now
        .saturating_add((options.memory as u64).saturating_mul(3))
        .saturating_add(256 << 20);
    set(Resource::RLIMIT_AS, space, space)?;
    set(Resource::RLIMIT_CORE, 0, 0)?;
    set(Resource::RLIMIT_FSIZE, 0, 0)?;
    crate::sys::clone::die_with_parent().context(|| "tie the evaluation to its parent")
}

/// Bytes of address space in use (`proc_pid_statm(5)`, the first field, in pages).
fn mapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    pages.saturating_mul(4096)
}
