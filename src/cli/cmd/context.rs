//! `hostel context [OPTIONS] -- COMMAND`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::args::{self, Address, BindMount, CapList, CommandLine, Namespaces};
use crate::cli::exit::{Exit, Failure};
use crate::cli::primitive;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{self, Caps, Hostname, Identity, Isolate, LimitChange, Xid};

/// Run a command in a context of its own
///
/// What is not asked for stays the host's: without options the command runs as it is. Nothing is left when the
/// command has ended. The exit code is the command's; 125, 126 and 127 are hostel's own (`hostel help exit`).
#[derive(Debug, Parser)]
pub(crate) struct Context {
    /// The context id, 2 to 49151; one is taken for the time if it is needed. 1 is the spectator, which sees the
    /// processes of all and can touch none
    #[arg(long, value_name = "N")]
    xid: Option<u32>,
    /// Run the command inside of what has this number already, a context or a guest, as that is confined; nothing else
    /// can be asked for but --dir and --no-terminal
    #[arg(long, value_name = "N", conflicts_with_all = [
        "xid", "isolate", "hostname", "chroot", "bind", "mount", "cap_keep", "cap_drop", "cap_only", "limit", "timeout",
    ])]
    join: Option<u32>,
    /// Namespaces of its own: pid, ipc, uts, mount, user, cgroup, net, or all (all but net)
    #[arg(long, value_name = "LIST")]
    isolate: Option<Namespaces>,
    /// Its hostname; implies --isolate uts
    #[arg(long, value_name = "NAME")]
    hostname: Option<Hostname>,
    /// Its root directory; implies --isolate mount
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    chroot: Option<PathBuf>,
    /// Its addresses on the host's network; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    bind: Vec<Address>,
    /// Host data that it sees: SOURCE:TARGET, then :ro, :noexec or :host-ids; may be repeated
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<BindMount>,
    /// Capabilities added to what a guest has by default
    #[arg(long, value_name = "LIST")]
    cap_keep: Option<CapList>,
    /// Capabilities taken away
    #[arg(long, value_name = "LIST")]
    cap_drop: Option<CapList>,
    /// The only capabilities left, or none
    #[arg(long, value_name = "LIST", conflicts_with = "cap_keep")]
    cap_only: Option<CapList>,
    /// A limit, such as memory=256M (`hostel help limits`); may be repeated
    #[arg(long, value_name = "KEY=VALUE", add = args::limits())]
    limit: Vec<LimitChange>,
    #[command(flatten)]
    line: CommandLine,
}

impl Verb for Context {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel context --hostname lab -- hostname",
            "a hostname of its own, the rest as it is",
        ),
        (
            "hostel context --chroot /srv/rootfs --isolate all --bind 127.9.0.1 --limit memory=256M -- /bin/sh",
            "a shell confined like a guest",
        ),
        (
            "hostel context --plan --chroot /srv/rootfs --isolate all -- /bin/sh",
            "the steps of that, without doing them",
        ),
        (
            "hostel context --join 900 -- ps",
            "in the context that was started with --xid 900",
        ),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        if let Some(number) = self.join {
            return primitive::join(session, Xid::new(number)?, self.line);
        }
        let caps = Caps {
            keep: self.cap_keep.map_or_else(Vec::new, |list| list.0),
            drop: self.cap_drop.map_or_else(Vec::new, |list| list.0),
            only: self.cap_only.map(|list| list.0),
        };
        let mut isolate = self.isolate.map_or(Isolate::NONE, |namespaces| namespaces.0);
        isolate.uts |= self.hostname.is_some();
        isolate.mount |= self.chroot.is_some();
        let context = guest::Context {
            identity: identity(self.xid)?,
            isolate,
            hostname: self.hostname,
            root: self.chroot,
            open_network: self.bind.is_empty() && !isolate.net,
            bind: self.bind.iter().map(|address| address.0).collect(),
            mounts: self.mount.into_iter().map(|mount| mount.0).collect(),
            caps: primitive::caps(&caps),
            limits: args::limits_of(&self.limit),
            ..primitive::plain()
        };
        primitive::run(session, &context, self.line)
    }
}

fn identity(xid: Option<u32>) -> Result<Identity> {
    match xid {
        None => Ok(Identity::Ephemeral),
        Some(1) => Ok(Identity::Spectator),
        Some(number) => Ok(Identity::Xid(Xid::new(number)?)),
    }
}
