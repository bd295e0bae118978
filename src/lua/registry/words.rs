//! The words of a recipe.

use super::{Class, Entry, Module, Places, function, member, param, table, value};
use crate::guest::schema::{self, Record, Type, scalars};

/// The words of a recipe.
pub(super) static MODULE: Module = Module {
    name: "recipe",
    local: "",
    is_global: true,
    doc: "The words of a recipe. They are there without `require`.",
    places: Places::RECIPES,
    entries: ENTRIES,
    classes: CLASSES,
    records: &[],
};

static VERSIONS: Record = Record {
    name: "versions",
    doc: "What a recipe requires of hostel.",
    one_of: &[],
    fields: &[
        schema::field(
            "hostel",
            Type::Scalar(&scalars::TEXT),
            "The oldest hostel, as `>=X.Y`.",
            "\">=0.1\"",
        ),
        schema::field(
            "api",
            Type::Scalar(&scalars::COUNT),
            "The version of the recipe language: 1.",
            "1",
        ),
    ],
};

static ENTRIES: &[Entry] = &[
    function(
        "guest",
        &[param("name", "string", "Its name: lower case letters, digits and `-`, at most 63.")],
        "fun(body: hostel.guest): hostel.Guest",
        "Declares a guest: the name, then the table with its fields (`hostel doc guest`). What it returns stands for the guest in `depends`.",
        r#"guest "web" { image = "busybox" }"#,
    )
    .errors("E0201 when the name is taken, E0206 when no table follows."),
    function(
        "template",
        &[param("name", "string", "What messages call it.")],
        "fun(body: hostel.guest): hostel.Template",
        "Declares what guests have in common. It makes no guest; `from` takes what it returns.",
        r#"local base = template "base" { image = "busybox" }"#,
    ),
    function(
        "append",
        &[param("list", "any[]", "The items to add.")],
        "hostel.Append",
        "A list that is added to the inherited one instead of replacing it.",
        r#"local more = append { "curl" }"#,
    )
    .errors("E0109 where no list can stand."),
    value(
        "unset",
        "hostel.Unset",
        "Removes an inherited value, so that the default holds again.",
        "local body = { limits = { memory = unset } }",
    ),
    function(
        "requires",
        &[table("versions", &VERSIONS, "The oldest hostel, and the version of the language.")],
        "",
        "Refuses to be read by a hostel that is too old, or that reads another version of the language.",
        r#"requires { hostel = ">=0.1", api = 1 }"#,
    )
    .errors("E0113 when this hostel is not the one."),
    function(
        "secret",
        &[param("name", "string", "Letters, digits, `-`, `_`, `.` and `/`.")],
        "hostel.Secret",
        "A value that is kept outside the recipe and is shown nowhere: the file `/var/lib/hostel/secrets/NAME`, an environment variable, or what a command prints (`hostel explain E0111`). It can be a value of `env` and the content of a file.",
        r#"local password = secret "web/db""#,
    )
    .errors("E0111 when it cannot be read, or stands where a secret cannot."),
    function(
        "input",
        &[
            param("name", "string", "What `--set NAME=VALUE` and the names of a JSON file (`--inputs FILE`) call it."),
            param("default", "any", "Its value when it is not given; a number or truth value also decides how the text is read. Or a table: `type` (`text`, `integer`, `number`, `boolean`), `default`, `description`, `one_of`.").or("none: it must be given"),
        ],
        "any",
        "A value from outside: `hostel plan --set region=eu web.lua`.",
        r#"local count = input("count", 3)"#,
    )
    .errors("E0112 when it is not given and has no default, or is of another type."),
];

static CLASSES: &[Class] = &[
    Class {
        name: "Guest",
        word: "guest_reference",
        doc: "A guest that the recipe declares. It stands for its name.",
        fields: &[member("name", "string", "Its name.")],
        sample: None,
    },
    Class {
        name: "Template",
        word: "template_reference",
        doc: "A template, for `from`.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "Secret",
        word: "secret_reference",
        doc: "A secret, by its name. Its value is never there while a recipe runs.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "Append",
        word: "append_list",
        doc: "A list that is added to the inherited one.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "Unset",
        word: "unset_mark",
        doc: "What removes an inherited value.",
        fields: &[],
        sample: None,
    },
];
