//! hostel's own cgroup on every hierarchy that it needs.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;

use super::dir::Dir;
use super::events;
use super::host::{Controller, Host, Place};
use super::v1;
use crate::error::{Error, Kind, Result};

/// hostel's own cgroup, `$HOSTEL_CGROUP` below each mount. Guests are its children; no process is in it.
///
/// On cgroup2 it is there once this value exists; on a v1 hierarchy once a guest needs that one.
#[derive(Debug, Clone)]
pub struct Root(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    parts: Vec<String>,
    dir: Dir,
    /// hostel's cgroup on each v1 hierarchy, once it was found there: it stays until `remove`.
    v1: Vec<OnceLock<Dir>>,
}

/// What every group has on cgroup2, so that use is counted even where nothing is limited. Those that cost on
/// every scheduling or block request, cpuset and io, follow when a limit needs them.
const ALWAYS: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

impl Root {
    /// The cgroup `path` below the cgroup2 mount, made if it is not there, with its controllers enabled.
    ///
    /// `path` is relative, such as `hostel` or `system.slice/hostel`.
    pub fn ensure(host: &Host, path: &str) -> Result<Self> {
        let parts = parts(path)?;
        let mut dir = mount(host)?;
        for part in &parts {
            dir = dir.ensure(part)?.0;
        }
        let root = Self::new(host, parts, dir);
        root.enable(&ALWAYS)?;
        Ok(root)
    }

    /// The cgroup `path` if it is there.
    pub fn open(host: &Host, path: &str) -> Result<Option<Self>> {
        let parts = parts(path)?;
        let mut dir = mount(host)?;
        for part in &parts {
            match dir.child(part)? {
                Some(child) => dir = child,
                None => return Ok(None),
            }
        }
        Ok(Some(Self::new(host, parts, dir)))
    }

    fn new(host: &Host, parts: Vec<String>, dir: Dir) -> Self {
        Self(Arc::new(Inner {
            host: host.clone(),
            v1: host.v1.iter().map(|_| OnceLock::new()).collect(),
            parts,
            dir,
        }))
    }

