//! What no two servers may have in common: machine ids, keys of ssh servers, seeds of randomness, leases.
//!
//! The tree is a guest's and may be full of traps: nothing of it is run, and it is written to only through [`Inside`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Inside, Progress};
use crate::error::{Context as _, Error, Kind, Result};

/// The kinds of keys that OpenSSH's server looks for by itself.
pub(super) const KEY_TYPES: &[&str] = &["rsa", "ecdsa", "ed25519"];

/// More than any key has.
const MAX_KEY: u64 = 64 << 10;

/// Gives a clone an identity of its own. Its hostname and addresses are in its specification. `work` is a scratch
/// directory.
pub(super) fn reset(inside: &Inside, work: &Path, progress: &dyn Progress) -> Result<()> {
    let id = Path::new("/etc/machine-id");
    if inside.exists(id)? {
        // Empty, it is filled at the first start (`machine-id(5)`).
        inside.write_file(id, b"", 0o444, 0, 0)?;
    }
    for kept in [
        "/var/lib/dbus/machine-id",
        "/var/lib/systemd/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/dhcp/dhclient.leases",
    ] {
        // `remove` would take a directory with all that is in it; none of these is one.
        if inside.open_file(Path::new(kept)).is_ok() {
            inside.remove(Path::new(kept))?;
        }
    }
    let has = |kind: &&&str| inside.exists(&key_path(kind)).unwrap_or(false);
    let kinds: Vec<&str> = KEY_TYPES.iter().filter(has).copied().collect();
    make_host_keys(inside, &kinds, work, progress)
}

/// Makes keys of these kinds for an ssh server, in place of those that are there.
pub(super) fn make_host_keys(
    inside: &Inside,
    kinds: &[&str],
    work: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    progress.stage("making the keys of its ssh server");
    for kind in kinds {
        let (key, public) = match generate(kind, work) {
            Ok(pair) => pair,
            Err(err) if err.kind() == Kind::NotFound => {
                // The host has no ssh at all. The source's keys do not stay for that.
                for path in KEY_TYPES.iter().map(|kind| key_path(kind)) {
                    inside.remove(&path)?;
                    inside.remove(&with_pub(&path))?;
                }
                progress.warning(
                    "the host has no `ssh-keygen`: the new guest has no keys for its ssh server; `ssh-keygen -A` in it makes them",
                );
                return Ok(());
            }
            Err(err) => return Err(err),
        };
        let path = key_path(kind);
        inside.write_file(&path, &key, 0o600, 0, 0)?;
        inside.write_file(&with_pub(&path), &public, 0o644, 0, 0)?;
    }
    Ok(())
}

fn key_path(kind: &str) -> PathBuf {
    PathBuf::from(format!("/etc/ssh/ssh_host_{kind}_key"))
}

fn with_pub(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// A key and its public half, by the host's `ssh-keygen`.
fn generate(kind: &str, work: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let file = work.join(format!("key-{kind}"));
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", kind, "-N", "", "-C", "root@guest", "-f"])
        .arg(&file)
        .stdin(Stdio::null());
    crate::sys::command::tell(&command);
    let output = match command.output() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(Kind::NotFound, "the host has no `ssh-keygen`"));
        }
        other => other.context(|| "run `ssh-keygen`")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::External, format!("`ssh-keygen` failed: {said}")));
    }
    let read = |path: &Path| -> Result<Vec<u8>> {
        let meta = std::fs::metadata(path).context(|| format!("stat `{}`", path.display()))?;
        if meta.len() > MAX_KEY {
            return Err(Error::new(Kind::External, "`ssh-keygen` made no key"));
        }
        std::fs::read(path).context(|| format!("read `{}`", path.display()))
    };
    Ok((read(&file)?, read(&with_pub(&file))?))
}
