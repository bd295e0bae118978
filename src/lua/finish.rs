//! After the run: one node a guest to a [`Spec`], and everything that only shows when all guests are known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use serde_json::Value as Json;

use super::channel::Channel;
use super::diagnostic::{Code, Diagnostic, Diagnostics, Place};
use super::evaluate::{hash, sources};
use super::read::{At, Mistake};
use super::secret::{SecretUse, Slot};
use super::source::Modules;
use super::state::State;
use super::value::{Key, LayerId, Node, Value};
use super::{EvalOptions, Evaluated, provenance, secret, spec};
use crate::guest::caps::nearest;
use crate::guest::check::{self, Fault, Finding};
use crate::guest::schema::{Field, GUEST, Record, Type};
use crate::guest::{HookMoment, Spec};

/// The number of a hook's function, by guest and moment.
pub(super) type HookFunctions = HashMap<(String, HookMoment), usize>;

/// A guest that became a specification, and the node it came from.
struct Done<'a> {
    spec: Spec,
    node: &'a Node,
    layer: LayerId,
}

pub(super) fn finish(
    state: &mut State,
    fatal: Option<Diagnostic>,
    options: &EvalOptions,
) -> Result<(Evaluated, HookFunctions), Diagnostics> {
    let is_complete = fatal.is_none();
    let mut found: Vec<Diagnostic> = std::mem::take(&mut state.diagnostics);
    let mut mistakes = std::mem::take(&mut state.mistakes);
    found.extend(fatal);
    let guests = std::mem::take(&mut state.guests);
    let mut done: Vec<Done<'_>> = Vec::with_capacity(guests.len());
    let mut hooks = HookFunctions::new();
    let mut provenance = BTreeMap::new();
    let mut uses = Vec::new();
    if is_complete {
        for declared in guests
            .iter()
            .chain(&state.templates)
            .filter(|d| d.merged.is_none())
        {
            let place = state.call_place(declared.layer);
            let message = format!("{} has no body", state.subject(declared.layer));
            let help = "write its fields after the name: `{ image = \"busybox\" }`".to_owned();
            found.push(Diagnostic::new(Code::NoBody, message, place).with_help(Some(help)));
        }
        found.extend(unknown_inputs(state, options));
    }
    let faulty: HashSet<LayerId> = mistakes.iter().map(|m| m.layer).collect();
    let mut complete = Complete::default();
    let channel = match &state.modules {
        Modules::Sent(channel) => Some(channel.clone()),
        Modules::None | Modules::Folder(_) => None,
    };
    let mut sent = channel.as_ref().map(Channel::specs);
    for declared in &guests {
        let Some(node) = &declared.merged else { continue };
        let is_sound = node.layers.iter().all(|layer| !faulty.contains(layer));
        if !is_sound || !is_complete {
            continue;
        }
        let before = mistakes.len();
        complete.required(node, &GUEST, declared.layer, &mut Vec::new(), &mut mistakes);
        if mistakes.len() > before {
            continue;
        }
        let name = state
            .layer(declared.layer)
            .map_or_else(String::new, |layer| layer.name.clone());
        if name.parse::<crate::guest::GuestName>().is_err() {
            continue;
        }
        match spec::of(node, &name) {
            Ok((spec, secrets)) => {
                functions(node, &name, &mut hooks);
                if options.provenance.includes(&name) {
                    provenance.insert(name.clone(), provenance::of(state, node));
                }
                if let Some(sent) = &mut sent {
                    // Whoever does not listen any more does not hear the report either.
                    let _ = sent.add(&spec);
                }
                uses.extend(secrets.into_iter().map(|use_of| (done.len(), use_of)));
                done.push(Done {
                    spec,
                    node,
                    layer: declared.layer,
                });
            }
            Err(source) => {
                let message = format!("guest \"{name}\" does not become a specification: {source}");
                let place = state.call_place(declared.layer);
                found.push(Diagnostic::new(Code::Child, message, place));
            }
        }
    }
    if let Some(mut sent) = sent {
        let _ = sent.end();
    }
    for guest in &done {
        for finding in check::spec(&guest.spec) {
            mistakes.push(mistake_of(&finding, guest));
        }
    }
    found.extend(placed(state, &mistakes));
    let all_known = is_complete && done.len() == guests.len();
    let specs: Vec<&Spec> = done.iter().map(|d| &d.spec).collect();
    for finding in check::fleet(&specs) {
        // A guest that could not be read may be the one that is depended on.
        if finding.fault == Fault::UnknownGuest && !all_known && is_declared(state, &guests, &finding) {
            continue;
        }
        found.push(conflict(state, &finding, &done));
    }
    if found.is_empty() {
        let evaluated = Evaluated {
            hash: hash(state),
            sources: sources(state),
            output: std::mem::take(&mut state.output),
            provenance,
            inputs: std::mem::take(&mut state.declared_inputs),
            secrets: secret_uses(state, uses, options),
            hits: state.take_hits(),
            specs: done.into_iter().map(|d| d.spec).collect(),
        };
        // A child ends without taking its state apart, and these with it.
        state.guests = guests;
        return Ok((evaluated, hooks));
    }
    let order = |d: &Diagnostic| {
        let file = d
            .place
            .as_ref()
            .map(|p| state.sources.iter().position(|s| s.shown == p.file));
        (file, d.place.as_ref().map(|p| (p.line, p.column)), d.code)
    };
    found.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.message.cmp(&b.message)));
    Err(Diagnostics(once(found)))
}

