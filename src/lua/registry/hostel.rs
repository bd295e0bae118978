//! `require "hostel"`: the primitives and the verbs.

use super::{Class, Entry, Module, Places, function, member, param, table, typed, value};
use crate::guest::schema::{self, Type};

/// The primitives and the verbs.
pub(super) static MODULE: Module = Module {
    name: "hostel",
    local: "hostel",
    is_global: false,
    doc: "The primitives and the verbs, for `hostel run`: `local hostel = require \"hostel\"`. A mistake of the script's is raised at its line; what can be expected to be absent is `nil, err`, with `err.kind`, `err.message` and `err.hint`.",
    places: Places::SCRIPTS,
    entries: ENTRIES,
    classes: CLASSES,
    records: schema::OPTIONS,
};

static CAPS: Type = Type::Record(&schema::CAPS);
static LIMITS: Type = Type::Record(&schema::LIMITS);
static MOUNT: Type = Type::Record(&schema::MOUNT);
static VOLUME: Type = Type::Record(&schema::VOLUME);

const ADDRESSES: super::Param = param(
    "addresses",
    "string|string[]",
    "IPv4 or IPv6, with or without a prefix length.",
);
const STOP: super::Param = table("options", &schema::STOP_OPTIONS, "How.").or("{}");
const GONE: &str = "`nil, err` when the volume is gone; anything else is raised.";
const ABSENT: &str = "`nil, err` when the guest is not in the state for it; anything else is raised.";

