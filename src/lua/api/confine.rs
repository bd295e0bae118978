//! The confinements of a context: `bind`, `chroot`, `mount`, `caps`, `limit`, each checked where it is written.

use std::path::PathBuf;

use mlua::Value;
use serde_json::Value as Json;

use super::failure::mistake;
use super::take::take;
use crate::guest::schema::{self, Record, Type};
use crate::guest::{Caps, Context, Mount};

/// The words, in the order in which they are documented.
pub(super) const WORDS: [&str; 5] = ["bind", "chroot", "mount", "caps", "limit"];

static MOUNT: Type = Type::Record(&schema::MOUNT);
static DIR: Type = Type::Scalar(&schema::scalars::HOST_PATH);

fn of(field: &str, record: &'static Record) -> mlua::Result<&'static Type> {
    record
        .field(field)
        .map(|f| &f.kind)
        .ok_or_else(|| mistake(field, "is not in the schema"))
}

/// Adds one confinement.
pub(super) fn confine(context: &mut Context, word: &str, value: &Value) -> mlua::Result<()> {
    match word {
        "bind" => {
            context.bind = take(word, value, of("address", &schema::NET)?)?;
            context.open_network = false;
        }
        "chroot" => {
            context.root = Some(take::<PathBuf>(word, value, &DIR)?);
            context.isolate.mount = true;
        }
        "mount" => {
            let mount: Mount = take(word, value, &MOUNT)?;
            if mount.source.volume().is_some() {
                // Nobody would know that it is in use.
                return Err(mistake(word, "a volume is mounted by guests, not by a context"));
            }
            context.mounts.push(mount);
        }
        "caps" => {
            let caps: Caps = take(word, value, of("caps", &schema::GUEST)?)?;
            context.caps = Context::caps_of(&caps);
        }
        "limit" => {
            let more: Json = take(word, value, of("limits", &schema::GUEST)?)?;
            let mut all = serde_json::to_value(&context.limits).map_err(mlua::Error::external)?;
            overlay(&mut all, more);
            context.limits = serde_json::from_value(all).map_err(|source| mistake(word, source))?;
        }
        other => return Err(mistake(other, "is no confinement")),
    }
    Ok(())
}

fn overlay(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
