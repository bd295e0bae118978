//! Host data that a guest sees.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A bind mount of a host directory or file into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What: an absolute path of the host.
    pub source: PathBuf,
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
