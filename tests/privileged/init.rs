//! hostel's init on a real kernel: as the guest's init, and as the keeper of the guest's own.

#[path = "init/guest.rs"]
mod guest;
#[path = "init/keeper.rs"]
mod keeper;
#[path = "init/services.rs"]
mod services;

pub(crate) fn tests() -> Vec<crate::support::Test> {
    let mut all = services::tests();
    all.extend(keeper::tests());
    all
}
