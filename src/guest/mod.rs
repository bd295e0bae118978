//! A guest as plain, validated data. No I/O, no Lua, no system call.
//!
//! [`Spec`] is what every layer above the kernel speaks of: Lua makes one from a recipe, `plan` compares two,
//! `life` carries one out, the state directory keeps the applied one as JSON. A value that exists is valid:
//! the types here can only be made by parsers that say what is wrong.

pub mod allow;
pub mod arch;
pub mod audit;
pub mod caps;
pub mod check;
pub mod context;
pub mod id;
pub mod image;
pub mod limit_change;
pub mod limits;
pub mod mounts;
pub mod net;
pub mod ranges;
pub mod risk;
pub mod schema;
pub mod service;
pub mod spec;
pub mod start_of_image;
pub mod storage;
pub mod suites;
pub mod syscalls;
pub mod unit;
pub mod volume;

pub use allow::Allow;
pub use arch::{Arch, Emulator};
pub use caps::{Cap, CapSet, Caps};
pub use context::{Cable, Context, Identity, Isolate, Overlay};
pub use id::{GuestName, GuestPid, HostPid, Hostname, Xid};
pub use image::Image;
pub use limit_change::LimitChange;
pub use limits::{Limits, Rlimit, RlimitKind};
pub use mounts::{Mount, Owner};
pub use net::{Net, NetMode};
pub use service::{Check, Health, Probe, Restart, Service};
pub use spec::{File, Hook, HookMoment, Hooks, Init, OnError, Spec, Stop};
pub use storage::Storage;
pub use suites::Distribution;
pub use unit::{Bytes, Cpus, Span};
pub use volume::{Source, Volume, VolumeName};

/// A value that was written by a person and is not valid: what is wrong and what would be right.
///
/// It carries no place: the layer that read the value knows file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, with the value in backticks.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl From<Invalid> for crate::Error {
    fn from(invalid: Invalid) -> Self {
        let err = Self::new(crate::Kind::Invalid, invalid.message);
        match invalid.hint {
            Some(hint) => err.with_hint(hint),
            None => err,
        }
    }
}

/// Implements serde by way of `FromStr` and `Display`, so that JSON holds what a person would write.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str($crate::guest::Text(std::marker::PhantomData))
            }
        }
    )+};
}
pub(crate) use serde_as_text;

/// Reads a type from its text.
pub(crate) struct Text<T>(pub(crate) std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err: std::fmt::Display>> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
