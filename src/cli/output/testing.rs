//! Results of tests: for people, for TAP readers, and as the XML of `JUnit`.

use std::fmt::Write as _;

use super::color::Paint;
use super::table::clean;
use crate::lua::Diagnostics;
use crate::lua::test::{Case, Coverage, FileReport, Outcome};

/// What all files came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Files that could not be run to their end.
    pub(crate) broken: usize,
    /// Tests that `t.only` left out.
    pub(crate) left_out: usize,
}

impl Totals {
    pub(crate) fn of(reports: &[FileReport]) -> Self {
        let sum = |of: fn(&FileReport) -> usize| reports.iter().map(of).sum();
        Self {
            passed: sum(|report| report.count(Outcome::Passed)),
            failed: sum(|report| report.count(Outcome::Failed)),
            skipped: sum(|report| report.count(Outcome::Skipped)),
            broken: sum(|report| usize::from(report.broken.is_some())),
            left_out: sum(|report| report.left_out),
        }
    }

    pub(crate) fn is_failed(self) -> bool {
        self.failed + self.broken > 0
    }
}

/// `ok    fleet > has an address each`, with what went wrong below it.
pub(crate) fn case(case: &Case, paint: Paint) -> String {
    let word = match case.outcome {
        Outcome::Passed => paint.green("ok   "),
        Outcome::Failed => paint.red("FAIL "),
        Outcome::Skipped => paint.yellow("skip "),
    };
    let mut text = format!("  {word} {}", clean(&case.title()));
    if let Some(reason) = &case.reason {
        let _ = write!(text, ": {}", clean(reason));
    }
    if case.millis >= 100 {
        let _ = write!(text, " {}", paint.dim(&format!("({} ms)", case.millis)));
    }
    text.push('\n');
    if case.outcome == Outcome::Failed {
        text.push_str(&indented(&case.diagnostics.render(paint.is_on())));
        text.push_str(&output(&case.output, paint));
    }
    text
}

/// What is said of a file after its tests.
pub(crate) fn after(report: &FileReport, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(broken) = &report.broken {
        let _ = writeln!(text, "  {}", paint.red("FAIL "));
        text.push_str(&indented(&broken.render(paint.is_on())));
    }
    for path in &report.blessed {
        let _ = writeln!(text, "  {} {}", paint.yellow("wrote"), path.display());
    }
    text.push_str(&output(&report.output, paint));
    text
}

fn indented(text: &str) -> String {
    let mut all = String::new();
    for line in text.trim_end().lines() {
        let _ = writeln!(all, "{}", format!("        {line}").trim_end());
    }
    all
}

fn output(lines: &[String], paint: Paint) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("        {}\n", paint.dim("it printed:"));
    for line in lines.iter().flat_map(|line| line.lines()) {
        let _ = writeln!(text, "          {}", clean(line));
    }
    text
}

/// `12 passed, 1 failed, 2 skipped; 3 files, 0.12 s`.
pub(crate) fn summary(totals: Totals, files: usize, millis: u64, paint: Paint) -> String {
    let mut parts = vec![format!("{} passed", totals.passed)];
    let mut part = |count: usize, what: &str, paint: &dyn Fn(&str) -> String| {
        if count > 0 {
            parts.push(paint(&format!("{count} {what}")));
        }
    };
    part(totals.failed, "failed", &|text| paint.red(text));
    let files_word = if totals.broken == 1 {
        "file broken"
    } else {
        "files broken"
    };
    part(totals.broken, files_word, &|text| paint.red(text));
    part(totals.skipped, "skipped", &|text| paint.yellow(text));
    part(totals.left_out, "left out by `only`", &|text| paint.yellow(text));
    let files_word = if files == 1 { "file" } else { "files" };
    // Of a run of tests, milliseconds are enough.
    let seconds = std::time::Duration::from_millis(millis).as_secs_f64();
    format!("{}; {files} {files_word}, {seconds:.2} s\n", parts.join(", "))
}

/// A line a file, the lines that did not run behind it.
pub(crate) fn coverage(coverage: &Coverage, paint: Paint) -> String {
    let mut text = String::new();
    let width = coverage
        .files
        .iter()
        .map(|file| file.file.len())
        .max()
        .unwrap_or(0)
        .max(5);
    for file in &coverage.files {
        let share = share(file.hit(), file.lines.len());
        let missed = file.missed();
        let missed = if missed.is_empty() {
            missed
        } else {
            paint.yellow(&format!("  not run: {missed}"))
        };
        let _ = writeln!(text, "{:width$}  {share}{missed}", clean(&file.file));
    }
    let (lines, hit) = coverage.total();
    let _ = writeln!(text, "{:width$}  {} of {lines} lines", "total", share(hit, lines));
    text
}

