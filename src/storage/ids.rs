//! The user and group ids that somebody else has on this host, as far as files tell.

use std::fs;
use std::io;

use crate::error::{Context, Result};
use crate::guest::ranges::Taken;

/// Where `systemd-nspawn -U` keeps a lock for each range of 65,536 ids that a machine of its uses now: the name is the
/// first id.
const NSPAWN: &str = "/run/systemd/nspawn-uid";

/// Reads them. A file that is there and cannot be read is an error: who has what is then not known.
pub fn taken() -> Result<Taken> {
    let mut taken = Taken::default();
    for place in ["/etc/subuid", "/etc/subgid"] {
        taken.subordinate(place, &read(place)?);
    }
    for place in ["/etc/passwd", "/etc/group"] {
        taken.accounts(place, &read(place)?);
    }
    for first in machines()? {
        taken.add(NSPAWN, "systemd-nspawn", first, 1 << 16);
    }
    Ok(taken)
}

fn read(path: &str) -> Result<String> {
    match fs::read(path) {
        // A name in another encoding is as good as any.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(err) => Err(err).context(|| format!("read `{path}`")),
    }
}

fn machines() -> Result<Vec<u64>> {
    let entries = match fs::read_dir(NSPAWN) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{NSPAWN}`"))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("list `{NSPAWN}`"))?;
        found.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
                .map(u64::from),
        );
    }
    Ok(found)
}
