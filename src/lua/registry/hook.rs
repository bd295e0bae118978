//! What a hook is given.

use super::{Class, Entry, Module, Places, function, member, param};

/// The argument of hooks.
pub(super) static MODULE: Module = Module {
    name: "hooks",
    local: "",
    is_global: false,
    doc: "The argument of a hook's function (`hostel doc guest.hooks`): all that it may do. Its methods are called with a colon: `h:exec { ... }`. A hook fails by `error \"why\"`; one that returns `false`, or nothing and a text, has failed too.",
    places: Places::RECIPES,
    entries: ENTRIES,
    classes: CLASSES,
    records: &[],
};

static ENTRIES: &[Entry] = &[
    function(
        "h:log",
        &[param("message", "string", "The line.")],
        "",
        "Writes a line to the command's output, with the guest's name before it.",
        r#"h:log("the volume is there")"#,
    ),
    function(
        "h:exec",
        &[param(
            "command",
            "string[]",
            "The program and its arguments. There is no shell in between.",
        )],
        "hostel.HookResult",
        "Runs a command on the host, as the operator, and waits. The hook's timeout ends it.",
        r#"h:exec { "lvs", "--noheadings" }"#,
    )
    .errors("E0115 when its status is not 0, when there is no such program, or when it writes more than 16 MiB to a stream."),
    function(
        "h:require_free",
        &[
            param("path", "string", "A path on the file system that is meant."),
            param("size", "string|integer", "Bytes, or a size such as \"1G\"."),
        ],
        "",
        "Fails when the file system that holds `path` has less free space.",
        r#"h:require_free("/srv", "1G")"#,
    )
    .errors("E0115 when there is less."),
    function(
        "h.guest:wait_healthy",
        &[super::table("options", &crate::guest::schema::WAIT, "How long.").or("{}")],
        "",
        "Waits until the guest's health check succeeds.",
        r#"h.guest:wait_healthy { timeout = "20s" }"#,
    )
    .errors("E0115 when it does not become healthy in time."),
];

static CLASSES: &[Class] = &[
    Class {
        name: "Handle",
        word: "h",
        doc: "The argument of a hook.",
        fields: &[member("guest", "hostel.HookGuest", "The guest whose hook it is.")],
        sample: None,
    },
    Class {
        name: "HookGuest",
        word: "h.guest",
        doc: "The guest whose hook it is.",
        fields: &[member("name", "string", "Its name.")],
        sample: None,
    },
    Class {
        name: "HookResult",
        word: "hook_result",
        doc: "How a command of a hook ended.",
        fields: &[
            member("code", "integer", "Its status: 0."),
            member("stdout", "string", "What it wrote to standard output."),
            member("stderr", "string", "What it wrote to standard error."),
        ],
        sample: None,
    },
];
