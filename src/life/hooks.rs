//! Hooks: functions of the recipe at fixed moments of a guest's life. Who runs them is handed in, so that this
//! side knows no Lua.

use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, Hook, HookMoment, OnError};
use crate::storage::state::Applied;

/// Runs the hooks of recipes.
pub trait HookRunner {
    /// Runs the hook of `applied`'s guest for `moment`.
    fn run(&self, applied: &Applied, moment: HookMoment, hook: &Hook) -> Result<()>;

    /// Tells the operator of a failure that does not end the command.
    fn warn(&self, guest: &GuestName, err: &Error);
}

/// Runs the hook of a guest for `moment`, if it has one, and judges a failure as the recipe says: `warn` goes on;
/// `fail` and `stop` are errors, after which a start is undone.
pub(super) fn run_hook(hooks: &dyn HookRunner, applied: &Applied, moment: HookMoment) -> Result<()> {
    let Some(hook) = applied.spec.hooks.get(&moment) else {
        return Ok(());
    };
    let name = &applied.spec.name;
    let Err(err) = hooks.run(applied, moment, hook) else {
        return Ok(());
    };
    let err = err.context(format!("hook `{moment}` of `{name}`"));
    match hook.on_error {
        OnError::Warn => {
            hooks.warn(name, &err);
            Ok(())
        }
        OnError::Fail | OnError::Stop => Err(err.with_kind(Kind::External)),
    }
}

/// Copies files by `copy`, with the hooks of the guests that write to them around it: they may have to put their data in
/// order.
pub(super) fn around_copy<'a, T>(
    hooks: &dyn HookRunner,
    writers: impl IntoIterator<Item = &'a Applied>,
    copy: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut done = Vec::new();
    let mut result = Ok(());
    for applied in writers {
        result = run_hook(hooks, applied, HookMoment::PreSnapshot);
        if result.is_err() {
            break;
        }
        done.push(applied);
    }
    let copied = result.and_then(|()| copy());
    // Also when it failed: each undoes what the first has done.
    done.into_iter().rev().fold(copied, |copied, applied| {
        match (copied, run_hook(hooks, applied, HookMoment::PostSnapshot)) {
            (copied, Ok(())) => copied,
            (Ok(_), Err(err)) => Err(err),
            (Err(err), Err(other)) => Err(err.and_also(other)),
        }
    })
}

/// For callers that have no recipes: a guest with a hook is refused.
pub struct NoHooks;

impl HookRunner for NoHooks {
    fn run(&self, applied: &Applied, moment: HookMoment, _hook: &Hook) -> Result<()> {
        Err(Error::new(
            Kind::Invalid,
            format!(
                "`{}` has a {moment} hook and nothing here runs hooks",
                applied.spec.name
            ),
        ))
    }

    fn warn(&self, _guest: &GuestName, _err: &Error) {}
}
