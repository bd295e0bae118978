//! The cgroup of the guest's own init, made fit for its next start.
//!
//! An init that hands controllers down, as systemd does, leaves that behind when it reboots, and the cgroups that it made.
//! Into a cgroup whose controllers are handed down nobody can be born: `EBUSY`, the "no internal processes" of
//! cgroups(7).

use core::ffi::CStr;

use crate::sys::{self, At, EBUSY, EINVAL, Fd, O_DIRECTORY, O_RDONLY, O_WRONLY};
use crate::text::Text;

/// How deep cgroups may be below a guest's: hostel sets `cgroup.max.depth` to it.
const DEEPEST: usize = 32;

/// Milliseconds that a process which is reported dead may stay in its cgroup, and how often that is looked at.
const PATIENCE: u64 = 2000;
const PAUSE: u64 = 2;

/// A directory in the answer of `getdents64(2)`, and where its parts are.
const DT_DIR: u8 = 4;
const LENGTH: usize = 16;
const KIND: usize = 18;
const NAME: usize = 19;

/// Removes what is below, then takes back what was handed down to it.
pub fn clear(cgroup: &Fd) -> sys::Result<()> {
    remove_below(At::from(cgroup), DEEPEST)?;
    take_back(At::from(cgroup))
}

fn remove_below(dir: At, deeper: usize) -> sys::Result<()> {
    if deeper == 0 {
        return Err(EINVAL);
    }
    // From the beginning each time: what was read of a directory before it changed is not worth following.
    while let Some(name) = first_below(dir)? {
        let name = name.c_str();
        let below = sys::open(dir, name, O_RDONLY | O_DIRECTORY, 0)?;
        remove_below(At::from(&below), deeper - 1)?;
        remove(dir, name)?;
    }
    Ok(())
}

fn remove(dir: At, name: &CStr) -> sys::Result<()> {
    let until = sys::monotonic() + PATIENCE;
    loop {
        match sys::rmdir(dir, name) {
            Err(EBUSY) if sys::monotonic() < until => sys::poll(&mut [], Some(PAUSE)),
            other => return other,
        }
    }
}

/// The name of a directory in `dir`.
fn first_below(dir: At) -> sys::Result<Option<Text<256>>> {
    let dir = sys::open(dir, c".", O_RDONLY | O_DIRECTORY, 0)?;
    let mut buffer = [0; 1024];
    loop {
        let length = sys::entries(&dir, &mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        let mut rest = &buffer[..length];
        while let (Some(low), Some(high), Some(kind)) =
            (rest.get(LENGTH), rest.get(LENGTH + 1), rest.get(KIND))
        {
            let size = usize::from(u16::from_ne_bytes([*low, *high]));
            let (Some(entry), Some(next)) = (rest.get(NAME..size), rest.get(size..)) else {
                return Err(EINVAL);
            };
            let name = CStr::from_bytes_until_nul(entry).unwrap_or(c"");
            if *kind == DT_DIR && !matches!(name.to_bytes(), b"." | b".." | b"") {
                let mut found = Text::new();
                found.text(name);
                return Ok(Some(found));
            }
            rest = next;
        }
    }
}

fn take_back(cgroup: At) -> sys::Result<()> {
    let file = c"cgroup.subtree_control";
    let mut buffer = [0; 512];
    let length = sys::read(sys::open(cgroup, file, O_RDONLY, 0)?.raw(), &mut buffer)?;
    let words = buffer[..length].split(|byte| byte.is_ascii_whitespace());
    for word in words.filter(|word| !word.is_empty()) {
        let mut text = Text::<64>::new();
        text.push("-").push(word);
        sys::write(sys::open(cgroup, file, O_WRONLY, 0)?.raw(), text.bytes())?;
    }
    Ok(())
}
