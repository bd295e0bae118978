//! A plan as people read it.

use std::fmt::Write as _;

use super::color::Paint;
use super::table::clean;
use crate::plan::{Action, Change, Effect, Plan, Verb};

/// Each action on a line with what differs below it, and how many there are.
pub(crate) fn text(plan: &Plan, paint: Paint) -> String {
    if plan.actions.is_empty() {
        return "no changes: the host is as the recipe says\n".to_owned();
    }
    let mut text = String::new();
    for action in &plan.actions {
        let _ = writeln!(text, "{}", line(action, paint));
        for volume in &action.volumes {
            let _ = writeln!(text, "    {} volume {volume}", paint.green("+"));
        }
        for change in &action.changes {
            let _ = writeln!(text, "    {}", detail(change, paint));
        }
    }
    let _ = writeln!(text, "{}", summary(plan));
    text
}

/// `+ create web`.
pub(crate) fn line(action: &Action, paint: Paint) -> String {
    let guest = paint.bold(action.guest.as_str());
    let (sign, color): (&str, fn(Paint, &str) -> String) = match action.verb {
        Verb::Create => ("+", Paint::green),
        Verb::Start => (">", Paint::green),
        Verb::Update => ("~", Paint::yellow),
        Verb::Restart => ("!", Paint::yellow),
        Verb::Rebuild => ("-/+", Paint::red),
        Verb::Destroy => ("-", Paint::red),
    };
    format!("{} {guest}", color(paint, &format!("{sign} {}", action.verb)))
}

/// `limits.memory 256M -> 512M (live)`.
fn detail(change: &Change, paint: Paint) -> String {
    let value = |value: Option<&String>| value.map_or_else(|| "unset".to_owned(), |value| clean(value));
    let effect = match change.effect {
        Effect::Live => "live",
        Effect::Restart => "restart",
        Effect::Rebuild => "rebuild",
    };
    let from = if change.is_drift {
        // It was changed behind hostel's back, and what it is now has no name in the recipe.
        "changed on the host".to_owned()
    } else {
        value(change.from.as_ref())
    };
    let to = value(change.to.as_ref());
    format!(
        "{} {from} -> {to} {}",
        change.path,
        paint.dim(&format!("({effect})"))
    )
}

/// `2 to create, 1 to update`.
pub(crate) fn summary(plan: &Plan) -> String {
    let verbs = [
        Verb::Create,
        Verb::Start,
        Verb::Update,
        Verb::Restart,
        Verb::Rebuild,
        Verb::Destroy,
    ];
    let counts: Vec<String> = verbs
        .into_iter()
        .map(|verb| {
            (
                verb,
                plan.actions.iter().filter(|action| action.verb == verb).count(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .map(|(verb, count)| format!("{count} to {verb}"))
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_a_line_and_its_changes_below() {
        let change = |path: &str, from: Option<&str>, is_drift| Change {
            path: path.into(),
            from: from.map(Into::into),
            to: Some("512M".into()),
            effect: Effect::Live,
            is_drift,
        };
        let action = |guest: &str, verb, changes| Action {
            guest: guest.parse().unwrap(),
            verb,
            changes,
            volumes: if verb == Verb::Create {
                vec!["data".parse().unwrap()]
            } else {
                vec![]
            },
            after: Vec::new(),
        };
        let plan = Plan {
            actions: vec![
                action("web", Verb::Create, vec![]),
                action(
                    "db",
                    Verb::Update,
                    vec![
                        change("limits.memory", Some("256M"), false),
                        change("limits.swap", None, false),
                        change("limits.pids", None, true),
                    ],
                ),
            ],
        };
        assert_eq!(
            text(&plan, Paint::PLAIN),
            "+ create web\n    \
             + volume data\n\
             ~ update db\n    \
             limits.memory 256M -> 512M (live)\n    \
             limits.swap unset -> 512M (live)\n    \
             limits.pids changed on the host -> 512M (live)\n\
             1 to create, 1 to update\n"
        );
        assert_eq!(
            text(&Plan::default(), Paint::PLAIN),
            "no changes: the host is as the recipe says\n"
        );
    }
}
