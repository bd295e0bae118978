//! `hostel doc TOPIC`: a topic is a path of fields (`guest.limits`), a module, a function, a class or a table of
//! options. What is found is data, as `--json` prints it; the text is made from that.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Class, Entry, MODULES, Module, Places, entries, first_sentence, module, records};
use crate::guest::Invalid;
use crate::guest::caps::nearest;
use crate::guest::risk;
use crate::guest::schema::{Field, GUEST, Record, Type, find};

/// What is known of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// As it is asked for again.
    pub name: String,
    /// `field`, `table`, `function`, `value`, `module` or `class`.
    pub kind: &'static str,
    /// Its type, or how it is called.
    pub signature: String,
    /// What it means.
    pub doc: String,
    /// What a function takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Below>,
    /// What goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<&'static str>,
    /// What holds without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<&'static str>,
    /// Whether a table without it is incomplete.
    pub is_required: bool,
    /// The field that it is short for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short_for: Option<String>,
    /// How it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// What the example gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives: Option<&'static str>,
    /// Where it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<String>,
    /// The first version that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<&'static str>,
    /// What is in it, by its heading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Below>,
}

/// Something inside of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Below {
    /// Its name.
    pub name: String,
    /// Its type.
    pub signature: String,
    /// The first sentence about it.
    pub doc: String,
}

/// The topic of this name.
pub fn topic(path: &str) -> Result<Topic, Invalid> {
    if let Some(module) = module(path) {
        return Ok(of_module(module));
    }
    // `guest` is the word and the table: the table says more, and `recipe.guest` is the word.
    let word = path.strip_prefix("recipe.").unwrap_or(path);
    if path != "guest"
        && let Some((module, entry)) = super::entry(word)
    {
        return Ok(of_entry(module, entry));
    }
    let class = path.strip_prefix("hostel.").unwrap_or(path);
    if let Some((module, class)) = classes().find(|(_, c)| c.name == class) {
        return Ok(of_class(module, class));
    }
    if path == "guest" {
        return Ok(of_record(&GUEST, "guest"));
    }
    if let Some(record) = records()
        .iter()
        .find(|r| r.name == class && !GUEST.fields.iter().any(|f| f.name == class))
    {
        return Ok(of_record(record, record.name));
    }
    let field = path.strip_prefix("guest.").unwrap_or(path);
    // `services.restart`: the name of the service was left out.
    if let Some((above, last)) = field.rsplit_once('.')
        && let Some(map) = find(above).filter(|map| matches!(map.kind, Type::Map(..)))
        && map
            .kind
            .record()
            .is_some_and(|record| record.field(last).is_some())
    {
        let full = format!("{above}.NAME.{last}");
        if let Some(found) = find(&full) {
            return Ok(of_field(found, &full));
        }
    }
    match find(field) {
        Some(found) => Ok(of_field(found, field)),
        None => Err(unknown(path, field)),
    }
}

fn classes() -> impl Iterator<Item = (&'static Module, &'static Class)> {
    MODULES
        .iter()
        .flat_map(|m| m.classes.iter().map(move |c| (*m, c)))
}

fn unknown(path: &str, field: &str) -> Invalid {
    let (above, last) = field.rsplit_once('.').unwrap_or(("", field));
    if let Some(record) = find(above).and_then(|f| f.kind.record()) {
        return Invalid::new(
            format!("a guest has no `{}`", field.escape_debug()),
            match nearest(last, record.fields.iter().map(|f| f.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`hostel doc {above}` lists the fields"),
            },
        );
    }
    let names: Vec<String> = all().into_iter().map(|b| b.name).collect();
    let near = nearest(field, names.iter().map(String::as_str)).or_else(|| {
        let last = path.rsplit(['.', ':']).next()?;
        names
            .iter()
            .map(String::as_str)
            .find(|name| name.rsplit(['.', ':']).next() == Some(last))
    });
    Invalid::new(
        format!("there is no topic `{}`", path.escape_debug()),
        match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`hostel doc topics` lists them, `hostel doc --search WORD` looks for one".to_owned(),
        },
    )
}

fn of_module(module: &'static Module) -> Topic {
    let entries = module.entries.iter().map(|e| Below {
        name: e.name.to_owned(),
        signature: e.signature(),
        doc: e.summary().to_owned(),
    });
    let classes = module.classes.iter().map(|c| Below {
        name: format!("hostel.{}", c.name),
        signature: "class".to_owned(),
        doc: first_sentence(c.doc).to_owned(),
    });
    Topic {
        name: module.name.to_owned(),
        kind: "module",
        doc: module.doc.to_owned(),
        places: Some(module.places.text()),
        below: entries.chain(classes).collect(),
        ..Topic::default()
    }
}

