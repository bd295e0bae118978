//! Addresses and devices by rtnetlink.
//!
//! Owns one blocking `NETLINK_ROUTE` socket and what hostel asks of it: which device is which, putting addresses
//! on and taking them off, veth pairs. Refuses to touch what does not carry hostel's mark: an address that hostel
//! adds is marked with [`ADDRESS_PROTOCOL`], so that a later command finds it in the kernel and needs no file.
//!
//! `rtnetlink(7)`. Requests are written with `netlink-packet-route`; of the answers only what is needed is read,
//! so that an attribute of a newer kernel cannot make a whole dump unreadable.

mod address;
mod link;
mod listeners;

use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

pub use address::{ADDRESS_PROTOCOL, Loopback6, OwnedAddress, Owner};
pub use link::{Veth, lo_up};
pub use listeners::{Listener, listeners};

use crate::error::{Context, Error, Kind, Result};

/// `NLMSG_ERROR`, also the acknowledgement (`netlink(7)`).
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// Room for the answer to a request, which is at most a page, and twice that for pages that are larger than ours.
const ANSWER: usize = 8 * 1024;
/// Room for a datagram of a dump: at most 32 KiB (`NLMSG_GOODSIZE` and the growth of `netlink_dump`).
const DUMP: usize = 64 * 1024;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A socket to the kernel's routing tables, of the network namespace in which it was opened.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message of an answer.
struct Answer {
    kind: u16,
    payload: Vec<u8>,
}

impl Netlink {
    /// A socket to the network namespace of the caller.
    pub fn open() -> Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context(|| "connect a netlink socket to the kernel")?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; ANSWER],
        })
    }

    /// A socket to the network namespace `netns`, wherever the caller is.
    ///
    /// The calling thread enters `netns` for the length of one `socket(2)`. The way back is opened before, and a
    /// thread that cannot get back ends the process: all that it did from then on would be done to a guest.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        let home =
            std::fs::File::open("/proc/thread-self/ns/net").context(|| "open `/proc/thread-self/ns/net`")?;
        setns(netns, CloneFlags::CLONE_NEWNET).context(|| "enter the guest's network namespace")?;
        let opened = Self::open();
        if setns(home.as_fd(), CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
        opened
    }

    /// Sends a request and waits for its acknowledgement.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Errno> {
        self.ask(message, flags | NLM_F_ACK).map(drop)
    }

    /// Sends a request and returns every message of the answer.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<Answer>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut request = vec![0; packet.buffer_len()];
        packet.serialize(&mut request);
        self.socket.send(&request, 0).map_err(|source| errno(&source))?;

        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        if is_dump && self.buffer.len() < DUMP {
            self.buffer.resize(DUMP, 0);
        }
        let mut answers = Vec::new();
        loop {
            let size = match self.socket.recv(&mut self.buffer.as_mut_slice(), libc::MSG_TRUNC) {
                Ok(size) => size,
                Err(source) if errno(&source) == Errno::EINTR => continue,
                Err(source) => return Err(errno(&source)),
            };
            // With MSG_TRUNC the length is the datagram's, so one that did not fit is noticed.
            let mut rest = self.buffer.get(..size).ok_or(Errno::EMSGSIZE)?;
            while let Some((header, payload, tail)) = frame(rest) {
                rest = tail;
                if header.sequence != self.sequence {
                    continue;
                }
                match header.kind {
                    ERROR => return code(payload).map(|()| answers),
                    // The end of a dump carries an errno too: a dump that the kernel broke off.
                    DONE => return code(payload).map(|()| answers),
                    kind => answers.push(Answer {
                        kind,
                        payload: payload.to_vec(),
                    }),
                }
            }
            // An answer to a plain question that asked for no acknowledgement ends with itself.
            if !is_dump && flags & NLM_F_ACK == 0 && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

struct Frame {
    kind: u16,
    sequence: u32,
}

/// Splits the first message off a datagram: `struct nlmsghdr`, its payload, and what follows, aligned to four.
fn frame(bytes: &[u8]) -> Option<(Frame, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    let payload = bytes.get(HEADER..length)?;
    let tail = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some((Frame { kind, sequence }, payload, tail))
}

/// The errno, negated, with which an acknowledgement or the end of a dump begins; 0 is success.
fn code(payload: &[u8]) -> Result<(), Errno> {
    let bytes = payload.get(0..4).and_then(|b| b.try_into().ok());
    match bytes.map_or(-(Errno::EBADMSG as i32), i32::from_ne_bytes) {
        0 => Ok(()),
        code => Err(Errno::from_raw(-code)),
    }
}

fn errno(source: &std::io::Error) -> Errno {
    Errno::from_raw(source.raw_os_error().unwrap_or(libc::EIO))
}

/// An answer that is not what the kernel's headers say.
fn garbled(what: &str, source: &netlink_packet_core::DecodeError) -> Error {
    Error::new(
        Kind::System,
        format!("read the kernel's answer about {what}: {source}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_and_short_ones_refused() {
        let mut bytes = Vec::new();
        for (kind, body) in [(20_u16, &b"abcde"[..]), (3, &[0; 4][..])] {
            let length = u32::try_from(HEADER + body.len()).unwrap();
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(7_u32.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let (first, body, tail) = frame(&bytes).unwrap();
        assert_eq!((first.kind, first.sequence, body), (20, 7, &b"abcde"[..]));
        let (second, body, tail) = frame(tail).unwrap();
        assert_eq!((second.kind, code(body), tail.len()), (DONE, Ok(()), 0));
        assert!(frame(&bytes[..18]).is_none());
        assert_eq!(code(&(-17_i32).to_ne_bytes()), Err(Errno::EEXIST));
    }
}
