//! Host data that a guest's root may write as root: not where users of the host come.
//!
//! On an id-mapped mount the guest's root is the root of what is on disk. It could leave a set-user-ID program there,
//! which is harmless in the guest (`nosuid`), and on the host makes its root of every user who can reach it. No mount
//! flag, no capability and no system call filter tells that `chmod(2)` from an honest one, so such a directory must lie
//! where no user of the host comes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::Mount;
use crate::plan::Step;

/// Refuses the steps of a start that would give such data away.
pub(super) fn check(steps: &[Step]) -> Result<()> {
    if !steps.contains(&Step::MapOwners) {
        return Ok(());
    }
    for step in steps {
        match step {
            Step::OpenMount(mount) if mount.idmap && !mount.readonly => refuse(mount)?,
            _ => {}
        }
    }
    Ok(())
}

fn refuse(mount: &Mount) -> Result<()> {
    let Some(path) = mount.source.path() else {
        // Below the state directory, which root alone can enter.
        return Ok(());
    };
    let Ok(meta) = path.metadata() else {
        // It is missing: to open it says so.
        return Ok(());
    };
    if let Some(owner) = &mount.owner
        && owner.host_uid.unwrap_or(meta.uid()) != 0
    {
        // Nobody on it is root. What its one user could give away is that user's own.
        return Ok(());
    }
    let Ok(source) = path.canonicalize() else {
        // It is missing: to open it says so.
        return Ok(());
    };
    if !is_for_all(&source)? || is_nosuid(&source)? {
        return Ok(());
    }
    let shown = source.display();
    Err(Error::new(
        Kind::Denied,
        format!("every user of the host can reach `{shown}`, and the guest's root could make set-user-ID programs there"),
    )
    .with_hint(
        "keep it below a directory that root alone can enter (mode 0700), or give the mount `readonly = true`, \
         an `owner` who is not root, or `idmap = false`, or mount its file system with `nosuid`",
    ))
}

/// Whether everybody can search all the directories above `source`. Its own mode is the guest's to change.
fn is_for_all(source: &Path) -> Result<bool> {
    for above in source.ancestors().skip(1) {
        let meta = above
            .metadata()
            .context(|| format!("look at `{}`", above.display()))?;
        if meta.mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_nosuid(source: &Path) -> Result<bool> {
    let stat = statvfs(source).context(|| format!("look at the file system of `{}`", source.display()))?;
    Ok(stat.flags().contains(FsFlags::ST_NOSUID))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_private_directory_above_is_enough_and_its_own_mode_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let source = dir.path().join("a/b");
        fs::create_dir_all(&source).unwrap();
        mode(dir.path(), 0o700);
        assert!(!is_for_all(&source).unwrap());
        mode(dir.path(), 0o755);
        // Only as far as the directories above the temporary one let everybody in.
        let outer = is_for_all(dir.path()).unwrap();
        mode(&source, 0o700);
        assert_eq!(is_for_all(&source).unwrap(), outer);
        mode(&dir.path().join("a"), 0o750);
        assert!(!is_for_all(&source).unwrap());
    }
}