    /// Its directory on cgroup2.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.dir.as_fd()
    }

    /// How far it lies below the root of cgroup2, as `bpf_get_current_ancestor_cgroup_id` counts: 1 for `/hostel`.
    pub fn level(&self) -> u32 {
        let depth = self.0.host.unified.as_ref().map_or(0, |unified| unified.depth);
        depth + u32::try_from(self.0.parts.len()).unwrap_or(u32::MAX)
    }

    /// The host that it is on.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The names of its groups on any hierarchy, sorted: also of one that was left over on v1 alone.
    pub fn groups(&self) -> Result<Vec<String>> {
        let mut names: BTreeSet<_> = self.0.dir.children()?.into_iter().collect();
        for index in 0..self.0.host.v1.len() {
            if let Some(dir) = self.v1(index)? {
                names.extend(dir.children()?);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Removes the empty group `name` that a killed hostel left behind, from every hierarchy; whether there was
    /// one. A group with processes is [`Kind::Busy`].
    pub fn discard(&self, name: &str) -> Result<bool> {
        name_is_plain(name)?;
        if let Some(dir) = self.0.dir.child(name)?
            && events::is(&dir, "populated")?
        {
            return Err(Error::new(
                Kind::Busy,
                format!("cgroup `{}` has processes in it", dir.path().display()),
            )
            .with_hint("what they are: cat cgroup.procs there; kill them all: echo 1 > cgroup.kill"));
        }
        let mut was_there = false;
        // cgroup2 last: as long as it is there, the rest is found again after a crash.
        for index in 0..self.0.host.v1.len() {
            if let Some(parent) = self.v1(index)? {
                was_there |= events::remove_tree(parent, name)?;
            }
        }
        was_there |= events::remove_tree(&self.0.dir, name)?;
        Ok(was_there)
    }

    /// Removes hostel's cgroup from every hierarchy. Fails while a group is in it.
    pub fn remove(self) -> Result<()> {
        let Some((last, above)) = self.0.parts.split_last() else {
            return Ok(());
        };
        let parents = self.0.host.v1.iter().map(|h| &h.path).chain(
            // cgroup2 last, as in `discard`.
            self.0.host.unified.as_ref().map(|u| &u.path),
        );
        for path in parents {
            let mut dir = Dir::open(path)?;
            for part in above {
                dir = match dir {
                    Some(dir) => dir.child(part)?,
                    None => None,
                };
            }
            let Some(dir) = dir else { continue };
            match dir.remove(last) {
                Ok(_) => {}
                Err(errno @ (Errno::EBUSY | Errno::ENOTEMPTY)) => {
                    return Err(Error::os(
                        format!("remove cgroup `{}`", dir.path().join(last).display()),
                        errno,
                    )
                    .with_kind(Kind::Busy)
                    .with_hint("guests are still in it: hostel ls"));
                }
                Err(errno) => {
                    let path = dir.path().join(last);
                    return Err(Error::os(format!("remove cgroup `{}`", path.display()), errno));
                }
            }
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.0.dir
    }

    /// hostel's cgroup on a v1 hierarchy, if it is there.
    pub(super) fn v1(&self, index: usize) -> Result<Option<&Dir>> {
        let cell = &self.0.v1[index];
        if cell.get().is_none() {
            let path = self.0.host.v1[index].path.join(self.0.parts.join("/"));
            let Some(dir) = Dir::open(&path)? else {
                return Ok(None);
            };
            let _ = cell.set(dir);
        }
        Ok(cell.get())
    }

    /// hostel's cgroup on a v1 hierarchy, made if it is not there.
    pub(super) fn ensure_v1(&self, index: usize) -> Result<&Dir> {
        if self.v1(index)?.is_none() {
            self.make_v1(index)?;
        }
        self.v1(index)?.ok_or_else(|| {
            Error::os(
                format!("open cgroup `{}` on v1", self.0.parts.join("/")),
                Errno::ENOENT,
            )
        })
    }

    fn make_v1(&self, index: usize) -> Result<()> {
        let hierarchy = &self.0.host.v1[index];
        let mut dir = Dir::open(&hierarchy.path)?.ok_or_else(|| {
            Error::os(
                format!("open cgroup `{}`", hierarchy.path.display()),
                Errno::ENOENT,
            )
        })?;
        for part in &self.0.parts {
            let child = dir.ensure(part)?.0;
            if hierarchy.controllers.contains(&Controller::Cpuset) {
                v1::inherit_cpuset(&dir, &child)?;
            }
            dir = child;
        }
        Ok(())
    }

    /// Enables those of `wanted` that cgroup2 has, on the way from its mount down to the groups. What is enabled
    /// already is left alone.
    pub(super) fn enable(&self, wanted: &[Controller]) -> Result<()> {
        let here: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|controller| self.0.host.place(*controller) == Place::Unified)
            .collect();
        // The usual case, and the only read on the way to a running guest.
        if missing(&self.0.dir, &here)?.is_empty() {
            return Ok(());
        }
        let mut dir = mount(&self.0.host)?;
        for at in 0..=self.0.parts.len() {
            let missing = missing(&dir, &here)?;
            if !missing.is_empty() {
                dir.write("cgroup.subtree_control", &missing)
                    .map_err(|err| match err.errno() {
                        Some(Errno::EBUSY) => err.with_kind(Kind::Unsupported).with_hint(
                            "cgroup2 hands no controller down from a cgroup that has processes itself; \
                             set HOSTEL_CGROUP to a path below one without",
                        ),
                        _ => err,
                    })?;
            }
            let Some(part) = self.0.parts.get(at) else { break };
            dir = dir.child(part)?.ok_or_else(|| {
                Error::os(
                    format!("open cgroup `{}`", dir.path().join(part).display()),
                    Errno::ENOENT,
                )
            })?;
        }
        Ok(())
    }
}

/// `+cpu +memory` for those of `wanted` that the children of `dir` do not have; empty when they have all.
fn missing(dir: &Dir, wanted: &[Controller]) -> Result<String> {
    if wanted.is_empty() {
        return Ok(String::new());
    }
    let enabled = dir.read("cgroup.subtree_control")?;
    Ok(wanted
        .iter()
        .filter(|controller| !enabled.split_whitespace().any(|word| word == controller.name()))
        .map(|controller| format!("+{controller}"))
        .collect::<Vec<_>>()
        .join(" "))
}

fn mount(host: &Host) -> Result<Dir> {
    let path = host.unified()?;
    Dir::open(path)?.ok_or_else(|| Error::os(format!("open cgroup `{}`", path.display()), Errno::ENOENT))
}

/// The parts of a relative path of plain names.
fn parts(path: &str) -> Result<Vec<String>> {
    path.split('/')
        .map(|part| name_is_plain(part).map(|()| part.to_owned()))
        .collect::<Result<_>>()
        .map_err(|err: Error| err.context(format!("cgroup path `{}`", path.escape_debug())))
}

/// Refuses what could leave hostel's cgroup, or name a file of the kernel's.
pub(super) fn name_is_plain(name: &str) -> Result<()> {
    let is_plain = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b));
    if is_plain {
        return Ok(());
    }
    Err(Error::new(
        Kind::Invalid,
        format!("`{}` is not the name of a cgroup", name.escape_debug()),
    )
    .with_hint("letters, digits, `-`, `_`, `.`, `:` and `@`, the first a letter or digit; no leading `/`"))
}

