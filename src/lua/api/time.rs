//! `require "hostel.time"`: the date, a clock that only goes forwards, spans of time, and waiting.

use std::time::{Duration, Instant};

use mlua::{FromLuaMulti as _, Lua, MultiValue, Table, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::{check, mistake, or_failure, text};
use super::stage::{effect, rehearsed};
use crate::error::{Error, Kind};
use crate::guest::Span;
use crate::lua::read::described;

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let begun = Instant::now();
    module.set(
        "now",
        lua.create_function(|lua, ()| {
            if let Some(answer) = rehearsed(lua, "time.now", None, ())? {
                return f64::from_lua_multi(answer, lua);
            }
            let now = OffsetDateTime::now_utc();
            #[expect(
                clippy::cast_precision_loss,
                reason = "microseconds of a date fit into 53 bits until 2255"
            )]
            Ok((now.unix_timestamp_nanos() / 1000) as f64 / 1e6)
        })?,
    )?;
    module.set(
        "monotonic",
        lua.create_function(move |lua, ()| match rehearsed(lua, "time.monotonic", None, ())? {
            Some(answer) => f64::from_lua_multi(answer, lua),
            None => Ok(begun.elapsed().as_secs_f64()),
        })?,
    )?;
    module.set(
        "format",
        lua.create_function(|_, seconds: Option<f64>| match seconds {
            None => Ok(rfc3339_now()),
            Some(seconds) => {
                rfc3339(seconds).ok_or_else(|| mistake("format", format!("{seconds} is no date")))
            }
        })?,
    )?;
    module.set(
        "parse",
        lua.create_function(|lua, given: Value| {
            let given = text("parse", "a date", &given)?;
            let parsed = OffsetDateTime::parse(&given, &Rfc3339).map_err(|err| {
                Error::new(
                    Kind::Invalid,
                    format!("`{}` is no date: {err}", given.escape_debug()),
                )
                .with_hint("RFC 3339, such as `2026-01-31T12:00:00Z`")
            });
            #[expect(
                clippy::cast_precision_loss,
                reason = "microseconds of a date fit into 53 bits until 2255"
            )]
            or_failure(
                lua,
                parsed.map(|date| (date.unix_timestamp_nanos() / 1000) as f64 / 1e6),
            )
        })?,
    )?;
    module.set(
        "seconds",
        lua.create_function(|_, span: Value| seconds("seconds", &span))?,
    )?;
    module.set(
        "span",
        lua.create_function(|_, span: Value| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be a sensible span"
            )]
            let millis = (seconds("span", &span)? * 1000.0).round() as u64;
            Ok(Span::from_millis(millis).to_string())
        })?,
    )?;
    module.set(
        "sleep",
        lua.create_function(|lua, span: Value| {
            let span = seconds("sleep", &span)?;
            if let Some(answer) = effect(lua, "time.sleep", None, span)? {
                return Ok(answer);
            }
            sleep(lua, Duration::try_from_secs_f64(span).unwrap_or_default())?;
            Ok(MultiValue::new())
        })?,
    )?;
    Ok(module)
}

/// A span of time as seconds: `"5s"`, or a number of them.
pub(super) fn seconds(what: &str, value: &Value) -> mlua::Result<f64> {
    /// A century: more is a mistake, and would overflow clocks.
    const MOST: f64 = 3.2e9;
    let seconds = match value {
        Value::String(text) => text
            .to_string_lossy()
            .parse::<Span>()
            .map(|span| span.duration().as_secs_f64())
            .map_err(|invalid| mistake(what, invalid.message))?,
        #[expect(clippy::cast_precision_loss, reason = "what does not fit is too large anyway")]
        Value::Integer(seconds) => *seconds as f64,
        Value::Number(seconds) => *seconds,
        other => {
            let message = format!(
                "a span of time is a text such as \"5s\" or a number of seconds, not {}",
                described(other)
            );
            return Err(mistake(what, message));
        }
    };
    if (0.0..=MOST).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(mistake(what, format!("{seconds} is no span of time in seconds")))
    }
}

/// Waits. A signal or a deadline ends it.
pub(super) fn sleep(lua: &Lua, span: Duration) -> mlua::Result<()> {
    let until = Instant::now() + span;
    loop {
        check(lua)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // poll(2), unlike sleep(2) of the standard library, returns when a signal comes. One that comes right before it
        // is seen half a second later.
        let millis = u16::try_from(left.as_millis() + 1).unwrap_or(500).min(500);
        let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(millis));
    }
}

/// The date, RFC 3339 in UTC with milliseconds.
pub(in crate::lua) fn rfc3339_now() -> String {
    rfc3339_of(std::time::SystemTime::now())
}

/// The same of another time.
pub(in crate::lua) fn rfc3339_of(at: std::time::SystemTime) -> String {
    let now = OffsetDateTime::from(at);
    let whole = now
        .replace_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000)
        .unwrap_or(now);
    whole.format(&Rfc3339).unwrap_or_default()
}

fn rfc3339(seconds: f64) -> Option<String> {
    if seconds.abs() > 2.5e11 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the years that have four digits"
    )]
    let nanos = (seconds * 1e6).round() as i128 * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()?
        .format(&Rfc3339)
        .ok()
}
