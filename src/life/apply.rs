//! `hostel apply`: carries out a plan, guest after guest in the order of their dependencies, as many at once as
//! there are processors.
//!
//! Each action runs in a process of its own (`crew`).

use std::collections::{BTreeMap, BTreeSet};

use super::crew::Crew;
use super::hooks::HookRunner;
use super::host::Host;
use super::stop::StopHow;
use super::{WAIT, build, convert, destroy, health, observe, set, start, stop, tree, volume};
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, Spec, Volume, Xid};
use crate::plan::{Action, Fact, Facts, Options, Plan, Verb, diff};
use crate::storage::files::{self, Access};
use crate::storage::state::{self, Applied, RecipeRef};
use crate::storage::{self, Bounds, Progress, bounds, fill, ids, image, lock, xid};
use crate::sys::interrupt;

/// What an apply may do, and how.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// How many guests are worked on at once.
    pub jobs: usize,
    /// Build guests anew whose files come from elsewhere now. What was in them is lost.
    pub rebuild: bool,
    /// Do not wait until guests are healthy, also where another depends on them.
    pub no_wait: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            jobs,
            rebuild: false,
            no_wait: false,
        }
    }
}

/// Told what an apply does. `guest` begins and ends once for each action, in any order between guests.
pub trait Watcher {
    /// The work on a guest has begun.
    fn begin(&self, action: &Action);
    /// A stage of the work on a guest; in the process of that work.
    fn stage(&self, guest: &GuestName, what: &str);
    /// The work on a guest is done.
    fn done(&self, action: &Action);
}

/// What is on the host, for a plan.
pub fn facts(host: &Host) -> Result<Facts> {
    let mut facts = Facts::new();
    for name in state::list(&host.layout)? {
        let Some(applied) = state::read(&host.layout, &name)? else {
            continue;
        };
        let mut fact = Fact {
            spec: applied.spec,
            started: None,
            xid: applied.xid,
            drift: Vec::new(),
            recipe: applied.recipe.map(|r| r.path.to_string_lossy().into_owned()),
        };
        volumes_of(host, &mut fact.spec)?;
        if let Some(group) = observe::group(host, fact.xid)?
            && observe::lives(&group)?
        {
            // Without a record of its start (it was killed between the two) it runs with what was applied.
            let mut started = applied.started.unwrap_or_else(|| fact.spec.clone());
            volumes_of(host, &mut started)?;
            fact.drift = group.drift(&started.limits)?;
            fact.drift.extend(disk_drift(host, &started, fact.xid)?);
            fact.started = Some(started);
        }
        facts.insert(name, fact);
    }
    Ok(facts)
}

/// Makes what a guest says of its volumes what they are like: another guest, or `hostel volume set`, may have changed them.
fn volumes_of(host: &Host, spec: &mut Spec) -> Result<()> {
    for (name, said) in &mut spec.volumes {
        if let Some(there) = volume::create::observed(host, name)? {
            // Whoever did not say how it is kept says nothing about it.
            let storage = said.storage.and(there.storage);
            *said = Volume { storage, ..there };
        }
    }
    Ok(())
}

/// The limits of its files that no longer hold, by their fields' names.
fn disk_drift(host: &Host, started: &Spec, xid: Xid) -> Result<Vec<&'static str>> {
    let bounds = Bounds::of(&started.limits, xid);
    if bounds.is_none() {
        return Ok(Vec::new());
    }
    let files = files::read(&host.layout, &started.name)?;
    let home = host.layout.guest_dir(&started.name);
    if bounds::is_held(&host.layout, &home, &files, &bounds)? {
        return Ok(Vec::new());
    }
    Ok(vec![if bounds.space.is_some() { "disk" } else { "inodes" }])
}

/// What is to be done, with the volumes that are made on the way.
pub fn plan(host: &Host, specs: &[Spec], facts: &Facts, options: &Options) -> Result<Plan> {
    let mut plan = diff(specs, facts, options)?;
    plan.add_volumes(specs, |name| {
        Ok(storage::volume::read(&host.layout, name)?.is_some())
    })?;
    Ok(plan)
}

/// The same for who is about to change it: other commands on its guests are waited for first, also those that were
/// killed and of which a process is still about to end.
pub fn settled_facts(host: &Host) -> Result<Facts> {
    for name in state::list(&host.layout)? {
        lock::settle(&host.layout, &name, WAIT)?;
    }
    facts(host)
}

