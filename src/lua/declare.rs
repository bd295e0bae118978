//! `guest` and `template`: a name, then a body that is read and laid over what it inherits.

use std::rc::Rc;

use mlua::{Function, Lua, Table, Value};

use super::diagnostic::Code;
use super::read::{Reader, Room, described};
use super::state::{Declared, Layer, Raised};
use super::value::Node;
use super::vm::{Shared, caller};
use super::words::{GuestRef, TemplateRef};
use crate::guest::GuestName;
use crate::guest::schema::GUEST;

/// The most guests, and the most templates, of one recipe: as many as a host has context ids.
const MOST: usize = 49_150;

/// `guest "web"`: the name is kept, and a function waits for the body.
pub(super) fn declare(lua: &Lua, shared: &Shared, name: &Value, is_guest: bool) -> mlua::Result<Function> {
    let word = if is_guest { "guest" } else { "template" };
    let Value::String(text) = name else {
        let help = format!("write `{word} \"name\" {{ ... }}`");
        let message = format!("`{word}` takes a name first, not {}", described(name));
        return Err(Raised::new(Code::WrongType, message).help(help).word(word).into());
    };
    let name = text.to_string_lossy();
    let (file, line) = caller(lua);
    let index = {
        let mut state = shared.borrow_mut();
        let declared = if is_guest { &state.guests } else { &state.templates };
        if declared.len() >= MOST {
            let message = format!("more than {MOST} {word}s");
            let help = "a guest needs a context id of its own, and a host has no more of them (2 to 49151)";
            return Err(Raised::new(Code::Memory, message).help(help).word(word).into());
        }
        let layer = u32::try_from(state.layers.len()).map_err(mlua::Error::external)?;
        if let Err(invalid) = name.parse::<GuestName>() {
            let place = state.word_place(&file, line, &name);
            let diagnostic = super::Diagnostic::new(Code::BadValue, invalid.message, place);
            state.diagnostics.push(diagnostic.with_help(invalid.hint));
        }
        state.layers.push(Layer {
            is_guest,
            name: name.clone(),
            file,
            line,
        });
        let all = if is_guest {
            &mut state.guests
        } else {
            &mut state.templates
        };
        all.push(Declared { layer, merged: None });
        all.len() - 1
    };
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, body: Value| {
        read_body(lua, &shared, index, is_guest, &body)?;
        if is_guest {
            lua.create_userdata(GuestRef(name.clone()))
        } else {
            lua.create_userdata(TemplateRef(index, name.clone()))
        }
    })
}

fn read_body(lua: &Lua, shared: &Shared, index: usize, is_guest: bool, body: &Value) -> mlua::Result<()> {
    let word = if is_guest { "guest" } else { "template" };
    let Value::Table(table) = body else {
        let message = format!("`{word}` takes a table after its name, not {}", described(body));
        let help = format!("write `{word} \"name\" {{ ... }}`");
        return Err(Raised::new(Code::WrongType, message).help(help).word(word).into());
    };
    let (file, line) = caller(lua);
    let from = inherited(table)?;
    let mut state = shared.borrow_mut();
    let state = &mut *state;
    let layer = {
        let all = if is_guest { &state.guests } else { &state.templates };
        let Some(declared) = all.get(index) else {
            return Ok(());
        };
        if declared.merged.is_some() {
            return Err(Raised::new(Code::DuplicateName, "this name has its body already")
                .word(word)
                .into());
        }
        declared.layer
    };
    if let Some(layer) = state.layers.get_mut(layer as usize) {
        // The line of the body, from which its keys are looked for.
        (layer.file, layer.line) = (file, line);
    }
    let mut reader = Reader::new(layer, &mut state.mistakes, &mut state.functions);
    reader.room = state.room;
    let own = reader.read_record(table, &GUEST);
    state.room = reader.room;
    if state.room.is_full() {
        let Room { values, bytes } = Room::default();
        let message = format!(
            "the recipe describes too much: at most {values} values and {} MiB of text in all its guests",
            bytes >> 20
        );
        return Err(Raised::new(Code::Memory, message)
            .help("what all of them share belongs into a template; large files into the image")
            .word(word)
            .into());
    }
    if state.wants_own {
        state.own.insert(layer, own.clone());
    }
    let mut merged: Option<Node> = None;
    for template in from {
        let Some(node) = state.templates.get(template).and_then(|t| t.merged.as_ref()) else {
            continue;
        };
        match &mut merged {
            Some(below) => below.merge(node, Some(&crate::guest::schema::Type::Record(&GUEST))),
            None => merged = Some(node.clone()),
        }
    }
    let merged = match merged {
        Some(mut below) => {
            below.merge(&own, Some(&crate::guest::schema::Type::Record(&GUEST)));
            below
        }
        None => own,
    };
    let all = if is_guest {
        &mut state.guests
    } else {
        &mut state.templates
    };
    if let Some(declared) = all.get_mut(index) {
        declared.merged = Some(merged);
    }
    Ok(())
}

/// The templates of `from`, lowest first. What is no template is reported when the body is read.
fn inherited(body: &Table) -> mlua::Result<Vec<usize>> {
    let number = |value: &Value| match value {
        Value::UserData(data) => data.borrow::<TemplateRef>().ok().map(|t| t.0),
        _ => None,
    };
    Ok(match body.raw_get::<Value>("from")? {
        Value::Table(list) => {
            let mut found = Vec::new();
            for index in 1..=list.raw_len() {
                found.extend(number(&list.raw_get::<Value>(index)?));
            }
            found
        }
        one => number(&one).into_iter().collect(),
    })
}
