//! What a new process runs, and with what environment, directory and descriptors.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::exec::Terminal;
use super::inside::{Failure, place};
use crate::error::Result as Checked;
use crate::sys::{clone, memfd, open};

/// What executes a program of a guest's in hostel's stead (`src/handover`): a static program of some 2 kB.
static HANDOVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostel-handover"));

/// Where a guest's programs are looked up when its environment has no PATH (as Debian's `login.defs` for root).
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to do about a file that the kernel does not know how to run.
pub(super) const NOT_A_PROGRAM: &str = "it is neither a program for this processor nor a script with a `#!` line; one for another processor needs `arch`";

/// A program with its arguments and surroundings.
#[derive(Debug, Default)]
pub struct Command {
    /// The program and its arguments. A program without `/` is looked up in the PATH of `env`.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory, as it sees it.
    pub dir: Option<PathBuf>,
    /// Whether it is killed when hostel ends before it.
    pub dies_with_parent: bool,
    /// Descriptors that it gets as 0, 1, 2 ...; empty: the caller's 0 to 2.
    pub fds: Vec<OwnedFd>,
    /// Whether it gets a terminal of its own where the caller has one.
    pub terminal: Terminal,
    /// Set by who runs it: what keeps the caller's terminal from it.
    pub(crate) session: Session,
    /// For hostel's init: the pipe on which it tells why the guest's own could not be run.
    pub report: Option<OwnedFd>,
}

/// Where a command stands to the caller's terminal.
#[derive(Debug, Default)]
pub(crate) enum Session {
    /// In the caller's session.
    #[default]
    Callers,
    /// In one of its own, without a terminal.
    Own,
    /// In one of its own, with a terminal that it opens itself and whose master it hands over.
    Terminal {
        /// The end that hostel receives the master from.
        host: OwnedFd,
        /// The end of the new process.
        inside: OwnedFd,
    },
}

