//! Secrets: values that are kept outside of recipes and shown nowhere.
//!
//! A recipe only names them. The process that evaluates it puts a placeholder where a value belongs; the values are
//! put there afterwards, by the process that hands the specifications on.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::diagnostic::{Code, Diagnostic, Diagnostics, Place};

use crate::guest::Spec;

/// The most that a secret may hold; a key or a certificate with its chain is far smaller.
const MOST: u64 = 1 << 20;

/// How long the command may take that knows the secrets: long enough to type a passphrase.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where in a specification a secret can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Slot {
    /// The value of this environment variable.
    Env(String),
    /// The content of this file.
    File(String),
}

impl Slot {
    pub(crate) fn path(&self) -> Vec<String> {
        match self {
            Self::Env(name) => vec!["env".to_owned(), name.clone()],
            Self::File(path) => vec!["files".to_owned(), path.clone(), "content".to_owned()],
        }
    }

    fn shown(&self) -> String {
        let above = self.path();
        super::state::path_text(&above[..above.len() - 1])
    }
}

/// A secret at its place in a specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretUse {
    /// The number of the specification.
    pub(crate) guest: usize,
    pub(crate) slot: Slot,
    pub(crate) name: String,
    /// Who put it there: `guest "web"`.
    pub(crate) by: String,
    pub(crate) place: Option<Place>,
}

/// What stands where a value belongs that is not known, or not shown.
pub(crate) fn placeholder(name: &str) -> String {
    format!("<secret {name}>")
}

/// Whether a name is one: components of letters, digits, `-`, `_` and `.`, none of them starting with a dot.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 200
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
}

/// Puts the values where they belong, or says which are missing: all of them, each at its place.
pub(super) fn fill(specs: &mut [Spec], uses: Vec<SecretUse>, root: &Path) -> Result<(), Diagnostics> {
    let mut known: HashMap<String, Result<String, (String, String)>> = HashMap::new();
    let mut found: Vec<Diagnostic> = Vec::new();
    for use_of in uses {
        let value = known
            .entry(use_of.name.clone())
            .or_insert_with(|| read(root, &use_of.name));
        match value {
            Ok(value) => {
                let spec = specs.get_mut(use_of.guest);
                let slot = spec.and_then(|spec| match &use_of.slot {
                    Slot::Env(name) => spec.env.get_mut(name),
                    Slot::File(path) => spec.files.get_mut(Path::new(path)).map(|file| &mut file.content),
                });
                let Some(slot) = slot.filter(|slot| **slot == placeholder(&use_of.name)) else {
                    let message = format!("the secret `{}` has no place in {}", use_of.name, use_of.by);
                    found.push(Diagnostic::new(Code::Child, message, use_of.place));
                    continue;
                };
                slot.clone_from(value);
            }
            Err((message, help)) => {
                let message = format!("{message} in {} at `{}`", use_of.by, use_of.slot.shown());
                let diagnostic =
                    Diagnostic::new(Code::Secret, message, use_of.place).with_help(Some(help.clone()));
                // A template's is missing once, however many guests inherit it.
                if !found.contains(&diagnostic) {
                    found.push(diagnostic);
                }
            }
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Diagnostics(found))
    }
}

/// The environment variable of a secret: `web/db` is `HOSTEL_SECRET_WEB_DB`.
fn variable(name: &str) -> String {
    let upper = name
        .to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("HOSTEL_SECRET_{upper}")
}

