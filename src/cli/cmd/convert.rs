//! `hostel convert GUEST... --to STORAGE`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{GuestName, Storage};
use crate::life::{Host, convert};

/// Keep the files of guests in another way
///
/// The guests are stopped. btrfs is a subvolume, of which a clone is a snapshot; reflink is a tree that shares its
/// extents with its clones; overlay is a layer of its own over layers that clones share, on disk and in memory; dir is
/// a tree; image is a file system of its own in one file, as large as `limits.disk`. What the file system cannot do is
/// refused, and the files stay as they are.
#[derive(Debug, Parser)]
pub(crate) struct Convert {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
    /// How their files are kept: btrfs, reflink, overlay, dir or image
    #[arg(long = "to", value_name = "STORAGE")]
    storage: Storage,
}

impl Verb for Convert {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel convert web --to overlay", "before it is cloned often"),
        ("hostel convert web db --to dir", "trees of their own again"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        super::each(session, &self.guests, |session, name| {
            let progress = Progress::new(session.paint_err);
            let is_changed = convert::convert(&host, name, self.storage, &progress)?;
            drop(progress);
            session.line(&if is_changed {
                format!("converted {name} to {}", self.storage)
            } else {
                format!("{name} is {} already", self.storage)
            })
        })
    }
}
