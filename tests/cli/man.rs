//! `hostel man`, and the reference in docs/ that it writes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Place, tool};

fn files(dir: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

#[test]
fn writes_a_page_for_each_command() {
    let place = Place::new();
    let dir = place.path("man");
    let run = place.run(&["man", dir.to_str().unwrap()]);
    let mut pages = BTreeMap::new();
    for section in ["man1", "man3", "man5", "man7"] {
        pages.extend(files(&dir.join(section)));
    }
    assert_eq!(
        run.prints(),
        format!("{} pages in `{}`\n", pages.len(), dir.display())
    );
    let page = &pages["hostel-version.1"];
    assert!(
        page.contains(".SH NAME\nhostel\\-version \\- Show the version of hostel\n"),
        "{page}"
    );
    assert!(page.contains("\n.SH EXAMPLES\n"), "{page}");
    assert!(
        pages["hostel.1"].contains("\n.SH \"EXIT CODES\"\n"),
        "{}",
        pages["hostel.1"]
    );
}

/// What man(1) itself says of the pages, where it is installed.
#[test]
fn no_page_is_malformed() {
    let place = Place::new();
    let dir = place.path("man");
    place.run(&["man", dir.to_str().unwrap()]).prints();
    let Some(groff) = tool("groff") else { return };
    for section in ["man1", "man3", "man5", "man7"] {
        for name in files(&dir.join(section)).into_keys() {
            let output = std::process::Command::new(&groff)
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .arg(dir.join(section).join(&name))
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{name}: {output:?}"
            );
        }
    }
}

#[test]
fn a_recipe_and_each_module_have_a_page() {
    let place = Place::new();
    let dir = place.path("man");
    place.run(&["man", dir.to_str().unwrap()]).prints();
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let recipe = page("man5/hostel-recipe.5");
    assert!(
        recipe.contains("hostel\\-recipe \\- what guests are, in Lua\n"),
        "{recipe}"
    );
    for told in [".SH LIMITS", "\\fBmemory\\fR", "userfaultfd", "pre_start"] {
        assert!(recipe.contains(told), "{told} in {recipe}");
    }
    assert!(page("man3/hostel.test.3").contains("t.flow"));
    assert!(page("man7/hostel-errors.7").contains("E0102"));
}

#[test]
fn a_directory_that_cannot_be_made() {
    Place::new()
        .run(&["man", "/dev/null/x"])
        .fails(1, "error: make `/dev/null/x/man1`: ENOTDIR (not a directory)\n");
}

/// `HOSTEL_BLESS=1` writes the pages anew.
#[test]
fn the_reference_is_up_to_date() {
    let place = Place::new();
    let dir = place.path("cli");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli");
    let is_blessed = std::env::var_os("HOSTEL_BLESS").is_some();
    let target = if is_blessed { &kept } else { &dir };
    place
        .run(&["man", "--markdown", target.to_str().unwrap()])
        .prints();
    if !is_blessed {
        for (name, page) in files(&dir) {
            let was = files(&kept).get(&name).cloned().unwrap_or_default();
            assert!(
                was == page,
                "docs/reference/cli/{name} is old: run `HOSTEL_BLESS=1 cargo test --test cli reference`"
            );
        }
    }
}
