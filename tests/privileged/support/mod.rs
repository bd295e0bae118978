//! What every privileged test stands on. A test sees [`World`], [`Hostel`] and [`Need`]; the rest is the runner.

mod command;
mod hierarchy;
mod leak;
mod need;
mod place;
mod runner;
mod trace;
mod world;

#[allow(
    unused_imports,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
pub(crate) use self::{
    command::{Hostel, Output, Running, eventually, slowness, tool},
    hierarchy::{Hierarchy, hierarchies, processes, remove as remove_cgroup, subtree},
    leak::Before,
    need::Need,
    place::{DUMP, FILL, Place, same},
    runner::{NOTE, Test, run},
    trace::{Step, Traced, Victim, chosen, sample, trace},
    world::{Volume, World, binary, fetch},
};

/// Defines a file's `tests()`: `tests! { [Root, Cgroup2] => a_function, [Root] within 300 => a_slow_one }`.
/// The number is the deadline in seconds; 60 without it.
macro_rules! tests {
    ($([$($need:ident $(($arg:expr))?),* $(,)?] $(within $seconds:literal)? => $function:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<crate::support::Test> {
            vec![$({
                #[allow(unused_mut, unused_assignments, reason = "the deadline is optional")]
                let mut seconds = 60;
                $(seconds = $seconds;)?
                crate::support::Test::new(
                    concat!(module_path!(), "::", stringify!($function)),
                    vec![$(crate::support::Need::$need $(($arg))?),*],
                    seconds,
                    $function,
                )
            }),*]
        }
    };
}
pub(crate) use tests;
