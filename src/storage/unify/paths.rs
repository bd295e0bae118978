//! Which files take part: those that packages bring, not those that a guest is configured and works with.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::guest::Invalid;
use crate::storage::Inside;

/// What is left out unless it is asked for, as vunify left it out.
pub const EXCLUDED: &[&str] = &[
    "/etc", "/var", "/home", "/root", "/proc", "/sys", "/dev", "/mnt", "/tmp",
];

/// More than the list of packages of any guest.
const MAX_STATUS: u64 = 64 << 20;

/// Paths of a guest that take part and that do not: of those that lead to a file, the longest decides.
#[derive(Debug, Clone)]
pub struct Paths {
    rules: Vec<(PathBuf, bool)>,
}

impl Paths {
    /// [`EXCLUDED`], with `excluded` and without `included`.
    pub fn new(included: &[PathBuf], excluded: &[PathBuf]) -> Result<Self, Invalid> {
        let mut rules: Vec<(PathBuf, bool)> = EXCLUDED
            .iter()
            .map(|path| (relative(Path::new(path)), false))
            .collect();
        for (paths, takes_part) in [(excluded, false), (included, true)] {
            for path in paths {
                if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
                    return Err(Invalid::new(
                        format!("`{}` is no path of a guest", path.display()),
                        "absolute and without `..`, such as `/var/lib`",
                    ));
                }
                let path = relative(path);
                rules.retain(|(other, _)| *other != path);
                rules.push((path, takes_part));
            }
        }
        Ok(Self { rules })
    }

    /// They as a text, which another set of them is not.
    pub(super) fn text(&self) -> String {
        let mut rules = self.rules.clone();
        rules.sort();
        format!("{rules:?}")
    }

    /// Whether a file takes part.
    pub(super) fn has(&self, path: &Path) -> bool {
        let rules = self.rules.iter().filter(|(rule, _)| path.starts_with(rule));
        rules
            .max_by_key(|(rule, _)| rule.components().count())
            .is_none_or(|(_, takes_part)| *takes_part)
    }

    /// Whether all files below a directory take part, or none does; `None` when a rule leads to something in it.
    pub(super) fn has_all_of(&self, dir: &Path) -> Option<bool> {
        let is_mixed = self
            .rules
            .iter()
            .any(|(rule, _)| rule != dir && rule.starts_with(dir));
        (!is_mixed).then(|| self.has(dir))
    }

    /// Whether anything in a directory may take part.
    pub(super) fn may_have(&self, dir: &Path) -> bool {
        self.has(dir)
            || self
                .rules
                .iter()
                .any(|(rule, takes_part)| *takes_part && rule.starts_with(dir))
    }
}

fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

/// Files of packages that a user of the guest is to change, by dpkg's own list. The tree is the guest's: a list that
/// cannot be read is none.
pub(super) fn conffiles(root: impl AsFd) -> BTreeSet<PathBuf> {
    let Ok(root) = root.as_fd().try_clone_to_owned() else {
        return BTreeSet::new();
    };
    let text = Inside::from_fd(root, "a guest").read_file(Path::new("/var/lib/dpkg/status"), MAX_STATUS);
    text.map_or_else(|_| BTreeSet::new(), |text| listed(&text))
}

fn listed(status: &[u8]) -> BTreeSet<PathBuf> {
    let mut is_list = false;
    let mut found = BTreeSet::new();
    for line in status.split(|b| *b == b'\n') {
        if !line.starts_with(b" ") {
            is_list = line.starts_with(b"Conffiles:");
        } else if is_list && let Ok(line) = std::str::from_utf8(line) {
            let path = line.split_whitespace().next().unwrap_or_default();
            found.insert(relative(Path::new(path)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_decides() {
        let paths = |yes: &[&str], no: &[&str]| {
            let list = |of: &[&str]| of.iter().map(PathBuf::from).collect::<Vec<_>>();
            Paths::new(&list(yes), &list(no))
        };
        let plain = paths(&[], &[]).unwrap();
        assert!(plain.has(Path::new("usr/bin/ls")) && plain.has(Path::new("etcetera")));
        assert!(!plain.has(Path::new("etc/passwd")) && !plain.may_have(Path::new("var/lib")));
        let some = paths(&["/var/lib", "/etc"], &["/usr/share", "/var/lib/dpkg"]).unwrap();
        assert!(
            some.has(Path::new("var/lib/x")) && some.has(Path::new("etc/x")) && some.has(Path::new("usr/x"))
        );
        assert!(!some.has(Path::new("var/lib/dpkg/x")) && !some.has(Path::new("usr/share/x")));
        for (dir, all) in [
            ("", None),
            ("usr", None),
            ("usr/lib", Some(true)),
            ("var/lib", None),
            ("var/lib/dpkg", Some(false)),
        ] {
            assert_eq!(some.has_all_of(Path::new(dir)), all, "{dir}");
        }
        assert!(some.may_have(Path::new("var")) && !some.has(Path::new("var/x")));
        for bad in ["usr", "/usr/../etc"] {
            assert!(paths(&[bad], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn conffiles_are_those_of_the_list() {
        let status = b"Package: a\nConffiles:\n /opt/a.conf 0123\n /opt/old obsolete\nDescription: x\n /opt/no text\n\nPackage: b\n";
        let found: Vec<_> = listed(status).into_iter().collect();
        assert_eq!(found, [Path::new("opt/a.conf"), Path::new("opt/old")]);
    }
}
