//! The manual pages of what Lua can call and set: hostel-recipe(5), hostel-lua(3) with a page for each module, and
//! hostel-errors(7).

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Entry, Given, MODULES, Module, first_sentence};
use crate::guest::risk;
use crate::guest::schema::{Field, GUEST, Record};
use crate::lua::Code;

/// A manual page.
#[derive(Debug)]
pub struct Page {
    /// `hostel-recipe`.
    pub name: String,
    /// 3, 5 or 7.
    pub section: u8,
    /// What it says, for man(1).
    pub text: String,
}

impl Page {
    fn new(name: &str, section: u8, roff: &Roff) -> Self {
        Self {
            name: name.to_owned(),
            section,
            text: roff.to_roff(),
        }
    }
}

/// All of them.
pub fn manual() -> Vec<Page> {
    let mut pages = vec![recipe(), errors(), lua()];
    pages.extend(modules().map(module));
    pages
}

fn modules() -> impl Iterator<Item = &'static Module> {
    MODULES
        .iter()
        .copied()
        .filter(|module| module.name.starts_with("hostel."))
}

fn begin(name: &str, section: u8, about: &str) -> Roff {
    let mut roff = Roff::new();
    let version = format!("hostel {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, &section.to_string(), "", &version, ""]);
    roff.control("SH", ["NAME"]);
    // One line, and no full stop: it is what apropos(1) shows.
    let about = about.trim_end_matches('.').replace('`', "");
    roff.text([roman(format!("{name} - {about}"))]);
    roff
}

fn see_also(roff: &mut Roff, pages: &[&str]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for page in pages {
        let (name, section) = page.rsplit_once('(').unwrap_or((page, ""));
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(format!("({section}"))]);
    }
    roff.text(line);
}

