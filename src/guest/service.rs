//! What hostel's own init runs, and how a guest is known to be healthy.

use serde::{Deserialize, Serialize};

use super::Span;

/// A process that hostel's init starts and keeps running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The program and its arguments. A program without `/` is looked up in the guest's PATH.
    pub exec: Vec<String>,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// Services that are started first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The guest's user that it runs as; root without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its working directory; `/` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Added to the guest's environment.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub env: std::collections::BTreeMap<String, String>,
    /// The signal that asks it to end; SIGTERM without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// When a service that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whenever it ends, with back-off.
    Always,
    /// When it ends with a status other than 0 or by a signal, with back-off.
    #[default]
    OnFailure,
    /// Not at all: it runs once.
    Never,
}

/// How a guest is known to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is tried.
    #[serde(flatten)]
    pub check: Check,
    /// The time between two tries.
    #[serde(default = "Health::default_interval")]
    pub interval: Span,
    /// How long one try may take.
    #[serde(default = "Health::default_timeout")]
    pub timeout: Span,
    /// How many tries may fail in a row before the guest is unhealthy.
    #[serde(default = "Health::default_retries")]
    pub retries: u32,
    /// How long a guest that has just been started may take to become healthy.
    #[serde(default = "Health::default_start")]
    pub start: Span,
}

impl Health {
    /// 5 s.
    pub fn default_interval() -> Span {
        Span::from_secs(5)
    }
    /// 2 s.
    pub fn default_timeout() -> Span {
        Span::from_secs(2)
    }
    /// 3.
    pub fn default_retries() -> u32 {
        3
    }
    /// 60 s.
    pub fn default_start() -> Span {
        Span::from_secs(60)
    }
}

/// What a health check tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A TCP connection to this port on the guest's primary address is accepted.
    Tcp(u16),
    /// `GET http://ADDRESS:PORT/PATH` answers with a status below 400.
    Http(Probe),
    /// The command, run inside the guest, ends with status 0.
    Exec(Vec<String>),
}

/// An HTTP request of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The port on the guest's primary address.
    pub port: u16,
    /// The path, with its leading `/`.
    pub path: String,
}
