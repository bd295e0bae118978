//! Why a program of the host could not be run. execve(2) says ENOENT of four things: a program that is nowhere, a
//! working directory, the interpreter of a script, the loader of a binary.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Kind};

/// The most of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`, since Linux 5.1).
const FIRST_LINE: u64 = 256;

/// The failure to run `program` in `dir` (or where hostel is), with what to do about it. `search` is the `PATH` that it was
/// given, if one was.
pub(in crate::lua) fn cannot_run(
    program: &str,
    dir: Option<&Path>,
    search: Option<&str>,
    source: io::Error,
) -> Error {
    let errno = source.raw_os_error().map(Errno::from_raw);
    let absent = matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR));
    let err = |message: String, hint: Option<String>| {
        let err = Error::io(message, source);
        let err = if absent {
            err.with_kind(Kind::NotFound)
        } else {
            err
        };
        match hint {
            Some(hint) => err.with_hint(hint),
            None => err,
        }
    };
    if let Some(dir) = dir.filter(|dir| absent && !dir.is_dir()) {
        let hint = "`dir` is where the command begins: a directory of the host".to_owned();
        return err(format!("run `{program}` in `{}`", dir.display()), Some(hint));
    }
    let hint = match errno {
        Some(Errno::ENOENT) if !program.contains('/') => {
            let path = search.map_or_else(|| std::env::var("PATH").unwrap_or_default(), str::to_owned);
            Some(format!(
                "no directory of PATH has it ({path}): install it, or name it by its path"
            ))
        }
        // Looked up from where the command begins.
        Some(errno) => about_file(
            &dir.map_or_else(|| PathBuf::from(program), |dir| dir.join(program)),
            errno,
        ),
        None => None,
    };
    err(format!("run `{program}`"), hint)
}

fn about_file(file: &Path, errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::ENOENT if !file.exists() => {
            "there is no such file on the host, which is where the command would run".to_owned()
        }
        Errno::ENOENT => match interpreter(file) {
            Some(interpreter) => format!("the first line asks for `{interpreter}`, and that is not there"),
            None => "the loader that it asks for is not there: it was built for another system".to_owned(),
        },
        Errno::EACCES if file.is_dir() => "it is a directory".to_owned(),
        Errno::EACCES
            if file
                .metadata()
                .is_ok_and(|meta| meta.permissions().mode() & 0o111 == 0) =>
        {
            format!("chmod +x {}", file.display())
        }
        Errno::EACCES => {
            "it may not be executed: by its mode, by a directory before it, or by a mount with `noexec`"
                .to_owned()
        }
        Errno::ENOEXEC => {
            "a script begins with `#!` and the path of its interpreter; a binary is of this processor"
                .to_owned()
        }
        Errno::E2BIG => "its arguments are too long: give it a file, or its input".to_owned(),
        _ => return None,
    })
}

/// What the first line of a script names.
fn interpreter(file: &Path) -> Option<String> {
    let mut first = Vec::new();
    let open = std::fs::File::open(file).ok()?;
    open.take(FIRST_LINE).read_to_end(&mut first).ok()?;
    let text = String::from_utf8_lossy(&first);
    let line = text.strip_prefix("#!")?.lines().next()?;
    Some(line.split_whitespace().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What is said of a program that cannot run: the message, and the hint.
    fn said(program: &str, dir: Option<&Path>) -> (String, Option<String>) {
        let mut command = Command::new(program);
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        let source = command.spawn().unwrap_err();
        let err = cannot_run(program, dir, None, source);
        (err.to_string(), err.hint().map(str::to_owned))
    }

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> String {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let missing = dir.join("missing").display().to_string();
        let script = file(dir, "script", "#!/nowhere/lua -e\n", 0o755);
        let plain = file(dir, "plain", "#!/bin/sh\n", 0o644);
        let odd = file(dir, "odd", "no program\n", 0o755);
        let enoent = "ENOENT (no such file or directory)";

        let (message, hint) = said("no-such-program", None);
        assert_eq!(message, format!("run `no-such-program`: {enoent}"));
        assert!(hint.unwrap().starts_with("no directory of PATH has it (/"));
        let (message, hint) = said(&missing, None);
        assert_eq!(message, format!("run `{missing}`: {enoent}"));
        assert!(hint.unwrap().starts_with("there is no such file on the host"));
        let (message, hint) = said("true", Some(Path::new(&missing)));
        assert_eq!(message, format!("run `true` in `{missing}`: {enoent}"));
        assert!(hint.unwrap().starts_with("`dir` is where"));
        let (message, hint) = said(&script, None);
        assert_eq!(message, format!("run `{script}`: {enoent}"));
        assert!(hint.unwrap().contains("asks for `/nowhere/lua`"));
        let (message, hint) = said(&plain, None);
        assert_eq!(message, format!("run `{plain}`: EACCES (permission denied)"));
        assert_eq!(hint, Some(format!("chmod +x {plain}")));
        let (message, hint) = said(&odd, None);
        assert_eq!(message, format!("run `{odd}`: ENOEXEC (exec format error)"));
        assert!(hint.unwrap().contains("begins with `#!`"));
        let (_, hint) = said(&dir.display().to_string(), None);
        assert_eq!(hint.as_deref(), Some("it is a directory"));
    }

    #[test]
    fn what_is_not_there_is_of_that_kind() {
        let source = || io::Error::from_raw_os_error(nix::libc::ENOENT);
        assert_eq!(cannot_run("x", None, None, source()).kind(), Kind::NotFound);
        let err = cannot_run("x", None, Some("/own"), source());
        assert!(err.hint().unwrap().contains("(/own)"), "{err}");
    }
}
