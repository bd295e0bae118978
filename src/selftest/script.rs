//! An attack as data: the system calls that it makes, and what the kernel said to each.
//!
//! A [`Script`] is what `src/attack` reads. It is made by name and not by number, so it is the same on every
//! architecture; a call that this one does not have is an error of whoever wrote the attack.

use std::fmt::Write as _;

use nix::errno::Errno;

use crate::error::{Error, Kind, Result};
use crate::guest::syscalls::{Architecture, LAST};

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    /// A number.
    N(i64),
    /// A text, or any bytes: its address. A NUL follows it.
    S(&'a str),
    /// The same of bytes that are no text.
    B(&'a [u8]),
    /// The address of the attacker's memory at an offset.
    M(usize),
    /// What an earlier call gave.
    R(Said),
    /// The 32-bit number in the attacker's memory at an offset.
    #[cfg(test)]
    I(usize),
    /// The number of this round.
    Round,
}

/// Which call of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said(usize);

/// Calls in order.
#[derive(Debug, Default)]
pub(super) struct Script {
    text: String,
    labels: Vec<String>,
}

/// What the kernel said.
#[derive(Debug)]
pub(super) struct Answers {
    labels: Vec<String>,
    results: Vec<i64>,
    read: Vec<Vec<u8>>,
}

impl Script {
    /// One without a call.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a call. `label` says what it tries, for whoever reads that it worked.
    pub(super) fn call(&mut self, label: impl Into<String>, name: &str, args: &[Arg<'_>]) -> Result<Said> {
        let number = number(name)?;
        let _ = write!(self.text, "{number}");
        Ok(self.end(label, args))
    }

    /// Adds a call for each number from the first to the last; its answer is how many did not fail.
    pub(super) fn each(
        &mut self,
        label: impl Into<String>,
        (from, to): (i64, i64),
        name: &str,
        args: &[Arg<'_>],
    ) -> Result<Said> {
        let number = number(name)?;
        let _ = write!(self.text, "{from}..{to} {number}");
        Ok(self.end(label, args))
    }

    fn end(&mut self, label: impl Into<String>, args: &[Arg<'_>]) -> Said {
        for arg in args {
            self.text.push(' ');
            match arg {
                Arg::N(number) => drop(write!(self.text, "{number}")),
                Arg::S(text) => self.bytes('x', text.as_bytes()),
                Arg::B(bytes) => self.bytes('x', bytes),
                Arg::M(offset) => drop(write!(self.text, "m{offset}")),
                Arg::R(said) => drop(write!(self.text, "r{}", said.0)),
                #[cfg(test)]
                Arg::I(offset) => drop(write!(self.text, "i{offset}")),
                Arg::Round => self.text.push('$'),
            }
        }
        self.text.push('\n');
        self.labels.push(label.into());
        Said(self.labels.len() - 1)
    }

    fn bytes(&mut self, mark: char, bytes: &[u8]) {
        self.text.push(mark);
        for byte in bytes {
            let _ = write!(self.text, "{byte:02x}");
        }
    }

    /// Writes bytes into the attacker's memory.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let _ = write!(self.text, "! {offset} ");
        for byte in bytes {
            let _ = write!(self.text, "{byte:02x}");
        }
        self.text.push('\n');
    }

    /// Asks for bytes of the attacker's memory, which are [`Answers::read`] in the order asked for.
    pub(super) fn read(&mut self, offset: usize, length: usize) {
        let _ = writeln!(self.text, "? {offset} {length}");
    }

    /// As the attacker reads it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What an attacker's output says. One that did not come to its end has proved nothing and is an error.
    pub(super) fn answers(&self, output: &str) -> Result<Answers> {
        let broken = |why: &str| {
            Error::new(
                Kind::External,
                format!(
                    "the attack did not come to its end: {why}: `{}`",
                    output.escape_debug()
                ),
            )
        };
        let Some(said) = output.strip_suffix("end\n") else {
            return Err(broken("no last line"));
        };
        let (mut results, mut read) = (Vec::new(), Vec::new());
        for line in said.lines() {
            if let Some(number) = line.strip_prefix("= ") {
                results.push(
                    number
                        .parse()
                        .map_err(|source| broken("no number").with_source(source))?,
                );
            } else {
                let hex = line.strip_prefix(": ").ok_or_else(|| broken("an unknown line"))?;
                let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
                read.push(
                    bytes
                        .collect::<Result<_, _>>()
                        .map_err(|source| broken("no bytes").with_source(source))?,
                );
            }
        }
        if results.len() != self.labels.len() {
            return Err(broken("not every call was answered"));
        }
        Ok(Answers {
            labels: self.labels.clone(),
            results,
            read,
        })
    }
}

impl Answers {
    /// What a call gave: a number, or what it failed with.
    pub(super) fn of(&self, said: Said) -> Result<i64, Errno> {
        result(self.results[said.0])
    }

    /// Some of them.
    pub(super) fn among(&self, some: &[Said]) -> Answers {
        Answers {
            labels: some.iter().map(|said| self.labels[said.0].clone()).collect(),
            results: some.iter().map(|said| self.results[said.0]).collect(),
            read: Vec::new(),
        }
    }

    /// The calls that did not fail with one of these, and what they gave instead.
    pub(super) fn but(&self, refusals: &[Errno]) -> Vec<String> {
        let wrong = |result: i64| match self::result(result) {
            Ok(value) => Some(format!("{value}")),
            Err(errno) => (!refusals.contains(&errno)).then(|| format!("{errno:?}")),
        };
        self.labels
            .iter()
            .zip(&self.results)
            .filter_map(|(label, result)| Some(format!("{label}: {}", wrong(*result)?)))
            .collect()
    }

    /// The bytes that were asked for.
    pub(super) fn read(&self) -> &[Vec<u8>] {
        &self.read
    }
}

fn result(value: i64) -> Result<i64, Errno> {
    match i32::try_from(-value) {
        Ok(errno @ 1..4096) => Err(Errno::from_raw(errno)),
        _ => Ok(value),
    }
}

/// The number of a call on this machine.
fn number(name: &str) -> Result<usize> {
    let arch = Architecture::NATIVE;
    (0..=LAST)
        .find(|number| arch.and_then(|arch| arch.name(*number)) == Some(name))
        .ok_or_else(|| {
            Error::new(
                Kind::Internal,
                format!("this machine has no system call `{name}`"),
            )
        })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs the attacker itself, as this user.
    fn run(script: &Script) -> Result<Answers> {
        let program = crate::sys::memfd::sealed_program(c"attack", super::super::ATTACKER).unwrap();
        let mut child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.text().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        script.answers(&String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn the_attacker_makes_the_calls_and_says_what_they_gave() {
        let mut script = Script::new();
        script.write(64, b"abc");
        let pipe = script.call("pipe", "pipe2", &[Arg::M(0), Arg::N(0)]).unwrap();
        let written = script
            .call("write", "write", &[Arg::I(4), Arg::M(64), Arg::N(3)])
            .unwrap();
        let read = script
            .call("read", "read", &[Arg::I(0), Arg::M(128), Arg::R(written)])
            .unwrap();
        script.read(128, 4);
        let none = script
            .call("open", "openat", &[Arg::N(-100), Arg::S("/no/such"), Arg::N(0)])
            .unwrap();
        let empty = script
            .call("empty", "openat", &[Arg::N(-100), Arg::S(""), Arg::N(0)])
            .unwrap();
        let root = script
            .call("root", "openat", &[Arg::N(-100), Arg::S("/"), Arg::N(0)])
            .unwrap();
        // 0 to 2 are open, and the two of the pipe, and the root; the rest are not.
        let each = script
            .each("open ones", (3, 40), "fcntl", &[Arg::Round, Arg::N(1)])
            .unwrap();
        let said = run(&script).unwrap();
        assert_eq!(said.of(pipe), Ok(0));
        assert_eq!((said.of(written), said.of(read)), (Ok(3), Ok(3)));
        assert_eq!(said.read(), [b"abc\0".to_vec()]);
        assert_eq!(
            (said.of(none), said.of(empty)),
            (Err(Errno::ENOENT), Err(Errno::ENOENT))
        );
        assert!(said.of(root).unwrap() >= 3 && said.of(each).unwrap() >= 3);
        assert_eq!(said.but(&[Errno::ENOENT]).len(), 5);
    }

    #[test]
    fn an_attack_that_does_not_end_is_an_error() {
        let mut script = Script::new();
        script.call("kill itself", "getpid", &[]).unwrap();
        script.call("end", "exit_group", &[Arg::N(0)]).unwrap();
        script.call("never", "getpid", &[]).unwrap();
        assert!(
            run(&script)
                .unwrap_err()
                .to_string()
                .contains("did not come to its end: no last line")
        );
        assert!(script.answers("= 1\nend\n").is_err());
        assert!(script.call("no such", "no_such_call", &[]).is_err());
    }
}
