//! Where a suite comes from: where the host gets it from, as apt's configuration says, for its mirror is the right one
//! for its guests; else the distribution's own mirror.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::guest::{Arch, Distribution};

/// One source of packages, in the one-line style of `sources.list(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    uri: String,
    suite: String,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// `deb [signed-by=KEYRING] URI SUITE COMPONENT...`
    pub(super) fn line(&self) -> String {
        let options = match &self.signed_by {
            Some(keyring) => format!("[signed-by={keyring}] "),
            None => String::new(),
        };
        let components = self.components.join(" ");
        format!("deb {options}{} {} {components}", self.uri, self.suite)
    }

    /// Whether a guest needs certificates to update itself from it.
    pub(super) fn needs_certificates(&self) -> bool {
        self.uri.starts_with("https:")
    }
}

/// The sources of a suite, its updates and its security fixes. None where the builder's own default is right.
pub(super) fn of(distribution: Distribution, suite: &str, arch: Option<Arch>) -> Result<Vec<Source>> {
    let native = distribution.mirror(Arch::native());
    let mirror = distribution.mirror(arch.or_else(Arch::native));
    // `stable` of the host's apt is that of the host's distribution.
    let has_many = Distribution::ALL.iter().filter(|of| of.knows(suite)).count() > 1;
    let is_the_hosts = !has_many || is_the_hosts(distribution, Path::new("/etc/os-release"));
    // A mirror of Ubuntu has some processors, and another the others.
    if is_the_hosts && mirror == native {
        let found = of_host(suite);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let (Some(uri), Some(keyring)) = (mirror, distribution.keyring()) else {
        return Ok(Vec::new());
    };
    own(distribution, suite, uri, Path::new(keyring))
}

/// The distribution's own mirror, by its keys: what nobody has signed is not taken.
fn own(distribution: Distribution, suite: &str, uri: &str, keyring: &Path) -> Result<Vec<Source>> {
    if !keyring.is_file() {
        let (title, package) = (distribution.title(), distribution.keyring_package());
        return Err(Error::new(
            Kind::NotFound,
            format!(
                "the keys of {title} are not on this host: there is no `{}`",
                keyring.display()
            ),
        )
        .with_hint(format!(
            "they are in {title}'s package `{package}`; take it from a place that you trust, for whoever has these \
             keys writes the guest's programs"
        )));
    }
    let suites = std::iter::once(suite.to_owned()).chain(distribution.fixes(suite));
    let source = |suite| Source {
        uri: uri.to_owned(),
        suite,
        components: distribution.components().split(' ').map(str::to_owned).collect(),
        signed_by: Some(keyring.display().to_string()),
    };
    Ok(suites.map(source).collect())
}

/// `ID` of `os-release(5)`.
fn is_the_hosts(distribution: Distribution, os_release: &Path) -> bool {
    let text = fs::read_to_string(os_release).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID="));
    id.is_some_and(|id| id.trim_matches(['"', '\'']) == distribution.word())
}

/// The host's sources. None unless the suite itself is among them.
fn of_host(suite: &str) -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        more.sort();
        files.extend(more);
    }
    let mut all = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => all.extend(text.lines().filter_map(one_line)),
            Some("sources") => all.extend(text.split("\n\n").flat_map(stanza)),
            _ => {}
        }
    }
    only(suite, all)
}

fn only(suite: &str, all: Vec<Source>) -> Vec<Source> {
    let belongs = |source: &Source| {
        let rest = source.suite.strip_prefix(suite);
        matches!(rest, Some("" | "-updates" | "-security" | "/updates"))
            && (source.uri.starts_with("http://") || source.uri.starts_with("https://"))
            // A user name in the address is a secret, which must not get into a guest.
            && !source.uri.contains('@')
    };
    let found: Vec<_> = all.into_iter().filter(belongs).collect();
    if found.iter().any(|source| source.suite == suite) {
        found
    } else {
        Vec::new()
    }
}

/// `deb [OPTIONS] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source {
        uri,
        suite,
        components: words.collect(),
        signed_by: signed_by.and_then(keyring),
    })
}

