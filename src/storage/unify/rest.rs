//! Which trees need not be looked at again: those of guests that have not run since a run that looked at all.
//!
//! Nothing but the guest itself, or a command that leaves a mark too, writes to its files. What is remembered is never
//! believed for more than that: a tree that is not looked at keeps what it shares, and at worst comes to share nothing new.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::known;
use super::scan::Found;
use crate::error::{Error, Kind, Result};
use crate::guest::GuestName;
use crate::storage::still::Source;
use crate::storage::{Layout, state};

/// Another one means that something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// What was applied, written anew by each start and each change of the recipe.
    spec: Id,
    /// The tree, another one after a rollback, an import or a conversion.
    root: Id,
    /// Which of its files take part.
    rules: String,
}

/// A tree just before it was looked at.
pub(super) struct Before {
    mark: Mark,
    at: SystemTime,
}

impl Before {
    /// That of a guest as it is now; `None` of one that is not there.
    pub(super) fn of(layout: &Layout, name: &GuestName, rules: &str) -> Option<Self> {
        let at = SystemTime::now();
        let mark = Mark::of(layout, name, rules)?;
        Some(Self { mark, at })
    }
}

/// A file, and when it was changed.
type Id = (u64, u64, i64, i64);

/// Trees in which nothing can have changed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rest(BTreeMap<GuestName, Mark>);

impl Mark {
    /// That of a guest as it is now.
    fn of(layout: &Layout, name: &GuestName, rules: &str) -> Option<Self> {
        let id = |path: &Path| {
            let meta = fs::symlink_metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()))
        };
        Some(Self {
            spec: id(&layout.spec(name))?,
            root: id(&layout.rootfs(name))?,
            rules: rules.to_owned(),
        })
    }
}

impl Rest {
    /// Reads what the last run has left. What cannot be read is as good as nothing.
    pub(super) fn read(layout: &Layout) -> Self {
        let text = fs::read(layout.known_trees()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whether the guest has not run since.
    pub(super) fn has(&self, layout: &Layout, name: &GuestName, rules: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|mark| Mark::of(layout, name, rules).as_ref() == Some(mark))
    }

    /// Keeps those of `names`, and forgets the others.
    pub(super) fn keep(&mut self, names: &[GuestName]) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Notes a tree, unless it may have changed meanwhile, or so shortly before that it is not remembered what it has.
    pub(super) fn note(
        &mut self,
        layout: &Layout,
        name: &GuestName,
        before: Before,
        found: &[Found],
    ) -> Result<()> {
        let is_settled = |file: &Found| known::is_settled(&file.stat, before.at);
        if found.iter().all(is_settled) && !Source::look(layout, name)?.is_running() {
            self.0.insert(name.clone(), before.mark);
        } else {
            self.0.remove(name);
        }
        Ok(())
    }

    /// Writes it in one step.
    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|err| Error::new(Kind::Internal, "write what is known of trees").with_source(err))?;
        state::replace_as(&layout.known_trees(), &text, state::Durable::Atomic)
    }
}
