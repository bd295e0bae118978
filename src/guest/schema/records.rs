//! The fields of a recipe, in the order in which they are documented.

use super::scalars as s;
use super::{Field, Record, Type};
use crate::guest::{Allow, Arch, Storage, Volume};

/// A field that may be left out; builders below change what differs.
pub(crate) const fn field(name: &'static str, kind: Type, doc: &'static str, example: &'static str) -> Field {
    Field {
        name,
        kind,
        default: None,
        required: false,
        doc,
        since: "0.1",
        example,
        inside: None,
    }
}

impl Field {
    pub(crate) const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    const fn inside(mut self, map: &'static str) -> Self {
        self.inside = Some(map);
        self
    }
}

macro_rules! record {
    ($id:ident, $name:literal, $doc:literal, one_of $one_of:expr, [$($field:expr),+ $(,)?]) => {
        #[doc = $doc]
        pub static $id: Record = Record { name: $name, doc: $doc, one_of: $one_of, fields: &[$($field),+] };
    };
    ($id:ident, $name:literal, $doc:literal, [$($field:expr),+ $(,)?]) => {
        record!($id, $name, $doc, one_of &[], [$($field),+]);
    };
}

const ARGV: Type = Type::List(&Type::Scalar(&s::ARGUMENT));
const CAPS_LIST: Type = Type::List(&Type::Scalar(&s::CAP));

record!(GUEST, "guest", "A complete Linux server.", [
    field("from", Type::Templates, "What it inherits from. Maps merge deeply, later templates and the guest itself win; lists are replaced unless wrapped in `append`; `unset` removes.", "base"),
    field("xid", Type::Scalar(&s::XID), "The context id, 2 to 49151: its user ids, cgroup and loopback address follow from it.", "101").default("allocated, and remembered"),
    field("image", Type::Scalar(&s::IMAGE), "Where its files come from: `busybox`, `debian:SUITE`, `devuan:SUITE`, `ubuntu:SUITE`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:IMAGE]`, `tar:FILE`, `dir:PATH` or `clone:GUEST`. Changing it rebuilds the guest.", "\"debian:bookworm\"").required(),
    field("packages", Type::List(&Type::Scalar(&s::PACKAGE)), "Debian packages added to the image.", "{ \"nginx-light\" }"),
    field("arch", Type::Enum(Arch::NAMES), "What processor its programs are for, by Debian's name. Programs for another than the host's are run by qemu's user-mode emulator, many times slower; `hostel doc arch` tells what that needs. Changing it rebuilds the guest.", "\"arm64\"").default("the host's"),
    field("storage", Type::Enum(Storage::NAMES), "How its files are kept. `btrfs`: a subvolume, made as a snapshot. `reflink`: a copy that shares its extents. `overlay`: a layer of its own over files that it shares with others of its image, on disk and in memory. `dir`: a copy. `image`: a file system of its own in one file, as large as `limits.disk`. What the file system cannot do is refused. Changing it moves the files while the guest is stopped.", "\"overlay\"").default("the first of `btrfs`, `reflink`, `overlay`, `dir` that the file system can; `image` where nothing else keeps `limits.disk`"),
    field("hostname", Type::Scalar(&s::HOSTNAME), "Its hostname.", "\"web.example.net\"").default("its name"),
    field("net", Type::Record(&NET), "Its network.", "{ mode = \"bind\", address = \"10.0.0.10/24\", device = \"eth0\" }"),
    field("limits", Type::Record(&LIMITS), "What it may use at most. All change while it runs.", "{ memory = \"256M\", cpus = 0.5 }"),
    field("caps", Type::Record(&CAPS), "The capabilities of its root.", "{ keep = { \"net_raw\" } }"),
    field("allow", Type::List(&Type::Enum(Allow::NAMES)), "What of its confinement is loosened, by name; `hostel doc allow` tells what each word opens and risks.", "{ \"keyring\", \"ptrace\" }"),
    field("userns", Type::Bool, "Whether its user ids are its own. With `false` its root is the host's root, with the default capabilities at most; `hostel doc userns` tells what that risks.", "false").default("true"),
    field("no_new_privs", Type::Bool, "No program in it gains a right by being executed (PR_SET_NO_NEW_PRIVS): `su`, `sudo`, `ping` with file capabilities do not work.", "true").default("false"),
    field("volumes", Type::Map(&s::VOLUME, &Type::Short("size", &VOLUME)), "Volumes that are made when they are not there, by their names. They belong to no guest: `mounts` shows them to it and to others, and `hostel volume rm` alone removes them.", "{ data = { size = \"2G\" } }"),
    field("mounts", Type::List(&Type::Record(&MOUNT)), "Host data and volumes that it sees.", "{ { source = \"/srv/web\", target = \"/var/www\", readonly = true } }"),
    field("files", Type::Map(&s::GUEST_PATH, &Type::Short("content", &FILE)), "Files written into it, by their path inside.", "{ [\"/etc/motd\"] = \"hello\\n\" }"),
    field("env", Type::Map(&s::ENV_NAME, &Type::Secret(&s::TEXT)), "The environment of its init or services.", "{ LANG = \"C.UTF-8\", DB_PASSWORD = secret \"web/db\" }"),
    field("init", Type::Scalar(&s::INIT), "Its own init by its path inside, or `hostel` for hostel's own, which runs `services`.", "\"/sbin/init\"").default("\"hostel\""),
    field("services", Type::Map(&s::SERVICE, &Type::Record(&SERVICE)), "What hostel's init runs.", "{ nginx = { exec = { \"nginx\", \"-g\", \"daemon off;\" } } }"),
    field("health", Type::Record(&HEALTH), "How it is known to serve; guests that depend on it wait for that.", "{ tcp = 80, interval = \"5s\" }"),
    field("stop", Type::Record(&STOP), "How it is stopped.", "{ timeout = \"30s\" }"),
    field("autostart", Type::Bool, "Whether `hostel start --all`, run at boot, starts it.", "true").default("false"),
    field("depends", Type::List(&Type::Scalar(&s::GUEST)), "Guests that are started, and healthy, before it.", "{ \"db\" }"),
    field("hooks", Type::Record(&HOOKS), "Functions that run on the host around its start and stop.", "{ pre_start = function(h) h:require_free(\"/srv\", \"1G\") end }"),
]);

