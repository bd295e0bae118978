//! Runs the program in an environment of its own.

use std::process::{Command, Output, Stdio};

/// What a run left.
pub(crate) struct Run {
    /// Its exit code; 128 + N when signal N ended it.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// A state directory that does not outlive the test, and commands that use it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A path below it.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below it; gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostel"));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOSTEL_ROOT", self.path("root"))
            .env("HOSTEL_RUN", self.path("run"))
            .env("HOSTEL_CGROUP", format!("hostel-test-{}", std::process::id()))
            .stdin(Stdio::null());
        command
    }

    /// Starts the program, with pipes for what it writes.
    pub(crate) fn spawn(&self, args: &[&str]) -> std::process::Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs the program.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&self.command(args).output().unwrap())
    }
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let signal = output.status.signal().map(|signal| 128 + signal);
        Self {
            code: output.status.code().or(signal).unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Asserts that it failed with exactly this.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, stderr: &str) {
        assert_eq!(self.stderr, stderr);
        assert_eq!((self.code, self.stdout.as_str()), (code, ""));
    }

    /// Asserts that it ended with exactly this.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!(
            (self.stdout.as_str(), self.stderr.as_str(), self.code),
            (stdout, stderr, code)
        );
    }

    /// Asserts that it succeeded without a word on standard error, and gives its output.
    #[track_caller]
    pub(crate) fn prints(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        &self.stdout
    }
}

/// Runs the program in a fresh place.
pub(crate) fn hostel(args: &[&str]) -> Run {
    Place::new().run(args)
}

/// Where a program is that is not hostel's; `None` ends the test, but where nothing may be left out.
#[track_caller]
pub(crate) fn tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let must = std::env::var_os("HOSTEL_MUST_RUN").is_some_and(|value| value == "1");
        assert!(!must, "`{name}` is not installed: scripts/dev/setup --lint");
        #[allow(clippy::print_stderr, reason = "what is left out is told")]
        {
            eprintln!("left out: `{name}` is not installed");
        }
    }
    found
}