impl Command {
    /// A command with the caller's environment, its PATH replaced when `is_rooted` in another tree.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Replaces this process by the program. Returns only when that fails.
    pub(super) fn exec(&self) -> Failure {
        let Some(program) = self.argv.first() else {
            return Failure {
                errno: Errno::EINVAL,
                what: "no command was given".into(),
            };
        };
        let failed = |errno| Failure {
            errno,
            what: self.shown(),
        };
        if !self.fds.is_empty()
            && let Err(errno) = place(&self.fds.iter().collect::<Vec<_>>())
        {
            return failed(errno);
        }
        let c_strings = || -> Result<(Vec<CString>, Vec<CString>), Errno> {
            let argv = self.argv.iter().map(|a| c_string(a)).collect::<Result<_, _>>()?;
            Ok((argv, self.environment()?))
        };
        let (argv, env) = match c_strings() {
            Ok(both) => both,
            Err(errno) => return failed(errno),
        };
        let mut worst = Errno::ENOENT;
        for path in self.candidates(program) {
            let Ok(path) = c_string(&path) else { continue };
            let Err(errno) = nix::unistd::execve(&path, &argv, &env);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Found but not allowed: say so, unless a later directory has one that runs (execvp(3)).
                Errno::EACCES => worst = Errno::EACCES,
                other => return failed(other),
            }
        }
        failed(worst)
    }

    /// Replaces this process by the program, of a guest that may have put anything in its place: by way of `handover`, so
    /// that no program of the host is what executes it. `report` is where it tells why it could not. Returns only when not
    /// even the handover can be executed.
    pub(super) fn exec_in_guest(&self, handover: OwnedFd, report: &OwnedFd) -> Failure {
        match self.try_exec_in_guest(handover, report) {
            Ok(never) => match never {},
            Err(errno) => Failure {
                errno,
                what: self.shown(),
            },
        }
    }

    fn try_exec_in_guest(
        &self,
        handover: OwnedFd,
        report: &OwnedFd,
    ) -> Result<std::convert::Infallible, Errno> {
        /// The first descriptor that it closes; the report is the one below.
        const OTHERS: i32 = 4;
        let program = self.argv.first().ok_or(Errno::EINVAL)?;
        let mut argv = vec![c"hostel".to_owned(), c_string(OsStr::new(&self.shown()))?];
        argv.extend(
            self.candidates(program)
                .iter()
                .filter_map(|path| c_string(path).ok()),
        );
        argv.push(c"".to_owned());
        for argument in &self.argv {
            argv.push(c_string(argument)?);
        }
        let env: Vec<CString> = self.environment()?;
        // Above those that are placed, and closed by the execution itself.
        let handover = open::duplicate_from(handover, OTHERS)?;
        if self.fds.is_empty() {
            open::duplicate_to(report.as_fd(), OTHERS - 1)?;
            clone::close_on_exec_from(OTHERS.cast_unsigned())?;
        } else {
            let fds: Vec<&OwnedFd> = self.fds.iter().chain([report]).collect();
            place(&fds)?;
        }
        nix::unistd::execveat(handover, c"", &argv, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH)
    }

    /// The program as messages have it.
    fn shown(&self) -> String {
        let program = self.argv.first().map(|program| program.to_string_lossy());
        format!("`{}`", program.unwrap_or_default())
    }

    fn environment(&self) -> Result<Vec<CString>, Errno> {
        self.env.iter().map(|(key, value)| c_pair(key, value)).collect()
    }

    /// Replaces this process by hostel's init, which is sealed in memory and has no path. Returns only when that
    /// fails.
    pub(super) fn exec_init(&self, init: OwnedFd, payload: Option<&OwnedFd>) -> Result<(), Failure> {
        // 0 to 2, the configuration on 3; for a keeper the cgroup of the guest's own init and the pipe, on 4 and 5
        // (see `init_config`).
        let fds: Vec<&OwnedFd> = self.fds.iter().chain(payload).chain(&self.report).collect();
        // Above the descriptors that are placed, and closed by the exec itself.
        let keep = i32::try_from(fds.len()).unwrap_or(i32::MAX);
        let init = crate::sys::open::duplicate_from(init, keep)?;
        place(&fds)?;
        let argv: [&CStr; 1] = [c"init"];
        let env: [&CStr; 0] = [];
        let Err(errno) = nix::unistd::execveat(
            init,
            c"",
            &argv.map(CStr::to_owned),
            &env.map(CStr::to_owned),
            nix::fcntl::AtFlags::AT_EMPTY_PATH,
        );
        Err(Failure {
            errno,
            what: "hostel's init".into(),
        })
    }

    /// The paths at which the program may be.
    fn candidates(&self, program: &OsStr) -> Vec<OsString> {
        if program.as_bytes().contains(&b'/') {
            return vec![program.to_owned()];
        }
        let path = self
            .env
            .iter()
            .find(|(key, _)| key == "PATH")
            .map_or(OsStr::new(PATH), |(_, value)| value);
        let dirs = path.as_bytes().split(|b| *b == b':');
        let join = |dir: &[u8]| {
            let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
            OsStr::from_bytes(&[dir, b"/", program.as_bytes()].concat()).to_owned()
        };
        dirs.map(join).collect()
    }
}

/// The handover as a sealed memory file.
///
/// # Errors
/// `Unsupported` where the host forbids to execute memory files.
pub(super) fn handover() -> Checked<OwnedFd> {
    memfd::sealed_program(c"hostel-handover", HANDOVER)
}

fn c_string(text: &OsStr) -> Result<CString, Errno> {
    CString::new(text.as_bytes()).ok().ok_or(Errno::EINVAL)
}

fn c_pair(key: &OsStr, value: &OsStr) -> Result<CString, Errno> {
    CString::new([key.as_bytes(), b"=", value.as_bytes()].concat())
        .ok()
        .ok_or(Errno::EINVAL)
}
