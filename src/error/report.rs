//! An error on its way from a process that hostel has made of itself.

use serde::{Deserialize, Serialize};

use super::{Error, Kind};

/// What [`Error`] says, as data. What it was caused by is part of the message.
#[derive(Serialize, Deserialize)]
pub struct Report {
    kind: String,
    message: String,
    hint: Option<String>,
    also: Vec<String>,
}

impl Report {
    /// What `err` says.
    pub fn of(err: &Error) -> Self {
        Self {
            kind: err.kind().as_str().to_owned(),
            message: err.to_string(),
            hint: err.hint().map(str::to_owned),
            also: err.also().iter().map(ToString::to_string).collect(),
        }
    }

    /// The error again.
    pub fn into_error(self) -> Error {
        let kind = Kind::from_word(&self.kind).unwrap_or(Kind::Internal);
        let also = self.also.into_iter().map(|also| Error::new(Kind::System, also));
        let err = also.fold(Error::new(kind, self.message), Error::and_also);
        match self.hint {
            Some(hint) => err.with_hint(hint),
            None => err,
        }
    }
}