/// A guest that is missed by all that have one template is missed once, with a note.
fn once(found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut all: Vec<(Diagnostic, usize)> = Vec::new();
    for diagnostic in found {
        let same = all.iter_mut().rev().find(|(other, _)| {
            diagnostic.code == Code::UnknownGuest
                && other.code == diagnostic.code
                && other.place.is_some()
                && other.place == diagnostic.place
                && other.help == diagnostic.help
        });
        match same {
            Some((_, more)) => *more += 1,
            None => all.push((diagnostic, 0)),
        }
    }
    all.into_iter()
        .map(|(mut diagnostic, more)| {
            diagnostic.notes.extend(same_in(more));
            diagnostic
        })
        .collect()
}

fn same_in(more: usize) -> Option<String> {
    let guests = if more == 1 { "guest" } else { "guests" };
    (more > 0).then(|| format!("the same in {more} more {guests}"))
}

/// Values that were given for what is not declared.
fn unknown_inputs(state: &State, options: &EvalOptions) -> Vec<Diagnostic> {
    let declared: Vec<&str> = state.declared_inputs.keys().map(String::as_str).collect();
    let unknown = state
        .inputs
        .keys()
        .filter(|name| !declared.contains(&name.as_str()));
    unknown
        .map(|name| {
            let message = format!("the recipe has no input `{}`", name.escape_debug());
            let help = match nearest(name, declared.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if declared.is_empty() => "it declares none: `local x = input(\"x\", 1)`".to_owned(),
                None => format!("it has {}", declared.join(", ")),
            };
            let place = options.input_places.get(name).cloned();
            Diagnostic::new(Code::Input, message, place).with_help(Some(help))
        })
        .collect()
}

/// The secrets with the places that name them, when their values are wanted.
fn secret_uses(state: &State, uses: Vec<(usize, spec::Use)>, options: &EvalOptions) -> Vec<SecretUse> {
    if options.secrets.is_none() {
        return Vec::new();
    }
    // A loop puts a thousand secrets at one place.
    let mut places: HashMap<(String, usize, Slot), Option<Place>> = HashMap::new();
    uses.into_iter()
        .map(|(guest, (slot, name, layer))| {
            let line = state
                .layer(layer)
                .map_or_else(Default::default, |l| (l.file.clone(), l.line));
            let place = places
                .entry((line.0, line.1, slot.clone()))
                .or_insert_with(|| state.key_place(layer, &slot.path(), At::Value))
                .clone();
            SecretUse {
                guest,
                by: state.subject(layer),
                slot,
                name,
                place,
            }
        })
        .collect()
}

