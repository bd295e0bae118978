//! The programs that are chbind: loading, attaching, and their maps.
//!
//! Guests in bind mode live on the host's one network stack. What confines each to its addresses are programs in
//! C (`*.bpf.h`, built by `src/bpf/build` into the committed `hostel.bpf.o`), attached once at hostel's root
//! cgroup on the cgroup2 mount. A [`Fence`] is that set of programs; [`Fence::admit`] makes a guest known to it by
//! one entry of a map, keyed by the id of the guest's cgroup. **A cgroup below the root without an entry is denied
//! every socket, packet and device.**
//!
//! What a guest in bind mode meets:
//!
//! | call | what happens |
//! |---|---|
//! | `socket` | TCP, UDP and ICMP echo; raw sockets by [`Mode::Bind`]'s `raw`; others `EPROTONOSUPPORT` |
//! | `bind` to ANY | becomes the first address of the family, or the loopback of a guest without one |
//! | `bind` to 127.0.0.0/8, `::1` | becomes the guest's loopback address |
//! | `bind` to a foreign address, also `::ffff:` | `EADDRNOTAVAIL` |
//! | `bind` to a port below 1024 | needs `CAP_NET_BIND_SERVICE` in the guest's own user namespace |
//! | `connect`, `sendto` to loopback | reaches the guest itself; to another guest's loopback `ECONNREFUSED` |
//! | `connect`, `sendto` elsewhere | comes from the guest's first address; `ENETUNREACH` without one |
//! | `getsockname`, `getpeername`, `recvfrom` | show ANY and loopback as the program asked for them |
//! | `listen` on ANY | reached on all addresses of the guest; a dual-stack `::` listener over IPv4, too |
//! | any packet | is dropped unless it goes to, or comes from, an address of the guest |
//!
//! A listener on ANY is steered to by an `sk_lookup` program on the network namespace of the process that
//! installed the set. Several sockets may share a port by `SO_REUSEPORT`.
//!
//! What is weaker than a network stack of the guest's own:
//!
//! - **UDP on ANY** is bound to the first address, since the kernel tells no program of a bound datagram socket
//!   that it could steer to. Datagrams to loopback reach it as well; those to further addresses do not, and a
//!   dual-stack `::` server is reached over IPv6 alone, or over IPv4 alone in a guest without IPv6. Bind each
//!   address by itself, as name servers do. An IPv6 datagram socket on `::` port 0 (a client) stays on ANY and
//!   speaks both families, but cannot be connected afterwards (`EADDRNOTAVAIL`).
//! - An IPv6 socket that called an IPv6 address is closed to IPv4 from then on: `ENETUNREACH`.
//! - A datagram socket that has sent without being bound, and is then connected, gets `EADDRNOTAVAIL`.
//! - A host daemon on ANY is reached on a guest's address where the guest has no listener of its own, and keeps
//!   the guest from listening on its port.
//! - A process of the host that sends datagrams to a guest's loopback address gets no answer over 127.0.0.1.
//! - Who can make a user namespace inside the guest has every capability in there, and may bind ports below 1024.

mod fence;
mod install;
mod pins;
mod state;

pub use fence::{Entry, Fence};
pub use pins::{clear_pins, find_pins, pins_dir};
pub use state::{Devices, Mode, Rule};