record!(NET, "net", "How a guest meets the network.", [
    field("mode", Type::Enum(&["none", "bind", "private", "host"]), "`bind`: the host's stack, every socket confined to the guest's addresses. `private`: a stack of its own behind a veth pair. `host`: the host's stack, unconfined. `none`: its loopback only.", "\"bind\"").default("\"none\""),
    field("address", Type::OneOrList(&Type::Scalar(&s::ADDRESS)), "Its addresses with prefix lengths (without one: that address alone); the first of a family is the primary one. At most 16 of a family.", "{ \"10.0.0.10/24\", \"fd00::10/64\" }"),
    field("device", Type::Scalar(&s::DEVICE), "The host's device that carries the addresses while the guest runs. Without it they are on the host already, or belong to 127.0.0.0/8.", "\"eth0\""),
    field("ports", Type::List(&Type::Scalar(&s::PORT)), "TCP ports that its services listen on; a host daemon that holds one is named at start.", "{ 80, 443 }"),
    field("shared_abstract_sockets", Type::Bool, "In bind mode, accept that abstract unix sockets of the host can be reached where the kernel cannot prevent it (before Linux 6.12).", "true").default("false"),
    field("bridge", Type::Scalar(&s::DEVICE), "In private mode, the host's bridge that its device joins; without one the pair is routed.", "\"br0\""),
    field("gateway", Type::OneOrList(&Type::Scalar(&s::IP)), "In private mode, its default gateways.", "\"10.0.0.1\""),
]);