/// Whether the guest that is missed was declared, only wrongly.
fn is_declared(state: &State, guests: &[super::state::Declared], finding: &Finding) -> bool {
    guests.iter().any(|g| {
        state
            .layer(g.layer)
            .is_some_and(|layer| finding.about.as_deref() == Some(layer.name.as_str()))
    })
}

/// The mistakes with their places. One that a loop makes in a hundred guests is one, with a note.
fn placed(state: &State, mistakes: &[Mistake]) -> Vec<Diagnostic> {
    let mut all: Vec<(Diagnostic, usize)> = Vec::new();
    let mut index: HashMap<(Code, String, Vec<String>, String, usize), usize> = HashMap::new();
    for mistake in mistakes {
        let Some(layer) = state.layer(mistake.layer) else {
            continue;
        };
        let key = (
            mistake.code,
            mistake.message.clone(),
            mistake.path.clone(),
            layer.file.clone(),
            layer.line,
        );
        if let Some(at) = index.get(&key) {
            all[*at].1 += 1;
        } else {
            index.insert(key, all.len());
            all.push((state.placed(mistake), 0));
        }
    }
    all.into_iter()
        .map(|(mut diagnostic, more)| {
            diagnostic
                .notes
                .extend(same_in(more).map(|same| same + " of this line"));
            diagnostic
        })
        .collect()
}

/// Looks for fields that a complete guest must have.
#[derive(Default)]
struct Complete {
    /// Tables that lack nothing: guests have those of their templates in common.
    known: HashSet<*const BTreeMap<Key, Node>>,
}

impl Complete {
    fn required(
        &mut self,
        node: &Node,
        record: &'static Record,
        layer: LayerId,
        path: &mut Vec<Key>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let Value::Map(map) = &node.value else { return };
        let is_shared = Rc::strong_count(map) > 1;
        if is_shared && self.known.contains(&Rc::as_ptr(map)) {
            return;
        }
        let before = mistakes.len();
        for field in record.fields {
            // Most can be left out and have nothing below: of a thousand guests that is a hundred thousand look-ups less.
            if !field.required && field.kind.record().is_none() {
                continue;
            }
            let there = map.get(field.name).filter(|n| !matches!(n.value, Value::Unset));
            match there {
                None if field.required => {
                    let message = format!("missing field `{}`", field.name);
                    let help = format!("such as `{} = {}`", field.name, field.example);
                    let mut whole: Vec<String> = path.iter().map(ToString::to_string).collect();
                    // The place is that of the table, the message's path ends before the field.
                    let mut mistake = Mistake::late(layer, Vec::new(), Code::Missing, message, Some(help));
                    whole.push(field.name.to_owned());
                    mistake.path = whole;
                    mistake.at = At::Key;
                    mistakes.push(mistake);
                }
                None => {}
                Some(below) => {
                    path.push(Key::Borrowed(field.name));
                    let decided = if path.len() == 1 && matches!(field.kind, Type::Record(_)) {
                        layer
                    } else {
                        below.layer()
                    };
                    self.below(field, below, decided, path, mistakes);
                    path.pop();
                }
            }
        }
        // What is known stays where it is: the nodes outlive this.
        if is_shared && mistakes.len() == before {
            self.known.insert(Rc::as_ptr(map));
        }
    }

    fn below(
        &mut self,
        field: &'static Field,
        node: &Node,
        decided: LayerId,
        path: &mut Vec<Key>,
        mistakes: &mut Vec<Mistake>,
    ) {
        match (&field.kind, &node.value) {
            (Type::Record(r) | Type::Short(_, r) | Type::Parsed(r, _), Value::Map(_)) => {
                self.required(node, r, decided, path, mistakes);
            }
            (Type::Map(_, item), Value::Map(entries)) => {
                if let Some(r) = item.record() {
                    for (name, entry) in entries.iter() {
                        path.push(name.clone());
                        self.required(entry, r, entry.layer(), path, mistakes);
                        path.pop();
                    }
                }
            }
            (Type::List(item), Value::List(items) | Value::Append(items)) => {
                if let Some(r) = item.record() {
                    for (number, entry) in items.iter().enumerate() {
                        path.push(Key::Owned((number + 1).to_string()));
                        self.required(entry, r, entry.layer(), path, mistakes);
                        path.pop();
                    }
                }
            }
            _ => {}
        }
    }
}

