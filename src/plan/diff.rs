//! What `apply` would do: the difference between recipes and what is on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, Spec, VolumeName, Xid};

/// What is known of a guest that is on the host.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What was applied.
    pub spec: Spec,
    /// What it runs with; `None` when it does not run.
    pub started: Option<Spec>,
    /// Its context id.
    pub xid: Xid,
    /// Limits that no longer hold in the kernel, by their field's name.
    pub drift: Vec<&'static str>,
    /// The recipe that it came from.
    pub recipe: Option<String>,
}

/// What is on the host.
pub type Facts = BTreeMap<GuestName, Fact>;

/// What an apply may do beyond what it always does.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Take away guests of this recipe that it no longer names.
    pub prune: Option<String>,
}

/// What is to be done, in an order in which it can be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// One entry a guest that something is to be done with.
    pub actions: Vec<Action>,
}

/// What is to be done with one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Which.
    pub guest: GuestName,
    /// What.
    #[serde(rename = "action")]
    pub verb: Verb,
    /// What differs; empty for a guest that is new, only stopped, or to go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The volumes that are made for it, which are not there yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeName>,
    /// The guests of this plan whose actions come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<GuestName>,
}

/// What is done with a guest, from the gentlest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Changed where it stands.
    Update,
    /// Started: it is there and does not run.
    Start,
    /// Stopped and started.
    Restart,
    /// Destroyed, built and started. Its files are lost.
    Rebuild,
    /// Built and started.
    Create,
    /// Stopped and destroyed. Its files are lost.
    Destroy,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verb::Update => "update",
            Verb::Start => "start",
            Verb::Restart => "restart",
            Verb::Rebuild => "rebuild",
            Verb::Create => "create",
            Verb::Destroy => "destroy",
        })
    }
}

/// What it takes for a change to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It holds at once.
    Live,
    /// The guest is restarted.
    Restart,
    /// The guest is built anew.
    Rebuild,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The field, as `limits.memory`.
    pub path: String,
    /// What it is; `None` where it is not set.
    pub from: Option<String>,
    /// What it is to be.
    pub to: Option<String>,
    /// What it takes.
    pub effect: Effect,
    /// Nobody changed the recipe: the host differs from what was applied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_drift: bool,
}

/// Stands for a value that is shown nowhere.
const SECRET: &str = "<secret>";

/// The plan that makes the host what `specs` say. The order is that of dependencies, and among equals that of the
/// recipe; guests that go, go last.
pub fn diff(specs: &[Spec], facts: &Facts, options: &Options) -> Result<Plan> {
    let mut actions: Vec<Action> = Vec::new();
    for spec in in_order(specs, facts)? {
        if let Some((verb, changes)) = one(spec, facts.get(&spec.name))? {
            actions.push(Action {
                guest: spec.name.clone(),
                verb,
                changes,
                volumes: Vec::new(),
                after: Vec::new(),
            });
        }
    }
    let planned: BTreeSet<GuestName> = actions.iter().map(|a| a.guest.clone()).collect();
    let by_name: BTreeMap<&GuestName, &Spec> = specs.iter().map(|s| (&s.name, s)).collect();
    for action in &mut actions {
        let depends = by_name.get(&action.guest).map_or(&[][..], |s| &s.depends);
        action.after = depends.iter().filter(|d| planned.contains(*d)).cloned().collect();
    }
    if let Some(recipe) = &options.prune {
        let is_named = |name: &GuestName| by_name.contains_key(name);
        for (name, fact) in left_behind(specs, facts, recipe) {
            // Those that depend on it go before it.
            let after = facts
                .iter()
                .filter(|(other, f)| {
                    !is_named(other) && f.recipe == fact.recipe && f.spec.depends.contains(name)
                })
                .map(|(other, _)| other.clone())
                .collect();
            actions.push(Action {
                guest: name.clone(),
                verb: Verb::Destroy,
                changes: Vec::new(),
                volumes: Vec::new(),
                after,
            });
        }
    }
    Ok(Plan { actions })
}