fn share(hit: usize, all: usize) -> String {
    // Rounded down: 100 % is all of it.
    let percent = (hit * 100).checked_div(all).unwrap_or(100);
    format!("{percent:3} %")
}

/// Version 13 of the Test Anything Protocol.
pub(crate) fn tap(reports: &[FileReport]) -> String {
    let mut lines = String::new();
    let mut count = 0;
    let mut point = |is_ok: bool, name: String, after: &str, wrong: Option<&Diagnostics>| {
        count += 1;
        let word = if is_ok { "ok" } else { "not ok" };
        let name = name.replace('#', "\\#");
        let _ = writeln!(lines, "{word} {count} - {name}{after}");
        if let Some(wrong) = wrong {
            let _ = writeln!(lines, "  ---\n  message: |");
            for line in wrong.to_string().trim_end().lines() {
                let _ = writeln!(lines, "    {}", clean(line));
            }
            let _ = writeln!(lines, "  ...");
        }
    };
    for report in reports {
        let file = report.file.display();
        for case in &report.cases {
            let name = clean(&format!("{file}: {}", case.title()));
            match case.outcome {
                Outcome::Passed => point(true, name, "", None),
                Outcome::Failed => point(false, name, "", Some(&case.diagnostics)),
                Outcome::Skipped => {
                    let reason = clean(case.reason.as_deref().unwrap_or_default());
                    point(true, name, format!(" # SKIP {reason}").trim_end(), None);
                }
            }
        }
        if let Some(broken) = &report.broken {
            point(false, clean(&file.to_string()), "", Some(broken));
        }
    }
    format!("TAP version 13\n1..{count}\n{lines}")
}

/// The XML of `JUnit`, as continuous integration systems read it: a suite a file.
pub(crate) fn junit(reports: &[FileReport]) -> String {
    let totals = Totals::of(reports);
    let seconds = |millis: u64| std::time::Duration::from_millis(millis).as_secs_f64();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let time: u64 = reports.iter().map(|report| report.millis).sum();
    let _ = writeln!(
        text,
        "<testsuites tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        totals.passed + totals.failed + totals.skipped + totals.broken,
        totals.failed,
        totals.broken,
        totals.skipped,
        seconds(time),
    );
    for report in reports {
        let file = xml(&report.file.display().to_string());
        let broken = usize::from(report.broken.is_some());
        let _ = writeln!(
            text,
            "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{}\" errors=\"{broken}\" skipped=\"{}\" time=\"{:.3}\">",
            report.cases.len() + broken,
            report.count(Outcome::Failed),
            report.count(Outcome::Skipped),
            seconds(report.millis),
        );
        for case in &report.cases {
            let open = format!(
                "    <testcase classname=\"{file}\" name=\"{}\" time=\"{:.3}\"",
                xml(&case.title()),
                seconds(case.millis)
            );
            match case.outcome {
                Outcome::Passed => {
                    let _ = writeln!(text, "{open}/>");
                }
                Outcome::Skipped => {
                    let reason = xml(case.reason.as_deref().unwrap_or_default());
                    let _ = writeln!(text, "{open}><skipped message=\"{reason}\"/></testcase>");
                }
                Outcome::Failed => {
                    let _ = writeln!(text, "{open}>{}</testcase>", wrong("failure", &case.diagnostics));
                }
            }
        }
        if let Some(diagnostics) = &report.broken {
            let _ = writeln!(
                text,
                "    <testcase classname=\"{file}\" name=\"{file}\" time=\"0.000\">{}</testcase>",
                wrong("error", diagnostics)
            );
        }
        let _ = writeln!(text, "  </testsuite>");
    }
    text.push_str("</testsuites>\n");
    text
}

fn wrong(tag: &str, diagnostics: &Diagnostics) -> String {
    let (code, message) = diagnostics
        .0
        .first()
        .map_or(("", ""), |first| (first.code.as_str(), first.message.as_str()));
    format!(
        "<{tag} type=\"{code}\" message=\"{}\">{}</{tag}>",
        xml(message),
        xml(&diagnostics.to_string())
    )
}

/// As text and in attributes. XML 1.0 has no control characters but tab and the line's end.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_well_formed_whatever_a_name_holds() {
        assert_eq!(xml("a<b>&\"\u{1b}\n"), "a&lt;b&gt;&amp;&quot;\u{fffd}\n");
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(share(999, 1000), " 99 %");
        assert_eq!(share(0, 0), "100 %");
    }
}
