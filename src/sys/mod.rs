//! Every system call and all `unsafe` of the crate, one kernel facility a file.
//!
//! Nothing here decides: a function takes descriptors and plain values, makes the call, and returns an
//! [`Error`](crate::Error) that names operation, subject and errno. Descriptors are `OwnedFd` and close-on-exec.

pub mod binfmt;
pub mod bpf;
pub mod btrfs;
pub mod caps;
pub mod cgroup;
pub mod clone;
pub mod command;
pub mod effective;
pub mod file;
pub mod fork;
pub mod fsid;
pub mod heap;
pub mod idmap;
pub mod inotify;
pub mod interrupt;
pub mod keyring;
pub mod landlock;
pub mod loopdev;
pub mod lua_exact;
pub mod lua_position;
pub mod memfd;
pub mod mount;
pub mod netlink;
pub mod open;
pub mod overlay;
pub mod pidfd;
pub mod probe;
pub mod proc;
pub mod quota;
pub mod rlimit;
pub mod seccomp;
pub mod signal;
pub mod terminal;
pub mod unshare;