record!(
    LIMITS,
    "limits",
    "Upper bounds on what a guest uses.",
    [
        field(
            "memory",
            Type::Scalar(&s::MEMORY),
            "Memory of all its processes, page cache included, in bytes.",
            "\"256M\""
        )
        .default("unlimited"),
        field(
            "swap",
            Type::Scalar(&s::SIZE),
            "Swap beyond `memory`, in bytes.",
            "\"64M\""
        )
        .default("unlimited"),
        field(
            "cpus",
            Type::Scalar(&s::CPUS),
            "Processor time, in processors.",
            "0.5"
        )
        .default("unlimited"),
        field(
            "cpu_weight",
            Type::Scalar(&s::WEIGHT),
            "Its share of contended processors, 1 to 10000; 100 is everyone's.",
            "200"
        ),
        field(
            "cpuset",
            Type::Scalar(&s::CPU_LIST),
            "The processors it may run on.",
            "\"0-3,7\""
        ),
        field("pids", Type::Scalar(&s::COUNT), "Processes and threads.", "256").default("unlimited"),
        field(
            "io_weight",
            Type::Scalar(&s::WEIGHT),
            "Its share of contended disks, 1 to 10000; 100 is everyone's.",
            "50"
        ),
        field(
            "io",
            Type::Map(&s::BLOCK_DEVICE, &Type::Record(&IO_MAX)),
            "Throttles of block devices, by their path.",
            "{ [\"/dev/vda\"] = { read = \"50M\" } }"
        ),
        field(
            "disk",
            Type::Scalar(&s::SIZE),
            "Disk space of its files, in bytes. The file system keeps it: by a quota where it has one, else its files are an image of that size (`storage`).",
            "\"2G\""
        )
        .default("unlimited"),
        field(
            "inodes",
            Type::Scalar(&s::COUNT),
            "Its files and directories. By a project quota (ext4, xfs) or an image; btrfs has no such limit.",
            "100000"
        )
        .default("unlimited"),
        field(
            "nice",
            Type::Scalar(&s::NICE),
            "The priority of its processes, -20 (first) to 19.",
            "5"
        )
        .default("0"),
        field(
            "rlimits",
            Type::Map(&s::RLIMIT_KIND, &Type::Scalar(&s::RLIMIT)),
            "Limits of each process, as setrlimit(2) names them: a number, `SOFT:HARD` or `unlimited`.",
            "{ nofile = \"1024:4096\" }"
        ),
        field(
            "nofile",
            Type::Scalar(&s::RLIMIT),
            "Open files of each process.",
            "1024"
        )
        .inside("rlimits"),
        field(
            "nproc",
            Type::Scalar(&s::RLIMIT),
            "Processes of each user.",
            "512"
        )
        .inside("rlimits"),
        field("core", Type::Scalar(&s::RLIMIT), "Size of core dumps.", "0").inside("rlimits"),
        field(
            "stack",
            Type::Scalar(&s::RLIMIT),
            "Stack of each process.",
            "\"8M\""
        )
        .inside("rlimits"),
        field(
            "memlock",
            Type::Scalar(&s::RLIMIT),
            "Locked memory of each process.",
            "\"64K\""
        )
        .inside("rlimits"),
        field(
            "fsize",
            Type::Scalar(&s::RLIMIT),
            "Size of any file that a process writes.",
            "\"1G\""
        )
        .inside("rlimits"),
    ]
);

record!(
    IO_MAX,
    "io",
    "The throttle of one block device.",
    [
        field("read", Type::Scalar(&s::SIZE), "Bytes read a second.", "\"50M\"").default("unlimited"),
        field(
            "write",
            Type::Scalar(&s::SIZE),
            "Bytes written a second.",
            "\"20M\""
        )
        .default("unlimited"),
        field("read_iops", Type::Scalar(&s::COUNT), "Reads a second.", "1000").default("unlimited"),
        field("write_iops", Type::Scalar(&s::COUNT), "Writes a second.", "500").default("unlimited"),
    ]
);

record!(
    CAPS,
    "caps",
    "Changes to the default set of capabilities, or another set.",
    [
        field("keep", CAPS_LIST, "Added to the default set.", "{ \"net_raw\" }"),
        field("drop", CAPS_LIST, "Taken from the set.", "{ \"setfcap\" }"),
        field(
            "only",
            CAPS_LIST,
            "The set, instead of the default one.",
            "{ \"chown\", \"setuid\", \"setgid\" }"
        ),
    ]
);