/// A paragraph of a deb822 file: every suite at every address.
fn stanza(text: &str) -> Vec<Source> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|name| fields.get_mut(name)) {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let name = name.trim().to_ascii_lowercase();
            fields.insert(name.clone(), value.trim().to_owned());
            last = Some(name);
        }
    }
    let words = |name: &str| {
        let value = fields.get(name).map_or("", String::as_str);
        value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let is_off = fields
        .get("enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if is_off || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let signed_by = fields.get("signed-by").and_then(|value| keyring(value));
    let mut sources = Vec::new();
    for uri in words("uris") {
        for suite in words("suites") {
            sources.push(Source {
                uri: uri.clone(),
                suite,
                components: words("components"),
                signed_by: signed_by.clone(),
            });
        }
    }
    sources
}

/// A keyring's path. A key that is written into the source itself does not fit on a line; apt then uses what it trusts.
fn keyring(value: &str) -> Option<String> {
    (value.starts_with('/') && !value.contains([' ', ',']) && Path::new(value).exists())
        .then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_styles() {
        let line =
            one_line("deb [arch=amd64 signed-by=/etc/hosts] http://a.example/debian sid main contrib # x")
                .unwrap();
        assert_eq!(
            line.line(),
            "deb [signed-by=/etc/hosts] http://a.example/debian sid main contrib"
        );
        assert_eq!(one_line("deb-src http://a.example/debian sid main"), None);
        assert_eq!(one_line("# deb http://a.example/debian sid main"), None);
        let two = stanza(
            "Types: deb deb-src\n# comment\nURIs: http://a.example/debian\nSuites: trixie\n trixie-updates\n\
             Components: main\nSigned-By:\n -----BEGIN PGP\n",
        );
        let lines: Vec<_> = two.iter().map(Source::line).collect();
        assert_eq!(
            lines,
            [
                "deb http://a.example/debian trixie main",
                "deb http://a.example/debian trixie-updates main"
            ]
        );
        assert!(stanza("Enabled: no\nTypes: deb\nURIs: http://a\nSuites: b\n").is_empty());
    }

    #[test]
    fn another_distribution_is_signed_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = dir.path().join("keys.gpg");
        let refused = own(Distribution::Ubuntu, "noble", "http://a.example/ubuntu", &keyring).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "the keys of Ubuntu are not on this host: there is no `{}`",
                keyring.display()
            )
        );
        fs::write(&keyring, "").unwrap();
        let signed = own(Distribution::Ubuntu, "noble", "http://a.example/ubuntu", &keyring).unwrap();
        let by = keyring.display();
        assert_eq!(
            signed.iter().map(Source::line).collect::<Vec<_>>(),
            ["noble", "noble-updates", "noble-security"]
                .map(|suite| format!("deb [signed-by={by}] http://a.example/ubuntu {suite} main universe"))
        );
        assert_eq!(
            own(Distribution::Devuan, "ceres", "http://a.example/merged", &keyring)
                .unwrap()
                .len(),
            1
        );
        fs::write(&keyring, "NAME=x\nID=\"debian\"\n").unwrap();
        assert!(
            is_the_hosts(Distribution::Debian, &keyring) && !is_the_hosts(Distribution::Devuan, &keyring)
        );
    }

    #[test]
    fn takes_the_suite_and_its_fixes_or_nothing() {
        let all = |lines: &[&str]| lines.iter().filter_map(|line| one_line(line)).collect::<Vec<_>>();
        let lines = [
            "deb http://a.example/debian trixie main",
            "deb http://a.example/debian trixie-security main",
            "deb http://a.example/debian trixie-backports main",
            "deb http://user:secret@a.example/debian trixie main",
            "deb file:/srv/mirror trixie main",
            "deb http://a.example/debian sid main",
        ];
        assert_eq!(only("trixie", all(&lines)).len(), 2);
        assert!(only("trixie", all(&lines[1..3])).is_empty());
        assert!(only("tri", all(&lines)).is_empty());
    }
}