impl Plan {
    /// Says which volumes are made on the way, each with the first guest that declares it.
    pub fn add_volumes(
        &mut self,
        specs: &[Spec],
        is_there: impl Fn(&VolumeName) -> Result<bool>,
    ) -> Result<()> {
        let declared = specs.iter().filter(|spec| !spec.volumes.is_empty());
        let declared: BTreeMap<&GuestName, &Spec> = declared.map(|spec| (&spec.name, spec)).collect();
        let mut seen = BTreeSet::new();
        // Whoever is to go is in no recipe.
        for action in &mut self.actions {
            let volumes = declared
                .get(&action.guest)
                .into_iter()
                .flat_map(|spec| spec.volumes.keys());
            for name in volumes {
                if seen.insert(name) && !is_there(name)? {
                    action.volumes.push(name.clone());
                }
            }
        }
        Ok(())
    }
}

/// The guests that came from this recipe and are no longer in it: what [`Options::prune`] takes away.
pub fn left_behind<'a>(
    specs: &[Spec],
    facts: &'a Facts,
    recipe: &str,
) -> impl Iterator<Item = (&'a GuestName, &'a Fact)> {
    let named: BTreeSet<&GuestName> = specs.iter().map(|spec| &spec.name).collect();
    let left = facts
        .iter()
        .filter(|(name, fact)| !named.contains(name) && fact.recipe.as_deref() == Some(recipe));
    left.collect::<Vec<_>>().into_iter()
}

fn one(spec: &Spec, fact: Option<&Fact>) -> Result<Option<(Verb, Vec<Change>)>> {
    let Some(fact) = fact else {
        return Ok(Some((Verb::Create, Vec::new())));
    };
    // What runs counts: a change that was recorded and waits for a restart is still a change.
    let mut changes = compare(fact.started.as_ref().unwrap_or(&fact.spec), spec)?;
    if spec.xid.is_none_or(|xid| xid == fact.xid) {
        changes.retain(|change| change.path != "xid");
    }
    for field in &fact.drift {
        let path = format!("limits.{field}");
        if !changes.iter().any(|change| change.path == path) {
            let to = json(&spec.limits)?.get(field).map(text);
            changes.push(Change {
                path,
                from: None,
                to,
                effect: Effect::Live,
                is_drift: true,
            });
        }
    }
    let worst = changes.iter().map(|change| change.effect).max();
    Ok(match (worst, fact.started.is_some()) {
        (Some(Effect::Rebuild), _) => Some((Verb::Rebuild, changes)),
        (Some(Effect::Restart), true) => Some((Verb::Restart, changes)),
        (_, false) => Some((Verb::Start, changes)),
        (Some(Effect::Live), true) => Some((Verb::Update, changes)),
        (None, true) => None,
    })
}

/// Every field in which two specifications differ.
pub fn compare(from: &Spec, to: &Spec) -> Result<Vec<Change>> {
    if from == to {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    walk("", Some(&json(from)?), Some(&json(to)?), &mut changes);
    for change in &mut changes {
        if is_secret(&change.path, from) || is_secret(&change.path, to) {
            change.from = change.from.take().map(|_| SECRET.to_owned());
            change.to = change.to.take().map(|_| SECRET.to_owned());
        }
    }
    Ok(changes)
}

fn walk(path: &str, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<Change>) {
    if from == to {
        return;
    }
    let empty = serde_json::Map::new();
    let is_map = |value: Option<&Value>| matches!(value, Some(Value::Object(_)) | None);
    if is_map(from) && is_map(to) {
        let map = |value: Option<&'_ Value>| {
            value
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_else(|| empty.clone())
        };
        let (from, to) = (map(from), map(to));
        let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for key in keys {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            walk(&below, from.get(key), to.get(key), changes);
        }
        return;
    }
    changes.push(Change {
        path: path.to_owned(),
        from: from.map(text),
        to: to.map(text),
        effect: effect(path),
        is_drift: false,
    });
}