#[cfg(test)]
mod tests {
    use super::super::host::tests::made_up;
    use super::*;
    use std::path::Path;

    /// A directory that stands for a cgroup2 mount, with `below` in it, each with a `cgroup.subtree_control`.
    fn fake(below: &[&str]) -> (tempfile::TempDir, Host) {
        let temp = tempfile::tempdir().unwrap();
        for dir in [""].iter().chain(below) {
            let dir = temp.path().join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("cgroup.subtree_control"), "memory\n").unwrap();
        }
        let mut host = made_up(&Controller::ALL, false);
        host.unified.as_mut().unwrap().path = temp.path().into();
        (temp, host)
    }

    fn control(at: &Path) -> String {
        std::fs::read_to_string(at.join("cgroup.subtree_control")).unwrap()
    }

    #[test]
    fn controllers_are_enabled_on_the_way_down() {
        let (temp, host) = fake(&["a", "a/hostel"]);
        let root = Root::ensure(&host, "a/hostel").unwrap();
        for at in ["", "a", "a/hostel"] {
            assert_eq!(control(&temp.path().join(at)), "+cpu +pids", "{at}");
        }
        assert_eq!(root.level(), 2);
    }

    #[test]
    fn enabled_controllers_are_left_alone() {
        let (temp, host) = fake(&["hostel"]);
        std::fs::write(
            temp.path().join("hostel/cgroup.subtree_control"),
            "cpu memory pids\n",
        )
        .unwrap();
        Root::ensure(&host, "hostel").unwrap();
        assert_eq!(control(temp.path()), "memory\n");
    }

    #[test]
    fn open_makes_nothing() {
        let (temp, host) = fake(&[]);
        assert!(Root::open(&host, "a/hostel").unwrap().is_none());
        assert!(!temp.path().join("a").exists());
    }

    #[test]
    fn paths_cannot_leave_the_mount() {
        let (_temp, host) = fake(&[]);
        for bad in ["", "/hostel", "..", "a/../b", "a//b", "a/", ".", "a\nb", "a b"] {
            assert_eq!(
                Root::ensure(&host, bad).unwrap_err().kind(),
                Kind::Invalid,
                "{bad:?}"
            );
        }
    }
}
