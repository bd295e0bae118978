//! User namespaces by descriptor, for id-mapped mounts.

use std::os::fd::OwnedFd;

use crate::error::{Context, Result};
use crate::guest::HostPid;

/// The user namespace of a process, as a descriptor.
pub fn of(pid: HostPid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = std::fs::File::open(&path).context(|| format!("open `{path}`"))?;
    Ok(file.into())
}
