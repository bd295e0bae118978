//! The whole of a guest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Allow, Arch, Caps, GuestName, Health, Hostname, Image, Limits, Mount, Net, Service, Span, Storage,
    Volume, VolumeName, Xid,
};

/// Everything a recipe says about one guest. Two equal specifications describe the same guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name, unique on the host.
    pub name: GuestName,
    /// Its context id; allocated and remembered when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<Xid>,
    /// Where its files come from. Changing it rebuilds the guest.
    pub image: Image,
    /// Debian packages added to the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// What processor its programs are for; the host's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// How its files are kept; what the file system does best without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Its hostname; the name without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// Its network.
    #[serde(default)]
    pub net: Net,
    /// What it may use at most.
    #[serde(default)]
    pub limits: Limits,
    /// The capabilities of its root.
    #[serde(default, skip_serializing_if = "Caps::is_default")]
    pub caps: Caps,
    /// What of its confinement is loosened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
    /// Whether its user ids are its own. Without, its root is the host's root, with fewer powers.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub userns: bool,
    /// Whether no program in it can gain a right by being executed: no set-user-ID, no file capabilities.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// Volumes that are made for it when they are not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// Host data and volumes that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Files written into it, by their path inside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<PathBuf, File>,
    /// The environment of its init or services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of `env` entries that are secret: their values are shown nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Its own init, or hostel's.
    #[serde(default, skip_serializing_if = "Init::is_hostel")]
    pub init: Init,
    /// What hostel's init runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    /// How it is known to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How it is stopped.
    #[serde(default, skip_serializing_if = "Stop::is_default")]
    pub stop: Stop,
    /// Whether `hostel start --all`, run at boot, starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autostart: bool,
    /// Guests that are started, and healthy, before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<GuestName>,
    /// Functions of the recipe that run around its start and stop.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: Hooks,
}

fn yes() -> bool {
    true
}

impl Spec {
    /// The volumes that it mounts, each once.
    pub fn mounted_volumes(&self) -> BTreeSet<&VolumeName> {
        self.mounts
            .iter()
            .filter_map(|mount| mount.source.volume())
            .collect()
    }

    /// The hostname that the guest gets.
    pub fn effective_hostname(&self) -> &str {
        self.hostname
            .as_ref()
            .map_or(self.name.as_str(), Hostname::as_str)
    }
}

/// A file that a recipe writes into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it holds.
    pub content: String,
    /// Its permission bits.
    #[serde(default = "File::default_mode")]
    pub mode: u32,
    /// Its owner, as the guest numbers users.
    #[serde(default)]
    pub uid: u32,
    /// Its group, as the guest numbers groups.
    #[serde(default)]
    pub gid: u32,
    /// Whether its content is shown nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl File {
    /// 0644.
    pub fn default_mode() -> u32 {
        0o644
    }
}

/// What is process 1 of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// hostel's own, which runs the declared services.
    #[default]
    Hostel,
    /// The guest's own, by its path inside.
    Own(PathBuf),
}

impl Init {
    /// Whether it is hostel's.
    pub fn is_hostel(&self) -> bool {
        *self == Self::Hostel
    }
}

/// How a guest is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// The signal that asks its init to stop everything; what suits the init without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// How long it may take before it is killed.
    pub timeout: Span,
}

impl Stop {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: None,
            timeout: Span::from_secs(30),
        }
    }
}

/// The hooks of a guest. The functions themselves stay in the recipe.
pub type Hooks = BTreeMap<HookMoment, Hook>;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookMoment {
    /// Before anything of the guest exists on the host. A failure ends the start.
    PreStart,
    /// After its init runs.
    PostStart,
    /// Before its init is asked to stop.
    PreStop,
    /// After nothing of it is left.
    PostStop,
    /// Before its files are copied while it runs. A failure ends the copy.
    PreSnapshot,
    /// After that, also when it failed.
    PostSnapshot,
}

impl std::fmt::Display for HookMoment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HookMoment::PreStart => "pre_start",
            HookMoment::PostStart => "post_start",
            HookMoment::PreStop => "pre_stop",
            HookMoment::PostStop => "post_stop",
            HookMoment::PreSnapshot => "pre_snapshot",
            HookMoment::PostSnapshot => "post_snapshot",
        })
    }
}

/// How a hook is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// How long it may take.
    pub timeout: Span,
    /// What follows when it fails.
    pub on_error: OnError,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(60),
            on_error: OnError::Fail,
        }
    }
}

/// What follows when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The command fails; a start is undone.
    #[default]
    Fail,
    /// A warning is printed.
    Warn,
    /// The guest is stopped.
    Stop,
}
