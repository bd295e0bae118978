//! `hostel repl`: as a script, and at a terminal, which `script(1)` makes.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{Place, Run, tool};

fn piped(place: &Place, args: &[&str], text: &str) -> Run {
    let mut command = place.command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Run::of(&child.wait_with_output().unwrap())
}

#[test]
fn what_comes_from_a_pipe_is_a_script() {
    let place = Place::new();
    let first = place.file("first.lua", "answer = 42\n");
    let run = piped(
        &place,
        &["repl", &first],
        "local x = answer\nprint(x, type(hostel))\n",
    );
    assert_eq!(run.prints(), "42\ttable\n");
    let run = piped(&place, &["repl"], "print 'one'\nlocal x = nil + 1\n");
    assert_eq!((run.code, run.stdout.as_str()), (1, "one\n"));
    assert!(run.stderr.contains("--> stdin:2:"), "{}", run.stderr);
}

/// `hostel repl` at a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(place: &Place) -> Option<Self> {
        // `exec`: a shell in between that waits for hostel gets the same Ctrl-C, and ends by it with 130 when hostel
        // ends with 0. Not every shell replaces itself by its last command on its own.
        let mut command = std::process::Command::new(tool("script")?);
        command
            .args([
                "-qec",
                concat!("exec ", env!("CARGO_BIN_EXE_hostel"), " repl"),
                "/dev/null",
            ])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("HOSTEL_ROOT", place.path("root"))
            .env("XDG_STATE_HOME", place.path("state"))
            .current_dir(place.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, output) = channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut terminal = Self {
            keys: child.stdin.take().unwrap(),
            child,
            output,
            seen: String::new(),
        };
        terminal.wait("> ");
        Some(terminal)
    }

    /// Waits for a text; what comes after it is still to be seen.
    #[track_caller]
    fn wait(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(err) => panic!("no `{text}` ({err}) in {:?}", self.seen),
            }
        }
    }

    /// Types a line, and waits for what it shows and for the next prompt.
    #[track_caller]
    fn types(&mut self, keys: &str, shown: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.wait(shown);
        self.wait("> ");
    }

    fn leaves(mut self, keys: &[u8]) -> i32 {
        self.keys.write_all(keys).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn a_session_at_a_terminal() {
    let place = Place::new();
    place.file("more.lua", "more = 7000 + 7\n");
    let Some(mut terminal) = Terminal::start(&place) else {
        return;
    };
    terminal.types("6*7\r", "\n42\r\n");
    // A chunk of several lines.
    terminal.types("t = { 1,\r2, 3 } return #t + 900\r", "\n903\r\n");
    // Ctrl-C gives the line up.
    terminal.types("nonsense(\x03", "nonsense(");
    // A mistake has its place, and the session goes on.
    terminal.types("nothing.x\r", "[3]:1:");
    terminal.types(".load more.lua\r", "\n");
    terminal.types("more\r", "\n7007\r\n");
    terminal.types(".lod x\r", "did you mean `.load`?");
    terminal.types(".doc hostel.context\r", "hostel.context(");
    // Tab completes.
    terminal.types("type(hostel.cont\t) .. 'al'\r", "\n\"functional\"\r\n");
    // Ctrl-C ends what runs.
    terminal
        .keys
        .write_all(b"print('ru' .. 'ns') while true do end\r")
        .unwrap();
    terminal.wait("\nruns\r\n");
    terminal.types("\x03", "interrupted by SIGINT");
    terminal.types("more + 1\r", "\n7008\r\n");
    assert_eq!(terminal.leaves(b".quit\r"), 0);

    let history = place.path("state/hostel/history");
    let text = std::fs::read_to_string(&history).unwrap();
    assert!(text.contains("6*7\n") && text.contains("more + 1\n"), "{text}");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let Some(mut terminal) = Terminal::start(&place) else {
        return;
    };
    // The last line but `.quit`: there is no `more` in this one.
    terminal.types("\x1b[A\x1b[A\r", "global 'more'");
    assert_eq!(terminal.leaves(b"\x04"), 0);
}
