//! `hostel volume create`, and the volumes of a recipe.

use super::{making, running, set};
use crate::error::{Context as _, Result};
use crate::guest::{Spec, Volume, VolumeName};
use crate::life::WAIT;
use crate::life::host::Host;
use crate::storage::Progress;
use crate::storage::driver::From;
use crate::storage::still::Source;
use crate::storage::volume::{self, Kept};

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
