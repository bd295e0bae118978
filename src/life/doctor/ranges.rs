//! Whose user and group ids guests have, or could get, besides.

use super::{Finding, State};
use crate::Result;
use crate::guest::ranges::Taken;
use crate::guest::{GuestName, Xid};
use crate::storage::{Layout, ids, state, xid};

const NAME: &str = "id ranges";

/// Looks at every guest that is there, and at the ranges that others have among those that guests can get.
pub(super) fn examine(layout: &Layout) -> Vec<Finding> {
    let known = || -> Result<_> {
        let mut guests = Vec::new();
        for name in state::list(layout)? {
            guests.extend(
                xid::of_guest(layout, &name)?
                    .into_iter()
                    .map(|xid| (name.clone(), xid)),
            );
        }
        Ok((ids::taken()?, guests))
    };
    match known() {
        Ok((taken, guests)) => compare(&taken, &guests),
        Err(err) => vec![Finding::lacks(
            NAME,
            State::Limited,
            err.to_string(),
            "whose ids are whose is not known: guests cannot start until it is",
        )],
    }
}

fn compare(taken: &Taken, guests: &[(GuestName, Xid)]) -> Vec<Finding> {
    let mut found: Vec<Finding> = guests
        .iter()
        .filter_map(|(name, xid)| {
            let err = taken.require_free(*xid).err()?;
            Some(Finding::lacks(
                NAME,
                State::Limited,
                format!("guest `{name}`: {err}"),
                format!("`{name}` cannot start like that: give it another `xid` and apply its recipe"),
            ))
        })
        .collect();
    if found.is_empty() {
        let others: Vec<String> = taken.iter().map(ToString::to_string).collect();
        let text = match others.as_slice() {
            [] => "nobody else has ids that a guest can get".to_owned(),
            [only] => format!("no guest has ids of others; passed over: {only}"),
            [first, rest @ ..] => {
                format!(
                    "no guest has ids of others; passed over: {first}, and {} more",
                    rest.len()
                )
            }
        };
        found.push(Finding::ok(NAME, text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_among_the_ids_of_another_is_named() {
        let mut taken = Taken::default();
        let guests = [("web".parse().unwrap(), Xid::new(2).unwrap())];
        let found = compare(&taken, &guests);
        assert_eq!(found[0].found, "nobody else has ids that a guest can get");
        taken.subordinate("/etc/subgid", "bob:262144:9\nalice:100000:65536\n");
        let found = compare(&taken, &guests);
        assert_eq!((found.len(), found[0].state), (1, State::Limited));
        assert_eq!(
            found[0].found,
            "guest `web`: the ids of the context 2, 131072 to 196607, meet the ids 100000 to 165535 of `alice` in `/etc/subgid`"
        );
        let found = compare(&taken, &[]);
        assert_eq!(found[0].state, State::Ok);
        assert!(
            found[0]
                .found
                .ends_with("262144 to 262152 of `bob` in `/etc/subgid`, and 1 more")
        );
    }
}