/// What stands in backticks is bold, as man pages have it.
fn told(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts
        .map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

fn code(roff: &mut Roff, text: &str) {
    roff.control("RS", ["4"]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("RE", []);
}

fn recipe() -> Page {
    let name = "hostel-recipe";
    let mut roff = begin(name, 5, "what guests are, in Lua");
    roff.control("SH", ["SYNOPSIS"]);
    code(
        &mut roff,
        "guest \"web\" {\n  image = \"busybox\",\n  limits = { memory = \"64M\" },\n  net = { mode = \"bind\", address = \"127.80.0.1\" },\n}",
    );
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(told("A recipe is a Lua file that declares guests. `hostel plan FILE` shows what would be done, `hostel apply FILE` does it, `hostel check FILE` looks for mistakes. It can read no file, start nothing and reach nobody; the same recipe and inputs give the same guests. `hostel doc` has this page by topics."));
    for module in MODULES.iter().filter(|module| module.name == "recipe") {
        roff.control("SH", ["WORDS"]);
        entries(&mut roff, module);
        options(&mut roff, module);
    }
    roff.control("SH", ["FIELDS OF A GUEST"]);
    roff.text([roman("What stands in the table of a guest or a template.")]);
    fields(&mut roff, &GUEST, "");
    for module in MODULES.iter().filter(|module| module.name == "hooks") {
        roff.control("SH", ["HOOKS"]);
        roff.text(told(module.doc));
        entries(&mut roff, module);
    }
    let mut seen = Vec::new();
    below(&mut roff, &GUEST, "", &mut seen);
    see_also(
        &mut roff,
        &["hostel(1)", "hostel-lua(3)", "hostel-errors(7)", "hostel-doc(1)"],
    );
    Page::new(name, 5, &roff)
}

/// The tables in a table, each under its path.
fn below(roff: &mut Roff, record: &'static Record, path: &str, seen: &mut Vec<&'static str>) {
    if seen.contains(&record.name) {
        return;
    }
    seen.push(record.name);
    if !path.is_empty() {
        roff.control("SH", [path.to_uppercase().as_str()]);
        roff.text(told(record.doc));
        fields(roff, record, path);
    }
    for field in record.fields {
        if let Some(next) = field.kind.record() {
            below(roff, next, &joined(path, field.name), seen);
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn fields(roff: &mut Roff, record: &'static Record, path: &str) {
    for field in record.fields {
        one_field(roff, field, &joined(path, field.name));
    }
}

fn one_field(roff: &mut Roff, field: &'static Field, path: &str) {
    roff.control("TP", []);
    roff.text([bold(field.name), roman(": "), italic(field.kind.expected())]);
    let mut line = told(field.doc);
    if let Some(default) = field.default {
        line.push(roman(format!(" Default: {default}.")));
    }
    if field.required {
        line.push(roman(" It must be given, here or in a template."));
    }
    if let Some(map) = field.inside {
        line.push(roman(format!(" Short for {map}.{}.", field.name)));
    }
    line.push(roman(format!(" Such as {} = {}.", field.name, field.example)));
    roff.text(line);
    // A word costs something: which, is told where it is chosen. The capabilities are in capabilities(7).
    if path == "allow" {
        roff.control("RS", []);
        for known in risk::choices(path) {
            roff.control("TP", []);
            roff.text([bold(known.topic)]);
            roff.text([roman(format!("Opens {}. Risk: {}.", known.opens, known.risk))]);
        }
        roff.control("RE", []);
    }
}

fn entries(roff: &mut Roff, module: &Module) {
    for entry in module.entries.iter().filter(|entry| !entry.name.contains(':')) {
        one(roff, entry);
    }
    for class in module.classes {
        roff.control("SS", [format!("hostel.{}", class.name).as_str()]);
        roff.text(told(class.doc));
        for field in class.fields {
            roff.control("TP", []);
            roff.text([bold(field.name), roman(": "), italic(field.kind)]);
            roff.text(told(field.doc));
        }
        let start = format!("{}:", class.word);
        for entry in module
            .entries
            .iter()
            .filter(|entry| entry.name.starts_with(&start))
        {
            one(roff, entry);
        }
    }
}

fn one(roff: &mut Roff, entry: &Entry) {
    roff.control("TP", []);
    roff.text([bold(entry.signature())]);
    roff.text(told(entry.doc));
    for param in entry.params.unwrap_or(&[]) {
        let default = param
            .default
            .map(|default| format!(" Default: {default}."))
            .unwrap_or_default();
        roff.control("IP", [param.name]);
        roff.text(told(&format!("{}{default}", param.doc)));
    }
    if !entry.errors.is_empty() {
        roff.control("IP", ["errors"]);
        roff.text(told(entry.errors));
    }
    let gives = entry
        .gives
        .map(|gives| format!("   --> {gives}"))
        .unwrap_or_default();
    code(roff, &format!("{}{gives}", entry.example));
}

fn lua() -> Page {
    let name = "hostel-lua";
    let mut roff = begin(name, 3, "what scripts, workflows and tests can call");
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(told("Scripts are run by `hostel run FILE`, workflows by `hostel run NAME`, tests by `hostel test`, a line at a time by `hostel repl`. What a recipe can say is in hostel-recipe(5)."));
    roff.control("SH", ["MODULES"]);
    for module in modules() {
        roff.control("TP", []);
        roff.text([bold(module.name), roman("(3)")]);
        let mut line = told(first_sentence(module.doc));
        line.push(roman(format!(" In {}.", module.places.text())));
        roff.text(line);
    }
    for module in MODULES.iter().filter(|module| module.name == "hostel") {
        roff.control("SH", ["REQUIRE HOSTEL"]);
        roff.text(told(module.doc));
        entries(&mut roff, module);
        options(&mut roff, module);
    }
    for module in MODULES.iter().filter(|module| !module.name.starts_with("hostel")) {
        if matches!(module.name, "recipe" | "hooks") {
            continue;
        }
        roff.control("SH", [format!("LUA: {}", module.name.to_uppercase()).as_str()]);
        roff.text(told(&format!("{} In {}.", module.doc, module.places.text())));
        entries(&mut roff, module);
    }
    see_also(
        &mut roff,
        &[
            "hostel-recipe(5)",
            "hostel-run(1)",
            "hostel-test(1)",
            "hostel-errors(7)",
        ],
    );
    Page::new(name, 3, &roff)
}

fn module(module: &'static Module) -> Page {
    let mut roff = begin(module.name, 3, first_sentence(module.doc));
    roff.control("SH", ["SYNOPSIS"]);
    code(
        &mut roff,
        &format!("local {} = require \"{}\"", module.local, module.name),
    );
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(told(&format!("{} In {}.", module.doc, module.places.text())));
    roff.control("SH", ["WORDS"]);
    entries(&mut roff, module);
    options(&mut roff, module);
    see_also(&mut roff, &["hostel-lua(3)", "hostel-recipe(5)"]);
    Page::new(module.name, 3, &roff)
}

/// The tables that its functions take.
fn options(roff: &mut Roff, module: &Module) {
    let mut of_guests = Vec::new();
    GUEST.gather(&mut of_guests);
    let params = module
        .entries
        .iter()
        .flat_map(|entry| entry.params.unwrap_or(&[]));
    let taken = params.filter_map(|param| match param.kind {
        Given::Record(record) => Some(record),
        Given::Type(kind) => kind.record(),
        Given::Lua(_) => None,
    });
    let mut all = Vec::new();
    for record in module.records.iter().copied().chain(taken) {
        record.gather(&mut all);
    }
    all.retain(|record| !of_guests.iter().any(|other| std::ptr::eq(*other, *record)));
    for record in all {
        roff.control("SH", [record.name.to_uppercase().as_str()]);
        roff.text(told(record.doc));
        fields(roff, record, record.name);
    }
}

fn errors() -> Page {
    let name = "hostel-errors";
    let mut roff = begin(name, 7, "what each code of a mistake means");
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(told(
        "`hostel explain CODE` says the same. A code never changes its meaning.",
    ));
    for code in Code::ALL {
        roff.control("SH", [format!("{}: {}", code.as_str(), code.title()).as_str()]);
        for paragraph in code.text().split("\n\n") {
            if let Some(example) = paragraph.strip_prefix("    ") {
                self::code(&mut roff, example);
            } else {
                roff.control("PP", []);
                roff.text(told(&paragraph.replace('\n', " ")));
            }
        }
    }
    see_also(
        &mut roff,
        &["hostel-explain(1)", "hostel-recipe(5)", "hostel-lua(3)"],
    );
    Page::new(name, 7, &roff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_registry_is_on_a_page() {
        let pages = manual();
        let plain = |text: &str| {
            text.replace("\\-", "-")
                .replace("\\&", "")
                .replace("\\fB", "")
                .replace("\\fR", "")
                .replace("\\fP", "")
                .replace("\\fI", "")
                .replace("\\.", ".")
        };
        let all: String = pages.iter().map(|page| plain(&page.text)).collect();
        for (_, entry) in super::super::entries() {
            // roff has its own way with quotes and backslashes: the name is what is looked for.
            assert!(all.contains(entry.name), "{}", entry.name);
        }
        for code in Code::ALL {
            assert!(all.contains(code.as_str()), "{}", code.as_str());
        }
        for record in super::super::records() {
            for field in record.fields {
                assert!(all.contains(field.name), "{}.{}", record.name, field.name);
            }
        }
    }
}
