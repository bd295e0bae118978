//! A child that waits to be put somewhere before it does anything.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use hostel::guest::HostPid;

use crate::support::Test;

/// A shell that waits for its release and then runs a script. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Waiting {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Waiting {
    pub(crate) fn new(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go || exit 99; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Self { child, stdin }
    }

    pub(crate) fn pid(&self) -> HostPid {
        HostPid(self.child.id().cast_signed())
    }

    /// Lets it run.
    pub(crate) fn release(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            stdin.write_all(b"go\n").unwrap();
        }
    }

    /// Lets it run, and gives its exit code, or 128 and the signal that ended it.
    pub(crate) fn finish(&mut self) -> i32 {
        self.release();
        self.end()
    }

    /// How it ends without being let run.
    pub(crate) fn end(&mut self) -> i32 {
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn tests() -> Vec<Test> {
    vec![]
}
