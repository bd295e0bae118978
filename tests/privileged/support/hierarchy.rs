//! The cgroup hierarchies of the machine, read from mountinfo, and the removal of a test's own subtree in each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::eventually;

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    pub(crate) is_v2: bool,
    controllers: Vec<String>,
}

impl Hierarchy {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// Every hierarchy, each once.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = vec![];
    for line in fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
    {
        // proc_pid_mountinfo(5): `ID PARENT DEV ROOT TARGET OPTIONS [TAGS] - TYPE SOURCE SUPER-OPTIONS`.
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(&root), Some(&target)) = (left.get(3), left.get(4)) else {
            continue;
        };
        let is_v2 = match right.first() {
            Some(&"cgroup2") => true,
            Some(&"cgroup") => false,
            _ => continue,
        };
        let mount = PathBuf::from(target);
        if root != "/" || found.iter().any(|h| h.mount == mount) {
            continue;
        }
        let controllers = if is_v2 {
            let list = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().map(str::to_owned).collect()
        } else {
            right
                .get(2)
                .unwrap_or(&"")
                .split(',')
                .map(str::to_owned)
                .collect()
        };
        found.push(Hierarchy {
            mount,
            is_v2,
            controllers,
        });
    }
    found
}

/// The cgroup and everything below it, deepest first.
pub(crate) fn subtree(top: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    if let Ok(entries) = fs::read_dir(top) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(subtree(&entry.path()));
            }
        }
        all.push(top.to_owned());
    }
    all
}

/// The processes in the cgroup and below it.
pub(crate) fn processes(top: &Path) -> Vec<i32> {
    let mut pids = vec![];
    for cgroup in subtree(top) {
        let list = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        pids.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    pids
}

/// Kills what is in `name` in every hierarchy and removes it.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    let tops: Vec<PathBuf> = hierarchies().iter().map(|h| h.mount.join(name)).collect();
    for top in &tops {
        // A frozen v2 cgroup dies of cgroup.kill; a v1 freezer has to be thawed first.
        for cgroup in subtree(top) {
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
        }
        if fs::write(top.join("cgroup.kill"), "1").is_err() {
            for pid in processes(top) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
    let is_gone = || {
        tops.iter().all(|top| {
            for cgroup in subtree(top) {
                let _ = fs::remove_dir(cgroup);
            }
            !top.exists()
        })
    };
    if eventually(Duration::from_secs(10), is_gone) {
        Ok(())
    } else {
        Err(io::Error::other(format!("the cgroup {name} cannot be removed")))
    }
}