/// A node as JSON, without secrets.
pub(super) fn plain(node: &Node) -> Option<Json> {
    match &node.value {
        Value::Leaf(json) => Some(json.clone()),
        Value::Unset | Value::Function(_) => None,
        Value::List(items) | Value::Append(items) => Some(items.iter().filter_map(plain).collect()),
        Value::Map(map) => {
            let fields = map
                .iter()
                .filter_map(|(key, node)| Some((key.to_string(), plain(node)?)));
            Some(Json::Object(fields.collect()))
        }
        Value::Secret(name) => Some(Json::String(secret::placeholder(name))),
    }
}

fn functions(node: &Node, name: &str, hooks: &mut HookFunctions) {
    let moments = [
        ("pre_start", HookMoment::PreStart),
        ("post_start", HookMoment::PostStart),
        ("pre_stop", HookMoment::PreStop),
        ("post_stop", HookMoment::PostStop),
        ("pre_snapshot", HookMoment::PreSnapshot),
        ("post_snapshot", HookMoment::PostSnapshot),
    ];
    for (key, moment) in moments {
        if let Some(Value::Function(number)) = node.at(&["hooks", key, "run"]).map(|n| &n.value) {
            hooks.insert((name.to_owned(), moment), *number);
        }
    }
}

/// The layer and path of a finding in one guest.
fn at(finding_path: &str, guest: &Done<'_>) -> (LayerId, Vec<String>) {
    let path: Vec<String> = check::split(finding_path);
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    // The deepest node that is there decides the layer: `net.device` may be missing while `net` is not.
    let node = (0..=parts.len())
        .rev()
        .find_map(|n| guest.node.at(&parts[..n]).filter(|_| n > 0));
    (node.map_or(guest.layer, Node::layer), path)
}

fn mistake_of(finding: &Finding, guest: &Done<'_>) -> Mistake {
    let (layer, path) = at(&finding.path, guest);
    Mistake::late(
        layer,
        path,
        code_of(finding.fault),
        finding.invalid.message.clone(),
        finding.invalid.hint.clone(),
    )
}

fn code_of(fault: Fault) -> Code {
    match fault {
        Fault::Contradiction => Code::Conflict,
        Fault::Value => Code::BadValue,
        Fault::UnknownService | Fault::UnknownGuest => Code::UnknownGuest,
        Fault::Circle => Code::Circle,
        Fault::Missing => Code::Missing,
        Fault::DuplicateName => Code::DuplicateName,
        Fault::DuplicateXid => Code::DuplicateXid,
        Fault::DuplicateAddress => Code::DuplicateAddress,
    }
}

/// A finding between guests, with the places of all of them.
fn conflict(state: &State, finding: &Finding, done: &[Done<'_>]) -> Diagnostic {
    let mut places = finding.guests.iter().filter_map(|(index, path)| {
        let guest = done.get(*index)?;
        if path.is_empty() {
            return Some((state.call_place(guest.layer)?, String::new()));
        }
        let (layer, path) = at(path, guest);
        let mut label = state.subject(guest.layer);
        if layer != guest.layer {
            label = format!("{label} by {}", state.subject(layer));
        }
        Some((state.key_place(layer, &path, At::Value)?, label))
    });
    let first = places.next().map(|(place, _)| place);
    let mut related: Vec<_> = places
        .filter(|(place, _)| Some(place) != first.as_ref())
        .collect();
    if finding.fault == Fault::DuplicateName {
        for (_, label) in &mut related {
            "first declared here".clone_into(label);
        }
    }
    let mut diagnostic = Diagnostic::new(code_of(finding.fault), finding.invalid.message.clone(), first)
        .with_help(finding.invalid.hint.clone());
    diagnostic.related = related;
    diagnostic
}
