//! What the shell offers: topics of `hostel doc`, and fields of a guest.

use super::doc::{self, Below};
use crate::guest::schema::{GUEST, Record, Type};

/// The topics that begin so. A path of fields is offered a step at a time.
pub fn topics(start: &str) -> Vec<Below> {
    let (prefix, path) = match start.strip_prefix("guest.") {
        Some(path) => ("guest.", path),
        None => ("", start),
    };
    let mut found: Vec<Below> = fields(path)
        .into_iter()
        .map(|below| Below {
            name: format!("{prefix}{}", below.name),
            ..below
        })
        .collect();
    if prefix.is_empty() {
        let is_other = |below: &Below| !found.iter().any(|f| f.name == below.name);
        // Fields further down come when their table is written.
        let others: Vec<Below> = doc::all()
            .into_iter()
            .filter(|below| below.name.starts_with(start) && is_other(below) && !is_path(&below.name))
            .collect();
        found.extend(others);
    }
    found
}

fn is_path(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(first, _)| GUEST.field(first).is_some())
}

/// The fields of a guest whose path begins so: `li` gives `limits`, `limits.` each of its fields.
pub fn fields(start: &str) -> Vec<Below> {
    let (above, last) = match start.rsplit_once('.') {
        Some((above, last)) => (Some(above), last),
        None => (None, start),
    };
    let Some(record) = above.map_or(Some(&GUEST), record_at) else {
        return Vec::new();
    };
    let matching = record.fields.iter().filter(|f| f.name.starts_with(last));
    matching
        .map(|field| Below {
            name: match above {
                Some(above) => format!("{above}.{}", field.name),
                None => field.name.to_owned(),
            },
            signature: field.kind.lua(),
            doc: super::first_sentence(field.doc).to_owned(),
        })
        .collect()
}

/// The table whose fields stand below a path; a map's key and a list's place are any word.
fn record_at(path: &str) -> Option<&'static Record> {
    let mut record = &GUEST;
    let mut names = path.split('.');
    while let Some(name) = names.next() {
        let field = record.field(name)?;
        record = field.kind.record()?;
        if matches!(field.kind, Type::Map(..) | Type::List(_) | Type::OneOrList(_)) {
            names.next()?;
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_offered_a_step_at_a_time() {
        let names = |found: Vec<Below>| found.into_iter().map(|b| b.name).collect::<Vec<_>>();
        assert_eq!(names(fields("li")), ["limits"]);
        assert_eq!(names(fields("limits.mem")), ["limits.memory", "limits.memlock"]);
        assert_eq!(names(fields("services.nginx.st")), ["services.nginx.stop_signal"]);
        assert_eq!(names(topics("guest.li")), ["guest.limits"]);
        assert_eq!(names(topics("hostel.cont")), ["hostel.context"]);
        assert_eq!(
            names(topics("limits.cpu")),
            ["limits.cpus", "limits.cpu_weight", "limits.cpuset"]
        );
        assert!(names(topics("")).len() > 20);
        assert!(fields("nothing.x").is_empty());
    }
}
