//! Host data and volumes that a guest sees.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Invalid, Source};

/// A bind mount of a host directory or file, or of a volume, into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What.
    pub source: Source,
    /// Where: an absolute path inside the guest. It is made when it is not there.
    pub target: PathBuf,
    /// Writes fail with EROFS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
    /// Programs on it cannot be run (`noexec`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noexec: bool,
    /// Map ids as the root is mapped, so that the host's owner N is the guest's N. Without it, files belong to
    /// the host's ids, which a guest sees as `nobody`.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub idmap: bool,
    /// Instead of the map of the root: one user of the host is one user of the guest, and nobody else is anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// Who the owner of the files of a mount is in the guest. What that user writes belongs to the host's owner; whoever
/// else writes there gets EOVERFLOW, for the host has no id for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The user, as the guest numbers users.
    pub uid: u32,
    /// The group, as the guest numbers groups; the number of the user without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The user of the host; the one that the source belongs to without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_uid: Option<u32>,
    /// The group of the host; the one that the source belongs to without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_gid: Option<u32>,
}

fn yes() -> bool {
    true
}

/// Checks a path inside a guest: absolute, without `..`, without NUL, not the root itself.
pub fn guest_path(path: &Path) -> Result<(), Invalid> {
    let text = path.to_string_lossy();
    let is_plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain && path != Path::new("/") && !text.contains('\0') {
        Ok(())
    } else {
        Err(Invalid::new(
            format!("`{}` is not a path inside a guest", text.escape_debug()),
            "an absolute path without `..`, below `/`",
        ))
    }
}