static ENTRIES: &[Entry] = &[
    value(
        "hostel.version",
        "string",
        "The version of this hostel.",
        "print(hostel.version)",
    ),
    function(
        "hostel.context",
        &[table("options", &schema::CONTEXT, "Who it is, and what it has of its own.")],
        "hostel.Context",
        "Begins the description of a context: what a command and all that it starts are confined to. Nothing happens before `run`.",
        "hostel.context { hostname = \"bar\", isolate = { \"pid\", \"uts\" } }",
    ),
    function(
        "hostel.bind",
        &[ADDRESSES],
        "hostel.Context",
        "A context that is confined to addresses (chbind) and to nothing else.",
        "hostel.bind { \"127.9.0.1\" }:run { \"nginx\" }",
    ),
    function(
        "hostel.chroot",
        &[param("path", "string", "A directory of the host.")],
        "hostel.Context",
        "A context with another root directory; the old root is gone for it.",
        "hostel.chroot(\"/srv/rootfs\"):run { \"/bin/sh\" }",
    ),
    function(
        "hostel.caps",
        &[typed("caps", &CAPS, "The change, or the set.")],
        "hostel.Context",
        "A context with fewer capabilities. `drop` alone takes from all there are, `keep` adds to a guest's default set.",
        "hostel.caps { drop = { \"sys_admin\" } }:run { \"sh\" }",
    ),
    function(
        "hostel.limit",
        &[typed("limits", &LIMITS, "Its upper bounds.")],
        "hostel.Context",
        "A context that may use no more than this.",
        "hostel.limit { memory = \"256M\" }:run { \"make\" }",
    ),
    function(
        "hostel.guest",
        &[param("name", "string", "Its name.")],
        "hostel.GuestHandle?, hostel.Failure?",
        "A guest that was applied.",
        "hostel.guest(\"web\")",
    )
    .errors("`nil, err` when there is none of that name."),
    function(
        "hostel.guests",
        &[],
        "hostel.GuestHandle[]",
        "Every guest that was applied, by name.",
        "for _, g in ipairs(hostel.guests()) do print(g.name) end",
    ),
    function(
        "hostel.apply",
        &[
            param("recipe", "string", "The recipe's file."),
            table("options", &schema::APPLY, "How.").or("{}"),
        ],
        "{ guest: string, verb: string }[]",
        "Makes the host what a recipe says, and returns what was done.",
        "hostel.apply(\"web.lua\", { inputs = { region = \"eu\" } })",
    )
    .errors("Raised: the recipe's mistakes, and what could not be done."),
    function(
        "hostel.import",
        &[
            param("file", "string", "What `guest:export` or `hostel export` wrote."),
            table("options", &schema::IMPORT, "How.").or("{}"),
        ],
        "hostel.GuestHandle?, hostel.Failure?",
        "Makes a guest of an archive, which is not started. The archive may come from anywhere.",
        "hostel.import(\"web.tar.zst\", { name = \"lab\" })",
    )
    .errors("`nil, err` when there is no such file; anything else is raised, as that there is a guest of that name or that the archive is damaged."),
    function(
        "hostel.volume",
        &[param("name", "string", "Its name.")],
        "hostel.VolumeHandle?, hostel.Failure?",
        "A volume that is there.",
        "local data = assert(hostel.volume \"data\")",
    )
    .errors("`nil, err` when there is none of that name."),
    function(
        "hostel.volumes",
        &[],
        "hostel.VolumeHandle[]",
        "Every volume, by name.",
        "for _, v in ipairs(hostel.volumes()) do print(v.name) end",
    ),
    function(
        "hostel.create_volume",
        &[
            param("name", "string", "Its name."),
            typed("options", &VOLUME, "What it is like.").or("{}"),
        ],
        "hostel.VolumeHandle?, hostel.Failure?",
        "Makes an empty volume, which belongs to root.",
        "hostel.create_volume(\"data\", { size = \"2G\" })",
    )
    .errors("Raised: that there is one of that name, and what the file system cannot do."),
    function(
        "hostel.import_volume",
        &[
            param("file", "string", "What `volume:export` or `hostel volume export` wrote."),
            table("options", &schema::IMPORT_VOLUME, "How.").or("{}"),
        ],
        "hostel.VolumeHandle?, hostel.Failure?",
        "Makes a volume of an archive. The archive may come from anywhere.",
        "hostel.import_volume(\"data.tar.zst\", { name = \"lab-data\" })",
    )
    .errors("`nil, err` when there is no such file; anything else is raised, as that there is a volume of that name or that the archive is damaged."),
    function(
        "hostel.unify",
        &[table("options", &schema::UNIFY, "Which guests, and how.").or("{}")],
        "{ guests: { guest: string, storage: string, outcome: string, why: string?, files: integer, saved: integer }[], files: integer, saved: integer, looked_at: integer, read: integer, idle: integer, dry_run: boolean }?, hostel.Failure?",
        "Shares the files that are equal in several guests. `outcome` is `unified`, `unchanged`, `left` (`why` tells the reason) or `undone`; `saved` and `read` are bytes.",
        "print(hostel.unify { exclude = { \"/opt\" } }.saved)",
    )
    .errors("`nil, err` when there is no such guest; anything else is raised, as that another run is at work."),
    function(
        "context:bind",
        &[ADDRESSES],
        "hostel.Context",
        "Every socket carries one of these addresses (chbind).",
        "c:bind { \"127.9.0.1\", \"fd00::9\" }",
    ),
    function(
        "context:chroot",
        &[param("path", "string", "A directory of the host.")],
        "hostel.Context",
        "Another root directory, by pivot_root(2).",
        "c:chroot(\"/srv/rootfs\")",
    ),
    function(
        "context:mount",
        &[typed("mount", &MOUNT, "What, and where.")],
        "hostel.Context",
        "Host data that it sees below its new root.",
        "c:mount { source = \"/srv/data\", target = \"/data\", readonly = true }",
    ),
    function(
        "context:caps",
        &[typed("caps", &CAPS, "The change, or the set.")],
        "hostel.Context",
        "The capabilities that its root keeps.",
        "c:caps { only = { \"chown\", \"setuid\" } }",
    ),
    function(
        "context:limit",
        &[typed("limits", &LIMITS, "Its upper bounds.")],
        "hostel.Context",
        "What it may use at most; a second call adds to the first.",
        "c:limit { memory = \"256M\", pids = 64 }",
    ),
    function(
        "context:plan",
        &[param("command", "string[]", "What would be run.").or("{}")],
        "string[]",
        "The steps that `run` would carry out, in their order; `tostring` numbers them. Needs no root.",
        "print(c:plan())",
    ),
    function(
        "context:run",
        &[param(
            "command",
            "string[]|hostel.run_options",
            "The program and its arguments, and beside them how it is run.",
        )],
        "hostel.Result",
        "Runs a command in the context and waits. Everything of the context is gone when it returns.",
        "c:run { \"/bin/sh\", \"-c\", \"id\", timeout = \"10s\" }",
    )
    .errors("Raised: what fails before the command runs. A status that is not 0 is no error: see `code`."),
    function(
        "context:close",
        &[],
        "",
        "Ends it. There is nothing left of a context after `run`; it is here for `local c <close>`.",
        "c:close()",
    ),
    function(
        "guest:status",
        &[],
        "hostel.Status?, hostel.Failure?",
        "What the kernel tells of it.",
        "assert(g:status()).state",
    )
    .errors(ABSENT),
    function(
        "guest:start",
        &[],
        "true?, hostel.Failure?",
        "Starts it, with its hooks.",
        "g:start()",
    )
    .errors("`nil, err` when it runs already; anything else is raised."),
    function(
        "guest:stop",
        &[STOP],
        "\"gracefully\"|\"killed\"|\"did_not_run\"|nil, hostel.Failure?",
        "Stops it, with its hooks, and tells how it ended.",
        "g:stop { timeout = \"10s\" }",
    )
    .errors(ABSENT),
    function(
        "guest:restart",
        &[STOP],
        "true?, hostel.Failure?",
        "Stops it and starts it again; one that does not run is started.",
        "g:restart()",
    )
    .errors(ABSENT),
    function(
        "guest:exec",
        &[param(
            "command",
            "string[]|hostel.exec_options",
            "The program and its arguments, and beside them how it is run.",
        )],
        "hostel.Result?, hostel.Failure?",
        "Runs a command inside and waits.",
        "g:exec { \"nginx\", \"-t\", capture = true }",
    )
    .errors("`nil, err` when the guest does not run or has no such program. A status that is not 0 is no error: see `code`."),
    function(
        "guest:limit",
        &[typed("limits", &LIMITS, "What changes; `\"max\"` takes a limit away.")],
        "true?, hostel.Failure?",
        "Changes limits at once, and for its next start.",
        "g:limit { memory = \"1G\", pids = \"max\" }",
    )
    .errors(ABSENT),
    function(
        "guest:pause",
        &[],
        "true?, hostel.Failure?",
        "Freezes its processes.",
        "g:pause()",
    )
    .errors("`nil, err` when it does not run or is paused already; anything else is raised."),
    function(
        "guest:resume",
        &[],
        "true?, hostel.Failure?",
        "Lets a paused guest go on.",
        "g:resume()",
    )
    .errors(ABSENT),
    function(
        "guest:kill",
        &[param("signal", "string", "Its name, with or without `SIG`.").or("\"KILL\"")],
        "true?, hostel.Failure?",
        "Sends a signal to each of its processes.",
        "g:kill(\"TERM\")",
    )
    .errors(ABSENT),
    function(
        "guest:wait_healthy",
        &[table("options", &schema::WAIT, "How long.").or("{}")],
        "true",
        "Waits until its health check succeeds.",
        "g:wait_healthy { timeout = \"30s\" }",
    )
    .errors("What prevents it is always raised: a step that only waits must not pass by mistake."),
    function(
        "guest:clone",
        &[
            param("name", "string", "The name of the new guest."),
            table("options", &schema::CLONE, "What it does not have from its source.").or("{}"),
        ],
        "hostel.GuestHandle?, hostel.Failure?",
        "Makes another guest like it, which is not started. It may run: its processes stand still while its files are copied, with its hooks `pre_snapshot` and `post_snapshot` around that.",
        "g:clone(\"web2\", { address = \"10.0.0.12/24\" })",
    )
    .errors("`nil, err` when it is not there any more; anything else is raised, as that there is a guest of that name."),
    function(
        "guest:snapshot",
        &[table("options", &schema::SNAPSHOT, "What it is called, and how many are kept.").or("{}")],
        "string?, hostel.Failure?",
        "Takes a snapshot of its files and returns its name. It may run, as for `clone`.",
        "g:snapshot { name = \"before-upgrade\", keep = 7 }",
    )
    .errors("`nil, err` when the guest is not there any more; anything else is raised, as that there is a snapshot of that name."),
    function(
        "guest:snapshots",
        &[],
        "{ label: string, created: string, storage: string, size: integer }[]?, hostel.Failure?",
        "Its snapshots, the oldest first.",
        "for _, s in ipairs(g:snapshots()) do print(s.label, s.created) end",
    )
    .errors("`nil, err` when the guest is not there any more; anything else is raised."),
    function(
        "guest:remove_snapshot",
        &[param("label", "string", "The snapshot's name.")],
        "true?, hostel.Failure?",
        "Removes a snapshot.",
        "g:remove_snapshot(\"before-upgrade\")",
    )
    .errors("`nil, err` when there is none of that name; anything else is raised."),
    function(
        "guest:rollback",
        &[param("label", "string", "The snapshot's name.")],
        "true?, hostel.Failure?",
        "Makes its files those of a snapshot; it does not run. What has changed since is lost.",
        "g:rollback(\"before-upgrade\")",
    )
    .errors("`nil, err` when it runs or has no such snapshot; anything else is raised."),
    function(
        "guest:export",
        &[
            param("file", "string", "Where to; it is there only when it is whole."),
            table("options", &schema::EXPORT, "How.").or("{}"),
        ],
        "integer?, hostel.Failure?",
        "Writes it into one file, a tar archive, and returns how many files that has. It may run, as for `clone`.",
        "g:export(\"web.tar.zst\")",
    )
    .errors("`nil, err` when the guest is not there any more; anything else is raised, as that there is a file of that name."),
    function(
        "guest:convert",
        &[param("storage", "\"btrfs\"|\"reflink\"|\"overlay\"|\"dir\"", "How its files are kept from now on.")],
        "boolean?, hostel.Failure?",
        "Keeps its files in another way; it does not run. `false` when they are kept so already.",
        "g:convert(\"overlay\")",
    )
    .errors("`nil, err` when it runs; anything else is raised."),
    function(
        "guest:destroy",
        &[table("options", &schema::DESTROY, "How.").or("{}")],
        "true?, hostel.Failure?",
        "Removes it with all its files.",
        "g:destroy { force = true }",
    )
    .errors("`nil, err` when it runs and `force` is not set."),
    function(
        "volume:status",
        &[],
        "hostel.VolumeStatus?, hostel.Failure?",
        "What there is to know of it.",
        "assert(v:status()).users",
    )
    .errors(GONE),
    function(
        "volume:set",
        &[typed("changes", &VOLUME, "What changes; `\"max\"` takes a limit away.")],
        "true?, hostel.Failure?",
        "Changes its limits, at once, or how it is kept, while no guest that mounts it runs.",
        "v:set { size = \"4G\", inodes = \"max\" }",
    )
    .errors("`nil, err` when it is gone, or moves while a guest that runs has it mounted; anything else is raised."),
    function(
        "volume:snapshot",
        &[table("options", &schema::SNAPSHOT, "What it is called, and how many are kept.").or("{}")],
        "string?, hostel.Failure?",
        "Takes a snapshot and returns its name. Guests that write to it stand still together while it is copied, but not on btrfs, with their hooks `pre_snapshot` and `post_snapshot` around that.",
        "v:snapshot { name = \"before\", keep = 7 }",
    )
    .errors("`nil, err` when the volume is gone; anything else is raised, as that there is a snapshot of that name."),
    function(
        "volume:snapshots",
        &[],
        "{ label: string, created: string, storage: string, size: integer }[]?, hostel.Failure?",
        "Its snapshots, the oldest first.",
        "for _, s in ipairs(v:snapshots()) do print(s.label, s.created) end",
    )
    .errors(GONE),
    function(
        "volume:remove_snapshot",
        &[param("label", "string", "The snapshot's name.")],
        "true?, hostel.Failure?",
        "Removes a snapshot.",
        "v:remove_snapshot(\"before\")",
    )
    .errors("`nil, err` when there is none of that name; anything else is raised."),
    function(
        "volume:rollback",
        &[param("label", "string", "The snapshot's name.")],
        "true?, hostel.Failure?",
        "Makes it what it was; no guest that mounts it runs. What has changed since is lost.",
        "v:rollback(\"before\")",
    )
    .errors("`nil, err` when a guest that runs has it mounted, or there is no such snapshot; anything else is raised."),
    function(
        "volume:clone",
        &[param("name", "string", "The name of the new volume.")],
        "hostel.VolumeHandle?, hostel.Failure?",
        "Makes another volume with the same in it, as for `snapshot`.",
        "v:clone(\"copy\")",
    )
    .errors("`nil, err` when the volume is gone; anything else is raised, as that there is a volume of that name."),
    function(
        "volume:export",
        &[
            param("file", "string", "Where to; it is there only when it is whole."),
            table("options", &schema::EXPORT_VOLUME, "How.").or("{}"),
        ],
        "integer?, hostel.Failure?",
        "Writes it into one file, a tar archive, and returns how many files that has, as for `snapshot`.",
        "v:export(\"data.tar.zst\")",
    )
    .errors("`nil, err` when the volume is gone; anything else is raised, as that there is a file of that name."),
    function(
        "volume:remove",
        &[],
        "true?, hostel.Failure?",
        "Removes it with all that is in it and its snapshots.",
        "v:remove()",
    )
    .errors("`nil, err` while a guest has it among its mounts, running or not."),
    value(
        "flags",
        "table<string, any>",
        "What followed the script's name as `--name=value`, `--name value` or `--name`; `-` in a name is `_`.",
        "local is_plan = flags.plan",
    ),
    value(
        "args",
        "string[]",
        "The rest of what followed the script's name; `...` and `arg` are the same.",
        "local file = args[1]",
    ),
];