record!(
    VOLUME,
    "volume",
    "Data with a name, which outlives the guests that mount it.",
    [
        field(
            "size",
            Type::Scalar(&s::SIZE),
            "What is in it may take this at most, in bytes. The file system keeps it: by a quota where it has one, else the volume is an image of that size. Changes while guests run.",
            "\"2G\""
        )
        .default("unlimited"),
        field(
            "inodes",
            Type::Scalar(&s::COUNT),
            "Its files and directories. By a project quota (ext4, xfs) or an image; btrfs has no such limit.",
            "100000"
        )
        .default("unlimited"),
        field(
            "storage",
            Type::Enum(Volume::STORAGE),
            "How it is kept, as `storage` of a guest. Changing it moves the data while no guest that mounts it runs.",
            "\"image\""
        )
        .default("the first of `btrfs`, `reflink`, `dir` that the file system can; `image` where nothing else keeps `size`"),
    ]
);

record!(MOUNT, "mount", "A directory or file of the host, or a volume, that a guest sees.", [
    field("source", Type::Scalar(&s::SOURCE), "What: a path of the host, or `volume:NAME`. In a volume id N is the guest's N, whichever guest it is.", "\"/srv/web\"").required(),
    field("target", Type::Scalar(&s::GUEST_PATH), "Where: a path inside; made when it is not there.", "\"/var/www\"").required(),
    field("readonly", Type::Bool, "Writes fail with EROFS.", "true").default("false"),
    field("noexec", Type::Bool, "Programs on it cannot be run.", "true").default("false"),
    field("idmap", Type::Bool, "The host's owner N is the guest's N. Without it files belong to ids that the guest sees as `nobody`.", "false").default("true"),
    field("owner", Type::Short("uid", &OWNER), "Who the host's owner of the source is in the guest: what that user writes there is the host's owner's. Everybody else's files are `nobody`'s, and nobody else can make files there.", "33"),
]);

record!(
    OWNER,
    "owner",
    "Who the owner of the files of a mount is in the guest.",
    [
        field(
            "uid",
            Type::Scalar(&s::ID),
            "The user, as the guest numbers users.",
            "33"
        )
        .required(),
        field(
            "gid",
            Type::Scalar(&s::ID),
            "The group, as the guest numbers groups.",
            "33"
        )
        .default("the number of the user"),
        field(
            "host_uid",
            Type::Scalar(&s::HOST_ID),
            "The user of the host.",
            "1000"
        )
        .default("who the source belongs to"),
        field(
            "host_gid",
            Type::Scalar(&s::HOST_ID),
            "The group of the host.",
            "1000"
        )
        .default("the group that the source belongs to"),
    ]
);

record!(
    FILE,
    "file",
    "A file written into a guest.",
    [
        field(
            "content",
            Type::Secret(&s::TEXT),
            "What it holds.",
            "\"hello\\n\""
        )
        .required(),
        field(
            "mode",
            Type::Scalar(&s::MODE),
            "Its permission bits, octal in a text.",
            "\"0600\""
        )
        .default("\"0644\""),
        field(
            "uid",
            Type::Scalar(&s::ID),
            "Its owner, as the guest numbers users.",
            "33"
        )
        .default("0"),
        field(
            "gid",
            Type::Scalar(&s::ID),
            "Its group, as the guest numbers groups.",
            "33"
        )
        .default("0"),
    ]
);

record!(
    SERVICE,
    "service",
    "A process that hostel's init starts and keeps running.",
    [
        field(
            "exec",
            ARGV,
            "The program and its arguments. There is no shell in between.",
            "{ \"nginx\", \"-g\", \"daemon off;\" }"
        )
        .required(),
        field(
            "restart",
            Type::Enum(&["always", "on-failure", "never"]),
            "`always`: it is started anew when it ends. `on-failure`: when it ends with another status than 0, or by a signal. `never`: it stays ended. Restarts back off.",
            "\"always\""
        )
        .default("\"on-failure\""),
        field(
            "after",
            Type::List(&Type::Scalar(&s::SERVICE)),
            "Services of the same guest that are started first.",
            "{ \"db\" }"
        ),
        field(
            "user",
            Type::Scalar(&s::USER),
            "The guest's user that it runs as.",
            "\"www-data\""
        )
        .default("\"root\""),
        field(
            "dir",
            Type::Scalar(&s::HOST_PATH),
            "Its working directory inside.",
            "\"/var/www\""
        )
        .default("\"/\""),
        field(
            "env",
            Type::Map(&s::ENV_NAME, &Type::Scalar(&s::TEXT)),
            "Added to the guest's environment.",
            "{ PORT = \"8080\" }"
        ),
        field(
            "stop_signal",
            Type::Scalar(&s::SIGNAL),
            "The signal that asks it to end.",
            "\"SIGQUIT\""
        )
        .default("\"SIGTERM\""),
    ]
);

