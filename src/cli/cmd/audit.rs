//! `hostel audit [GUEST...]`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueHint};
use serde::Serialize;

use crate::cli::args;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::color::Paint;
use crate::cli::output::table::clean;
use crate::cli::recipe;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::audit::{self, Finding, Kernel, Kind, Powers, Sharers};
use crate::guest::{GuestName, Spec, Xid};
use crate::life::audit::{Subject, kernel, subject};
use crate::life::{Host, observe, volume};
use crate::lua::{self, EvalOptions, Evaluated, Origins, Place, Wanted};
use crate::{Error, Result, storage};

/// Tell what guests can do, and what each thing that is loosened risks
///
/// Each finding is `loosened` (the recipe takes a defence away), `lacking` (this kernel does not have one), `unlimited`
/// (something has no bound) or `note`, with the place in the recipe that decides it, where that is known: while the
/// recipe is as it was when it was applied. A guest that runs is told of as it runs.
///
/// The exit code is 0 when nothing is loosened or lacking, 1 when something is, 2 when that could not be found out.
#[derive(Debug, Parser)]
pub(crate) struct Audit {
    /// The names of the guests; all of them without one
    #[arg(value_name = "GUEST", add = args::guests())]
    guests: Vec<GuestName>,
    /// Look at the guests of this recipe, before it is applied
    #[arg(short, long, value_name = "RECIPE", value_hint = ValueHint::FilePath)]
    recipe: Option<PathBuf>,
    /// Print JSON: an array of `guest`, `xid`, `powers` and `findings`
    #[arg(long)]
    json: bool,
}

/// What is told of one guest.
#[derive(Debug, Serialize)]
struct Report {
    guest: GuestName,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<Xid>,
    powers: Powers,
    findings: Vec<Placed>,
}

/// A finding, and the place in the recipe that decides it.
#[derive(Debug, Serialize)]
struct Placed {
    #[serde(flatten)]
    finding: Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

impl Verb for Audit {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel audit", "every guest of this host"),
        ("hostel audit web --json", "one of them, for a program"),
        (
            "hostel audit -r web.lua",
            "the guests of a recipe, before it is applied",
        ),
    ];
    const FAILURE: Failure = Failure::Unanswered;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let kernel = kernel();
        let reports = match &self.recipe {
            Some(path) => match self.of_recipe(session, path, kernel)? {
                Some(reports) => reports,
                // Its mistakes have been told.
                None => return Ok(Exit::Changes),
            },
            None => self.of_host(kernel)?,
        };
        if self.json {
            session.json(&reports)?;
        } else {
            for report in &reports {
                show(session, report)?;
            }
        }
        let is_open = |report: &Report| report.findings.iter().any(|f| f.finding.kind.is_opening());
        Ok(if reports.iter().any(is_open) {
            Exit::No
        } else {
            Exit::Success
        })
    }
}

impl Audit {
    fn of_host(&self, kernel: Kernel) -> Result<Vec<Report>> {
        let host = Host::open()?;
        let all;
        let names = if self.guests.is_empty() {
            all = storage::state::list(&host.layout)?;
            &all
        } else {
            &self.guests
        };
        let subjects = names
            .iter()
            .map(|name| subject(&host, name))
            .collect::<Result<Vec<_>>>()?;
        let has_volumes = |subject: &Subject| !subject.spec.mounted_volumes().is_empty();
        let sharers = if subjects.iter().any(has_volumes) {
            volume::sharers(&host)?
        } else {
            Sharers::new()
        };
        let evaluated = places(&subjects, |path, options| lua::evaluate(path, options).ok());
        let reports = subjects.iter().map(|subject| {
            let origins = subject.recipe.as_ref().and_then(|recipe| {
                let evaluated = evaluated.get(&(&recipe.path, &recipe.inputs))?.as_ref()?;
                // What the recipe says now is of no use where something else was applied.
                let is_applied = evaluated.hash == recipe.sha256;
                evaluated
                    .provenance
                    .get(subject.spec.name.as_str())
                    .filter(|_| is_applied)
            });
            report(&subject.spec, Some(subject.xid), kernel, &sharers, origins)
        });
        Ok(reports.collect())
    }

    fn of_recipe(&self, session: &mut Session, path: &Path, kernel: Kernel) -> Result<Option<Vec<Report>>> {
        let options = EvalOptions {
            provenance: if self.guests.is_empty() {
                Wanted::All
            } else {
                Wanted::Of(self.guests.iter().map(ToString::to_string).collect())
            },
            ..EvalOptions::default()
        };
        let Some(whole) = recipe::evaluate(session, path, &options) else {
            return Ok(None);
        };
        for name in &self.guests {
            if whole.spec(name).is_none() {
                let message = format!("`{}` has no guest `{name}`", path.display());
                return Err(Error::new(crate::Kind::NotFound, message));
            }
        }
        let host = Host::open()?;
        let is_asked = |spec: &&Spec| self.guests.is_empty() || self.guests.contains(&spec.name);
        let mut reports = Vec::new();
        let sharers = audit::sharers(&whole.specs);
        for spec in whole.specs.iter().filter(is_asked) {
            // A guest that is there already has a number, also when its recipe leaves that open.
            let known = observe::applied(&host, &spec.name)
                .ok()
                .map(|applied| applied.xid);
            let origins = whole.provenance.get(spec.name.as_str());
            reports.push(report(spec, spec.xid.or(known), kernel, &sharers, origins));
        }
        Ok(Some(reports))
    }
}

/// A recipe, and the inputs that it was applied with.
type Applied<'a> = (&'a PathBuf, &'a BTreeMap<String, String>);

