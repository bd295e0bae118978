//! The prepared images: what there is, who was made from it, and how to be rid of it.

use std::fs::{self, File};
use std::io;

use serde::Serialize;

use crate::Result;
use crate::error::{Context as _, Error, Kind};
use crate::guest::{Bytes, GuestName};
use crate::storage::files::{self, Below, Files};
use crate::storage::{Layout, layer, scratch::Scratch, state, tree};

/// A prepared image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its key: what it was made of, and a hash of it.
    pub key: String,
    /// What it occupies on disk, in bytes.
    #[serde(serialize_with = "number")]
    pub size: Bytes,
    /// The guests that were made from it. Those whose storage is `overlay` need it; others have a copy.
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
        let mut keys = Vec::new();
        if let Files::Overlay(stack) = files::read(layout, &name)? {
            keys.extend(stack.below.into_iter().filter_map(|below| match below {
                Below::Image(key) => Some(key),
                Below::Layer(_) | Below::Unified(_) => None,
            }));
        }
        if let Some(applied) = state::read(layout, &name)?
            && !keys.contains(&applied.image_key)
        {
            keys.push(applied.image_key);
        }
        made_from.extend(keys.into_iter().map(|key| (key, name.clone())));
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

/// Removes an image. The next guest of its kind makes it anew; guests that have a copy keep their files. One that is
/// a layer of a guest is refused.
pub fn remove(layout: &Layout, key: &str) -> Result<()> {
    let dir = layout.images().join(key);
    let Some(_claim) = layer::claim(&dir)? else {
        return if dir.exists() {
            Err(Error::new(
                Kind::Busy,
                format!("a guest is just being made of the image `{key}`"),
            ))
        } else {
            Ok(())
        };
    };
    if layer::used(layout)?.contains(&Below::Image(key.to_owned())) {
        return Err(
            Error::new(Kind::State, format!("the image `{key}` is a layer of a guest"))
                .with_hint("`hostel images` tells of which; `hostel convert GUEST dir` gives it a copy"),
        );
    }
    // Out of sight in one step: an image is whole or not there, also for a command that looks for it now.
    let scratch = Scratch::for_image(layout)?;
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
