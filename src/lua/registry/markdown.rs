//! The pages of docs/lua.

use std::fmt::Write as _;

use super::{Entry, MODULES, Module, records};
use crate::guest::schema::{GUEST, Record};
use crate::lua::Code;

const MADE: &str =
    "<!-- Made from hostel's registry: `HOSTEL_BLESS=1 cargo test --test lua reference`. -->\n\n";

/// Every page with its file's name.
pub fn reference() -> Vec<(String, String)> {
    let mut pages = vec![
        ("README.md".to_owned(), index()),
        ("guest.md".to_owned(), guest()),
        ("options.md".to_owned(), options()),
        ("errors.md".to_owned(), errors()),
    ];
    for page in page_names() {
        let mut text = String::from(MADE);
        let modules: Vec<&Module> = MODULES.iter().copied().filter(|m| page_of(m) == page).collect();
        let level = if page == "standard" {
            text.push_str("# Lua's own library\n\nWhat there is of it in recipes, scripts and tests.\n\n");
            "##"
        } else {
            "#"
        };
        for module in modules {
            of_module(module, level, &mut text);
        }
        pages.push((format!("{page}.md"), text));
    }
    pages
}

/// Lua's own modules share one page.
fn page_of(module: &Module) -> &'static str {
    match module.name {
        "recipe" | "hooks" => module.name,
        name if name.starts_with("hostel") => name,
        _ => "standard",
    }
}

fn page_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for module in MODULES {
        let page = page_of(module);
        if !names.contains(&page) {
            names.push(page);
        }
    }
    names
}

/// Writing to a `String` cannot fail, here and below.
fn index() -> String {
    let mut text = String::from(MADE);
    text.push_str("# The Lua reference\n\nEverything that a recipe, a script or a test can call or set. `hostel doc` says the same at the terminal.\n\n| | |\n|---|---|\n");
    text.push_str("| [guest](guest.md) | the fields of a guest |\n");
    for page in page_names() {
        let about = match MODULES.iter().find(|m| page_of(m) == page) {
            Some(_) if page == "standard" => "Lua's own library".to_owned(),
            Some(module) => cell(super::first_sentence(module.doc)),
            None => continue,
        };
        let _ = writeln!(text, "| [{page}]({page}.md) | {about} |");
    }
    text.push_str("| [options](options.md) | the tables that functions take |\n");
    text.push_str("| [errors](errors.md) | what each code means |\n");
    text
}

fn guest() -> String {
    let mut text = String::from(MADE);
    text.push_str("# The fields of a guest\n\nWhat stands in the table of `guest \"NAME\" { ... }` and `template \"NAME\" { ... }`.\n");
    let mut seen = Vec::new();
    below(&GUEST, "guest", &mut seen, &mut text);
    text
}

fn below(record: &'static Record, title: &str, seen: &mut Vec<&'static str>, text: &mut String) {
    if seen.contains(&record.name) {
        return;
    }
    seen.push(record.name);
    table(record, title, text);
    for field in record.fields {
        if let Some(next) = field.kind.record() {
            let title = if title == "guest" {
                field.name.to_owned()
            } else {
                format!("{title}.{}", field.name)
            };
            below(next, &title, seen, text);
        }
    }
}

fn table(record: &Record, title: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "\n## {title}\n\n{}\n\n| field | type | default | |\n|---|---|---|---|",
        record.doc
    );
    for field in record.fields {
        let default = match (field.default, field.required) {
            (Some(default), _) => default.to_owned(),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let short = match field.inside {
            Some(map) => format!(" Short for `{map}.{}`.", field.name),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {}{short} `{}` |",
            field.name,
            cell(&field.kind.expected()),
            cell(&default),
            cell(field.doc),
            cell(&format!("{} = {}", field.name, field.example)),
        );
    }
}

fn options() -> String {
    let mut text = String::from(MADE);
    text.push_str("# The tables that functions take\n");
    let mut seen = Vec::new();
    let mut of_guests = String::new();
    below(&GUEST, "guest", &mut seen, &mut of_guests);
    for record in records().iter().filter(|r| !seen.contains(&r.name)) {
        table(record, record.name, &mut text);
    }
    text
}

fn of_module(module: &Module, level: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "{level} {}\n\n{}\n\nIn {}.",
        module.name,
        module.doc,
        module.places.text()
    );
    let functions = module.entries.iter().filter(|e| !e.name.contains(':'));
    for entry in functions {
        one(module, entry, level, text);
    }
    for class in module.classes {
        let _ = writeln!(text, "\n{level}# hostel.{}\n\n{}", class.name, class.doc);
        if !class.fields.is_empty() {
            text.push_str("\n| field | type | |\n|---|---|---|\n");
        }
        for field in class.fields {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} |",
                field.name,
                cell(field.kind),
                cell(field.doc)
            );
        }
        let start = format!("{}:", class.word);
        for entry in module.entries.iter().filter(|e| e.name.starts_with(&start)) {
            one(module, entry, level, text);
        }
    }
    text.push('\n');
}

fn one(module: &Module, entry: &Entry, level: &str, text: &mut String) {
    let _ = writeln!(text, "\n{level}# `{}`\n\n{}", entry.signature(), entry.doc);
    let params = entry.params.unwrap_or(&[]);
    if !params.is_empty() {
        text.push('\n');
    }
    for param in params {
        let default = match param.default {
            Some(default) => format!(" Default: {default}."),
            None => String::new(),
        };
        let _ = writeln!(text, "- `{}`: {}{default}", param.name, param.doc);
    }
    if !entry.errors.is_empty() {
        let _ = writeln!(text, "\nErrors: {}", entry.errors);
    }
    let gives = match entry.gives {
        Some(gives) => format!("   --> {gives}"),
        None => String::new(),
    };
    // `example` keeps it apart from snippets that are whole recipes.
    let _ = writeln!(text, "\n```lua,example\n{}{gives}\n```", entry.example);
    let places = match entry.places {
        Some(places) if places != module.places => format!(" Only in {}.", places.text()),
        _ => String::new(),
    };
    let _ = writeln!(text, "\nSince {}.{places}", entry.since);
}

fn errors() -> String {
    let mut text = String::from(MADE);
    text.push_str("# What each code means\n\n`hostel explain CODE` says the same at the terminal. A code never changes its meaning.\n");
    for code in Code::ALL {
        let _ = writeln!(
            text,
            "\n## {}: {}\n\n{}",
            code.as_str(),
            code.title(),
            code.text()
        );
    }
    text
}

/// In a table's cell a `|` would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
