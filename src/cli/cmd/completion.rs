//! `hostel completion SHELL`

use clap::{Parser, ValueEnum};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;

/// Print the completion of a shell
///
/// Commands, options, values and names of guests are completed. The shell asks hostel itself for them, so the
/// completion need not be renewed with hostel.
#[derive(Debug, Parser)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

/// The shells that can be completed for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Verb for Completion {
    const GROUP: Group = Group::About;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel completion bash > /usr/share/bash-completion/completions/hostel",
            "for everyone who uses bash",
        ),
        (
            "hostel completion zsh > /usr/local/share/zsh/site-functions/_hostel",
            "for everyone who uses zsh",
        ),
        (
            "hostel completion fish > /etc/fish/completions/hostel.fish",
            "for everyone who uses fish",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let completer: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut script = Vec::new();
        completer
            .write_registration("COMPLETE", "hostel", "hostel", "hostel", &mut script)
            .context(|| "write the completion")?;
        session.write(&script)?;
        Ok(Exit::Success)
    }
}