/// The value of a secret: from the environment, from `root/secrets/NAME`, or from what `root/secrets/.command NAME`
/// prints; what is wrong and the help otherwise. One newline at the end is the editor's and is left out.
fn read(root: &Path, name: &str) -> Result<String, (String, String)> {
    let variable = variable(name);
    if let Ok(value) = std::env::var(&variable) {
        return checked(value.into_bytes()).map_err(|what| (format!("the secret `{name}` {what}"), variable));
    }
    let path = root.join("secrets").join(name);
    let shown = path.display();
    let refuse = |what: &str, help: String| (format!("the secret `{name}` {what}"), help);
    // A link could lead anywhere, and a FIFO would wait for ever.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let open = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    let file = match open {
        Ok(file) => file,
        Err(source) => {
            let command = root.join("secrets/.command");
            if source.kind() == std::io::ErrorKind::NotFound && command.exists() {
                return printed(&command, name);
            }
            let help = format!(
                "write it to {shown} (mode 0600), set {variable}, or let {} print it",
                command.display()
            );
            if source.kind() == std::io::ErrorKind::NotFound {
                return Err(refuse("is not there", help));
            }
            return Err(refuse(&format!("cannot be read: {}", source.kind()), help));
        }
    };
    let meta = file
        .metadata()
        .map_err(|source| refuse(&format!("cannot be read: {source}"), shown.to_string()))?;
    if !meta.is_file() || meta.size() > MOST {
        return Err(refuse("is not a file of at most 1 MiB", shown.to_string()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(refuse("can be read by others", format!("chmod 0600 {shown}")));
    }
    let mut value = Vec::new();
    file.take(MOST)
        .read_to_end(&mut value)
        .map_err(|source| refuse(&format!("cannot be read: {}", source.kind()), shown.to_string()))?;
    checked(value).map_err(|what| refuse(&what, shown.to_string()))
}

/// A value as it can be used. No message shows a part of it.
fn checked(mut value: Vec<u8>) -> Result<String, String> {
    if value.contains(&0) {
        return Err("holds a NUL byte".to_owned());
    }
    if value.ends_with(b"\n") {
        value.pop();
    }
    String::from_utf8(value).map_err(|source| {
        let at = source.utf8_error().valid_up_to();
        format!("is not UTF-8 at byte {}", at + 1)
    })
}

/// What the command prints for this name. It speaks with the user by standard error and the terminal.
fn printed(command: &Path, name: &str) -> Result<String, (String, String)> {
    let shown = command.display();
    let refuse = |what: String, help: String| (format!("the secret `{name}` {what}"), help);
    let failed = |what: String| refuse(format!("cannot be read: {what}"), format!("{shown} {name}"));
    let meta = std::fs::metadata(command).map_err(|source| failed(source.kind().to_string()))?;
    let owner = meta.uid();
    if meta.mode() & 0o022 != 0 || (owner != 0 && owner != nix::unistd::geteuid().as_raw()) {
        let what = format!("would come from `{shown}`, which others can change");
        return Err(refuse(what, format!("chmod 0700 {shown}, and let it be yours")));
    }
    let mut child = Command::new(command)
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Of its own, so that all it started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|source| failed(source.kind().to_string()))?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let value = match child.stdout.take() {
        Some(stdout) => drained(File::from(std::os::fd::OwnedFd::from(stdout))),
        None => Err("it has no output".to_owned()),
    };
    if value.is_err() {
        // It may have ended already.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().map_err(|source| failed(source.kind().to_string()))?;
    let value = value.map_err(|what| failed(format!("`{shown}` {what}")))?;
    if !status.success() {
        return Err(failed(format!("`{shown}` failed ({status})")));
    }
    checked(value).map_err(|what| refuse(what, format!("{shown} {name}")))
}

/// All that is printed until the end, not for ever.
fn drained(mut file: File) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("took longer than {} s", PATIENCE.as_secs()));
        }
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match crate::sys::interrupt::poll(&mut fds, Some(left)) {
            Ok(0) => continue,
            Err(nix::errno::Errno::EINTR) => {
                if crate::sys::interrupt::pending().is_some() {
                    return Err("was interrupted".to_owned());
                }
                continue;
            }
            Ok(_) => {}
            Err(errno) => return Err(errno.desc().to_lowercase()),
        }
        match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(source) => return Err(source.kind().to_string()),
        }
        if bytes.len() as u64 > MOST {
            return Err("printed more than 1 MiB".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn root(command: Option<(&str, u32)>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        if let Some((text, mode)) = command {
            let path = dir.path().join("secrets/.command");
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        dir
    }

    #[test]
    fn a_command_prints_what_no_file_holds() {
        let dir = root(Some(("echo \"value of $1\"", 0o700)));
        assert_eq!(read(dir.path(), "web/none").unwrap(), "value of web/none");
        let file = dir.path().join("secrets/key");
        std::fs::write(&file, "from the file\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(dir.path(), "key").unwrap(), "from the file");
    }

    #[test]
    fn a_command_that_fails_says_nothing_of_what_it_printed() {
        let dir = root(Some(("echo hunter2; exit 3", 0o700)));
        let (message, _) = read(dir.path(), "web/none").unwrap_err();
        assert!(message.ends_with("failed (exit status: 3)"), "{message}");
        assert!(!message.contains("hunter2"));
        let dir = root(Some(("head -c 2000000 /dev/zero", 0o700)));
        let (message, _) = read(dir.path(), "web/none").unwrap_err();
        assert!(message.ends_with("printed more than 1 MiB"), "{message}");
    }

    #[test]
    fn a_command_that_others_can_change_is_not_run() {
        let dir = root(Some(("echo hunter2", 0o722)));
        let (message, help) = read(dir.path(), "web/none").unwrap_err();
        assert!(message.contains("which others can change"), "{message}");
        assert!(help.starts_with("chmod 0700 "), "{help}");
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("web/db", true),
            ("a.b-c_d", true),
            (".command", false),
            ("a/../b", false),
            ("/etc/shadow", false),
            ("", false),
            ("a//b", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
