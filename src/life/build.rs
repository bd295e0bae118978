//! `hostel build`: a guest's files from its image, and what is kept of it.

use super::WAIT;
use super::hooks::{HookRunner, around_copy};
use super::host::Host;
use super::observe::{self, State};
use super::volume;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{GuestName, Spec};
use crate::storage::files::{self, Access, Files};
use crate::storage::lock;
use crate::storage::state::{self, Applied, RecipeRef};
use crate::storage::{Bounds, Progress, bounds, fill, ids, image, xid};

/// Makes the files of a guest that is not there yet, and remembers what it is. Whole or not at all: until the last
/// step it has no `spec.json`, and what has none is taken away by the next command.
pub fn build(
    host: &Host,
    spec: &Spec,
    recipe: Option<RecipeRef>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Applied> {
    host.layout.ensure()?;
    let _lock = lock::acquire(&host.layout, &spec.name, WAIT)?;
    build_locked(host, spec, recipe, hooks, progress)
}

/// The same for a caller that holds the guest's lock.
pub(super) fn build_locked(
    host: &Host,
    spec: &Spec,
    recipe: Option<RecipeRef>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Applied> {
    let name = &spec.name;
    if state::read(&host.layout, name)?.is_some() {
        return Err(
            Error::new(Kind::Exists, format!("guest `{name}` is there already"))
                .with_hint(format!("`hostel destroy {name}` takes it away, with its files")),
        );
    }
    let made = make(host, spec, recipe, hooks, progress);
    made.map_err(|err| match undo(host, name) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
    .context(|| format!("build `{name}`"))
}

fn make(
    host: &Host,
    spec: &Spec,
    recipe: Option<RecipeRef>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Applied> {
    let name = &spec.name;
    sweep_scratch(host)?;
    // A build that was killed may have left files without a specification.
    image::remove(&host.layout, name)?;
    let xid = xid::allocate(&host.layout, name, spec.xid, &ids::taken()?)?;
    let prepared = image::prepare(&host.layout, image::Wanted::of(spec), progress)?;
    let bounds = Bounds::of(&spec.limits, xid);
    let files = install(host, spec, &prepared, &bounds, hooks, progress)?;
    if let Some(start) = &prepared.start
        && !start.untaken.is_empty()
        && prepared.source.is_none()
    {
        progress.warning(&format!(
            "`{}` names what is not taken over: {}; the recipe says that",
            spec.image,
            start.untaken.join(", ").escape_debug()
        ));
    }
    let inside = files::open_as(&host.layout, name, &files, Access::Write)?.flushed_later();
    fill::fill(&inside, spec, progress)?;
    drop(inside);
    let applied = Applied {
        spec: spec.clone(),
        xid,
        recipe,
        image_key: prepared.key,
        start: prepared.start,
        hostel: env!("CARGO_PKG_VERSION").to_owned(),
        started: None,
    };
    state::write_with_files(&host.layout, name, &applied)?;
    // Now that they have a user: nobody removes them any more.
    volume::create::ensure(host, spec, progress)?;
    Ok(applied)
}

/// Makes the files. Around it the hooks of the guest that is cloned, if it runs: it may have to put its data in order.
fn install(
    host: &Host,
    spec: &Spec,
    prepared: &image::Prepared,
    bounds: &Bounds,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Files> {
    let install = || image::install(&host.layout, &spec.name, prepared, spec.storage, bounds, progress);
    let source = match &prepared.source {
        Some(source) if observe::status(host, source)?.state == State::Running => {
            observe::applied(host, source)?
        }
        _ => return install(),
    };
    around_copy(hooks, [&source], install)
}

/// Takes back a build that failed, or a guest that does not run: its specification first, so that there is never a
/// guest without files.
pub(super) fn undo(host: &Host, name: &GuestName) -> Result<()> {
    state::remove(&host.layout, name)?;
    image::remove(&host.layout, name)?;
    for number in xid::of_guest(&host.layout, name)? {
        bounds::forget(&host.layout, number.id_base())?;
    }
    xid::release(&host.layout, name)?;
    sweep_scratch(host)
}

/// Takes away what builds and destroys that were killed have left half-made.
fn sweep_scratch(host: &Host) -> Result<()> {
    image::sweep(&host.layout).map(drop)
}
