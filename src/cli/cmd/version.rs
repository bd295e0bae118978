//! `hostel version`

use clap::Parser;
use serde::Serialize;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};

/// Show the version of hostel
#[derive(Debug, Parser)]
pub(crate) struct Version {
    /// Print JSON: `version`, `lua` and `kernel`
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    lua: &'static str,
    kernel: Option<String>,
}

impl Verb for Version {
    const GROUP: Group = Group::About;
    const EXAMPLES: &'static [Example] = &[
        ("hostel version", "print the version"),
        (
            "hostel version --json",
            "with the version of Lua and of the running kernel",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let version = env!("CARGO_PKG_VERSION");
        if !self.json {
            session.line(&format!("hostel {version}"))?;
            return Ok(Exit::Success);
        }
        let kernel = nix::sys::utsname::uname().ok();
        session.json(&Report {
            version,
            lua: "5.4",
            kernel: kernel.map(|uname| uname.release().to_string_lossy().into_owned()),
        })?;
        Ok(Exit::Success)
    }
}
