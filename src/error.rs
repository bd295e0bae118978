//! The one error of the crate: what kind, which operation, on what, why, and what to do about it.
//!
//! An error is *returned or logged*, never both; only the command line prints one. User strings stand in
//! backticks, messages are lower case without a full stop, and a hint is a field of its own so that it can be
//! printed on its own line or put into JSON.

use std::fmt;
use std::io;

pub mod report;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is. Callers branch on it; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The arguments make no sense. Exit code 2.
    Usage,
    /// A recipe, a value or a file's content is not valid.
    Invalid,
    /// The named guest, image or file is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// It is in a state in which the operation makes no sense: stopped, running, paused.
    State,
    /// Another hostel command works on the same guest.
    Busy,
    /// The kernel at hand cannot enforce what was asked; nothing weaker was done instead.
    Unsupported,
    /// The caller lacks a privilege.
    Denied,
    /// The operation took longer than it was allowed to.
    Timeout,
    /// A signal ended it; everything was undone.
    Interrupted,
    /// A system call failed.
    System,
    /// Something outside of hostel (a builder, a hook, a service) failed.
    External,
    /// hostel is wrong. Please report it.
    Internal,
}

impl Kind {
    /// The exit code of a command that fails this way. Commands that run a command of the user's report their
    /// own failures as 125, 126 and 127 instead, as `env(1)` does, so that its exit codes stay its own.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }

    /// Every kind.
    pub const ALL: [Kind; 13] = [
        Kind::Usage,
        Kind::Invalid,
        Kind::NotFound,
        Kind::Exists,
        Kind::State,
        Kind::Busy,
        Kind::Unsupported,
        Kind::Denied,
        Kind::Timeout,
        Kind::Interrupted,
        Kind::System,
        Kind::External,
        Kind::Internal,
    ];

    /// The kind that [`Kind::as_str`] gave `word` for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word for this kind in JSON and in Lua's `err.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Invalid => "invalid",
            Kind::NotFound => "not_found",
            Kind::Exists => "exists",
            Kind::State => "state",
            Kind::Busy => "busy",
            Kind::Unsupported => "unsupported",
            Kind::Denied => "denied",
            Kind::Timeout => "timeout",
            Kind::Interrupted => "interrupted",
            Kind::System => "system",
            Kind::External => "external",
            Kind::Internal => "internal",
        }
    }
}

/// One failure. Boxed inside, so that `Result<()>` stays small.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// What failed while this failure was being cleaned up.
    also: Vec<Error>,
}

impl Error {
    /// A failure of `kind`. `message` is the operation and its subject: ``mount proc on `web:/proc` ``.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            source: None,
            also: Vec::new(),
        }))
    }

    /// A system call failed with this errno.
    pub fn os(message: impl Into<String>, errno: nix::errno::Errno) -> Self {
        let kind = match errno {
            nix::errno::Errno::EPERM | nix::errno::Errno::EACCES => Kind::Denied,
            nix::errno::Errno::ENOSYS => Kind::Unsupported,
            _ => Kind::System,
        };
        Self::new(kind, message).with_source(errno)
    }

    /// A system call of the standard library failed.
    pub fn io(message: impl Into<String>, source: io::Error) -> Self {
        if let Some(code) = source.raw_os_error() {
            return Self::os(message, nix::errno::Errno::from_raw(code));
        }
        Self::new(Kind::System, message).with_source(source)
    }

    /// What the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same failure seen from further up: a new message, this error as its source. Kind, hint and what else failed
    /// stay.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let kind = self.kind();
        let also = std::mem::take(&mut self.0.also);
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            source: Some(Box::new(self)),
            also,
        }))
    }

    /// The same failure as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds what failed while this failure was being cleaned up.
    #[must_use]
    pub fn and_also(mut self, other: Error) -> Self {
        self.0.also.push(other);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The hint of this error or, if it has none, of the nearest source that has one.
    pub fn hint(&self) -> Option<&str> {
        let mut at = self;
        loop {
            if let Some(hint) = &at.0.hint {
                return Some(hint);
            }
            at = at.0.source.as_deref().and_then(|s| s.downcast_ref::<Error>())?;
        }
    }

    /// What failed while this failure was being cleaned up.
    pub fn also(&self) -> &[Error] {
        &self.0.also
    }

    /// The errno at the root of this failure, if a system call was.
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        let mut at: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(err) = at {
            if let Some(errno) = err.downcast_ref::<nix::errno::Errno>() {
                return Some(*errno);
            }
            at = err.source();
        }
        None
    }
}

impl fmt::Display for Error {
    /// The message and its sources on one line. An errno is written as its name and its text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        match self.0.source.as_deref() {
            Some(source) => match source.downcast_ref::<nix::errno::Errno>() {
                Some(errno) => write!(f, ": {errno:?} ({})", errno.desc().to_lowercase()),
                None => write!(f, ": {source}"),
            },
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

/// Says what was being done when a system call or the standard library failed.
pub trait Context<T> {
    /// Wraps the failure in an [`Error`] whose message is `message()`; it is only built on failure.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Context<T> for Result<T, nix::errno::Errno> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|errno| Error::os(message(), errno))
    }
}

impl<T> Context<T> for Result<T, io::Error> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|source| Error::io(message(), source))
    }
}

impl<T> Context<T> for Result<T, Error> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|source| source.context(message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn says_operation_subject_and_errno() {
        let err = Error::os("mount proc on `web:/proc`", Errno::EPERM);
        assert_eq!(
            err.to_string(),
            "mount proc on `web:/proc`: EPERM (operation not permitted)"
        );
        assert_eq!(err.kind(), Kind::Denied);
    }

    #[test]
    fn a_hint_survives_context() {
        let err = Error::new(Kind::Unsupported, "idmap `/srv`")
            .with_hint("use ext4")
            .context("start `web`");
        assert_eq!(err.hint(), Some("use ext4"));
        assert_eq!(err.kind(), Kind::Unsupported);
        assert_eq!(err.to_string(), "start `web`: idmap `/srv`");
    }

    #[test]
    fn finds_the_errno_below_context() {
        let err = Error::os("open `x`", Errno::ENOENT).context("start `web`");
        assert_eq!(err.errno(), Some(Errno::ENOENT));
    }
}
