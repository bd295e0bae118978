//! `hostel chroot DIR -- COMMAND`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::args::{BindMount, CommandLine};
use crate::cli::exit::{Exit, Failure};
use crate::cli::primitive;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{Context, Isolate};

/// Run a command in another root directory, which it cannot leave
///
/// The root is pivoted to in a mount namespace of its own, and the old one is gone: there is no way back, for root
/// neither. It has a minimal /dev, /proc and /sys.
#[derive(Debug, Parser)]
pub(crate) struct Chroot {
    /// The new root
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    root: PathBuf,
    /// Host data that it sees: SOURCE:TARGET, then :ro, :noexec or :host-ids; may be repeated
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<BindMount>,
    #[command(flatten)]
    line: CommandLine,
}

impl Verb for Chroot {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        ("hostel chroot /srv/rootfs -- /bin/sh", "a shell in that tree"),
        (
            "hostel chroot /srv/rootfs --mount /srv/data:/data:ro -- ls /data",
            "with data of the host",
        ),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let context = Context {
            isolate: Isolate {
                mount: true,
                ..Isolate::NONE
            },
            root: Some(self.root),
            mounts: self.mount.into_iter().map(|mount| mount.0).collect(),
            ..primitive::plain()
        };
        primitive::run(session, &context, self.line)
    }
}
