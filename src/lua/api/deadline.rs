//! How long what is being done may still take: a step's deadline, which every call that blocks obeys.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use mlua::Lua;

use super::failure::raise;
use crate::error::Result;
use crate::guest::Span;
use crate::sys::interrupt::Alarm;

/// The deadline of a script.
#[derive(Default)]
pub(in crate::lua) struct Deadline {
    alarm: RefCell<Option<Alarm>>,
    over: Cell<Option<Instant>>,
}

/// Sets it anew; `None` takes it away.
pub(super) fn arm(lua: &Lua, left: Option<Duration>) -> mlua::Result<()> {
    let Some(deadline) = lua.app_data_ref::<Deadline>() else {
        return Ok(());
    };
    let set = || -> Result<()> {
        let mut alarm = deadline.alarm.borrow_mut();
        if alarm.is_none() && left.is_some() {
            *alarm = Some(Alarm::new()?);
        }
        match alarm.as_mut() {
            Some(alarm) => alarm.set(left),
            None => Ok(()),
        }
    };
    deadline
        .over
        .set(left.and_then(|left| Instant::now().checked_add(left)));
    set().map_err(|err| raise(lua, "deadline", &err))
}

/// How long a call may take that would take `most`.
pub(super) fn within(lua: &Lua, most: Duration) -> Duration {
    left(lua).map_or(most, |left| left.min(most))
}

/// The same for a timeout that may be missing.
pub(super) fn bound(lua: &Lua, timeout: Option<Span>) -> Option<Span> {
    let millis =
        |left: Duration| Span::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    match (timeout, left(lua).map(millis)) {
        (Some(timeout), Some(left)) => Some(timeout.min(left)),
        (timeout, left) => timeout.or(left),
    }
}

fn left(lua: &Lua) -> Option<Duration> {
    let deadline = lua.app_data_ref::<Deadline>()?;
    let over = deadline.over.get()?;
    // A millisecond more: the alarm comes first, and says what it is.
    Some(over.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
}
