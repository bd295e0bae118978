//! The verbs, one a file. What is typed is a struct; its doc comments are the help.

pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod help;
pub(crate) mod images;
pub(crate) mod man;
pub(crate) mod version;
