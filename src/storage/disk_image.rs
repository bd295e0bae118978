//! A guest's files as a file system of their own: ext4 in one sparse file, `disk.img`.
//!
//! It is mounted where it is needed, by descriptor, and never attached in the host's tree. Whoever mounts it while it is
//! mounted has the same file system, because a file has one loop device ([`loopdev`]). Only hostel and the kernel write to
//! the file: what is in it is hostile, its format is not.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;

use super::bounds::{self, Bounds, Keeper, Usage};
use super::{Progress, scratch, tree};
use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::mount::{self, Attr};
use crate::sys::{file, loopdev, open as sys_open};

/// Its name in a guest's directory.
pub const NAME: &str = "disk.img";

/// What ext4 needs for itself and a few files.
const LEAST: u64 = 8 << 20;

/// The block of the file systems that are made here, and the step of their size.
pub(super) const BLOCK: u64 = 4096;

/// Whether this host can make and mount one; the error says what is missing.
pub fn check() -> Result<()> {
    if !Path::new("/dev/loop-control").exists() {
        return Err(
            Error::new(Kind::Unsupported, "this host has no loop devices").with_hint("`modprobe loop`")
        );
    }
    tool("mkfs.ext4", &[OsStr::new("-V")], &[0]).map(drop)
}

/// Makes the file with an empty file system of `space` bytes.
pub fn make(path: &Path, space: u64, inodes: Option<u64>) -> Result<()> {
    let space = whole(space)?;
    let image = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("make `{}`", path.display()))?;
    image
        .set_len(space)
        .context(|| format!("make `{}`", path.display()))?;
    drop(image);
    let inodes = inodes.map(|count| count.to_string());
    let mut args: Vec<&OsStr> = [
        // The file is new: every block of it is zero, the journal's too.
        "-q",
        "-F",
        "-b",
        "4096",
        "-m",
        "0",
        "-E",
        "lazy_journal_init=1,root_owner=0:0",
    ]
    .map(OsStr::new)
    .to_vec();
    if let Some(count) = &inodes {
        args.extend([OsStr::new("-N"), OsStr::new(count)]);
    }
    args.push(path.as_os_str());
    tool("mkfs.ext4", &args, &[0])?;
    // An empty tree is empty. e2fsck makes the directory when it needs it.
    let root = open(path, Attr::NODEV)?;
    tree::remove(&root, Path::new("lost+found"))
}

/// The size as a file system has it.
fn whole(space: u64) -> Result<u64> {
    if space < LEAST {
        return Err(Error::new(
            Kind::Invalid,
            format!("an image of {} is too small", bounds::shown(space)),
        )
        .with_hint(format!("`limits.disk` of at least {}", bounds::shown(LEAST))));
    }
    Ok(space - space % BLOCK)
}

/// Its root, mounted and attached nowhere: it goes with the descriptor.
pub fn open(path: &Path, attr: Attr) -> Result<OwnedFd> {
    let device = loopdev::attach(path).context(|| format!("mount `{}`", path.display()))?;
    let source = CString::new(device.path.as_os_str().as_encoded_bytes())
        .map_err(|err| Error::new(Kind::Internal, "a device with NUL in its name").with_source(err))?;
    let options = [
        (c"source", Some(source.as_c_str())),
        (c"errors", Some(c"remount-ro")),
        // What is removed in it is given back to the host.
        (c"discard", None),
    ];
    mount::new_fs_telling(c"ext4", &options, attr).map_err(|(errno, said)| {
        let err = Error::os(format!("mount `{}`", path.display()), errno);
        if said.is_empty() { err } else { err.context(said) }
    })
}

/// The right to use the file as a file; `None` while it is mounted.
pub fn claim(path: &Path) -> Result<Option<File>> {
    loopdev::claim(path)
}

/// Makes `to` a copy of an image that is not mounted: its holes stay holes, and its extents are shared where that can be.
pub fn copy(from: &mut File, to: &Path, progress: &dyn Progress) -> Result<()> {
    let mut made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .context(|| format!("make `{}`", to.display()))?;
    if file::share_extents(&*from, &made).is_ok() {
        return Ok(());
    }
    tree::copy_file(from, &mut made, progress)
}

/// What it takes, and how large it is.
pub fn usage(path: &Path) -> Result<Usage> {
    let meta = fs::symlink_metadata(path).context(|| format!("stat `{}`", path.display()))?;
    Ok(Usage {
        kept_by: Keeper::Image,
        // In units of 512 bytes whatever the block size (`stat(2)`).
        used: meta.blocks() * 512,
        limit: Some(meta.len()),
        inodes: None,
        inode_limit: Some(u64::from(inode_count(path)?)),
    })
}

/// `s_inodes_count`, the first field of the superblock, which is at byte 1024.
fn inode_count(path: &Path) -> Result<u32> {
    let image = File::open(path).context(|| format!("open `{}`", path.display()))?;
    let mut field = [0; 4];
    image
        .read_exact_at(&mut field, 1024)
        .context(|| format!("read `{}`", path.display()))?;
    Ok(u32::from_le_bytes(field))
}

