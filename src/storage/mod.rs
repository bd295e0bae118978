//! A guest's files: images, the state directory, locks, and safe access to hostile trees.
//!
//! Everything that hostel remembers is a file below one directory, the [`Layout`]; there is no database. What a
//! guest has written is hostile input: it is reached through [`Inside`] and [`tree`], by descriptor, and
//! never by a path that the guest can bend.

pub mod archive;
pub mod bounds;
pub mod disk_image;
pub mod driver;
pub mod emulator;
pub mod files;
pub mod fill;
pub mod flow;
pub mod home;
mod identity;
pub mod ids;
pub mod image;
pub mod inside;
pub mod layer;
pub mod layout;
pub mod lock;
pub mod progress;
pub mod scratch;
pub mod snapshot;
pub mod state;
pub mod still;
pub mod tree;
pub mod unify;
pub mod volume;
pub mod xid;

pub use bounds::Bounds;
pub use files::Files;
pub use home::Home;
pub use inside::Inside;
pub use layout::Layout;
pub use lock::{GuestLock, Wait};
pub use progress::{Progress, Silent};
pub use state::{Applied, RecipeRef};
