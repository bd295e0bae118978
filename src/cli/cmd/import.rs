//! `hostel import FILE`

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use ipnet::IpNet;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::guest::{GuestName, Storage, Xid};
use crate::life::Host;
use crate::life::import::{self, ImportOptions};
use crate::storage::archive::Archive;

/// Make a guest of what hostel export wrote
///
/// The guest is made whole or not at all, and is not started. The archive may come from anywhere: what it says of the
/// host, its mounts, network, capabilities and what it loosens, is left out without --trust. It keeps its identity,
/// ssh host keys too: it is the same server on another host.
#[derive(Debug, Parser)]
pub(crate) struct Import {
    /// The archive, compressed by gzip, xz, zstd or bzip2 or not; - is standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    archive: PathBuf,
    /// Put what has changed, as `hostel export --since` wrote it, onto this guest; refused for any other base
    #[arg(long, value_name = "GUEST", conflicts_with_all = ["name", "xid", "storage", "trust", "address"])]
    onto: Option<GuestName>,
    /// Its name; that of the exported guest without
    #[arg(short, long, value_name = "NAME")]
    name: Option<GuestName>,
    /// Its context id; allocated without
    #[arg(long, value_name = "N")]
    xid: Option<Xid>,
    /// Its address in a private network of its own, in place of any other network
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: Option<IpNet>,
    /// How its files are kept: btrfs, reflink, overlay, dir or image; what the file system does best without
    #[arg(long, value_name = "STORAGE")]
    storage: Option<Storage>,
    /// Believe what the archive says of the host: mounts, network, capabilities and what is loosened
    #[arg(long)]
    trust: bool,
}

impl Verb for Import {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel import web.tar.zst", "the guest as it was"),
        (
            "hostel import web.tar.zst --name lab --storage overlay",
            "under another name",
        ),
        (
            "hostel import tue.tar.zst --onto web",
            "what a day has changed, onto what was before it",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let progress = Progress::new(session.paint_err);
        let archive = if self.archive == Path::new("-") {
            let input = std::io::stdin().as_fd().try_clone_to_owned();
            Archive::open(File::from(input.context(|| "duplicate")?), &self.archive)?
        } else {
            Archive::at(&self.archive)?
        };
        if let Some(name) = &self.onto {
            import::import_onto(&host, archive, name, &progress)?;
            drop(progress);
            session.line(&format!("imported onto {name}"))?;
            return Ok(Exit::Success);
        }
        let options = ImportOptions {
            name: self.name,
            xid: self.xid,
            storage: self.storage,
            address: self.address,
            is_trusted: self.trust,
        };
        let applied = import::import(&host, archive, &options, &progress)?;
        drop(progress);
        session.line(&format!("imported {}", applied.spec.name))?;
        Ok(Exit::Success)
    }
}
