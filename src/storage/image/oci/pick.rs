//! Which image of a layout is meant: by its tag and by the architecture of the host.

use std::path::{Path, PathBuf};

use oci_spec::image::{
    Arch, Descriptor, Digest, DigestAlgorithm, ImageConfiguration, ImageIndex, ImageManifest, Os,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256, Sha512};

use super::store::Store;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::image::Transport;

/// As registries limit them.
const MAX_DOCUMENT: u64 = 4 << 20;

/// An index may name indexes; real ones do so once.
const MAX_DEPTH: usize = 4;

/// More layers than any image has: the builders stop at 127.
const MAX_LAYERS: usize = 512;

/// The image that is meant.
pub(super) struct Picked {
    /// What its configuration is, by its hash: with it all layers are fixed.
    pub(super) id: String,
    pub(super) config: ImageConfiguration,
    /// The layers, the lowest first, with the digest of each where it is known.
    pub(super) layers: Vec<Layer>,
}

/// One layer.
pub(super) struct Layer {
    /// Its file in the layout.
    pub(super) name: PathBuf,
    /// Of the file as it is.
    pub(super) digest: Option<Digest>,
    /// Of what is in it, unpacked.
    pub(super) diff_id: Digest,
}

/// A hash that an image may be named by.
pub(super) enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hash {
    pub(super) fn of(digest: &Digest) -> Result<Self> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Self::Sha256(Sha256::new())),
            DigestAlgorithm::Sha512 => Ok(Self::Sha512(Sha512::new())),
            other => Err(Error::new(
                Kind::Unsupported,
                format!("`{digest}` is a digest by `{other}`, which hostel does not know"),
            )),
        }
    }

    /// Where nobody asks for it.
    pub(super) fn any() -> Self {
        Self::Sha256(Sha256::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn is(self, digest: &Digest) -> bool {
        let hex = match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Sha512(hash) => hex(&hash.finalize()),
        };
        hex == digest.digest()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash of a configuration, what it says, and the files of the layers with their digests.
type Found = (String, ImageConfiguration, Vec<(PathBuf, Option<Digest>)>);

/// What chooses.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a Path,
    pub(super) transport: Transport,
    pub(super) tag: Option<&'a str>,
    pub(super) arch: Arch,
}

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

impl Wanted<'_> {
    /// Finds it. Every document is checked against its digest before it is believed.
    pub(super) fn pick(&self, store: &Store) -> Result<Picked> {
        let (id, config, layers) = match self.transport {
            Transport::DockerArchive => self.saved(store)?,
            _ => self.of_index(store)?,
        };
        self.fits(&config)?;
        let said = config.rootfs().diff_ids();
        if said.len() != layers.len() || layers.len() > MAX_LAYERS {
            return Err(self.refuse(&format!(
                "has {} layers, and its configuration names {}",
                layers.len(),
                said.len()
            )));
        }
        let layers = layers
            .into_iter()
            .zip(said)
            .map(|((name, digest), diff_id)| {
                let diff_id = diff_id
                    .parse()
                    .map_err(|err| self.refuse("has a layer with no digest").with_source(err))?;
                Ok(Layer {
                    name,
                    digest,
                    diff_id,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Picked { id, config, layers })
    }

    fn of_index(&self, store: &Store) -> Result<Found> {
        let text = self.document(store, Path::new("index.json"))?.ok_or_else(|| {
            self.refuse("is no image layout: it has no `index.json`")
                .with_hint("`skopeo copy docker://IMAGE oci:DIR:TAG` makes one")
        })?;
        let index: ImageIndex = self.parse("index.json", &text)?;
        let named: Vec<&Descriptor> = index.manifests().iter().filter(|of| self.is_tagged(of)).collect();
        let mut found = Vec::new();
        for descriptor in &named {
            self.descend(store, descriptor, 0, &mut found)?;
        }
        found.sort();
        found.dedup();
        let [manifest] = &found[..] else {
            return Err(self.not_one(&found, index.manifests()));
        };
        let text = self.verified(store, manifest)?;
        let manifest: ImageManifest = self.parse("the manifest", &text)?;
        let config = manifest.config();
        let text = self.verified(store, &Blob::of(config)?)?;
        let config_read: ImageConfiguration = self.parse("the configuration", &text)?;
        let mut layers = Vec::new();
        for layer in manifest.layers() {
            let kind = layer.media_type().to_string();
            let is_layer = kind.contains(".image.layer.") || kind.contains(".image.rootfs.");
            if !is_layer || kind.contains("encrypted") {
                return Err(self
                    .refuse(&format!("has a layer of the kind `{}`", kind.escape_debug()))
                    .with_kind(Kind::Unsupported)
                    .with_hint("layers are tar archives, plain or compressed by gzip or zstd"));
            }
            layers.push((path_of(layer.digest()), Some(layer.digest().clone())));
        }
        Ok((config.digest().digest().to_owned(), config_read, layers))
    }

    /// The manifests below a descriptor that are for this architecture.
    fn descend(&self, store: &Store, of: &Descriptor, depth: usize, found: &mut Vec<Blob>) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.refuse("has indexes in indexes without an end"));
        }
        if let Some(platform) = of.platform()
            && (*platform.architecture() != self.arch || *platform.os() != Os::Linux)
        {
            return Ok(());
        }
        let kind = of.media_type().to_string();
        if kind.contains("image.index") || kind.contains("manifest.list") {
            let text = self.verified(store, &Blob::of(of)?)?;
            let index: ImageIndex = self.parse("an index", &text)?;
            for below in index.manifests() {
                self.descend(store, below, depth + 1, found)?;
            }
        } else if kind.contains("manifest") {
            found.push(Blob::of(of)?);
        }
        Ok(())
    }

    fn is_tagged(&self, of: &Descriptor) -> bool {
        let Some(tag) = self.tag else { return true };
        names(of).any(|name| {
            name == tag || name.rsplit_once('/').is_some_and(|(_, last)| last == tag) || {
                name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
            }
        })
    }

    fn not_one(&self, found: &[Blob], all: &[Descriptor]) -> Error {
        let mut tags: Vec<&str> = all.iter().flat_map(names).collect();
        tags.sort_unstable();
        tags.dedup();
        let hint = if tags.is_empty() {
            "none of its images has a tag".to_owned()
        } else {
            format!("its tags: {}", tags.join(", "))
                .escape_debug()
                .to_string()
        };
        let (arch, tag) = (
            &self.arch,
            self.tag.map_or(String::new(), |tag| format!(" `{tag}`")),
        );
        let what = if found.is_empty() {
            format!("has no image{tag} for linux/{arch}")
        } else {
            format!("has {} images{tag} for linux/{arch}", found.len())
        };
        self.refuse(&what).with_kind(Kind::NotFound).with_hint(hint)
    }

    fn saved(&self, store: &Store) -> Result<Found> {
        let text = self.document(store, Path::new("manifest.json"))?.ok_or_else(|| {
            self.refuse("is not what `docker save` writes: it has no `manifest.json`")
                .with_hint("an OCI layout in a tar is `oci-archive:FILE`")
        })?;
        let all: Vec<Saved> = self.parse("manifest.json", &text)?;
        let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
        let is_meant = |saved: &&Saved| {
            self.tag.is_none_or(|tag| {
                let full = if tag.contains(':') {
                    tag.to_owned()
                } else {
                    format!("{tag}:latest")
                };
                tags(saved).contains(&full)
            })
        };
        let found: Vec<&Saved> = all.iter().filter(is_meant).collect();
        let [saved] = found[..] else {
            let known: Vec<String> = all.iter().flat_map(tags).collect();
            let what = if found.is_empty() {
                "has no such image"
            } else {
                "has several images"
            };
            return Err(self
                .refuse(what)
                .with_kind(Kind::NotFound)
                .with_hint(format!("its images: {}", known.join(", ").escape_debug())));
        };
        let text = self
            .document(store, &saved.config)?
            .ok_or_else(|| self.refuse("has no configuration of the image"))?;
        let id = hex(&Sha256::digest(&text));
        // It is named by its hash: `HASH.json`, or `blobs/sha256/HASH`.
        let stem = saved
            .config
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if stem.len() == 64 && stem != id {
            return Err(self.refuse("is damaged: its configuration is not what its name says"));
        }
        let config = self.parse("the configuration", &text)?;
        Ok((
            id,
            config,
            saved.layers.iter().map(|name| (name.clone(), None)).collect(),
        ))
    }

    /// An image for another machine would only fail later, and less clearly.
    fn fits(&self, config: &ImageConfiguration) -> Result<()> {
        let (arch, os) = (config.architecture(), config.os());
        if *arch == self.arch && *os == Os::Linux {
            return Ok(());
        }
        Err(self
            .refuse(&format!(
                "is for {os}/{arch}, and the guest is linux/{}",
                self.arch
            ))
            .with_kind(Kind::Unsupported))
    }

    fn document(&self, store: &Store, name: &Path) -> Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let Some(section) = store.find(name)? else {
            return Ok(None);
        };
        if section.left() > MAX_DOCUMENT {
            return Err(self.refuse(&format!("has a `{}` of more than 4M", name.display())));
        }
        let mut text = Vec::new();
        section
            .take(MAX_DOCUMENT)
            .read_to_end(&mut text)
            .context(|| format!("read `{}` of `{}`", name.display(), self.path.display()))?;
        Ok(Some(text))
    }

    fn verified(&self, store: &Store, blob: &Blob) -> Result<Vec<u8>> {
        let digest: Digest = blob
            .0
            .parse()
            .map_err(|err| self.refuse("has a digest that is none").with_source(err))?;
        let text = self
            .document(store, &path_of(&digest))?
            .ok_or_else(|| self.refuse(&format!("lacks `{digest}`")))?;
        let mut hash = Hash::of(&digest)?;
        hash.update(&text);
        if hash.is(&digest) {
            Ok(text)
        } else {
            Err(self.refuse(&format!("is damaged: `{digest}` is something else")))
        }
    }

    fn parse<T: DeserializeOwned>(&self, what: &str, text: &[u8]) -> Result<T> {
        serde_json::from_slice(text).map_err(|err| {
            self.refuse(&format!("has {what} that makes no sense"))
                .with_source(err)
        })
    }

    pub(super) fn refuse(&self, what: &str) -> Error {
        Error::new(Kind::Invalid, format!("`{}` {what}", self.path.display()))
    }
}

/// The digest of a document.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Blob(String);

impl Blob {
    fn of(descriptor: &Descriptor) -> Result<Self> {
        Hash::of(descriptor.digest())?;
        Ok(Self(descriptor.digest().to_string()))
    }
}

/// What an image is called: by OCI's annotation, and by containerd's.
fn names(of: &Descriptor) -> impl Iterator<Item = &str> {
    ["org.opencontainers.image.ref.name", "io.containerd.image.name"]
        .into_iter()
        .filter_map(|key| of.annotations().as_ref()?.get(key).map(String::as_str))
}

/// A digest was read as letters and digits, so it is one name.
fn path_of(digest: &Digest) -> PathBuf {
    Path::new("blobs")
        .join(digest.algorithm().to_string())
        .join(digest.digest())
}
