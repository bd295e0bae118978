//! The exit codes.

use nix::sys::signal::Signal;

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

    /// The code of a command that ended with `code` or by signal number `signal`: the latter is 128 + N, as a
    /// shell has it.
    pub(crate) fn of_command(code: Option<i32>, signal: Option<i32>) -> Self {
        let number = code.or(signal.map(|signal| 128 + signal)).unwrap_or(125);
        // A code is eight bits, a signal at most 64: what does not fit cannot come from wait(2).
        Exit::Command(u8::try_from(number).unwrap_or(125))
    }
}

/// What a command that fails exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// 1, or 2 for wrong arguments.
    Plain,
    /// 125, so that 1 and 2 stay the user's command's own; 126 and 127 when it could not be run.
    LikeEnv,
}

impl Failure {
    /// The exit code of `err`. 128 + N when signal N ended the command.
    pub(crate) fn code(self, err: &Error) -> u8 {
        if err.kind() == Kind::Interrupted {
            let signal = sys::interrupt::pending().unwrap_or(Signal::SIGINT);
            return u8::try_from(128 + signal as i32).unwrap_or(130);
        }
        match self {
            Failure::Plain => err.kind().exit_code(),
            Failure::LikeEnv => 125,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(Exit::of_command(Some(3), None).code(), 3);
        assert_eq!(Exit::of_command(None, Some(9)).code(), 137);
        assert_eq!(Exit::of_command(None, None).code(), 125);
    }

    #[test]
    fn own_failures_do_not_look_like_the_commands() {
        let err = Error::new(Kind::Usage, "x");
        assert_eq!(Failure::Plain.code(&err), 2);
        assert_eq!(Failure::LikeEnv.code(&err), 125);
    }
}
