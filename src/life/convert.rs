//! `hostel convert`: a guest's files, kept in another way.

use std::fs;
use std::io;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::host::Host;
use super::observe::{self, State};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{GuestName, Storage};
use crate::storage::driver::{self, From, Job};
use crate::storage::files::{self, Files};
use crate::storage::scratch::Scratch;
use crate::storage::state::{self, Applied};
use crate::storage::{Layout, Progress, layer, lock};

/// Keeps the files of a guest, which does not run, as `storage` from now on. Whether anything changed.
pub fn convert(host: &Host, name: &GuestName, storage: Storage, progress: &dyn Progress) -> Result<bool> {
    observe::applied(host, name)?;
    let _lock = lock::acquire(&host.layout, name, super::WAIT)?;
    let mut applied = observe::applied(host, name)?;
    if observe::status(host, name)?.state != State::Stopped {
        return Err(Error::new(Kind::State, format!("guest `{name}` runs"))
            .with_hint(format!("`hostel stop {name}` first: its files move")));
    }
    let is_changed = convert_locked(host, &applied, storage, progress)?;
    if applied.spec.storage != Some(storage) {
        // Else the next apply would move them back.
        applied.spec.storage = Some(storage);
        state::write(&host.layout, name, &applied)?;
    }
    Ok(is_changed)
}

/// The same for a caller that holds the guest's lock and knows that it does not run.
pub(super) fn convert_locked(
    host: &Host,
    applied: &Applied,
    storage: Storage,
    progress: &dyn Progress,
) -> Result<bool> {
    let (layout, name) = (&host.layout, &applied.spec.name);
    let old = files::read(layout, name)?;
    finish(layout, name, &old)?;
    if old.storage() == storage {
        return Ok(false);
    }
    let driver = driver::choose(layout, Some(storage))?;
    let scratch = Scratch::new(layout)?;
    let from = From::Guest {
        name,
        files: &old,
        is_live: false,
    };
    let made = driver.make(&Job {
        layout,
        name,
        from: &from,
        place: scratch.path(),
        progress,
    })?;
    let dir = layout.guest_dir(name);
    let opened = fs::File::open(&dir).context(|| format!("open `{}`", dir.display()))?;
    nix::unistd::syncfs(&opened).context(|| format!("write `{}` to the disk", dir.display()))?;
    let (fresh, place) = (scratch.path().join("rootfs"), layout.rootfs(name));
    // What the list says is what there is: it is changed last where the old tree is still needed until then, and what it
    // does not name is taken away after it, now or by `finish`.
    match (&old, &made.files) {
        (Files::Overlay(_), _) => {
            fs::rename(&fresh, &place).context(|| format!("move into `{}`", place.display()))?;
        }
        (_, Files::Overlay(_)) => {}
        _ => swap(&fresh, &place)?,
    }
    files::write(&dir, &made.files)?;
    drop(made.holds);
    finish(layout, name, &made.files)?;
    if let Some(stack) = old.stack() {
        layer::remove_unused(layout, stack.layers())?;
    }
    Ok(true)
}

/// Takes away a tree that a guest of layers still has from before it was one.
fn finish(layout: &Layout, name: &GuestName, files: &Files) -> Result<()> {
    if files.stack().is_none() {
        return Ok(());
    }
    let rootfs = layout.rootfs(name);
    let scratch = Scratch::new(layout)?;
    match fs::rename(&rootfs, scratch.path().join("rootfs")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove `{}`", rootfs.display())),
    }
}

fn swap(one: &Path, other: &Path) -> Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
        .context(|| format!("exchange `{}` and `{}`", one.display(), other.display()))
}

/// Takes away what a conversion left that was killed. Whether there was something.
pub(super) fn sweep(layout: &Layout, name: &GuestName) -> Result<bool> {
    let files = files::read(layout, name)?;
    let is_left = files.stack().is_some() && layout.rootfs(name).exists();
    finish(layout, name, &files)?;
    Ok(is_left)
}