record!(
    HEALTH,
    "health",
    "How a guest is known to serve: one of `tcp`, `http` and `exec`.",
    one_of & ["tcp", "http", "exec"],
    [
        field(
            "tcp",
            Type::Scalar(&s::PORT),
            "A connection to this port of the guest is accepted.",
            "80"
        ),
        field(
            "http",
            Type::Parsed(&PROBE, super::scalars::probe),
            "A GET is answered with a status below 400.",
            "\"http://:80/healthz\""
        ),
        field(
            "exec",
            ARGV,
            "The command, run inside, ends with status 0.",
            "{ \"pg_isready\" }"
        ),
        field(
            "interval",
            Type::Scalar(&s::SPAN),
            "The time between two tries.",
            "\"5s\""
        )
        .default("\"5s\""),
        field(
            "timeout",
            Type::Scalar(&s::SPAN),
            "How long one try may take.",
            "\"2s\""
        )
        .default("\"2s\""),
        field(
            "retries",
            Type::Scalar(&s::COUNT),
            "How many tries may fail in a row.",
            "3"
        )
        .default("3"),
        field(
            "start",
            Type::Scalar(&s::SPAN),
            "How long a guest may take to become healthy after its start.",
            "\"60s\""
        )
        .default("\"60s\""),
    ]
);

record!(
    PROBE,
    "probe",
    "An HTTP request of a health check.",
    [
        field(
            "port",
            Type::Scalar(&s::PORT),
            "The port on the guest's primary address.",
            "80"
        )
        .required(),
        field("path", Type::Scalar(&s::URL_PATH), "The path.", "\"/healthz\"").required(),
    ]
);

record!(
    STOP,
    "stop",
    "How a guest is stopped.",
    [
        field(
            "signal",
            Type::Scalar(&s::SIGNAL),
            "The signal that asks its init to stop everything.",
            "\"SIGPWR\""
        )
        .default("what suits the init"),
        field(
            "timeout",
            Type::Scalar(&s::SPAN),
            "How long it may take before it is killed.",
            "\"30s\""
        )
        .default("\"30s\""),
    ]
);

record!(
    HOOKS,
    "hooks",
    "Functions that run on the host around a guest's start and stop.",
    [
        field(
            "pre_start",
            Type::Short("run", &HOOK),
            "Before anything of the guest exists on the host. A failure ends the start.",
            "function(h) h:require_free(\"/srv\", \"1G\") end"
        ),
        field(
            "post_start",
            Type::Short("run", &HOOK),
            "After its init runs.",
            "function(h) h:log(\"up\") end"
        ),
        field(
            "pre_stop",
            Type::Short("run", &HOOK),
            "Before its init is asked to stop.",
            "function(h) h:log(\"stopping\") end"
        ),
        field(
            "post_stop",
            Type::Short("run", &HOOK),
            "After nothing of it is left.",
            "function(h) h:log(\"gone\") end"
        ),
        field(
            "pre_snapshot",
            Type::Short("run", &HOOK),
            "Before its files are copied while it runs. A failure ends the copy.",
            "function(h) h:log(\"put the database in order\") end"
        ),
        field(
            "post_snapshot",
            Type::Short("run", &HOOK),
            "After that, also when it failed.",
            "function(h) h:log(\"go on\") end"
        ),
    ]
);

record!(HOOK, "hook", "A function and how it is run.", [
    field("run", Type::Function, "The function; its power is its argument.", "function(h) h:log(h.guest.name) end").required(),
    field("timeout", Type::Scalar(&s::SPAN), "How long it may take.", "\"30s\"").default("\"60s\""),
    field("on_error", Type::Enum(&["fail", "warn", "stop"]), "`fail`: the command fails and a start is undone. `warn`: a warning. `stop`: the guest is stopped.", "\"stop\"").default("\"fail\""),
]);
