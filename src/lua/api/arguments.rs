//! The arguments of a workflow: declared as a table, typed as command-line options, given to it as Lua values.

use std::net::IpAddr;
use std::num::IntErrorKind;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction};
use ipnet::IpNet;
use mlua::{Lua, LuaSerdeExt as _, Table, Value};
use serde_json::{Value as Json, json};

use super::failure::mistake;
use crate::guest::caps::nearest;
use crate::guest::{Bytes, GuestName, Invalid, Span};
use crate::lua::order;
use crate::lua::read::described;

/// What an argument may be.
const KINDS: [&str; 12] = [
    "address", "boolean", "duration", "enum", "guest", "host", "integer", "list", "number", "path", "size",
    "string",
];

/// Names that `hostel run` has itself.
const TAKEN: [&str; 5] = ["plan", "json", "help", "color", "quiet"];

/// One argument.
#[derive(Debug, Clone)]
pub(in crate::lua) struct Argument {
    name: String,
    kind: String,
    /// Of a list: what its items are.
    of: Option<String>,
    /// Of an enum.
    values: Vec<String>,
    default: Option<Json>,
    is_required: bool,
    doc: Option<String>,
}

/// All of a workflow's, sorted by name, required ones first.
#[derive(Debug, Clone, Default)]
pub(in crate::lua) struct Arguments(Vec<Argument>);

impl Arguments {
    /// Reads a declaration: `{ guest = "guest", downtime = { "duration", default = "5s", doc = "..." } }`.
    pub(in crate::lua) fn read(table: &Table) -> mlua::Result<Self> {
        let mut all = Vec::new();
        for (name, body) in order::entries(table)? {
            let Value::String(name) = &name else {
                return Err(mistake(
                    "args",
                    format!("the name of an argument is a text, not {}", described(&name)),
                ));
            };
            let name = name.to_string_lossy();
            let is_name = name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !is_name || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                let message = format!(
                    "`{}` is no name of an argument: a-z, 0-9 and `_`",
                    name.escape_debug()
                );
                return Err(mistake("args", message));
            }
            if TAKEN.contains(&name.as_str()) {
                return Err(mistake(
                    "args",
                    format!("`--{name}` is an option of `hostel run` itself"),
                ));
            }
            all.push(Argument::read(&name, &body)?);
        }
        all.sort_by(|a, b| (!a.is_required, &a.name).cmp(&(!b.is_required, &b.name)));
        Ok(Self(all))
    }

    /// The options, for `hostel run NAME`.
    pub(in crate::lua) fn options(&self) -> Vec<Arg> {
        self.0.iter().map(Argument::option).collect()
    }

    /// What an argument is, if there is one of this name.
    pub(in crate::lua) fn kind(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|argument| argument.name == name)?;
        Some(&found.kind)
    }

    /// What was typed, as it is kept in the journal.
    pub(in crate::lua) fn typed(&self, matches: &clap::ArgMatches) -> Json {
        let mut typed = serde_json::Map::new();
        for argument in &self.0 {
            let Some(values) = matches.get_many::<String>(&argument.name) else {
                continue;
            };
            let values: Vec<&String> = values.collect();
            let value = match argument.kind.as_str() {
                "list" => json!(values),
                "path" => json!(
                    values
                        .last()
                        .map(|path| std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)))
                ),
                _ => json!(values.last()),
            };
            typed.insert(argument.name.clone(), value);
        }
        Json::Object(typed)
    }

    /// The values of a run, from what was typed or from Lua (`{ guest = "web" }`, for a test), with defaults.
    pub(in crate::lua) fn values(&self, lua: &Lua, typed: &Json) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        for name in typed.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !self.0.iter().any(|argument| argument.name == *name) {
                return Err(mistake("args", format!("the workflow has no argument `{name}`")));
            }
        }
        for argument in &self.0 {
            let given = typed.get(&argument.name).or(argument.default.as_ref());
            let value = match given {
                Some(given) => argument.value(lua, given)?,
                None if argument.is_required => {
                    return Err(mistake("args", format!("`{}` is missing", argument.name)));
                }
                None if argument.kind == "boolean" => Value::Boolean(false),
                None if argument.kind == "list" => Value::Table(lua.create_table()?),
                None => Value::Nil,
            };
            table.set(argument.name.as_str(), value)?;
        }
        Ok(table)
    }
}