/// Makes it as large as `bounds` say. It grows also while it is mounted; smaller it gets only while it is not.
pub fn hold(path: &Path, bounds: &Bounds) -> Result<()> {
    let Some(space) = bounds.space else {
        return Err(Error::new(Kind::Unsupported, "an image always has a size")
            .with_hint("give `limits.disk`, or choose another `storage`"));
    };
    let space = whole(space)?;
    let meta = fs::symlink_metadata(path).context(|| format!("stat `{}`", path.display()))?;
    if meta.len() == space {
        return Ok(());
    }
    if bounds.inodes.is_some() {
        return Err(Error::new(
            Kind::Unsupported,
            "an image with a limit on inodes keeps its size: more space would bring more inodes",
        )
        .with_hint("take `limits.inodes` away, or build the guest anew"));
    }
    match claim(path)? {
        Some(image) => remake(path, image, space),
        None if space < meta.len() => Err(Error::new(
            Kind::State,
            format!(
                "a mounted image cannot shrink from {} to {}",
                bounds::shown(meta.len()),
                bounds::shown(space)
            ),
        )
        .with_hint("stop the guest first")),
        None => grow(path, space),
    }
}

/// The file first, then its device, then the file system on it: cut off in between, it has room that it does not use, and
/// the next call goes on.
fn grow(path: &Path, space: u64) -> Result<()> {
    let root = open(path, Attr::NODEV)?;
    let device = loopdev::attach(path)?;
    let old = fs::metadata(path)
        .context(|| format!("stat `{}`", path.display()))?
        .len();
    let set = |length: u64| -> Result<()> {
        let image = OpenOptions::new().write(true).open(path);
        let image = image.context(|| format!("open `{}`", path.display()))?;
        image
            .set_len(length)
            .context(|| format!("resize `{}`", path.display()))?;
        device.take_size().context(|| "resize the loop device")
    };
    set(space)?;
    let root = sys_open::child_dir(&root, Path::new(".")).context(|| "open the root of the image")?;
    loopdev::resize_ext4(&root, space / BLOCK).map_err(|errno| {
        // What did not grow must not look as if it had.
        let back = set(old);
        let err = Error::os("let the mounted image grow", errno);
        let err = match errno {
            Errno::EPERM => {
                err.with_hint("hostel needs CAP_SYS_RESOURCE for that; stop the guest, and it grows without")
            }
            _ => err.with_hint("stop the guest, and it grows while it is not mounted"),
        };
        match back {
            Ok(()) => err,
            Err(other) => err.and_also(other),
        }
    })
}

/// Resizes a copy, which then takes its place: a resize that is cut off leaves no file system.
fn remake(path: &Path, mut image: File, space: u64) -> Result<()> {
    let old = image
        .metadata()
        .context(|| format!("stat `{}`", path.display()))?
        .len();
    let copy = path.with_extension(format!("{}.new", scratch::unique()));
    let done = self::copy(&mut image, &copy, &super::Silent).and_then(|()| resize(&copy, old, space));
    let done = done.and_then(|()| {
        let opened = File::open(&copy).context(|| format!("open `{}`", copy.display()))?;
        opened.sync_all().context(|| "write the image to the disk")?;
        fs::rename(&copy, path).context(|| format!("move into `{}`", path.display()))
    });
    if done.is_err() {
        // It may never have been made; what matters is reported below.
        let _ = fs::remove_file(&copy);
    }
    done
}

fn resize(path: &Path, old: u64, space: u64) -> Result<()> {
    let set = |length: u64| {
        let image = OpenOptions::new().write(true).open(path);
        image
            .and_then(|image| image.set_len(length))
            .context(|| format!("resize `{}`", path.display()))
    };
    if space > old {
        set(space)?;
    }
    // 1: something was mended.
    tool("e2fsck", &[OsStr::new("-fp"), path.as_os_str()], &[0, 1])?;
    let size = format!("{}K", space / 1024);
    let resized = tool("resize2fs", &[path.as_os_str(), OsStr::new(&size)], &[0]);
    resized.map_err(|err| {
        err.with_kind(Kind::State).with_hint(format!(
            "{} must be more than what is in it takes",
            bounds::shown(space)
        ))
    })?;
    if space < old {
        set(space)?;
    }
    Ok(())
}

/// Removes what a resize that was killed has left.
pub fn sweep(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("disk.") && name.ends_with(".new") {
            // Seen again by the next.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Runs a tool of e2fsprogs; what it says is told only when it fails.
fn tool(name: &str, args: &[&OsStr], good: &[i32]) -> Result<()> {
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C");
    crate::sys::command::dies_with_caller(&mut command);
    crate::sys::command::tell(&command);
    let output = match command.output() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                Error::new(Kind::Unsupported, format!("this host has no `{name}`"))
                    .with_hint("install e2fsprogs"),
            );
        }
        other => other.context(|| format!("run `{name}`"))?,
    };
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it says nothing");
    Err(Error::new(
        Kind::External,
        format!("`{name}` failed: {}", last.trim()),
    ))
}
