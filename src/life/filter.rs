//! From the system calls that a guest may make to the filter that refuses the others.

use crate::error::{Error, Kind, Result};
use crate::guest::syscalls::{Architecture, Profile};
use crate::sys::seccomp::Filter;

/// The filter for this machine.
///
/// # Errors
/// `Unsupported` on an architecture that has no list: a guest without a filter is not started.
pub(super) fn compile(profile: &Profile) -> Result<Filter> {
    let arch = Architecture::NATIVE.ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            format!(
                "there is no list of system calls for `{}`",
                std::env::consts::ARCH
            ),
        )
    })?;
    Filter::of_answers(profile.answers(arch))
}
