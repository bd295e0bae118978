//! `require "hostel.inspect"`.

use super::{Entry, Module, Places, function, param};
use crate::guest::schema::{self, Record, Type, scalars};

/// Values as text.
pub(super) static MODULE: Module = Module {
    name: "hostel.inspect",
    local: "inspect",
    is_global: false,
    doc: "Values as text that a person reads: `local inspect = require \"hostel.inspect\"`. The module is the function.",
    places: Places::TESTS,
    entries: ENTRIES,
    classes: &[],
    records: &[],
};

static OPTIONS: Record = Record {
    name: "inspect_options",
    doc: "How much is shown.",
    one_of: &[],
    fields: &[
        schema::field(
            "depth",
            Type::Scalar(&scalars::COUNT),
            "How many tables deep.",
            "3",
        )
        .default("8"),
        schema::field(
            "width",
            Type::Scalar(&scalars::COUNT),
            "How wide a line may be, in characters.",
            "100",
        )
        .default("80"),
        schema::field(
            "items",
            Type::Scalar(&scalars::COUNT),
            "How many items of a table.",
            "20",
        )
        .default("200"),
    ],
};

static ENTRIES: &[Entry] = &[function(
    "inspect",
    &[
        param("value", "any", "The value."),
        super::table("options", &OPTIONS, "How much is shown.").or("{}"),
    ],
    "string",
    "The value as text: keys are sorted, circles end in `<circle>`, control characters are numbers.",
    "inspect({ b = 1, a = 2 })",
)];
