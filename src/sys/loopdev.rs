//! Loop devices: a file as a block device (`loop(4)`), and the size of the ext4 on it.
//!
//! A file has one loop device or none. Two of one file would be two file systems that know nothing of each other: so who
//! makes one holds an exclusive `flock(2)` on the file, and the device keeps the locked description open as long as it is
//! one. It ends by itself with its last user (`LO_FLAGS_AUTOCLEAR`).

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::interrupt;

/// `LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO`: what is in the page cache of the file system need not be there once more.
const FLAGS: u32 = 4 | 16;

/// How long a device may take to end, whose last user is gone.
const ENDING: Duration = Duration::from_secs(20);

/// `struct loop_info64`.
#[repr(C)]
pub struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
pub struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

mod ioctl {
    nix::ioctl_read_bad!(status, 0x4c05, super::Info);
    nix::ioctl_none_bad!(capacity, 0x4c07);
    nix::ioctl_write_ptr_bad!(configure, 0x4c0a, super::Config);
    nix::ioctl_none_bad!(free, 0x4c82);
    nix::ioctl_write_ptr!(resize_ext4, b'f', 16, u64);
}

/// A loop device that is open, and so stays one.
#[derive(Debug)]
pub struct Device {
    /// Its path, such as `/dev/loop3`.
    pub path: PathBuf,
    file: File,
}

/// The loop device of the file: the one that it has, or a new one.
pub fn attach(image: &Path) -> Result<Device> {
    let deadline = Instant::now() + ENDING;
    loop {
        if let Some(locked) = claim(image)? {
            if let Some(device) = make(&locked)? {
                return Ok(device);
            }
            // Another has taken the free one meanwhile.
            continue;
        }
        if let Some(device) = find(image)? {
            return Ok(device);
        }
        // Between the two: one that is made or ends at this moment.
        interrupt::check()?;
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Busy,
                format!("`{}` is used by something else", image.display()),
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The right to use the file as a file, as long as the value lives: it has no loop device, and gets none.
pub fn claim(image: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(image)
        .context(|| format!("open `{}`", image.display()))?;
    // Not by a type that unlocks when it is dropped: the lock ends with the last who has the description open, and that
    // is to be the device.
    // SAFETY: flock(2) takes a descriptor, which is open, and flags.
    match Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(Some(file)),
        Err(Errno::EWOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::os(format!("lock `{}`", image.display()), errno)),
    }
}

fn make(image: &File) -> Result<Option<Device>> {
    let control = open(Path::new("/dev/loop-control"))?;
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { ioctl::free(control.as_raw_fd()) }.context(|| "find a free loop device")?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = Device {
        file: open(&path)?,
        path,
    };
    let config = Config {
        fd: image.as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: Info {
            flags: FLAGS,
            ..Info::empty()
        },
        reserved: [0; 8],
    };
    // SAFETY: `config` is the structure of this request and lives across the call, as does the descriptor in it.
    match unsafe { ioctl::configure(device.file.as_raw_fd(), &raw const config) } {
        Ok(_) => Ok(Some(device)),
        Err(Errno::EBUSY) => Ok(None),
        Err(errno) => Err(Error::os(format!("set up `{}`", device.path.display()), errno)),
    }
}

/// The loop device that the file has.
fn find(image: &Path) -> Result<Option<Device>> {
    let meta = std::fs::metadata(image).context(|| format!("stat `{}`", image.display()))?;
    let entries = std::fs::read_dir("/sys/block").context(|| "list `/sys/block`")?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_loop = name.to_str().is_some_and(|name| name.starts_with("loop"));
        if !is_loop || !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(&name);
        let Ok(file) = open(&path) else { continue };
        let mut info = Info::empty();
        // SAFETY: `info` is the structure of this request and lives across the call.
        let asked = unsafe { ioctl::status(file.as_raw_fd(), &raw mut info) };
        // Asked of what is open now: from here on it does not end by itself.
        if asked.is_ok() && (info.device, info.inode) == (meta.dev(), meta.ino()) {
            return Ok(Some(Device { path, file }));
        }
    }
    Ok(None)
}

impl Device {
    /// Takes the size that its file has now.
    pub fn take_size(&self) -> Result<(), Errno> {
        // SAFETY: LOOP_SET_CAPACITY takes no argument.
        unsafe { ioctl::capacity(self.file.as_raw_fd()) }.map(drop)
    }
}

/// Makes a mounted ext4 this many blocks large, while it is used. It cannot get smaller like that.
pub fn resize_ext4(root: impl AsFd, blocks: u64) -> Result<(), Errno> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64, which lives across the call.
    unsafe { ioctl::resize_ext4(root.as_fd().as_raw_fd(), &raw const blocks) }.map(drop)
}

impl Info {
    fn empty() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .context(|| format!("open `{}`", path.display()))
        .map_err(|err| match err.errno() {
            Some(Errno::ENOENT) => err
                .with_kind(Kind::Unsupported)
                .with_hint("this host has no loop devices: `modprobe loop`, and a /dev that shows them"),
            _ => err,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }
}