static CLASSES: &[Class] = &[
    Class {
        name: "Context",
        word: "context",
        doc: "What a command is confined to. `hostel.context` and its kin begin one; each method returns it, so that they can be chained.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "GuestHandle",
        word: "guest",
        doc: "A guest that was applied, and what can be done with it.",
        fields: &[
            member("name", "string", "Its name."),
            member("xid", "integer", "Its context id."),
        ],
        sample: None,
    },
    Class {
        name: "VolumeHandle",
        word: "volume",
        doc: "A volume, and what can be done with it.",
        fields: &[member("name", "string", "Its name.")],
        sample: None,
    },
    Class {
        name: "VolumeStatus",
        word: "volume_status",
        doc: "What there is to know of a volume.",
        fields: &[
            member("name", "string", "Its name."),
            member("storage", "string", "How it is kept."),
            member("created", "string", "When it was made, RFC 3339."),
            member(
                "size",
                "integer?",
                "What is in it may take this at most, in bytes.",
            ),
            member(
                "inodes",
                "integer?",
                "So many files and directories may be in it.",
            ),
            member(
                "disk",
                "table?",
                "`used`, `limit` and `kept_by`, where the file system counts.",
            ),
            member("snapshots", "integer", "How many snapshots it has."),
            member(
                "users",
                "{ guest: string, target: string, readonly: boolean, running: boolean }[]",
                "The mounts of it in guests.",
            ),
        ],
        sample: None,
    },
    Class {
        name: "Result",
        word: "result",
        doc: "How a command ended.",
        fields: &[
            member("code", "integer?", "Its status; nil when a signal ended it."),
            member("signal", "integer?", "The signal that ended it."),
            member("timed_out", "boolean", "Whether the timeout ended it."),
            member(
                "memory_peak",
                "integer?",
                "The most memory that it used, in bytes, where the kernel tells.",
            ),
            member(
                "stdout",
                "string",
                "What it wrote to standard output. Only with `capture`; nil without.",
            ),
            member(
                "stderr",
                "string",
                "What it wrote to standard error. Only with `capture`; nil without.",
            ),
        ],
        sample: None,
    },
    Class {
        name: "Status",
        word: "status",
        doc: "What the kernel tells of a guest.",
        fields: &[
            member("name", "string", "Its name."),
            member("xid", "integer", "Its context id."),
            member(
                "state",
                "\"running\"|\"paused\"|\"stopped\"|string",
                "Whether it runs.",
            ),
            member("pid", "integer?", "Its process 1, as the host numbers it."),
            member("uptime_s", "integer?", "Seconds since its process 1 was started."),
            member("processes", "integer", "Its processes and threads."),
            member(
                "memory_bytes",
                "integer?",
                "Memory in use, page cache included, in bytes, where the kernel counts it.",
            ),
            member(
                "cpu_us",
                "integer?",
                "Processor time used, in microseconds, where the kernel counts it.",
            ),
            member("addresses", "string[]", "Its addresses."),
            member("image", "string", "Where its files came from."),
            member("autostart", "boolean", "Whether it starts at boot."),
        ],
        sample: None,
    },
    Class {
        name: "Failure",
        word: "failure",
        doc: "Why something could not be done: the second result, or what `pcall` gives. `tostring` has the place too.",
        fields: &[
            member(
                "kind",
                "string",
                "What kind: `usage`, `invalid`, `not_found`, `exists`, `state`, `busy`, `unsupported`, `denied`, `timeout`, `interrupted`, `system`, `external` or `internal`.",
            ),
            member("message", "string", "What is wrong."),
            member("hint", "string?", "What to do."),
        ],
        sample: None,
    },
];