/// What the recipes of guests say where; `None` of one that cannot be evaluated any more. Each is evaluated once for all
/// of its guests: a thousand guests of one recipe are a thousand times its time otherwise.
fn places(
    subjects: &[Subject],
    mut evaluate: impl FnMut(&Path, &EvalOptions) -> Option<Evaluated>,
) -> BTreeMap<Applied<'_>, Option<Evaluated>> {
    let mut guests: BTreeMap<Applied<'_>, BTreeSet<String>> = BTreeMap::new();
    for subject in subjects {
        if let Some(recipe) = &subject.recipe {
            let names = guests.entry((&recipe.path, &recipe.inputs)).or_default();
            names.insert(subject.spec.name.to_string());
        }
    }
    guests
        .into_iter()
        .map(|((path, inputs), names)| {
            let options = EvalOptions {
                provenance: Wanted::Of(names),
                inputs: inputs.clone(),
                ..EvalOptions::default()
            };
            ((path, inputs), evaluate(path, &options))
        })
        .collect()
}

fn report(
    spec: &Spec,
    xid: Option<Xid>,
    kernel: Kernel,
    sharers: &Sharers,
    origins: Option<&Origins>,
) -> Report {
    let findings = audit::audit(spec, kernel, sharers).into_iter();
    Report {
        guest: spec.name.clone(),
        xid,
        powers: audit::powers(spec, xid),
        findings: findings
            .map(|finding| Placed {
                place: origins.and_then(|origins| place(origins, &finding.field)),
                finding,
            })
            .collect(),
    }
}

/// Where the deciding layer says it: at the field itself, or at the table that it is in.
fn place(all: &Origins, field: &str) -> Option<Place> {
    let mut at = field;
    loop {
        if let Some(origin) = all.get(at).and_then(|origins| origins.last()) {
            return origin.place.clone();
        }
        at = &at[..at.rfind(['.', '['])?];
    }
}

fn show(session: &mut Session, report: &Report) -> Result<()> {
    let count = |kind: Kind| report.findings.iter().filter(|f| f.finding.kind == kind).count();
    let mut counts: Vec<String> = [Kind::Loosened, Kind::Lacking, Kind::Unlimited, Kind::Note]
        .into_iter()
        .filter(|kind| count(*kind) > 0)
        .map(|kind| format!("{} {kind}", count(kind)))
        .collect();
    if counts.is_empty() {
        counts.push("nothing loosened".to_owned());
    }
    let name = session.paint.bold(report.guest.as_str());
    session.line(&format!("{name}: {}", counts.join(", ")))?;
    for (word, text) in told(&report.powers) {
        session.line(&format!("  {word:<9}  {}", clean(&text)))?;
    }
    for Placed { finding, place } in &report.findings {
        let paint = match finding.kind {
            Kind::Loosened | Kind::Lacking => Paint::red,
            Kind::Unlimited => Paint::yellow,
            Kind::Note => Paint::dim,
        };
        let kind = paint(session.paint, &format!("{:<9}", finding.kind));
        let place = match place {
            Some(place) => format!("  {}:{}:{}", place.file, place.line, place.column),
            None => String::new(),
        };
        session.line(&format!("  {kind}  {}{}", clean(&finding.what), clean(&place)))?;
        session.line(&format!("             opens: {}", finding.opens))?;
        session.line(&format!("             risk: {}", finding.risk))?;
    }
    Ok(())
}

/// What a guest can do, by its heading.
fn told(powers: &Powers) -> Vec<(&'static str, String)> {
    let named = |items: Vec<String>| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    let ids = match powers.ids {
        Some([first, last]) => format!("{first} to {last} of the host's"),
        None if !powers.userns => "the host's own".to_owned(),
        None => "a range of its own, allocated when it is made".to_owned(),
    };
    let mut network = vec![powers.network.to_string()];
    network.extend(powers.addresses.iter().map(ToString::to_string));
    let mut told = vec![
        ("ids", ids),
        (
            "root",
            named(powers.capabilities.iter().map(ToString::to_string).collect()),
        ),
        ("network", network.join(" ")),
        (
            "set-uid",
            if powers.set_user_id {
                "works inside"
            } else {
                "does not work"
            }
            .to_owned(),
        ),
    ];
    if !powers.mounts.is_empty() {
        told.push(("mounts", powers.mounts.join(", ")));
    }
    if let Some(init) = &powers.init {
        told.push(("init", format!("its own, `{}`", init.display())));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::state::RecipeRef;

    #[test]
    fn a_recipe_is_evaluated_once_for_all_its_guests() {
        let subject = |name: &str, recipe: Option<(&str, &str)>| Subject {
            spec: serde_json::from_value(serde_json::json!({ "name": name, "image": "busybox" })).unwrap(),
            xid: Xid::try_from(2000_u32).unwrap(),
            recipe: recipe.map(|(path, size)| RecipeRef {
                path: path.into(),
                sha256: String::new(),
                inputs: [("size".to_owned(), size.to_owned())].into(),
            }),
        };
        let (one, other) = (Some(("/one.lua", "1G")), Some(("/other.lua", "1G")));
        let subjects = [
            subject("a", one),
            subject("b", other),
            subject("c", one),
            // With other inputs it says something else.
            subject("d", Some(("/one.lua", "2G"))),
            subject("e", None),
            subject("f", one),
        ];
        let mut asked = Vec::new();
        let found = places(&subjects, |path, options| {
            let Wanted::Of(names) = &options.provenance else {
                panic!("all guests of the recipe were asked for");
            };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            asked.push(format!(
                "{} {} {}",
                path.display(),
                options.inputs["size"],
                names.join(",")
            ));
            None
        });
        assert_eq!(asked, ["/one.lua 1G a,c,f", "/one.lua 2G d", "/other.lua 1G b"]);
        assert_eq!(found.len(), 3);
    }
}
