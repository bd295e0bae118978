//! `hostel images`

use clap::Parser;
use serde_json::json;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::table::{Align, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::images;
use crate::storage::Layout;

/// List the images that guests are made from, or remove those that none was
///
/// An image is made once and kept, so that the next guest of its kind is made in a moment. Guests do not need it
/// once they are made.
#[derive(Debug, Parser)]
pub(crate) struct Images {
    /// Remove the images that no guest on this host was made from
    #[arg(long)]
    prune: bool,
    /// Print JSON: an array of `key`, `size` in bytes and `guests`; with --prune those that were removed
    #[arg(long)]
    json: bool,
}

impl Verb for Images {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[
        ("hostel images", "list them with their sizes and their guests"),
        ("hostel images --prune", "make room on the disk"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let layout = Layout::from_env();
        let all = images::list(&layout)?;
        if self.prune {
            let unused: Vec<_> = all.iter().filter(|image| image.guests.is_empty()).collect();
            for image in &unused {
                images::remove(&layout, &image.key)?;
                if !self.json {
                    session.line(&format!("removed {} ({})", image.key, human::bytes(image.size.0)))?;
                }
            }
            if self.json {
                session.json(&json!(unused))?;
            }
            return Ok(Exit::Success);
        }
        if self.json {
            session.json(&all)?;
            return Ok(Exit::Success);
        }
        let mut table = Table::new(&[
            ("IMAGE", Align::Left),
            ("SIZE", Align::Right),
            ("GUESTS", Align::Left),
        ]);
        for image in &all {
            let guests: Vec<&str> = image.guests.iter().map(crate::guest::GuestName::as_str).collect();
            table.row(vec![
                image.key.as_str().into(),
                human::bytes(image.size.0).into(),
                guests.join(" ").into(),
            ]);
        }
        let text = table.render(session.paint);
        session.print(&text)?;
        Ok(Exit::Success)
    }
}