impl Argument {
    fn read(name: &str, body: &Value) -> mlua::Result<Self> {
        let wrong = |what: String| mistake("args", format!("`{name}`: {what}"));
        let mut made = Self {
            kind: String::new(),
            of: None,
            values: Vec::new(),
            default: None,
            is_required: true,
            doc: None,
            name: name.to_owned(),
        };
        match body {
            Value::String(kind) => made.kind = kind.to_string_lossy(),
            Value::Table(table) => {
                for (key, value) in order::entries(table)? {
                    match (&key, &value) {
                        (Value::Integer(1), Value::String(kind)) => made.kind = kind.to_string_lossy(),
                        // `{ "enum", "blue", "green" }`.
                        (Value::Integer(_), Value::String(_)) => {}
                        (Value::String(key), value) => {
                            made.read_key(&key.to_string_lossy(), value).map_err(&wrong)?;
                        }
                        (other, _) => return Err(wrong(format!("does not know {}", described(other)))),
                    }
                }
                let items =
                    order::list(table)?.map_err(|hole| wrong(format!("has a hole at place {hole}")))?;
                for item in items.iter().skip(1) {
                    if let Value::String(text) = item {
                        made.values.push(text.to_string_lossy());
                    }
                }
            }
            other => {
                return Err(wrong(format!(
                    "a kind such as \"guest\", or {{ \"duration\", default = \"5s\" }}, not {}",
                    described(other)
                )));
            }
        }
        for kind in [Some(&made.kind), made.of.as_ref()].into_iter().flatten() {
            if !KINDS.contains(&kind.as_str()) {
                let near = nearest(kind, KINDS).map_or_else(
                    || format!("one of {}", KINDS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(wrong(format!(
                    "there is no kind `{}`: {near}",
                    kind.escape_debug()
                )));
            }
        }
        let is_enum = made.item() == "enum";
        if is_enum == made.values.is_empty() {
            return Err(wrong(if is_enum {
                "an enum has values: { \"enum\", \"a\", \"b\" }".to_owned()
            } else {
                format!("`values` is of an enum, not of a {}", made.kind)
            }));
        }
        if made.of.is_some() && (made.kind != "list" || made.item() == "list") {
            return Err(wrong("`of` says what the items of a list are".to_owned()));
        }
        made.is_required &= made.default.is_none() && made.kind != "boolean" && made.kind != "list";
        if let Some(default) = &made.default {
            made.checked(default)
                .map_err(|invalid| wrong(format!("its default: {}", invalid.message)))?;
        }
        Ok(made)
    }

    fn read_key(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let as_text = |value: &Value| match value {
            Value::String(text) => Ok(text.to_string_lossy()),
            other => Err(format!("`{key}` is a text, not {}", described(other))),
        };
        match key {
            "kind" => self.kind = as_text(value)?,
            "of" => self.of = Some(as_text(value)?),
            "doc" => self.doc = Some(as_text(value)?),
            "required" => match value {
                Value::Boolean(is_required) => self.is_required = *is_required,
                other => {
                    return Err(format!(
                        "`required` is `true` or `false`, not {}",
                        described(other)
                    ));
                }
            },
            "values" => {
                let Value::Table(values) = value else {
                    return Err(format!("`values` is a list, not {}", described(value)));
                };
                self.values.extend(texts(key, values)?);
            }
            "default" => {
                self.default = Some(match value {
                    Value::String(text) => json!(text.to_string_lossy()),
                    Value::Integer(number) => json!(number.to_string()),
                    Value::Number(number) => json!(number.to_string()),
                    Value::Boolean(value) => json!(value.to_string()),
                    Value::Table(list) => json!(texts(key, list)?),
                    other => return Err(format!("{} is no default", described(other))),
                });
            }
            other => {
                let known = ["kind", "of", "doc", "required", "values", "default"];
                let near = nearest(other, known)
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err(format!("does not know `{other}`{near}"));
            }
        }
        Ok(())
    }

    /// The kind of a value, or of a list's items.
    fn item(&self) -> &str {
        if self.kind == "list" {
            self.of.as_deref().unwrap_or("string")
        } else {
            &self.kind
        }
    }

    fn checked(&self, given: &Json) -> Result<(), Invalid> {
        let items = match given {
            Json::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for item in items {
            check(self.item(), &self.values, item.as_str().unwrap_or_default())?;
        }
        Ok(())
    }

    fn option(&self) -> Arg {
        // clap keeps names for as long as the program runs, and so does this.
        let id: &'static str = self.name.clone().leak();
        let long: &'static str = self.name.replace('_', "-").leak();
        let value_name: &'static str = self.item().to_uppercase().leak();
        let mut arg = Arg::new(id)
            .long(long)
            .value_name(value_name)
            .required(self.is_required);
        if long != id {
            arg = arg.alias(id);
        }
        let kind = self.item().to_owned();
        arg = if kind == "enum" {
            let values: Vec<&'static str> = self.values.iter().map(|value| &*value.clone().leak()).collect();
            arg.value_parser(PossibleValuesParser::new(values))
        } else {
            let values = Vec::new();
            arg.value_parser(ValueParser::new(move |text: &str| {
                check(&kind, &values, text).map(|()| text.to_owned())
            }))
        };
        arg = match self.kind.as_str() {
            "list" => arg.action(ArgAction::Append).value_delimiter(','),
            "boolean" => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true),
            _ => arg.allow_hyphen_values(matches!(self.kind.as_str(), "integer" | "number")),
        };
        let mut help = self.doc.clone().unwrap_or_else(|| match self.item() {
            "guest" => "A guest".to_owned(),
            "host" => "Another machine, by its name for ssh".to_owned(),
            "boolean" => "Whether it is so".to_owned(),
            kind => format!("A value of kind {kind}"),
        });
        if self.kind == "list" {
            help.push_str("; may be repeated, or hold several with commas between them");
        }
        arg = arg.help(help);
        match &self.default {
            Some(Json::Array(items)) => {
                let items: Vec<&'static str> = items
                    .iter()
                    .filter_map(Json::as_str)
                    .map(|item| &*item.to_owned().leak())
                    .collect();
                arg.default_values(items)
            }
            Some(Json::String(text)) if self.kind != "boolean" || text == "true" => {
                arg.default_value(&*text.clone().leak())
            }
            _ => arg,
        }
    }

    fn value(&self, lua: &Lua, given: &Json) -> mlua::Result<Value> {
        let wrong = |invalid: Invalid| mistake("args", format!("`{}`: {}", self.name, invalid.message));
        self.checked(given).map_err(wrong)?;
        let one = |item: &Json| value(lua, self.item(), item.as_str().unwrap_or_default());
        match (self.kind.as_str(), given) {
            ("list", Json::Array(items)) => {
                let list = lua.create_table()?;
                for item in items {
                    list.raw_push(one(item)?)?;
                }
                list.set_metatable(Some(lua.array_metatable()))?;
                Ok(Value::Table(list))
            }
            ("list", item) => Ok(Value::Table(lua.create_sequence_from([one(item)?])?)),
            (_, item) => one(item),
        }
    }
}

/// The texts of a list, all of them.
fn texts(key: &str, list: &Table) -> Result<Vec<String>, String> {
    let items = order::only_list(list).map_err(|err| err.to_string())?;
    let items = items.map_err(|odd| format!("`{key}` is a list, and has {odd}"))?;
    let text = |(place, item): (usize, Value)| match item {
        Value::String(text) => Ok(text.to_string_lossy()),
        other => Err(format!(
            "`{key}` has texts; item {place} is {}",
            described(&other)
        )),
    };
    (1..).zip(items).map(text).collect()
}

/// Whether a text is of a kind.
fn check(kind: &str, values: &[String], text: &str) -> Result<(), Invalid> {
    let invalid = |hint: &str| {
        Invalid::new(
            format!("`{}` is not a value of kind {kind}", text.escape_debug()),
            hint,
        )
    };
    match kind {
        "guest" => text.parse::<GuestName>().map(drop),
        "duration" => text.parse::<Span>().map(drop),
        "size" => text.parse::<Bytes>().map(drop),
        "integer" => text.parse::<i64>().map(drop).map_err(|err| match err.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => invalid("it is too large for a number"),
            _ => invalid("a whole number, such as `3`"),
        }),
        "number" => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => Err(invalid("a number such as `1.5`")),
        },
        "boolean" => text
            .parse::<bool>()
            .map(drop)
            .map_err(|_not_bool| invalid("`true` or `false`")),
        "path" if text.is_empty() => Err(invalid("a path")),
        "address" => {
            let is_one = text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
            is_one
                .then_some(())
                .ok_or_else(|| invalid("IPv4 or IPv6, such as `10.0.0.1` or `10.0.0.0/8`"))
        }
        "host" => {
            let is_char = |b: u8| b.is_ascii_alphanumeric() || b"-._:@%[]".contains(&b);
            // What begins with a dash would be an option of ssh.
            let is_host = !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_char);
            is_host
                .then_some(())
                .ok_or_else(|| invalid("a name or an address, such as `beta` or `root@10.0.0.2`"))
        }
        "enum" => values
            .iter()
            .any(|value| value == text)
            .then_some(())
            .ok_or_else(|| invalid(&format!("one of {}", values.join(", ")))),
        _ => Ok(()),
    }
}

fn value(lua: &Lua, kind: &str, text: &str) -> mlua::Result<Value> {
    Ok(match kind {
        "guest" => {
            let name = text
                .parse::<GuestName>()
                .map_err(|invalid| mistake("args", invalid.message))?;
            Value::UserData(super::flow::guest(lua, &name)?)
        }
        "size" => {
            let bytes = text
                .parse::<Bytes>()
                .map_err(|invalid| mistake("args", invalid.message))?;
            Value::Integer(i64::try_from(bytes.0).map_err(mlua::Error::external)?)
        }
        "integer" => Value::Integer(text.parse().map_err(mlua::Error::external)?),
        "number" => Value::Number(text.parse().map_err(mlua::Error::external)?),
        "boolean" => Value::Boolean(text == "true"),
        "host" => {
            let require: mlua::Function = lua.globals().get("require")?;
            let ssh: Table = require.call("hostel.ssh")?;
            let host: mlua::Function = ssh.get("host")?;
            host.call(text)?
        }
        _ => Value::String(lua.create_string(text)?),
    })
}
