//! Recipes: what they become, what is said of mistakes, and what they cannot do. One file a property.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod docs;
mod escapes;
mod examples;
mod fields;
mod hermetic;
mod inherit;
mod inputs;
mod libraries;
mod mistakes;
mod net;
#[path = "../docs/page.rs"]
mod page;
mod same;
mod scripts;
mod speed;
mod stdlib;
mod support;