/// What it takes for a change of this field to hold.
fn effect(path: &str) -> Effect {
    let field = path.split('.').next().unwrap_or(path);
    match field {
        "image" | "packages" | "arch" => Effect::Rebuild,
        "volumes" if path.ends_with(".storage") => Effect::Restart,
        "volumes" | "limits" | "files" | "autostart" | "depends" | "health" | "hooks" | "stop"
        | "secret_env" => Effect::Live,
        _ => Effect::Restart,
    }
}

fn is_secret(path: &str, spec: &Spec) -> bool {
    if let Some(name) = path.strip_prefix("env.") {
        return spec.secret_env.iter().any(|secret| secret == name);
    }
    // A file's path has dots of its own.
    spec.files.iter().any(|(file, what)| {
        what.secret
            && path
                .strip_prefix("files.")
                .is_some_and(|rest| rest.starts_with(&*file.to_string_lossy()))
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn json<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|source| Error::new(Kind::Internal, "write as JSON").with_source(source))
}

/// The specifications so that each comes after those that it depends on.
fn in_order<'a>(specs: &'a [Spec], facts: &Facts) -> Result<Vec<&'a Spec>> {
    let by_name: BTreeMap<&GuestName, &Spec> = specs.iter().map(|s| (&s.name, s)).collect();
    let mut done: BTreeSet<&GuestName> = BTreeSet::new();
    let mut order = Vec::with_capacity(specs.len());
    for spec in specs {
        visit(spec, &by_name, facts, &mut Vec::new(), &mut done, &mut order)?;
    }
    Ok(order)
}

