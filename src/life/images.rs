//! The prepared images: what there is, who was made from it, and how to be rid of it.

use std::fs::{self, File};
use std::io;

use serde::Serialize;

use crate::Result;
use crate::error::Context as _;
use crate::guest::{Bytes, GuestName};
use crate::storage::{Layout, scratch::Scratch, state, tree};

/// A prepared image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its key: what it was made of, and a hash of it.
    pub key: String,
    /// What it occupies on disk, in bytes.
    #[serde(serialize_with = "number")]
    pub size: Bytes,
    /// The guests whose files were copied from it. They do not need it any more.
    pub guests: Vec<GuestName>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn number<S: serde::Serializer>(bytes: &Bytes, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u64(bytes.0)
}

/// Every prepared image, by key.
pub fn list(layout: &Layout) -> Result<Vec<Stored>> {
    let dir = layout.images();
    let entries = match fs::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", dir.display()))?,
    };
    let mut made_from = Vec::new();
    for name in state::list(layout)? {
        if let Some(applied) = state::read(layout, &name)? {
            made_from.push((applied.image_key, name));
        }
    }
    let mut images = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("list `{}`", dir.display()))?;
        let key = entry.file_name().to_string_lossy().into_owned();
        // A lock file of an image that is being made.
        if key.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let opened = File::open(&path).context(|| format!("open `{}`", path.display()))?;
        images.push(Stored {
            size: Bytes(tree::size(&opened).context(|| format!("measure `{}`", path.display()))?),
            guests: made_from
                .iter()
                .filter(|(used, _)| *used == key)
                .map(|(_, name)| name.clone())
                .collect(),
            key,
        });
    }
    images.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(images)
}

/// Removes an image. The next guest of its kind makes it anew; guests that were made from it keep their files.
pub fn remove(layout: &Layout, key: &str) -> Result<()> {
    // Out of sight in one step: an image is whole or not there, also for a command that looks for it now.
    let scratch = Scratch::for_image(layout)?;
    let dir = layout.images().join(key);
    match fs::rename(&dir, scratch.path().join("image")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove `{}`", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_measures_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        assert_eq!(list(&layout).unwrap(), []);
        layout.ensure().unwrap();
        fs::create_dir_all(layout.images().join("busybox-1/rootfs")).unwrap();
        fs::write(layout.images().join("busybox-1/rootfs/x"), vec![1; 8192]).unwrap();
        fs::write(layout.images().join(".lock-busybox-2"), "").unwrap();
        let images = list(&layout).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].key, "busybox-1");
        assert!(images[0].size >= Bytes(8192));
        remove(&layout, "busybox-1").unwrap();
        remove(&layout, "busybox-1").unwrap();
        assert_eq!(list(&layout).unwrap(), []);
        assert_eq!(fs::read_dir(layout.images_tmp()).unwrap().count(), 0);
    }
}
