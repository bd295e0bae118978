//! The exit codes.

use std::ffi::OsStr;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::sys::pidfd::Ended;
use crate::{Error, Kind, sys};

/// How a verb ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0.
    Success,
    /// 2 of `hostel plan`: the host differs from the recipe.
    Changes,
    /// 1 of verbs that answer a question with no, such as `hostel doctor`.
    No,
    /// The code of the command that was run.
    Command(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::No => 1,
            Exit::Changes => 2,
            Exit::Command(code) => code,
        }
    }

    /// As a command that ended like that: its code, or 128 + N for signal N, as a shell has it.
    pub(crate) fn of(ended: Ended) -> Self {
        // A code is eight bits, a signal at most 64: what does not fit cannot come from wait(2).
        Exit::Command(u8::try_from(ended.shell_code()).unwrap_or(125))
    }

    /// As a command that ends by this signal in the ordinary way, like `hostel logs --follow`.
    pub(crate) fn of_signal(signal: Signal) -> Self {
        Exit::of(Ended::Signal(signal as i32))
    }
}

/// What a command that fails exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// 1, or 2 for wrong arguments.
    Plain,
    /// 2, whatever it is: the verb answers a question, and 1 is the answer no.
    Unanswered,
    /// 125, so that 1 and 2 stay the user's command's own; 126 and 127 when it could not be run.
    LikeEnv,
}

impl Failure {
    /// The exit code of `err`. 128 + N when signal N ended the command.
    ///
    /// `command` is the program that was to be run, if the verb came so far as to run one.
    pub(crate) fn code(self, err: &Error, command: Option<&OsStr>) -> u8 {
        if err.kind() == Kind::Interrupted {
            let signal = sys::interrupt::pending().unwrap_or(Signal::SIGINT);
            return u8::try_from(128 + signal as i32).unwrap_or(130);
        }
        match self {
            Failure::Plain => err.kind().exit_code(),
            Failure::Unanswered => 2,
            Failure::LikeEnv => command.map_or(125, |command| not_run(err, command)),
        }
    }
}

/// Why a command failed. Ctrl-C ends the tools too that hostel runs: what it says of them then (that a pipe has no
/// reader, that an archive is cut off) is not the cause.
pub(crate) fn cause(err: Error) -> Error {
    if err.kind() == Kind::Interrupted
        || sys::interrupt::pending().is_none_or(|signal| signal == Signal::SIGALRM)
    {
        return err;
    }
    match sys::interrupt::check() {
        // What could not be undone is told.
        Err(interrupted) if !err.also().is_empty() => interrupted.and_also(err),
        Err(interrupted) => interrupted,
        Ok(()) => err,
    }
}

/// 127 when `command` was not found, 126 when it could not be executed, 125 when something else failed. An error
/// of `execve(2)` names the program right before its errno.
fn not_run(err: &Error, command: &OsStr) -> u8 {
    let Some(errno) = err.errno() else { return 125 };
    if !err
        .to_string()
        .contains(&format!("`{}`: {errno:?} (", command.to_string_lossy()))
    {
        return 125;
    }
    if errno == Errno::ENOENT { 127 } else { 126 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(Exit::of(Ended::Code(3)).code(), 3);
        assert_eq!(Exit::of(Ended::Signal(9)).code(), 137);
    }

    #[test]
    fn own_failures_do_not_look_like_the_commands() {
        let err = Error::new(Kind::Usage, "x");
        assert_eq!(Failure::Plain.code(&err, None), 2);
        assert_eq!(Failure::LikeEnv.code(&err, None), 125);
        let err = Error::new(Kind::NotFound, "x");
        assert_eq!(Failure::Plain.code(&err, None), 1);
        assert_eq!(Failure::Unanswered.code(&err, None), 2);
    }

    #[test]
    fn a_command_that_cannot_be_run_is_126_or_127() {
        let code = |message: &str, errno| {
            let err = Error::os(message, errno).context("web");
            Failure::LikeEnv.code(&err, Some(OsStr::new("ls")))
        };
        assert_eq!(code("run `ls`: `ls`", Errno::ENOENT), 127);
        assert_eq!(code("run `ls`: `ls`", Errno::EACCES), 126);
        assert_eq!(code("open root `/x`", Errno::ENOENT), 125);
    }
}
