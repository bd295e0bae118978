//! What the process that evaluates and the one that waits for it say to each other: frames over one socket.
//!
//! A frame is a kind (one byte), a length (four, little-endian) and that many bytes. The evaluation asks for modules
//! and is answered; its last frame is its report.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use super::source::Found;
use crate::guest::Spec;

/// The evaluation's frames.
pub(super) const ASK: u8 = b'r';
pub(super) const REPORT: u8 = b'd';
/// Specifications, a list in JSON: sent while others are still made, so that the other side reads them meanwhile.
pub(super) const SPECS: u8 = b's';
pub(super) const PANIC: u8 = b'p';
pub(super) const UNCONFINED: u8 = b'u';
/// Where the evaluation was when its time was over: `FILE:LINE` by line, written by a signal handler.
pub(super) const WHERE: u8 = b'x';
/// The answers.
pub(super) const FOUND: u8 = b'f';
pub(super) const NOTHING: u8 = b'n';
pub(super) const REFUSED: u8 = b'e';

/// The bytes before a frame's own.
pub(super) const HEAD: usize = 5;

/// The largest frame, and the most that all specifications may be together: as many guests as a host has numbers for.
pub(super) const LARGEST: usize = 128 << 20;

pub(super) fn head(kind: u8, length: usize) -> [u8; HEAD] {
    // A longer frame is refused before this, by `LARGEST`.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// The kind and length that a frame's head tells, once it is there.
pub(super) fn parse_head(bytes: &[u8]) -> Option<(u8, usize)> {
    let head = bytes.get(..HEAD)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    Some((head[0], usize::try_from(length).unwrap_or(usize::MAX)))
}

/// The evaluation's end.
#[derive(Debug, Clone)]
pub(crate) struct Channel(Arc<File>);

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(File::from(socket)))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn send(&self, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = &*self.0;
        file.write_all(&head(kind, bytes.len()))?;
        file.write_all(bytes)
    }

    /// Sends specifications as they are made.
    pub(super) fn specs(&self) -> Specs<'_> {
        Specs {
            channel: self,
            bytes: Vec::new(),
        }
    }

    /// A module's source, from the process that may read it.
    pub(super) fn ask(&self, name: &str) -> Result<Option<Found>, String> {
        let fail = |source: std::io::Error| format!("ask for module `{name}`: {source}");
        self.send(ASK, name.as_bytes()).map_err(fail)?;
        let mut file = &*self.0;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).map_err(fail)?;
        let Some((kind, length)) = parse_head(&head).filter(|(_, length)| *length <= LARGEST) else {
            return Err(format!("ask for module `{name}`: no answer"));
        };
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(fail)?;
        // The other side made it from texts.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match (kind, text.split_once('\0')) {
            (NOTHING, _) => Ok(None),
            (FOUND, Some((path, text))) => Ok(Some(Found {
                path: path.to_owned(),
                text: text.to_owned(),
            })),
            _ => Err(text),
        }
    }
}

/// Specifications on their way.
pub(super) struct Specs<'a> {
    channel: &'a Channel,
    bytes: Vec<u8>,
}

impl Specs<'_> {
    /// How much is sent at once: of a thousand guests a tenth.
    const ENOUGH: usize = 1 << 16;

    pub(super) fn add(&mut self, spec: &Spec) -> std::io::Result<()> {
        self.bytes.push(if self.bytes.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut self.bytes, spec)?;
        if self.bytes.len() < Self::ENOUGH {
            return Ok(());
        }
        self.end()
    }

    /// Sends what is left.
    pub(super) fn end(&mut self) -> std::io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.bytes.push(b']');
        self.channel.send(SPECS, &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
