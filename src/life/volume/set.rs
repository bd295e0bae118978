//! `hostel volume set`: the limits of a volume, and how it is kept.

use super::{Held, hold, refuse_running};
use crate::error::{Error, Kind, Result};
use crate::guest::{Bytes, Storage, Volume, VolumeName};
use crate::life::host::Host;
use crate::storage::files::{self, Files};
use crate::storage::still::Source;
use crate::storage::volume::{self, Kept};
use crate::storage::{Bounds, Home, Progress, bounds};

/// What changes; nothing stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// A new size; `Some(None)` takes the limit away.
    pub size: Option<Option<Bytes>>,
    /// A new number of inodes at most; `Some(None)` takes the limit away.
    pub inodes: Option<Option<u32>>,
    /// How it is kept from now on. Only while nobody has it mounted.
    pub storage: Option<Storage>,
}

/// Changes a volume. Limits hold at once, also for guests that run.
pub fn set(host: &Host, name: &VolumeName, change: Change, progress: &dyn Progress) -> Result<()> {
    let held: Held = hold(host, name)?;
    let kept = volume::required(&host.layout, name)?;
    let wanted = Volume {
        size: change.size.unwrap_or(kept.size),
        inodes: change.inodes.unwrap_or(kept.inodes),
        storage: change.storage,
    };
    make_hold(host, name, &kept, &wanted, held.source(host)?, progress)
}

/// Makes what is wanted hold. The caller holds the volume's lock; `source` is who has it mounted.
pub(super) fn make_hold(
    host: &Host,
    name: &VolumeName,
    kept: &Kept,
    wanted: &Volume,
    source: Source,
    progress: &dyn Progress,
) -> Result<()> {
    let layout = &host.layout;
    let home = Home::of_volume(layout, name);
    let files = files::read_in(home.dir())?;
    let new = kept.within(wanted.size, wanted.inodes);
    if let Some(to) = wanted.storage.filter(|to| *to != files.storage()) {
        refuse_running(host, name, "what is in it moves")?;
        return convert(host, name, kept, &new, to, progress);
    }
    if (new.size, new.inodes) == (kept.size, kept.inodes) {
        return Ok(());
    }
    if files == Files::Image && new.inodes != kept.inodes {
        return Err(Error::new(
            Kind::Unsupported,
            "an image keeps the number of inodes that it was made with",
        )
        .with_hint("convert the volume to another storage and back, with `hostel volume set --storage`"));
    }
    bound(host, &home, &files, &new.bounds(), source)?;
    volume::write(layout, name, &new).map_err(|err| {
        // What is kept must be what holds.
        match bounds::hold(layout, home.dir(), &files, &kept.bounds()) {
            Ok(()) => err,
            Err(other) => err.and_also(other),
        }
    })
}

/// Keeps it in another way, within new limits. Killed in between, what is kept of it asks for nothing that its files cannot
/// do: limits that go are forgotten before they move, those that come are kept after.
fn convert(
    host: &Host,
    name: &VolumeName,
    kept: &Kept,
    new: &Kept,
    to: Storage,
    progress: &dyn Progress,
) -> Result<()> {
    let layout = &host.layout;
    if !new.bounds().is_none() {
        volume::convert(layout, name, new, to, progress)?;
        return volume::write(layout, name, new);
    }
    volume::write(layout, name, new)?;
    volume::convert(layout, name, new, to, progress).map_err(|err| match volume::write(layout, name, kept) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
}

fn bound(host: &Host, home: &Home, files: &Files, bounds: &Bounds, mut source: Source) -> Result<()> {
    // Nothing may be made beside the walk that makes what is there count.
    if bounds::is_new(&host.layout, home.dir(), files, bounds)? {
        source.keep_still(&Files::Dir, Storage::Dir)?;
    }
    bounds::hold(&host.layout, home.dir(), files, bounds)
}