fn of_entry(module: &'static Module, entry: &'static Entry) -> Topic {
    let params = entry.params.unwrap_or(&[]).iter().map(|p| Below {
        name: p.name.to_owned(),
        signature: p.lua(),
        doc: match p.default {
            Some(default) => format!("{} Default: {default}.", p.doc),
            None => p.doc.to_owned(),
        },
    });
    let places: Places = entry.places.unwrap_or(module.places);
    Topic {
        name: entry.name.to_owned(),
        kind: if entry.params.is_some() {
            "function"
        } else {
            "value"
        },
        signature: entry.signature(),
        doc: entry.doc.to_owned(),
        params: params.collect(),
        errors: (!entry.errors.is_empty()).then_some(entry.errors),
        example: Some(entry.example.to_owned()),
        gives: entry.gives,
        places: Some(places.text()),
        since: Some(entry.since),
        ..Topic::default()
    }
}

fn of_class(module: &'static Module, class: &'static Class) -> Topic {
    let fields = class.fields.iter().map(|f| Below {
        name: f.name.to_owned(),
        signature: f.kind.to_owned(),
        doc: f.doc.to_owned(),
    });
    let start = format!("{}:", class.word);
    let methods = module.entries.iter().filter(|e| e.name.starts_with(&start));
    let methods = methods.map(|e| Below {
        name: e.name.to_owned(),
        signature: e.signature(),
        doc: e.summary().to_owned(),
    });
    Topic {
        name: format!("hostel.{}", class.name),
        kind: "class",
        doc: class.doc.to_owned(),
        places: Some(module.places.text()),
        below: fields.chain(methods).collect(),
        ..Topic::default()
    }
}

fn fields_of(record: &'static Record) -> Vec<Below> {
    let fields = record.fields.iter().map(|f| Below {
        name: f.name.to_owned(),
        signature: f.kind.lua(),
        doc: first_sentence(f.doc).to_owned(),
    });
    fields.collect()
}

/// The fields with an example each: units and words are seen at once.
fn shown_fields_of(record: &'static Record) -> Vec<Below> {
    let mut fields = fields_of(record);
    for (below, field) in fields.iter_mut().zip(record.fields) {
        let _ = write!(below.doc, " Such as `{}`.", field.example);
    }
    fields
}

fn of_record(record: &'static Record, path: &str) -> Topic {
    Topic {
        name: path.to_owned(),
        kind: "table",
        doc: record.doc.to_owned(),
        below: fields_of(record),
        ..Topic::default()
    }
}

/// What can be chosen at a field, and what each choice opens and risks.
fn risks_of(path: &str) -> Vec<Below> {
    let choices = risk::choices(path).into_iter();
    choices
        .map(|known| Below {
            name: known.topic.to_owned(),
            signature: "risk".to_owned(),
            doc: if known.topic.starts_with("limits.") {
                format!("Without it: {}. Risk: {}.", known.opens, known.risk)
            } else {
                format!("Opens {}. Risk: {}.", known.opens, known.risk)
            },
        })
        .collect()
}

fn of_field(field: &'static Field, path: &str) -> Topic {
    let mut below = field.kind.record().map(shown_fields_of).unwrap_or_default();
    below.extend(risks_of(path));
    Topic {
        name: path.to_owned(),
        kind: "field",
        signature: format!("{path}: {}", field.kind.lua()),
        doc: field.doc.to_owned(),
        default: field.default,
        is_required: field.required,
        short_for: field.inside.map(|map| format!("{map}.{}", field.name)),
        example: Some(format!("{} = {}", field.name, field.example)),
        since: Some(field.since),
        below,
        ..Topic::default()
    }
}

/// Every topic with its first sentence: fields by their path, functions, classes, modules.
pub fn all() -> Vec<Below> {
    fn fields(record: &'static Record, above: &str, seen: &mut Vec<&'static str>, found: &mut Vec<Below>) {
        if seen.contains(&record.name) {
            return;
        }
        seen.push(record.name);
        for field in record.fields {
            let name = format!("{above}{}", field.name);
            let next = match field.kind {
                Type::Map(..) => format!("{name}.NAME."),
                Type::List(_) | Type::OneOrList(_) => format!("{name}.1."),
                _ => format!("{name}."),
            };
            found.push(Below {
                name,
                signature: field.kind.lua(),
                doc: first_sentence(field.doc).to_owned(),
            });
            if let Some(below) = field.kind.record() {
                fields(below, &next, seen, found);
            }
        }
        seen.pop();
    }
    let mut found = vec![Below {
        name: "guest".to_owned(),
        signature: "table".to_owned(),
        doc: GUEST.doc.to_owned(),
    }];
    fields(&GUEST, "", &mut Vec::new(), &mut found);
    for module in MODULES {
        found.push(Below {
            name: module.name.to_owned(),
            signature: "module".to_owned(),
            doc: first_sentence(module.doc).to_owned(),
        });
    }
    for (_, entry) in entries().filter(|(_, e)| e.name != "guest") {
        found.push(Below {
            name: entry.name.to_owned(),
            signature: entry.signature(),
            doc: entry.summary().to_owned(),
        });
    }
    for (_, class) in classes() {
        found.push(Below {
            name: format!("hostel.{}", class.name),
            signature: "class".to_owned(),
            doc: first_sentence(class.doc).to_owned(),
        });
    }
    for record in records().iter().skip(1).filter(|r| find(r.name).is_none()) {
        found.push(Below {
            name: record.name.to_owned(),
            signature: "table".to_owned(),
            doc: first_sentence(record.doc).to_owned(),
        });
    }
    found
}

