//! User namespaces by descriptor, for id-mapped mounts.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sched::CloneFlags;

use crate::error::{Context, Result};
use crate::guest::HostPid;
use crate::sys::{clone, file, pidfd};

/// The user namespace of a process, as a descriptor.
pub fn of(pid: HostPid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = std::fs::File::open(&path).context(|| format!("open `{path}`"))?;
    Ok(file.into())
}

/// A user namespace that has one user and one group: of each, the id that files have on disk and the host's id that it
/// is shown as.
pub fn of_one(user: (u32, u32), group: (u32, u32)) -> Result<OwnedFd> {
    of_new(|pid| {
        for (name, (disk, shown)) in [("uid_map", user), ("gid_map", group)] {
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(&path, format!("{disk} {shown} 1\n")).context(|| format!("write `{path}`"))?;
        }
        Ok(())
    })
}

/// A user namespace with the ids `0..count` inside and `outside..` on the host.
pub fn of_ids(outside: u32, count: u32) -> Result<OwnedFd> {
    of_new(|pid| clone::map_ids(pid, outside, count))
}

/// A user namespace that has the ids of hostel's own, each as itself.
pub fn of_same() -> Result<OwnedFd> {
    of_new(|pid| {
        for name in ["uid_map", "gid_map"] {
            let own = format!("/proc/self/{name}");
            let map = std::fs::read_to_string(&own).context(|| format!("read `{own}`"))?;
            let same = |line: &str| {
                let mut numbers = line.split_whitespace();
                let (inside, count) = (numbers.next()?, numbers.nth(1)?);
                Some(format!("{inside} {inside} {count}\n"))
            };
            let map: String = map.lines().filter_map(same).collect();
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(&path, map).context(|| format!("write `{path}`"))?;
        }
        Ok(())
    })
}

/// The user namespace, as a descriptor, of a process that is gone when this returns; `map` writes its id maps.
fn of_new(map: impl FnOnce(HostPid) -> Result<()>) -> Result<OwnedFd> {
    let (wait, go) = file::pipe()?;
    let child = clone::spawn(CloneFlags::CLONE_NEWUSER, None, || {
        // Its copy goes, so that it ends with hostel whatever happens.
        let _ = nix::unistd::close(go.as_raw_fd());
        file::await_word(&wait);
        0
    })?;
    let made = map(child.pid).and_then(|()| of(child.pid));
    drop(go);
    pidfd::wait(&child.pidfd)?;
    made
}
