//! `clone:GUEST`: another guest's files. It may run; no command changes it meanwhile.

use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, Span};
use crate::storage::still::Source;
use crate::storage::{GuestLock, Layout, Progress, Wait, lock};

/// How long a clone waits for another command that works on its source.
const PATIENCE: Span = Span::from_secs(10);

/// Keeps the source as it is until the values are dropped, but for what it does itself.
pub(super) fn hold(
    layout: &Layout,
    source: &GuestName,
    progress: &dyn Progress,
) -> Result<(Source, GuestLock)> {
    let mut tell = |what: &str| progress.stage(what);
    let held = lock::acquire_telling(layout, source, Wait::UpTo(PATIENCE), &mut tell)
        .context(|| format!("clone `{source}`"))?;
    if !layout.spec(source).exists() {
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no guest `{source}` to clone"),
        ));
    }
    Ok((Source::look(layout, source)?, held))
}