/// The topics in whose name or documentation each of these words stands; those in whose name it does come first.
pub fn search(words: &str) -> Vec<Below> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let whole = |below: &Below| {
        topic(&below.name)
            .map_or_else(|_| below.doc.clone(), |topic| topic.doc)
            .to_lowercase()
    };
    let (mut named, mut told) = (Vec::new(), Vec::new());
    for below in all() {
        let name = below.name.to_lowercase();
        if words.iter().all(|w| name.contains(w.as_str())) {
            named.push(below);
        } else {
            let doc = whole(&below);
            if words
                .iter()
                .all(|w| name.contains(w.as_str()) || doc.contains(w.as_str()))
            {
                told.push(below);
            }
        }
    }
    named.extend(told);
    named
}

/// What `hostel doc` begins with: what a guest can have, and what else there is to ask for.
pub fn overview() -> String {
    let mut text = String::from(
        "A recipe declares guests: `guest \"web\" { image = \"busybox\", limits = { memory = \"64M\" } }`.\n\nFields of a guest (`hostel doc guest.limits` tells more, `hostel doc limits.memory` too):\n",
    );
    list(&fields_of(&GUEST), &mut text);
    text.push_str("\nOther topics:\n");
    let modules: Vec<Below> = MODULES
        .iter()
        .map(|m| Below {
            name: m.name.to_owned(),
            signature: String::new(),
            doc: format!(
                "{} ({})",
                first_sentence(m.doc).trim_end_matches('.'),
                m.places.text()
            ),
        })
        .collect();
    list(&modules, &mut text);
    text.push_str("\n`hostel doc --search WORD` looks for a topic, `hostel doc topics` lists all, `hostel explain E0102` tells of a mistake.\n");
    text
}

/// Names and what they are, in two columns.
pub fn list(below: &[Below], text: &mut String) {
    let width = below.iter().map(|b| b.name.chars().count()).max().unwrap_or(0);
    for one in below {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {:width$}  {}", one.name, one.doc);
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.signature.is_empty() {
            writeln!(f, "{}: {}", self.name, self.doc)?;
        } else {
            writeln!(f, "{}\n  {}", self.signature, self.doc)?;
        }
        let mut told: Vec<(&str, String)> = Vec::new();
        for param in &self.params {
            told.push((&param.name, format!("({}) {}", param.signature, param.doc)));
        }
        if let Some(default) = self.default {
            told.push(("default", default.to_owned()));
        }
        if self.is_required {
            told.push(("required", "here or in a template".to_owned()));
        }
        if let Some(field) = &self.short_for {
            told.push(("short for", field.clone()));
        }
        if let Some(errors) = self.errors {
            told.push(("errors", errors.to_owned()));
        }
        if let Some(example) = &self.example {
            let gives = self.gives.map(|g| format!("   --> {g}")).unwrap_or_default();
            told.push(("example", format!("{example}{gives}")));
        }
        if let Some(places) = &self.places {
            told.push(("where", places.clone()));
        }
        if let Some(since) = self.since {
            told.push(("since", since.to_owned()));
        }
        let width = told
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, text) in &told {
            writeln!(f, "  {name:width$}  {text}")?;
        }
        if !self.below.is_empty() {
            let mut text = String::from("\n");
            list(&self.below, &mut text);
            f.write_str(&text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_that_is_listed_is_found() {
        let all = all();
        assert!(all.len() > 200, "{}", all.len());
        for below in &all {
            let name = below.name.replace("NAME", "x");
            let found = topic(&name).unwrap_or_else(|err| panic!("{name}: {err:?}"));
            assert!(!found.doc.is_empty(), "{name}");
            assert!(found.to_string().contains(&found.doc), "{name}");
        }
    }

    #[test]
    fn the_name_of_a_service_may_be_left_out() {
        let found = topic("services.restart").unwrap();
        assert_eq!(
            (found.name.as_str(), found.default),
            ("services.NAME.restart", Some("\"on-failure\""))
        );
        assert_eq!(topic("services.nginx").unwrap().kind, "field");
    }

    #[test]
    fn a_name_that_is_nearly_right_is_suggested() {
        for (asked, hint) in [
            ("hostel.contxt", "did you mean `hostel.context`?"),
            ("limits.memroy", "did you mean `memory`?"),
            ("limit", "did you mean `limits`?"),
            ("memory", "did you mean `limits.memory`?"),
            ("guest.stopp", "did you mean `stop`?"),
            (
                "zzzzzz",
                "`hostel doc topics` lists them, `hostel doc --search WORD` looks for one",
            ),
        ] {
            let err = topic(asked).unwrap_err();
            assert_eq!(err.hint.as_deref(), Some(hint), "{asked}");
        }
    }

    #[test]
    fn search_looks_into_the_documentation() {
        let names: Vec<String> = search("swap").into_iter().map(|b| b.name).collect();
        assert_eq!(names.first().map(String::as_str), Some("limits.swap"));
        assert!(search("chbind").iter().any(|b| b.name == "hostel.bind"));
        assert!(search("no such thing at all").is_empty());
    }
}
