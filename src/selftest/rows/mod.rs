//! The rows, in order; each file has those that belong together.

mod carried;
mod exhaustion;
mod ids;
mod input;
mod joining;
mod kernel;
mod limits;
mod network;
mod procfs;
mod race;
mod root;
mod tree;

use super::Row;

/// The guests that rows make for themselves, beside the standing ones: taken away after each row.
pub(super) const GUESTS: &[&str] = &["c", "d", "e"];

/// The rows in which hostel works on a guest's tree: they are tried on a plain one and on layers, for these are mounted, and
/// their owners mapped, in another way.
pub(super) const ON_LAYERS: &[u8] = &[3, 4, 5, 6, 7, 8, 9, 10, 18, 23, 27, 30];

/// Every row, by number.
pub static ROWS: &[Row] = &[
    joining::BINARY,
    carried::LEAKS,
    tree::MASK,
    tree::CONSOLE,
    procfs::PROCFS,
    procfs::MASKED,
    race::TWICE,
    tree::TARGET,
    race::MKDIR,
    tree::DEV,
    input::ARCHIVES,
    input::TEXT,
    carried::TERMINAL,
    carried::CAPS,
    carried::UIDS,
    joining::JOINER,
    kernel::HANDLES,
    kernel::DEVICES,
    kernel::HELPERS,
    kernel::RELEASE_AGENT,
    network::ABSTRACT,
    kernel::SURFACE,
    ids::SETUID,
    limits::CGROUP,
    ids::RANGES,
    network::SPOOF,
    root::CHROOT,
    ids::SIGNALS,
    exhaustion::EXHAUSTION,
    tree::TOOLS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_say_what_they_are() {
        let numbers: Vec<u8> = ROWS.iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=30).collect::<Vec<u8>>());
        assert!(ON_LAYERS.iter().all(|number| numbers.contains(number)));
        for row in ROWS {
            assert!(!row.name.is_empty() && row.name.len() <= 40, "{}", row.name);
            assert!(
                !row.tries.is_empty() && !row.tries.ends_with('.'),
                "{}",
                row.tries
            );
        }
    }
}
