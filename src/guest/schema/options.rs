//! The tables that functions of `require "hostel"` take, by the same schema as recipes.

use super::records::field;
use super::scalars as s;
use super::{CAPS, LIMITS, MOUNT, Record, Type, VOLUME};
use crate::guest::{Storage, Volume};

macro_rules! options {
    ($($(#[$doc:meta])* $id:ident: $name:literal, $text:literal, [$($field:expr),+ $(,)?];)+) => {$(
        $(#[$doc])*
        pub static $id: Record = Record { name: $name, doc: $text, one_of: &[], fields: &[$($field),+] };
    )+};
}

options! {
    /// What `hostel.context` takes.
    CONTEXT: "context_options", "Who a context is and what it has of its own.", [
        field("xid", Type::Scalar(&s::CONTEXT_XID), "Its number: 2 to 49151, or 1 for the spectator, which sees every process and can touch none.", "900").default("a free one, while it runs"),
        field("hostname", Type::Scalar(&s::HOSTNAME), "Its hostname.", "\"bar\""),
        field("isolate", Type::OneOrList(&Type::Scalar(&s::NAMESPACE)), "What it has of its own: `pid`, `ipc`, `uts`, `mount`, `user`, `cgroup`, `net`, or `all` (all but `net`).", "{ \"pid\", \"mount\" }"),
        field("join", Type::Scalar(&s::WHOM), "A guest that runs, or the number of a context that does: commands run inside of it, as it is confined. Nothing else can be said beside it.", "\"web\""),
    ];
    /// What `context:run` takes beside the command.
    RUN: "run_options", "How a command is run in a context. The command itself is the list part of the table.", [
        field("timeout", Type::Scalar(&s::SPAN), "When it is over, SIGTERM, and SIGKILL five seconds later.", "\"10s\"").default("none"),
        field("env", Type::Map(&s::ENV_NAME, &Type::Scalar(&s::TEXT)), "Added to its environment.", "{ LANG = \"C.UTF-8\" }"),
        field("dir", Type::Scalar(&s::HOST_PATH), "Its working directory, as it sees it.", "\"/tmp\""),
        field("capture", Type::Bool, "Whether its output is returned as `stdout` and `stderr`, at most 16 MiB of each, instead of going to the script's.", "true").default("false"),
    ];
    /// What `guest:exec` takes beside the command.
    EXEC: "exec_options", "How a command is run in a guest. The command itself is the list part of the table.", [
        field("timeout", Type::Scalar(&s::SPAN), "When it is over, SIGTERM, and SIGKILL five seconds later.", "\"10s\"").default("none"),
        field("env", Type::Map(&s::ENV_NAME, &Type::Scalar(&s::TEXT)), "Added to the guest's environment.", "{ LANG = \"C.UTF-8\" }"),
        field("dir", Type::Scalar(&s::HOST_PATH), "Its working directory inside.", "\"/tmp\"").default("\"/\""),
        field("capture", Type::Bool, "Whether its output is returned as `stdout` and `stderr`, at most 16 MiB of each, instead of going to the script's.", "true").default("false"),
        field("user", Type::Scalar(&s::USER), "The guest's user that it runs as.", "\"www-data\"").default("\"root\""),
    ];
    /// What `guest:stop` and `guest:restart` take.
    STOP_OPTIONS: "stop_options", "How a guest is stopped.", [
        field("timeout", Type::Scalar(&s::SPAN), "How long it may take before it is killed.", "\"10s\"").default("what its recipe says"),
        field("kill", Type::Bool, "Kill it without asking.", "true").default("false"),
    ];
    /// What `guest:wait_healthy` takes.
    WAIT: "wait_options", "How long to wait.", [
        field("timeout", Type::Scalar(&s::SPAN), "How long it may take to become healthy.", "\"30s\"").default("`health.start` of its recipe"),
    ];
    /// What `guest:destroy` takes.
    DESTROY: "destroy_options", "How a guest is removed.", [
        field("force", Type::Bool, "Stop it first when it runs.", "true").default("false"),
    ];
    /// What `guest:clone` takes beside the name.
    CLONE: "clone_options", "What a clone does not have from its source.", [
        field("address", Type::OneOrList(&Type::Scalar(&s::ADDRESS)), "Its addresses, where its source has any.", "\"10.0.0.12/24\""),
        field("hostname", Type::Scalar(&s::HOSTNAME), "Its hostname.", "\"web2.example.net\"").default("its name"),
        field("xid", Type::Scalar(&s::XID), "Its context id.", "102").default("allocated"),
        field("storage", Type::Enum(Storage::NAMES), "How its files are kept.", "\"overlay\"").default("as its source's"),
    ];
    /// What `guest:export` takes beside the file.
    EXPORT: "export_options", "How a guest is written into a file.", [
        field("snapshot", Type::Scalar(&s::TEXT), "Write this snapshot of the guest instead of what it is now.", "\"tue\""),
        field("since", Type::Scalar(&s::TEXT), "Write only what has changed since this snapshot.", "\"mon\""),
        field("compress", Type::Enum(&["none", "gzip", "xz", "zstd"]), "How it is compressed.", "\"zstd\"").default("as the file's name says"),
        field("force", Type::Bool, "Replace the file if it is there.", "true").default("false"),
    ];
    /// What `hostel.import` takes beside the file.
    IMPORT: "import_options", "How a guest is made of a file.", [
        field("name", Type::Scalar(&s::NAME), "Its name.", "\"lab\"").default("that of the exported guest"),
        field("xid", Type::Scalar(&s::XID), "Its context id.", "102").default("allocated"),
        field("storage", Type::Enum(Storage::NAMES), "How its files are kept.", "\"overlay\"").default("what the file system does best"),
        field("address", Type::Scalar(&s::ADDRESS), "Its address in a private network of its own, in place of any other network.", "\"10.0.0.2/30\""),
        field("onto", Type::Scalar(&s::NAME), "Put what has changed onto this guest, which must be as it was before.", "\"web\""),
        field("trust", Type::Bool, "Believe what the archive says of the host: mounts, network, capabilities and what is loosened.", "true").default("false"),
    ];
    /// What `volume:export` takes beside the file.
    EXPORT_VOLUME: "volume_export_options", "How a volume is written into a file.", [
        field("snapshot", Type::Scalar(&s::TEXT), "Write this snapshot of it instead of what it is now.", "\"tue\""),
        field("compress", Type::Enum(&["none", "gzip", "xz", "zstd"]), "How it is compressed.", "\"zstd\"").default("as the file's name says"),
        field("force", Type::Bool, "Replace the file if it is there.", "true").default("false"),
    ];
    /// What `hostel.import_volume` takes beside the file.
    IMPORT_VOLUME: "volume_import_options", "How a volume is made of a file.", [
        field("name", Type::Scalar(&s::VOLUME), "Its name.", "\"data\"").default("that of the exported volume"),
        field("size", Type::Scalar(&s::SIZE), "What is in it may take this at most, in bytes.", "\"2G\"").default("as the exported one"),
        field("storage", Type::Enum(Volume::STORAGE), "How it is kept.", "\"image\"").default("what the file system does best"),
    ];
    /// What `hostel.unify` takes.
    UNIFY: "unify_options", "What is unified.", [
        field("guests", Type::List(&Type::Scalar(&s::NAME)), "The names of the guests.", "{ \"web\", \"db\" }").default("all"),
        field("undo", Type::Bool, "Give each its own again.", "true").default("false"),
        field("dry_run", Type::Bool, "Only find out what would be saved.", "true").default("false"),
        field("full", Type::Bool, "Also look at guests on btrfs and xfs that have not run since the last run over all.", "true").default("false"),
        field("min_size", Type::Scalar(&s::SIZE), "Smaller files are left alone, of guests on btrfs and xfs, in bytes.", "1").default("\"4K\""),
        field("include", Type::List(&Type::Scalar(&s::GUEST_PATH)), "Paths of the guests that take part too.", "{ \"/var/lib/gems\" }").default("none"),
        field("exclude", Type::List(&Type::Scalar(&s::GUEST_PATH)), "Paths that take no part.", "{ \"/opt\" }").default("none"),
    ];
    /// What `guest:snapshot` takes.
    SNAPSHOT: "snapshot_options", "How a snapshot is taken.", [
        field("name", Type::Scalar(&s::NAME), "What it is called.", "\"before-upgrade\"").default("the date and time (UTC)"),
        field("keep", Type::Scalar(&s::COUNT), "How many are kept, the newest; the others are removed.", "7").default("all"),
    ];
    /// What `hostel.apply` takes beside the recipe.
    APPLY: "apply_options", "How a recipe is applied.", [
        field("inputs", Type::Map(&s::ENV_NAME, &Type::Scalar(&s::TEXT)), "Values of the recipe's inputs, as texts.", "{ count = \"10\" }"),
        field("rebuild", Type::Bool, "Build guests anew whose files come from elsewhere now; what is in them is lost.", "true").default("false"),
        field("no_wait", Type::Bool, "Do not wait until guests are healthy.", "true").default("false"),
    ];
}

/// Every such table, for the meta file and the reference.
pub static OPTIONS: &[&Record] = &[
    &CONTEXT,
    &RUN,
    &EXEC,
    &STOP_OPTIONS,
    &WAIT,
    &DESTROY,
    &CLONE,
    &SNAPSHOT,
    &EXPORT,
    &IMPORT,
    &UNIFY,
    &APPLY,
    &CAPS,
    &LIMITS,
    &MOUNT,
    &VOLUME,
    &EXPORT_VOLUME,
    &IMPORT_VOLUME,
];
