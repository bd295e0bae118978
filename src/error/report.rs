//! An error on its way from a process that hostel has made of itself.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, Kind, Result};

/// What came of something, as bytes for another process. None where it cannot be said.
pub fn to_bytes<T: Serialize>(result: Result<T>) -> Vec<u8> {
    serde_json::to_vec(&result.map_err(|err| Report::of(&err))).unwrap_or_default()
}

/// The same again; `None` when the process ended before it had said it.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Option<Result<T>> {
    let result = serde_json::from_slice::<Result<T, Report>>(bytes).ok()?;
    Some(result.map_err(Report::into_error))
}

/// What [`Error`] says, as data. What it was caused by is part of the message.
#[derive(Serialize, Deserialize)]
struct Report {
    kind: String,
    message: String,
    hint: Option<String>,
    also: Vec<Report>,
}

impl Report {
    /// What `err` says.
    fn of(err: &Error) -> Self {
        Self {
            kind: err.kind().as_str().to_owned(),
            message: err.to_string(),
            hint: err.hint().map(str::to_owned),
            also: err.also().iter().map(Self::of).collect(),
        }
    }

    /// The error again.
    fn into_error(self) -> Error {
        let kind = Kind::from_word(&self.kind).unwrap_or(Kind::Internal);
        let also = self.also.into_iter().map(Self::into_error);
        let err = also.fold(Error::new(kind, self.message), Error::and_also);
        match self.hint {
            Some(hint) => err.with_hint(hint),
            None => err,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_error_is_lost_on_the_way() {
        let deep = Error::new(Kind::Busy, "remove cgroup `x7`").with_hint("processes are in it");
        let err = Error::new(Kind::Interrupted, "interrupted by SIGINT")
            .and_also(Error::new(Kind::System, "wait").and_also(deep))
            .context("start `web`");
        let sent = to_bytes::<()>(Err(err));
        let back = from_bytes::<()>(&sent).unwrap().unwrap_err();
        assert_eq!(
            (back.kind(), back.to_string()),
            (Kind::Interrupted, "start `web`: interrupted by SIGINT".to_owned())
        );
        let wait = &back.also()[0];
        assert_eq!(wait.to_string(), "wait");
        let deep = &wait.also()[0];
        assert_eq!(
            (deep.kind(), deep.hint()),
            (Kind::Busy, Some("processes are in it"))
        );
    }
}
