//! The host as one command sees it: where hostel keeps its files, its cgroup, its BPF programs.
//!
//! Nothing is opened before it is needed, and nothing is kept but descriptors.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::bpf::{self, Fence};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::Xid;
use crate::storage::Layout;
use crate::sys::cgroup::{self, Root};

/// What one command works on.
pub struct Host {
    /// Where hostel keeps its files.
    pub layout: Layout,
    cgroup: String,
    run: PathBuf,
    hierarchies: OnceCell<cgroup::Host>,
    root: OnceCell<Root>,
    // Apart: maps that were found may have no programs, which are attached by whoever needs them.
    found: OnceCell<Fence>,
    fence: OnceCell<Fence>,
}

impl Host {
    /// A host of these directories and this cgroup: another hostel beside that of the environment.
    pub(crate) fn at(layout: Layout, cgroup: String, run: PathBuf) -> Self {
        Self {
            layout,
            cgroup,
            run,
            hierarchies: OnceCell::new(),
            root: OnceCell::new(),
            found: OnceCell::new(),
            fence: OnceCell::new(),
        }
    }

    /// The host that the environment names: `HOSTEL_ROOT` (`/var/lib/hostel`), `HOSTEL_CGROUP` (`hostel`),
    /// `HOSTEL_RUN` (`/run/hostel`).
    pub fn open() -> Result<Self> {
        Ok(Self::at(
            Layout::from_env(),
            text("HOSTEL_CGROUP", "hostel")?,
            PathBuf::from(text("HOSTEL_RUN", "/run/hostel")?),
        ))
    }

    /// The cgroup hierarchies that are mounted.
    pub fn hierarchies(&self) -> Result<&cgroup::Host> {
        once(&self.hierarchies, cgroup::Host::detect)
    }

    /// The path of hostel's own cgroup below each hierarchy's mount.
    pub fn cgroup_path(&self) -> &str {
        &self.cgroup
    }

    /// hostel's own cgroup, made when it is not there.
    pub fn cgroup_root(&self) -> Result<&Root> {
        once(&self.root, || Root::ensure(self.hierarchies()?, &self.cgroup))
    }

    /// hostel's own cgroup, if it is there.
    pub fn existing_root(&self) -> Result<Option<&Root>> {
        if self.root.get().is_none() {
            match Root::open(self.hierarchies()?, &self.cgroup)? {
                Some(root) => drop(self.root.set(root)),
                None => return Ok(None),
            }
        }
        Ok(self.root.get())
    }

    /// The context that this process itself is in, if hostel put it in one.
    pub fn own_context(&self) -> Result<Option<Xid>> {
        // The line of cgroup2 (`cgroups(7)`); a process without one is in none.
        let text = crate::sys::proc::whole("/proc/self/cgroup").context(|| "read `/proc/self/cgroup`")?;
        let text = String::from_utf8_lossy(&text);
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let below = path
            .and_then(|p| p.strip_prefix(self.cgroup.trim_matches('/')))
            .and_then(|p| p.strip_prefix("/x"));
        Ok(below
            .and_then(|name| name.split('/').next())
            .and_then(|number| number.parse().ok()))
    }

    /// The directory of the pinned BPF programs and maps, if there is a BPF file system that could have it.
    pub fn existing_pins(&self) -> Option<PathBuf> {
        bpf::find_pins(&self.run, Path::new(&self.cgroup))
    }

    /// Takes the BPF file system that hostel has mounted from the host, if nothing is pinned in it any more.
    pub fn clear_pins(&self) -> Result<()> {
        bpf::clear_pins(&self.run)
    }

    /// What the programs that are chbind know, if anything; they may have been detached.
    pub fn existing_fence(&self) -> Result<Option<&Fence>> {
        if let Some(fence) = self.fence.get() {
            return Ok(Some(fence));
        }
        if self.found.get().is_none() {
            let Some(pins) = self.existing_pins() else {
                return Ok(None);
            };
            match Fence::open(&pins)? {
                Some(fence) => drop(self.found.set(fence)),
                None => return Ok(None),
            }
        }
        Ok(self.found.get())
    }

    /// The programs that are chbind, attached when they are not.
    pub fn fence(&self) -> Result<&Fence> {
        once(&self.fence, || {
            let root = self.cgroup_root()?;
            // The programs look a process up by its guest's cgroup, one below hostel's own.
            let pins = bpf::pins_dir(&self.run, Path::new(&self.cgroup))?;
            Fence::ensure(root.fd(), root.level() + 1, &pins)
        })
    }
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        // Empty, and this process has one thread: it cannot be set in between.
        let _ = cell.set(make()?);
    }
    cell.get()
        .ok_or_else(|| Error::new(Kind::Internal, "a value that was just made is gone"))
}

fn text(name: &str, default: &str) -> Result<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::new(Kind::Usage, format!("`{name}` is not UTF-8")))
        }
    }
}
