//! In which order guests are started and stopped: what a guest depends on first, and gone last.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::observe::{self, State};
use crate::error::{Error, Kind, Result};
use crate::guest::GuestName;
use crate::storage::state;

/// The guests of `names` and all that they depend on, in the order of a start. A name that is no guest is an
/// error.
pub fn starting(host: &Host, names: &[GuestName]) -> Result<Vec<GuestName>> {
    let mut depends = BTreeMap::new();
    let mut open: Vec<GuestName> = names.to_vec();
    while let Some(name) = open.pop() {
        if let Entry::Vacant(entry) = depends.entry(name) {
            let on = observe::applied(host, entry.key())?.spec.depends;
            open.extend(on.iter().cloned());
            entry.insert(on);
        }
    }
    sort(&depends)
}

/// The guests that start at boot and all that they depend on, in the order of a start.
pub fn autostart(host: &Host) -> Result<Vec<GuestName>> {
    let mut names = Vec::new();
    for name in state::list(&host.layout)? {
        if observe::applied(host, &name)?.spec.autostart {
            names.push(name);
        }
    }
    starting(host, &names)
}

/// The guests of `names`, in the order of a stop.
pub fn stopping(host: &Host, names: &[GuestName]) -> Result<Vec<GuestName>> {
    let mut depends = BTreeMap::new();
    for name in names {
        depends.insert(name.clone(), observe::applied(host, name)?.spec.depends);
    }
    let mut order = sort(&depends)?;
    order.reverse();
    Ok(order)
}

/// For each of `names` those of them that are to be stopped before it: the guests that depend on it.
pub fn before(host: &Host, names: &[GuestName]) -> Result<BTreeMap<GuestName, Vec<GuestName>>> {
    let mut before: BTreeMap<GuestName, Vec<GuestName>> = BTreeMap::new();
    for name in names {
        for on in observe::applied(host, name)?.spec.depends {
            if names.contains(&on) {
                before.entry(on).or_default().push(name.clone());
            }
        }
    }
    Ok(before)
}

/// The guests that run, in the order of a stop.
pub fn running(host: &Host) -> Result<Vec<GuestName>> {
    let all = observe::list(host)?;
    let running = all.into_iter().filter(|guest| guest.state != State::Stopped);
    stopping(host, &running.map(|guest| guest.name).collect::<Vec<_>>())
}

/// The keys of `depends`, each after those that it depends on, else by name. Dependencies that are no keys do not
/// count.
fn sort(depends: &BTreeMap<GuestName, Vec<GuestName>>) -> Result<Vec<GuestName>> {
    let mut sorted: Vec<GuestName> = Vec::new();
    let mut done = BTreeSet::new();
    while sorted.len() < depends.len() {
        let is_ready = |on: &[GuestName]| on.iter().all(|on| done.contains(on) || !depends.contains_key(on));
        let ready: Vec<&GuestName> = depends
            .iter()
            .filter(|(name, on)| !done.contains(*name) && is_ready(on))
            .map(|(name, _)| name)
            .collect();
        if ready.is_empty() {
            let left: Vec<String> = depends
                .keys()
                .filter(|name| !done.contains(*name))
                .map(|name| format!("`{name}`"))
                .collect();
            let message = format!("guests depend on each other in a circle: {}", left.join(", "));
            return Err(Error::new(Kind::Invalid, message).with_hint("change `depends` in their recipe"));
        }
        let ready: Vec<GuestName> = ready.into_iter().cloned().collect();
        done.extend(ready.iter().cloned());
        sorted.extend(ready);
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depends(of: &[(&str, &[&str])]) -> BTreeMap<GuestName, Vec<GuestName>> {
        let name = |text: &str| text.parse::<GuestName>().unwrap();
        of.iter()
            .map(|(guest, on)| (name(guest), on.iter().map(|on| name(on)).collect()))
            .collect()
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let order = sort(&depends(&[
            ("a", &["db", "cache"]),
            ("cache", &["db"]),
            ("db", &["elsewhere"]),
            ("z", &[]),
        ]));
        let order: Vec<String> = order.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(order, ["db", "z", "cache", "a"]);
    }

    #[test]
    fn a_circle_is_named() {
        let err = sort(&depends(&[("a", &["b"]), ("b", &["a"]), ("c", &[])])).unwrap_err();
        assert_eq!(
            err.to_string(),
            "guests depend on each other in a circle: `a`, `b`"
        );
    }
}
