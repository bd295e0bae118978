//! Colours, and only where they are wanted.

use std::io::IsTerminal;

use crate::{Error, Kind, Result};

/// What `--color` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// On a terminal that can, unless `NO_COLOR` is set (no-color.org).
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl When {
    /// What can be typed.
    pub(crate) const NAMES: [&'static str; 3] = ["auto", "always", "never"];

    /// One of [`When::NAMES`].
    pub(crate) fn known(name: &str) -> Self {
        match name {
            "always" => When::Always,
            "never" => When::Never,
            _ => When::Auto,
        }
    }

    /// What `text` says.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if Self::NAMES.contains(&text) {
            return Ok(Self::known(text));
        }
        Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a value of `--color`", text.escape_debug()),
        )
        .with_hint("`auto`, `always` or `never`"))
    }
}

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Leaves everything as it is.
    #[cfg(test)]
    pub(crate) const PLAIN: Paint = Paint(false);

    /// How to paint what goes to `stream`.
    pub(crate) fn for_stream(when: When, stream: &impl IsTerminal) -> Self {
        Self(match when {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                !is_set("NO_COLOR") && !is_dumb && stream.is_terminal()
            }
        })
    }

    /// Whether it paints.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// An error, something removed, something that is missing.
    pub(crate) fn red(self, text: &str) -> String {
        self.sgr("31;1", text)
    }

    /// Something added, something that is there.
    pub(crate) fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Something changed, a warning.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// A hint.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.sgr("36", text)
    }

    /// A heading, a name.
    pub(crate) fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_only_when_on() {
        assert_eq!(Paint(true).red("x"), "\x1b[31;1mx\x1b[0m");
        assert_eq!(Paint::PLAIN.red("x"), "x");
        assert!(When::parse("sometimes").is_err());
    }
}
