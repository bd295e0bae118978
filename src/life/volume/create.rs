//! `hostel volume create`, and the volumes of a recipe.

use super::{making, running, set};
use crate::error::{Context as _, Result};
use crate::guest::{Spec, Volume, VolumeName};
use crate::life::WAIT;
use crate::life::host::Host;
use crate::storage::driver::From;
use crate::storage::still::Source;
use crate::storage::volume::{self, Kept};
use crate::storage::{Progress, files};

/// What a volume is like now; `None` where there is none.
pub(in crate::life) fn observed(host: &Host, name: &VolumeName) -> Result<Option<Volume>> {
    let Some(kept) = volume::read(&host.layout, name)? else {
        return Ok(None);
    };
    let files = files::read_in(&host.layout.volume_dir(name))?;
    Ok(Some(Volume {
        size: kept.size,
        inodes: kept.inodes,
        storage: Some(files.storage()),
    }))
}

/// Makes an empty volume, which belongs to root.
pub fn create(host: &Host, name: &VolumeName, said: &Volume, progress: &dyn Progress) -> Result<Kept> {
    host.layout.ensure()?;
    making(host, name, WAIT, || {
        volume::create(&host.layout, name, said, &EMPTY, progress)
    })
    .context(|| format!("make the volume `{name}`"))
}

const EMPTY: From<'static> = From::Fill(&|_| Ok(()));

/// Makes the volumes that a guest declares and that are not there, and the limits of the others what it says.
pub(in crate::life) fn ensure(host: &Host, spec: &Spec, progress: &dyn Progress) -> Result<()> {
    for (name, said) in &spec.volumes {
        // Without its lock, which every guest that starts on it shares: who must have it alone would wait for all of them.
        if observed(host, name)?.is_some_and(|there| there.is_as(said)) {
            continue;
        }
        let made = making(host, name, WAIT, || {
            let Some(kept) = volume::read(&host.layout, name)? else {
                progress.stage(&format!("making the volume {name}"));
                return volume::create(&host.layout, name, said, &EMPTY, progress).map(drop);
            };
            // Without the locks of those that write: whoever applies holds one of them, and another worker the next.
            let running = running(host, name)?;
            let source = Source::of_all(&host.layout, &running)?;
            set::make_hold(host, name, &kept, said, source, progress)
        });
        made.context(|| format!("make the volume `{name}`"))?;
    }
    Ok(())
}