/// Keeps `recipe` with the guests of `specs` that are as it says already: their hooks are its functions from now on,
/// also when only those have changed.
pub fn adopt(host: &Host, plan: &Plan, specs: &[Spec], recipe: &RecipeRef) -> Result<()> {
    let is_planned = |name: &GuestName| plan.actions.iter().any(|action| action.guest == *name);
    for spec in specs.iter().filter(|spec| !is_planned(&spec.name)) {
        let is_kept = |applied: &Applied| applied.recipe.as_ref() == Some(recipe);
        if state::read(&host.layout, &spec.name)?.is_none_or(|applied| is_kept(&applied)) {
            continue;
        }
        let _lock = lock::acquire(&host.layout, &spec.name, WAIT)?;
        // As it is now that nobody else changes it.
        if let Some(mut applied) = state::read(&host.layout, &spec.name)? {
            applied.recipe = Some(recipe.clone());
            state::write(&host.layout, &spec.name, &applied)?;
        }
    }
    Ok(())
}

/// Carries out `plan`, which was made from `specs` and this host. Stops at the first failure: what that action had
/// begun is undone, what others have finished stays.
pub fn apply(
    host: &Host,
    plan: &Plan,
    specs: &[Spec],
    recipe: Option<&RecipeRef>,
    options: ApplyOptions,
    hooks: &dyn HookRunner,
    watcher: &dyn Watcher,
) -> Result<()> {
    if let Some(action) = plan
        .actions
        .iter()
        .find(|a| a.verb == Verb::Rebuild && !options.rebuild)
    {
        let why: Vec<&str> = action.changes.iter().map(|c| c.path.as_str()).collect();
        return Err(Error::new(
            Kind::State,
            format!(
                "guest `{}` must be built anew ({}), which loses what is in it",
                action.guest,
                why.join(", ")
            ),
        )
        .with_hint("`--rebuild` allows it"));
    }
    host.layout.ensure()?;
    if !plan.actions.is_empty() {
        // Once, not in every worker at once.
        host.cgroup_root()?;
        host.fence()?;
    }
    let specs: BTreeMap<&GuestName, &Spec> = specs.iter().map(|s| (&s.name, s)).collect();
    let work = Work {
        host,
        recipe,
        options,
        hooks,
        watcher,
    };
    if let Some(first) = plan.actions.first() {
        let makes = |action: &&Action| matches!(action.verb, Verb::Create | Verb::Rebuild);
        let made = plan
            .actions
            .iter()
            .filter(makes)
            .filter_map(|action| specs.get(&action.guest));
        let guest = &first.guest;
        image::foresee(&host.layout, made.copied(), &Stages { guest, watcher });
    }
    let mut waiting: Vec<&Action> = plan.actions.iter().collect();
    let mut crew = Crew::default();
    let mut open: BTreeSet<&GuestName> = plan.actions.iter().map(|a| &a.guest).collect();
    let mut failed: Option<Error> = None;
    loop {
        if failed.is_none() && interrupt::pending().is_some() {
            failed = interrupt::check().err();
        }
        while failed.is_none() && crew.len() < options.jobs.max(1) {
            let Some(next) = waiting
                .iter()
                .position(|a| !a.after.iter().any(|name| open.contains(name)))
            else {
                break;
            };
            let action = waiting.remove(next);
            watcher.begin(action);
            let spec = specs.get(&action.guest).copied();
            failed = crew.begin(&action.guest, || work.carry_out(action, spec)).err();
        }
        if crew.len() == 0 {
            break;
        }
        let (guest, result) = crew.finished::<()>()?;
        match result {
            Ok(()) => {
                open.remove(&guest);
                if let Some(action) = plan.actions.iter().find(|a| a.guest == guest) {
                    watcher.done(action);
                }
            }
            Err(err) => {
                failed = Some(match failed.take() {
                    Some(first) => first.and_also(err),
                    None => err,
                });
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

struct Work<'a> {
    host: &'a Host,
    recipe: Option<&'a RecipeRef>,
    options: ApplyOptions,
    hooks: &'a dyn HookRunner,
    watcher: &'a dyn Watcher,
}

impl Work<'_> {
    fn carry_out(&self, action: &Action, spec: Option<&Spec>) -> Result<()> {
        let host = self.host;
        let name = &action.guest;
        tracing::debug!("{name}: {}", action.verb);
        let _lock = lock::acquire(&host.layout, name, WAIT)?;
        let progress = Stages {
            guest: name,
            watcher: self.watcher,
        };
        let spec = || {
            spec.ok_or_else(|| {
                Error::new(
                    Kind::Internal,
                    format!("`{name}` is in the plan and in no recipe"),
                )
            })
        };
        match action.verb {
            Verb::Create => {
                build::build_locked(host, spec()?, self.recipe.cloned(), self.hooks, &progress)?;
                self.start(name)
            }
            Verb::Start => {
                self.record(spec()?, &progress)?;
                self.start(name)
            }
            Verb::Update => {
                let applied = observe::applied(host, name)?;
                let spec = spec()?;
                if let Some(what) = set::set_live(host, &applied, &spec.limits)?.warning() {
                    progress.warning(what);
                }
                self.record(spec, &progress)?;
                // Only what is live differs, so it runs with all of it now.
                let mut applied = observe::applied(host, name)?;
                applied.started = Some(spec.clone());
                state::write(&host.layout, name, &applied)
            }
            Verb::Restart => {
                progress.stage("stop");
                stop::stop_locked(host, name, StopHow::default(), self.hooks)?;
                self.record(spec()?, &progress)?;
                self.start(name)
            }
            Verb::Rebuild => {
                // The new image first: when it cannot be had, nothing has happened.
                let spec = spec()?;
                image::prepare(&host.layout, image::Wanted::of(spec), &progress)?;
                progress.stage("stop");
                stop::stop_locked(host, name, StopHow::default(), self.hooks)?;
                destroy::destroy_locked(host, name)?;
                build::build_locked(host, spec, self.recipe.cloned(), self.hooks, &progress)?;
                self.start(name)
            }
            Verb::Destroy => {
                progress.stage("stop");
                stop::stop_locked(host, name, StopHow::default(), self.hooks)?;
                destroy::destroy_locked(host, name)
            }
        }
    }

    fn start(&self, name: &GuestName) -> Result<()> {
        start::start_locked(self.host, name, self.hooks)?;
        if self.options.no_wait {
            return Ok(());
        }
        let Err(err) = health::wait_healthy(self.host, name, None) else {
            return Ok(());
        };
        // The start is one step: a guest that does not get healthy is not left half up.
        let applied = observe::applied(self.host, name)?;
        Err(match stop::kill_and_clear(self.host, &applied) {
            Ok(()) => err,
            Err(other) => err.and_also(other),
        })
    }

    /// Makes `spec` what is applied, its files written.
    fn record(&self, spec: &Spec, progress: &dyn Progress) -> Result<()> {
        let host = self.host;
        let mut applied: Applied = observe::applied(host, &spec.name)?;
        if spec.xid.is_some_and(|wanted| wanted != applied.xid) {
            // A number that somebody else has is refused here, and the guest keeps its own.
            let old = applied.xid;
            applied.xid = xid::allocate(&host.layout, &spec.name, spec.xid, &ids::taken()?)?;
            xid::release_one(&host.layout, &spec.name, old)?;
        }
        if let Some(wanted) = spec.storage
            && wanted != files::read(&host.layout, &spec.name)?.storage()
        {
            // As they will be: it is made for them.
            applied.spec.limits = spec.limits.clone();
            convert::convert_locked(host, &applied, wanted, progress)?;
        }
        if applied.spec.files != spec.files || applied.spec.hostname != spec.hostname {
            fill::fill(&tree::open(host, &applied, Access::Write)?, spec, progress)?;
        }
        applied.spec = spec.clone();
        applied.recipe = self.recipe.cloned();
        env!("CARGO_PKG_VERSION").clone_into(&mut applied.hostel);
        state::write(&host.layout, &spec.name, &applied)?;
        volume::create::ensure(host, spec, progress)
    }
}

/// The stages of a build, told with the guest's name.
struct Stages<'a> {
    guest: &'a GuestName,
    watcher: &'a dyn Watcher,
}

impl Progress for Stages<'_> {
    fn stage(&self, what: &str) {
        self.watcher.stage(self.guest, what);
    }
}
