//! Abstract unix sockets are scoped, and nothing else is.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use hostel::sys::landlock;

use crate::support::{World, tests, tool};

tests! {
    [Root] => a_scoped_process_reaches_no_abstract_socket_of_the_host,
    [Root] => a_scoped_process_still_mounts,
}

fn name(world: &World, what: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("{}-{what}", world.cgroup)).unwrap()
}

fn a_scoped_process_reaches_no_abstract_socket_of_the_host(world: &World) {
    if landlock::require_scoping().is_err() {
        // What hostel does on such a kernel is the refusal itself: `require_scoping` names what is missing.
        assert!(landlock::scope_abstract_sockets().is_err());
        return;
    }
    let stream = UnixListener::bind_addr(&name(world, "stream")).unwrap();
    let datagram = UnixDatagram::bind_addr(&name(world, "datagram")).unwrap();
    UnixStream::connect_addr(&name(world, "stream")).unwrap();

    landlock::scope_abstract_sockets().unwrap();

    // Both were made before the domain was, so they are the host's.
    let refused = UnixStream::connect_addr(&name(world, "stream")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    let sender = UnixDatagram::unbound().unwrap();
    let refused = sender.send_to_addr(b"x", &name(world, "datagram")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));

    let own = UnixListener::bind_addr(&name(world, "own")).unwrap();
    UnixStream::connect_addr(&name(world, "own")).unwrap();
    // A socket with a path is the mount namespace's affair.
    let path = world.dir.join("socket");
    let by_path = UnixListener::bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    drop((stream, datagram, own, by_path));
}

fn a_scoped_process_still_mounts(world: &World) {
    if landlock::require_scoping().is_err() {
        return;
    }
    landlock::scope_abstract_sockets().unwrap();
    let target = world.dir.join("target");
    std::fs::create_dir(&target).unwrap();
    tool("mount", ["-t", "tmpfs", "none", target.to_str().unwrap()]).ok();
    nix::mount::umount(&target).unwrap();
}
