//! `hostel volume VERB`

mod archive;
mod show;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{Bytes, Storage, Volume as Said, VolumeName};
use crate::life::export::Compression;
use crate::life::volume::set::Change;
use crate::life::{Host, volume};
use crate::storage::snapshot::Label;
use crate::{Kind, Result};

/// Work with volumes: data that outlives guests and that several of them mount
///
/// A guest mounts one by `source = "volume:NAME"` in its recipe. Owners in it are the guest's: id N there is id N in
/// every guest, whatever its range of ids on the host. No set-user-ID program and no device of it works. It belongs to
/// no guest: destroying, cloning or exporting a guest leaves it as it is, and `hostel volume rm` alone removes it.
#[derive(Debug, Parser)]
pub(crate) struct Volume {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an empty volume, which belongs to root
    Create {
        /// Its name
        #[arg(value_name = "NAME")]
        name: VolumeName,
        /// What is in it may take this at most, such as 2G
        #[arg(long, value_name = "SIZE")]
        size: Option<Bytes>,
        /// So many files and directories may be in it
        #[arg(long, value_name = "N")]
        inodes: Option<u32>,
        /// How it is kept: btrfs, reflink, dir or image; what the file system does best without
        #[arg(long, value_name = "STORAGE")]
        storage: Option<Storage>,
    },
    /// List the volumes, and which guests mount each
    Ls {
        /// Only those that no guest mounts
        #[arg(short, long)]
        unused: bool,
        /// Print their names only
        #[arg(short, long, conflicts_with = "json")]
        quiet: bool,
        /// Print JSON: an array of what `hostel volume show --json` prints of each
        #[arg(long)]
        json: bool,
    },
    /// Tell all about a volume
    Show {
        #[command(flatten)]
        volume: One,
        /// Print JSON: `name`, `storage`, `created`, `size`, `inodes`, `disk`, `snapshots` and `users`
        #[arg(long)]
        json: bool,
    },
    /// Change the limits of a volume, at once, or how it is kept, while no guest that mounts it runs
    Set {
        #[command(flatten)]
        volume: One,
        /// What is in it may take this at most; max takes the limit away
        #[arg(long, value_name = "SIZE", required_unless_present_any = ["inodes", "storage"])]
        size: Option<OrMax<Bytes>>,
        /// So many files and directories may be in it; max takes the limit away
        #[arg(long, value_name = "N")]
        inodes: Option<OrMax<u32>>,
        /// How it is kept: btrfs, reflink, dir or image
        #[arg(long, value_name = "STORAGE")]
        storage: Option<Storage>,
    },
    /// Take a snapshot; guests that write to it stand still while it is copied, but not on btrfs
    Snapshot {
        #[command(flatten)]
        volume: One,
        /// What it is called; the date and time (UTC) without
        #[arg(short, long, value_name = "LABEL")]
        name: Option<Label>,
        /// Keep this many, the newest, and remove the others
        #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
    },
    /// List the snapshots of a volume, or remove some
    Snapshots {
        #[command(flatten)]
        volume: One,
        /// Remove this one; may be repeated
        #[arg(long, value_name = "LABEL")]
        remove: Vec<Label>,
        /// Print JSON: an array of `label`, `created`, `storage` and `size` in bytes
        #[arg(long, conflicts_with = "remove")]
        json: bool,
    },
    /// Make a volume what it was in a snapshot, while no guest that mounts it runs
    Rollback {
        #[command(flatten)]
        volume: One,
        /// The snapshot
        #[arg(value_name = "LABEL")]
        label: Label,
    },
    /// Make another volume with the same in it
    Clone {
        #[command(flatten)]
        volume: One,
        /// The name of the new one
        #[arg(value_name = "NAME")]
        name: VolumeName,
    },
    /// Remove volumes with all that is in them and their snapshots; there is no way back
    Rm {
        /// The names of the volumes
        #[arg(value_name = "VOLUME", required = true, add = args::volumes())]
        volumes: Vec<VolumeName>,
    },
    /// Write a volume into one file
    Export {
        #[command(flatten)]
        volume: One,
        /// Write it to this file, which is there only when it is whole; standard output without
        #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Write this snapshot of it instead of what it is now
        #[arg(short, long, value_name = "SNAPSHOT")]
        snapshot: Option<Label>,
        /// How it is compressed; as the name of the file says without, and not at all on standard output
        #[arg(short, long, value_name = "HOW")]
        compress: Option<Compression>,
        /// Replace the file if it is there
        #[arg(short, long, requires = "output")]
        force: bool,
    },
    /// Make a volume of what hostel volume export wrote
    Import {
        /// The archive, compressed by gzip, xz, zstd or bzip2 or not; - is standard input
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        archive: PathBuf,
        /// Its name; that of the exported volume without
        #[arg(short, long, value_name = "NAME")]
        name: Option<VolumeName>,
        /// What is in it may take this at most; as the exported one without
        #[arg(long, value_name = "SIZE")]
        size: Option<Bytes>,
        /// How it is kept: btrfs, reflink, dir or image; what the file system does best without
        #[arg(long, value_name = "STORAGE")]
        storage: Option<Storage>,
    },
}