fn visit<'a>(
    spec: &'a Spec,
    by_name: &BTreeMap<&GuestName, &'a Spec>,
    facts: &Facts,
    path: &mut Vec<&'a GuestName>,
    done: &mut BTreeSet<&'a GuestName>,
    order: &mut Vec<&'a Spec>,
) -> Result<()> {
    if done.contains(&spec.name) {
        return Ok(());
    }
    if let Some(at) = path.iter().position(|name| **name == spec.name) {
        let circle: Vec<&str> = path[at..]
            .iter()
            .chain([&&spec.name])
            .map(|n| n.as_str())
            .collect();
        return Err(Error::new(
            Kind::Invalid,
            format!("guests depend on each other: {}", circle.join(" -> ")),
        ));
    }
    path.push(&spec.name);
    for dependency in &spec.depends {
        match by_name.get(dependency) {
            Some(other) => visit(other, by_name, facts, path, done, order)?,
            None if facts.contains_key(dependency) => {}
            None => {
                return Err(Error::new(
                    Kind::Invalid,
                    format!(
                        "guest `{}` depends on `{dependency}`, which is in no recipe here and not on the host",
                        spec.name
                    ),
                ));
            }
        }
    }
    path.pop();
    done.insert(&spec.name);
    order.push(spec);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        serde_json::from_str(text).unwrap()
    }

    fn fact(spec: &Spec) -> Fact {
        let xid = Xid::new(1000).unwrap();
        Fact {
            spec: spec.clone(),
            started: Some(spec.clone()),
            xid,
            drift: Vec::new(),
            recipe: Some("a.lua".into()),
        }
    }

    fn only(specs: &[Spec], facts: &Facts) -> Action {
        let mut plan = diff(specs, facts, &Options::default()).unwrap();
        assert_eq!(plan.actions.len(), 1, "{plan:?}");
        plan.actions.remove(0)
    }

    #[test]
    fn what_is_as_it_should_be_needs_nothing() {
        let web = spec(r#"{"name":"web","image":"busybox"}"#);
        let facts = Facts::from([(web.name.clone(), fact(&web))]);
        assert_eq!(
            diff(&[web], &facts, &Options::default()).unwrap(),
            Plan::default()
        );
    }

    #[test]
    fn the_gentlest_way_is_taken() {
        let web = spec(r#"{"name":"web","image":"busybox","limits":{"memory":"256M"}}"#);
        let facts = Facts::from([(web.name.clone(), fact(&web))]);
        let mut changed = web.clone();
        changed.limits.memory = Some(crate::guest::Bytes(512 << 20));
        let action = only(std::slice::from_ref(&changed), &facts);
        assert_eq!(action.verb, Verb::Update);
        assert_eq!(
            action.changes,
            [Change {
                path: "limits.memory".into(),
                from: Some("256M".into()),
                to: Some("512M".into()),
                effect: Effect::Live,
                is_drift: false
            }]
        );
        changed.hostname = Some("other".parse().unwrap());
        assert_eq!(only(std::slice::from_ref(&changed), &facts).verb, Verb::Restart);
        changed.image = "debian:bookworm".parse().unwrap();
        assert_eq!(only(&[changed], &facts).verb, Verb::Rebuild);
    }

    #[test]
    fn a_stopped_guest_is_started_and_a_new_one_created() {
        let web = spec(r#"{"name":"web","image":"busybox"}"#);
        assert_eq!(only(std::slice::from_ref(&web), &Facts::new()).verb, Verb::Create);
        let stopped = Fact {
            started: None,
            ..fact(&web)
        };
        assert_eq!(
            only(
                std::slice::from_ref(&web),
                &Facts::from([(web.name.clone(), stopped)])
            )
            .verb,
            Verb::Start
        );
    }

    #[test]
    fn dependencies_come_first_and_circles_are_named() {
        let web = spec(r#"{"name":"web","image":"busybox","depends":["db"]}"#);
        let db = spec(r#"{"name":"db","image":"busybox"}"#);
        let plan = diff(&[web.clone(), db], &Facts::new(), &Options::default()).unwrap();
        let names: Vec<&str> = plan.actions.iter().map(|a| a.guest.as_str()).collect();
        assert_eq!(names, ["db", "web"]);
        assert_eq!(plan.actions[1].after, ["db".parse().unwrap()]);
        let db = spec(r#"{"name":"db","image":"busybox","depends":["web"]}"#);
        let err = diff(&[web, db], &Facts::new(), &Options::default()).unwrap_err();
        assert_eq!(err.to_string(), "guests depend on each other: web -> db -> web");
    }

    #[test]
    fn only_guests_of_the_same_recipe_are_pruned() {
        let (a, b) = (
            spec(r#"{"name":"a","image":"busybox"}"#),
            spec(r#"{"name":"b","image":"busybox"}"#),
        );
        let other = Fact {
            recipe: Some("b.lua".into()),
            ..fact(&b)
        };
        let facts = Facts::from([(a.name.clone(), fact(&a)), (b.name.clone(), other)]);
        let plan = diff(
            &[],
            &facts,
            &Options {
                prune: Some("a.lua".into()),
            },
        )
        .unwrap();
        assert_eq!(plan.actions.len(), 1);
        assert_eq!(
            (plan.actions[0].guest.as_str(), plan.actions[0].verb),
            ("a", Verb::Destroy)
        );
        let names = |specs: &[Spec]| {
            left_behind(specs, &facts, "a.lua")
                .map(|(name, _)| name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!((names(&[]), names(&[a])), (vec!["a".to_owned()], vec![]));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let old = spec(r#"{"name":"web","image":"busybox","env":{"PW":"one"},"secret_env":["PW"]}"#);
        let new = spec(r#"{"name":"web","image":"busybox","env":{"PW":"two"},"secret_env":["PW"]}"#);
        let changes = compare(&old, &new).unwrap();
        assert_eq!(changes[0].from.as_deref(), Some("<secret>"));
        assert_eq!(changes[0].to.as_deref(), Some("<secret>"));
        assert!(!format!("{changes:?}").contains("two"));
    }

    #[test]
    fn drift_is_found() {
        let web = spec(r#"{"name":"web","image":"busybox","limits":{"pids":64}}"#);
        let drifted = Fact {
            drift: vec!["pids"],
            ..fact(&web)
        };
        let action = only(
            std::slice::from_ref(&web),
            &Facts::from([(web.name.clone(), drifted)]),
        );
        assert_eq!((action.verb, action.changes[0].is_drift), (Verb::Update, true));
    }
}
