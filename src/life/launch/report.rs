//! Why a step failed in the new process, on its way through a pipe: the step's index, the errno, and words.

use nix::errno::Errno;

use super::{Launch, internal};
use crate::error::{Error, Kind};
use crate::life::command::NOT_A_PROGRAM;
use crate::life::inside::Failure;
use crate::plan::Step;

impl Launch<'_> {
    pub(super) fn explain(&self, report: &[u8], steps: &[Step]) -> Error {
        let Some((head, what)) = report.split_first_chunk::<8>() else {
            return internal("a short report");
        };
        let (index, errno) = unpack(*head);
        let errno = Errno::from_raw(errno);
        let what = String::from_utf8_lossy(what);
        let step = steps
            .get(index)
            .map_or_else(|| "run".to_owned(), ToString::to_string);
        let message = if what.is_empty() {
            format!("{}: {step}", self.label)
        } else {
            format!("{}: {step}: {what}", self.label)
        };
        let err = Error::os(message, errno);
        match (steps.get(index), errno) {
            (Some(Step::Exec(_)), Errno::ENOENT) => err.with_kind(Kind::NotFound),
            (Some(Step::Exec(_)), Errno::ENOEXEC) => err.with_hint(NOT_A_PROGRAM),
            (Some(Step::Pivot), Errno::EINVAL) => err.with_hint(
                "the host's root is an initramfs, which cannot be pivoted away from (pivot_root(2))",
            ),
            (Some(Step::OwnKeyring), Errno::EDQUOT) => {
                err.with_hint("the host's root has as many keys as `kernel.keys.root_maxkeys` allows (keyrings(7))")
            }
            (Some(Step::OwnKeyring), Errno::EPERM) => err.with_hint(
                "something around hostel refuses keyctl(2), such as the filter of a container: run hostel on the host itself",
            ),
            _ => err,
        }
    }
}

/// A failure on its way through a pipe.
pub(super) fn pack(index: usize, failure: &Failure) -> Vec<u8> {
    let mut bytes = head(index, failure.errno as i32).to_vec();
    bytes.extend(failure.what.as_bytes());
    bytes
}

/// The head of a report: the step's index and the errno.
fn head(index: usize, errno: i32) -> [u8; 8] {
    (((index as u64) << 32) | u64::from(errno.cast_unsigned())).to_ne_bytes()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the two halves of what `head` put together"
)]
fn unpack(head: [u8; 8]) -> (usize, i32) {
    let both = u64::from_ne_bytes(head);
    ((both >> 32) as usize, (both as u32).cast_signed())
}
