//! Any bytes as what hostel reads of the kernel and of its own state: a mistake is an error, never a panic.

use crate::storage::state;
use crate::sys::{cgroup, proc};

/// The bytes as each of the files: `/proc/PID/stat` and `status`, where a process names itself, `/proc/self/mountinfo`,
/// where whoever mounts names a place, and the state file of a guest, which means the same when it is written again.
pub fn records(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    proc::parse_any(&text);
    cgroup::parse_any(&text);
    state::parse_any(bytes);
}