#[derive(Debug, Args)]
struct One {
    /// The name of the volume
    #[arg(value_name = "VOLUME", add = args::volumes())]
    volume: VolumeName,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy)]
struct OrMax<T>(Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for OrMax<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "max" => Ok(Self(None)),
            other => other.parse().map(|limit| Self(Some(limit))),
        }
    }
}

impl Verb for Volume {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel volume create data --size 2G", "an empty one"),
        ("hostel volume ls", "which there are, and who mounts them"),
        ("hostel volume snapshot data --name before", "one to go back to"),
        ("hostel volume rollback data before", "back to it"),
        (
            "hostel volume export data -o data.tar.zst",
            "a backup; that of a guest has no volumes in it",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let progress = Progress::new(session.paint_err);
        match self.what {
            What::Create {
                name,
                size,
                inodes,
                storage,
            } => {
                let said = Said {
                    size,
                    inodes,
                    storage,
                };
                volume::create::create(&host, &name, &said, &progress)?;
                drop(progress);
                session.line(&format!("made {name}"))?;
            }
            What::Ls { unused, quiet, json } => return show::ls(session, &host, unused, quiet, json),
            What::Show { volume, json } => return show::show(session, &host, &volume.volume, json),
            What::Set {
                volume,
                size,
                inodes,
                storage,
            } => {
                let change = Change {
                    size: size.map(|limit| limit.0),
                    inodes: inodes.map(|limit| limit.0),
                    storage,
                };
                volume::set::set(&host, &volume.volume, change, &progress)?;
            }
            What::Snapshot { volume, name, keep } => {
                let hooks = hooks::runner(session);
                let keep = keep.and_then(|keep| usize::try_from(keep).ok());
                let of = &volume.volume;
                let taken = volume::snapshot::snapshot(&host, of, name.as_ref(), keep, &hooks, &progress)?;
                drop(progress);
                session.line(&format!("took {} of {of}", taken.label))?;
                for label in &taken.removed {
                    session.line(&format!("removed {label} of {of}"))?;
                }
            }
            What::Snapshots {
                volume: One { volume: of },
                remove,
                json,
            } => {
                for label in &remove {
                    volume::snapshot::remove(&host, &of, label)?;
                    session.line(&format!("removed {label} of {of}"))?;
                }
                if remove.is_empty() {
                    let all = volume::snapshot::list(&host, &of)?;
                    return super::snapshots::print(session, &all, json);
                }
            }
            What::Rollback { volume, label } => {
                volume::snapshot::rollback(&host, &volume.volume, &label, &progress)?;
                drop(progress);
                session.line(&format!("{} is as in {label}", volume.volume))?;
            }
            What::Clone { volume, name } => {
                let hooks = hooks::runner(session);
                volume::clone::clone(&host, &volume.volume, &name, &hooks, &progress)?;
                drop(progress);
                session.line(&format!("cloned {} as {name}", volume.volume))?;
            }
            What::Rm { volumes } => {
                drop(progress);
                return rm(session, &host, &volumes);
            }
            What::Export {
                volume,
                output,
                snapshot,
                compress,
                force,
            } => {
                let what = archive::Export {
                    output: output.as_deref(),
                    snapshot: snapshot.as_ref(),
                    compress,
                    force,
                };
                drop(progress);
                return archive::export(session, &host, &volume.volume, &what);
            }
            What::Import {
                archive,
                name,
                size,
                storage,
            } => {
                let options = volume::archive::ImportOptions { name, size, storage };
                let name = archive::import(&host, &archive, &options, &progress)?;
                drop(progress);
                session.line(&format!("imported {name}"))?;
            }
        }
        Ok(Exit::Success)
    }
}

/// With several, all that can be: the others are told, and the exit code is 1.
fn rm(session: &mut Session, host: &Host, volumes: &[VolumeName]) -> Result<Exit> {
    let mut exit = Exit::Success;
    for name in volumes {
        match volume::remove::remove(host, name) {
            Ok(()) => {
                session.line(&format!("removed {name}"))?;
                session.flush()?;
            }
            Err(err) if volumes.len() == 1 || err.kind() == Kind::Interrupted => return Err(err),
            Err(err) => {
                session.report(&err);
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}
