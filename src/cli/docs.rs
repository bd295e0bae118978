//! The pages that are made from the parsers: manual pages, and the reference in docs/.

use std::fmt::Write as _;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::help::{ABOUT, TOPICS};
use super::verb::{Entry, Group, VERBS};
use crate::Result;
use crate::error::Context as _;

/// `hostel.1`.
pub(crate) fn program_page() -> Result<Vec<u8>> {
    let command = clap::Command::new("hostel").about(ABOUT);
    let mut page = Vec::new();
    let man = man(&command, "hostel");
    man.render_title(&mut page).context(rendering)?;
    man.render_name_section(&mut page).context(rendering)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("hostel"), roman(" [--color WHEN] COMMAND [ARGUMENTS]")]);
    for group in Group::ALL {
        let verbs: Vec<&Entry> = VERBS.iter().filter(|verb| verb.group == group).collect();
        if verbs.is_empty() {
            continue;
        }
        let title = group.title().to_uppercase();
        roff.control("SH", [title.as_str()]);
        for verb in verbs {
            roff.control("TP", []);
            roff.text([bold(format!("hostel-{}(1)", verb.name))]);
            roff.text([roman(about(&verb.parser()))]);
        }
    }
    for topic in TOPICS {
        let title = topic.about.replace('`', "").to_uppercase();
        roff.control("SH", [title.as_str()]);
        verbatim(&mut roff, topic.text);
    }
    roff.to_writer(&mut page).context(rendering)?;
    Ok(page)
}

/// `hostel-VERB.1`.
pub(crate) fn verb_page(verb: &Entry) -> Result<Vec<u8>> {
    let title = format!("hostel-{}", verb.name);
    let command = verb.parser();
    let mut page = Vec::new();
    let man = man(&command, &title);
    man.render_title(&mut page).context(rendering)?;
    // The name of the page is not how the command is typed: write both by hand.
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{title} - {}", about(&command)))]);
    roff.control("SH", ["SYNOPSIS"]);
    let usage = verb.parser().render_usage().to_string();
    roff.text([bold(usage.trim_start_matches("Usage: ").trim().to_owned())]);
    roff.to_writer(&mut page).context(rendering)?;
    man.render_description_section(&mut page).context(rendering)?;
    man.render_options_section(&mut page).context(rendering)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).context(rendering)?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (line, what) in verb.examples {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(*what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("hostel"),
        roman("(1), "),
        bold("hostel-recipe"),
        roman("(5), "),
        bold("hostel-lua"),
        roman("(3)"),
    ]);
    roff.to_writer(&mut page).context(rendering)?;
    Ok(page)
}

/// The page of a verb in Markdown.
pub(crate) fn verb_markdown(verb: &Entry) -> String {
    let mut command = verb.documented().term_width(100);
    let help = super::help::full(&mut command).to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let name = verb.name;
    format!("# hostel {name}\n\n```text\n{}\n```\n", lines.join("\n"))
}

/// The page that leads to the others, in Markdown.
pub(crate) fn index_markdown() -> String {
    let mut text =
        format!("# The command line\n\n{ABOUT}. These pages are written by `hostel man --markdown`.\n");
    for group in Group::ALL {
        let mut verbs = VERBS.iter().filter(|verb| verb.group == group).peekable();
        if verbs.peek().is_some() {
            let _ = write!(text, "\n## {}\n\n", group.title());
        }
        for verb in verbs {
            let about = about(&verb.parser());
            let _ = writeln!(text, "- [{0}]({0}.md): {about}", verb.name);
        }
    }
    for topic in TOPICS {
        let _ = write!(text, "\n## {}\n\n```text\n{}```\n", topic.about, topic.text);
    }
    text
}

fn man(command: &clap::Command, title: &str) -> Man {
    Man::new(command.clone().disable_help_flag(true))
        .title(title)
        .section("1")
        .manual("hostel")
        .source(concat!("hostel ", env!("CARGO_PKG_VERSION")))
        // No date: the same source makes the same page.
        .date("")
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn rendering() -> &'static str {
    "render the manual page"
}
