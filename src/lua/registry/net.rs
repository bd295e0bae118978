//! `require "hostel.net"`.

use super::{Class, Entry, Module, Places, function, param};
use crate::guest::schema::{self, Record, Type, scalars};

/// Addresses for many guests.
pub(super) static MODULE: Module = Module {
    name: "hostel.net",
    local: "net",
    is_global: false,
    doc: "Addresses for many guests: `local net = require \"hostel.net\"`.",
    places: Places::ALL,
    entries: ENTRIES,
    classes: CLASSES,
    records: &[],
};

static POOL: Record = Record {
    name: "pool_options",
    doc: "Which addresses of a network are left out.",
    one_of: &[],
    fields: &[schema::field(
        "reserve",
        Type::Scalar(&scalars::COUNT),
        "How many at the network's beginning are left to others.",
        "10",
    )
    .default("0")],
};

static ENTRIES: &[Entry] = &[
    function(
        "net.pool",
        &[
            param(
                "network",
                "string",
                "A network with its prefix length: IPv4 or IPv6.",
            ),
            super::table("options", &POOL, "What is left out.").or("{}"),
        ],
        "hostel.Pool",
        "The addresses of a network, by number.",
        r#"net.pool("10.20.0.0/16", { reserve = 10 })"#,
    )
    .errors("Raised when the text is no network, or has bits behind its prefix length."),
    function(
        "pool:host",
        &[param("number", "integer", "From 1.")],
        "string",
        "The address of the host with this number, with the pool's prefix length.",
        r#"net.pool("10.20.0.0/16", { reserve = 10 }):host(1)"#,
    )
    .gives(r#""10.20.0.11/16""#)
    .errors("Raised when the pool has no such host."),
    function(
        "pool:size",
        &[],
        "integer",
        "How many hosts it has.",
        r#"net.pool("10.20.0.0/24"):size()"#,
    )
    .gives("254"),
];

static CLASSES: &[Class] = &[Class {
    name: "Pool",
    word: "pool",
    doc: "The addresses of a network, by number.",
    fields: &[],
    sample: Some(r#"require("hostel.net").pool("10.20.0.0/16")"#),
}];
