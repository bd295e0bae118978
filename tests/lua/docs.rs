//! The documentation is true and whole: every snippet is run somewhere, every page is in the book, every link leads
//! somewhere. Commands are run by `tests/privileged/docs.rs`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use hostel::lua::{EvalOptions, evaluate, script};
use hostel::plan::{Facts, Options, diff};

use crate::page::{Block, anchors, blocks, links};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of docs/, each with its text.
fn pages() -> BTreeMap<PathBuf, String> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![top().join("README.md")];
    collect(&top().join("docs"), &mut found);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(top()).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// Where a snippet is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ran {
    /// Evaluated and planned.
    Recipe,
    /// Compiled here, and run with `--plan` where it has that.
    Script,
    /// By `hostel test`.
    Test,
    /// Required by another block of the page.
    Module,
    /// By the tests of what it was generated from.
    Registry,
    /// By the privileged suite.
    Commands,
    /// Output, or a file that no program of ours reads.
    Text,
    /// Nowhere; it says why.
    Reasoned,
}

/// Runs a snippet, or knows who does. `dir` has the files of the page's earlier blocks.
fn ran(page: &Path, block: &Block, dir: &Path, count: usize) -> Result<Ran, String> {
    if let Some(reason) = block.not_run() {
        let is_reason = reason.len() > 5;
        return is_reason
            .then_some(Ran::Reasoned)
            .ok_or_else(|| "`not-run=` has no reason".to_owned());
    }
    let name = block
        .value("file")
        .map_or_else(|| format!("snippet{count}.lua"), str::to_owned);
    let path = dir.join(&name);
    match block.language() {
        "lua" if block.has("example") && page.starts_with("docs/lua") => Ok(Ran::Registry),
        "lua" if block.has("fields") => recipe(
            &path,
            &format!("guest \"web\" {{ image = \"busybox\",\n{}}}\n", block.text),
        ),
        "lua" if block.has("module") => {
            write(&path, &block.text);
            Ok(Ran::Module)
        }
        "lua" if block.has("script") => {
            write(&path, &block.text);
            compiles(&block.text)?;
            if block.text.contains("flags.plan") {
                let plan = script::Args::parse(&["--plan".to_owned()]);
                script::run(&path, &plan).map_err(|failed| failed.diagnostics.to_string())?;
            }
            Ok(Ran::Script)
        }
        "lua" if block.has("test") => {
            write(&path, &block.text);
            let out = Command::new(env!("CARGO_BIN_EXE_hostel"))
                .arg("test")
                .arg(&path)
                .current_dir(dir)
                .output()
                .unwrap();
            let said =
                String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            out.status.success().then_some(Ran::Test).ok_or(said)
        }
        "lua" => match block.value("fails") {
            Some(code) => mistaken(&path, &block.text, code),
            None => recipe(&path, &block.text),
        },
        "sh" | "console" => {
            let list = include_str!("../privileged/docs.rs");
            let below = page.strip_prefix("docs").unwrap_or(page).display();
            list.contains(&format!("\"{below}\""))
                .then_some(Ran::Commands)
                .ok_or_else(|| "tests/privileged/docs.rs does not name this page".to_owned())
        }
        "text" | "json" | "ini" => {
            if block.value("file").is_some() {
                write(&path, &block.text);
            }
            Ok(Ran::Text)
        }
        other => Err(format!(
            "nothing runs a block of `{other}`: name its kind, or say not-run=REASON"
        )),
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    // What a group can write, root does not run, whatever the umask is.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(path, mode).unwrap();
}

fn recipe(path: &Path, text: &str) -> Result<Ran, String> {
    write(path, text);
    let evaluated = evaluate(path, &EvalOptions::default()).map_err(|d| d.to_string())?;
    diff(&evaluated.specs, &Facts::default(), &Options::default()).map_err(|e| e.to_string())?;
    Ok(Ran::Recipe)
}

/// A recipe that shows a mistake, and has that one.
fn mistaken(path: &Path, text: &str, code: &str) -> Result<Ran, String> {
    write(path, text);
    match evaluate(path, &EvalOptions::default()) {
        Ok(_) => Err(format!("it has no mistake, and {code} was to be shown")),
        Err(found) if found.to_string().contains(&format!("[{code}]")) => Ok(Ran::Recipe),
        Err(found) => Err(found.to_string()),
    }
}

fn compiles(text: &str) -> Result<(), String> {
    let lua = mlua::Lua::new();
    let function = lua.load(text).into_function();
    function.map(drop).map_err(|e| e.to_string())
}

#[test]
fn every_snippet_is_run() {
    let (mut counts, mut wrong) = (BTreeMap::<Ran, usize>::new(), vec![]);
    for (page, text) in pages() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = blocks(&text);
        for (count, block) in blocks.iter().enumerate() {
            let place = format!("{}:{}", page.display(), block.line);
            match ran(&page, block, dir.path(), count) {
                Ok(ran) => *counts.entry(ran).or_default() += 1,
                Err(why) => wrong.push(format!("{place}: {why}")),
            }
            // What is a file on the page is for something.
            let Some(name) = block.value("file") else { continue };
            let module = name.trim_end_matches(".lua");
            let is_used = blocks.iter().any(|other| match other.language() {
                "sh" | "console" => other.text.contains(name),
                _ => {
                    other.text.contains(&format!("\"{module}\""))
                        || other.text.contains(&format!("\"{name}\""))
                }
            });
            if !is_used && !block.has("test") {
                wrong.push(format!("{place}: no other block of the page uses `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for kind in [Ran::Recipe, Ran::Commands, Ran::Registry] {
        assert!(counts.contains_key(&kind), "{counts:?}");
    }
}

/// mdBook shows what SUMMARY.md names, and nothing else.
#[test]
fn every_page_is_in_the_book_once() {
    let pages = pages();
    let summary = &pages[Path::new("docs/SUMMARY.md")];
    let mut named: Vec<PathBuf> = links(summary)
        .into_iter()
        .map(|(_, target)| Path::new("docs").join(target))
        .collect();
    named.sort();
    let wanted: Vec<PathBuf> = pages
        .into_keys()
        .filter(|page| page.starts_with("docs") && !page.ends_with("SUMMARY.md"))
        .collect();
    let missing: Vec<_> = wanted.iter().filter(|page| !named.contains(page)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not name {missing:?}");
    assert_eq!(
        named, wanted,
        "docs/SUMMARY.md names a page twice, or one that is not there"
    );
}

/// `a/./b/../c` as `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut wrong = vec![];
    let mut count = 0;
    for (page, text) in &pages {
        for (line, link) in links(text) {
            if link.starts_with("https://") {
                continue;
            }
            count += 1;
            let place = format!("{}:{line}: `{link}`", page.display());
            let (target, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = match target {
                "" => page.clone(),
                target => plain(&page.parent().unwrap().join(target)),
            };
            if !top().join(&target).exists() {
                wrong.push(format!("{place} leads nowhere"));
            } else if page.starts_with("docs") && !pages.contains_key(&target) {
                wrong.push(format!("{place} leads out of the book"));
            }
            let has_anchor = || {
                pages
                    .get(&target)
                    .is_some_and(|text| anchors(text).iter().any(|a| a == anchor))
            };
            if !anchor.is_empty() && !has_anchor() {
                wrong.push(format!("{place}: there is no such heading"));
            }
        }
    }
    assert!(count > 50, "{count} links: the pages have more");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table of docs/howto/capabilities.md is what `hostel doc allow` tells. `HOSTEL_BLESS=1` writes it anew.
#[test]
fn what_allow_opens_and_risks_is_told_alike() {
    use std::fmt::Write as _;
    let path = top().join("docs/howto/capabilities.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let head = "| word | what works with it | what an attacker in the guest gains |\n|---|---|---|\n";
    let (before, rest) = page.split_once(head).expect("the table of `allow`");
    let (_, after) = rest.split_once("\n\n").unwrap();
    let mut table = String::new();
    for known in hostel::guest::risk::choices("allow") {
        writeln!(table, "| `{}` | {} | {} |", known.topic, known.opens, known.risk).unwrap();
    }
    let wanted = format!("{before}{head}{table}\n{after}");
    if std::env::var_os("HOSTEL_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/howto/capabilities.md is old: run `HOSTEL_BLESS=1 cargo test --test lua allow`"
    );
}

/// `HOSTEL_BLESS=1` writes the pages anew.
#[test]
fn the_reference_is_up_to_date() {
    let dir = top().join("docs/lua");
    let pages = hostel::lua::registry::reference();
    if std::env::var_os("HOSTEL_BLESS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in &pages {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let found = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "docs/lua/{name} is old: run `HOSTEL_BLESS=1 cargo test --test lua reference`"
        );
    }
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(
            pages.iter().any(|(n, _)| *n == name),
            "docs/lua/{name} is of nothing"
        );
    }
}
