//! Pseudo-terminals: `pty(7)`.
