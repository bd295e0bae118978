//! The little world of one test: its directories, its cgroup, its numbers and addresses.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use hostel::guest::Arch;

use super::command::{Hostel, tool};

/// What a test is given. Nothing in it is shared with another test that runs at the same time.
#[derive(Debug)]
pub(crate) struct World {
    /// A directory on disk, removed after the test.
    pub(crate) dir: PathBuf,
    /// `HOSTEL_ROOT`.
    pub(crate) root: PathBuf,
    /// `HOSTEL_RUN`.
    pub(crate) run: PathBuf,
    /// `HOSTEL_CGROUP`.
    pub(crate) cgroup: String,
    number: u32,
}

/// Where built images are kept between runs, laid out as `HOSTEL_ROOT/images`; `None` when there is none.
pub(crate) fn images() -> Option<PathBuf> {
    let dir = PathBuf::from(env::var_os("HOSTEL_TEST_IMAGES")?);
    fs::read_dir(&dir).ok()?.next().map(|_| dir)
}

/// Builds those of the Debian images `sets` (their packages and architectures) that the shared directory does not have yet: for a machine
/// that has no mirror to build them from.
pub(crate) fn fetch(sets: &[(Vec<String>, Option<Arch>)]) -> hostel::Result<()> {
    let shared = PathBuf::from(env::var_os("HOSTEL_TEST_IMAGES").expect("HOSTEL_TEST_IMAGES"));
    fs::create_dir_all(&shared).unwrap();
    let shared = shared.canonicalize().unwrap();
    // Beside them, so that they are linked and not copied.
    let dir = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(shared.parent().unwrap())
        .unwrap();
    let world = World::new(dir.path(), "", 0);
    let layout = hostel::storage::Layout::at(world.root.clone());
    layout.ensure()?;
    let images = world.share_images();
    let suite = "debian:bookworm".parse()?;
    for (packages, arch) in sets {
        let wanted = hostel::storage::image::Wanted {
            image: &suite,
            packages,
            arch: *arch,
        };
        hostel::storage::image::prepare(&layout, wanted, &hostel::storage::Silent)?;
    }
    drop(images);
    Ok(())
}

/// The program under test: the one that cargo built with this suite, or `HOSTEL_TEST_BINARY`.
pub(crate) fn binary() -> PathBuf {
    env::var_os("HOSTEL_TEST_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_hostel")), PathBuf::from)
}

#[allow(
    dead_code,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
impl World {
    pub(super) fn new(dir: &Path, cgroup: &str, number: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            root: dir.join("root"),
            run: dir.join("run"),
            cgroup: cgroup.to_owned(),
            number,
        }
    }

    /// `hostel ARGS`, in this world.
    pub(crate) fn hostel<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Hostel {
        self.within(tool(binary(), args))
    }

    /// Any command with the environment that points `hostel` at this world: for `strace hostel ..` and scripts.
    pub(crate) fn within(&self, command: Hostel) -> Hostel {
        command
            .env("HOSTEL_ROOT", &self.root)
            .env("HOSTEL_CGROUP", &self.cgroup)
            .env("HOSTEL_RUN", &self.run)
            .env("HOME", &self.dir)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .dir(&self.dir)
    }

    /// A context id that no other test has, `n` below 32.
    pub(crate) fn xid(&self, n: u32) -> u32 {
        assert!(n < 32, "32 context ids a test");
        20_000 + self.number * 32 + n
    }

    /// An address of 127.0.0.0/8 that neither another test nor the loopback address of a guest has; `n` from 1.
    pub(crate) fn address(&self, n: u8) -> Ipv4Addr {
        let number = u8::try_from(self.number % 200).unwrap();
        Ipv4Addr::new(127, 200 + u8::try_from(self.number / 200).unwrap(), number, n)
    }

    /// Writes a file below [`dir`](Self::dir) and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Gives this world the images that were built before, so that nothing is built or downloaded twice. What it
    /// builds is handed on when the value is dropped, to the next test and the next run.
    pub(crate) fn share_images(&self) -> Images {
        let images = Images {
            own: self.root.join("images"),
            shared: env::var_os("HOSTEL_TEST_IMAGES").map(PathBuf::from),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&images.own)
            .unwrap();
        if let Some(shared) = &images.shared {
            fs::create_dir_all(shared).unwrap();
            for key in entries(shared) {
                copy(&shared.join(&key), &images.own.join(&key));
            }
        }
        images
    }

    /// The command in the network of the host instead of the test's own: for what downloads.
    pub(crate) fn online<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Hostel {
        let net = format!("--net=/proc/{}/ns/net", nix::unistd::getppid());
        let mut words: Vec<OsString> = vec![net.into(), "--".into(), binary().into()];
        words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.within(tool("nsenter", words)).deadline(300)
    }

    /// A file system of this type, of `megabytes`, mounted until the value is dropped.
    pub(crate) fn volume(&self, kind: &str, megabytes: u64) -> Volume {
        self.volume_with(kind, megabytes, &[], "loop")
    }

    /// The same, made with these arguments of its `mkfs` and mounted with these options, of which one is `loop`.
    pub(crate) fn volume_with(&self, kind: &str, megabytes: u64, mkfs: &[&str], options: &str) -> Volume {
        let image = self.dir.join(format!("{kind}.img"));
        let at = self.dir.join(format!("{kind}.mnt"));
        fs::create_dir_all(&at).unwrap();
        fs::File::create(&image)
            .unwrap()
            .set_len(megabytes << 20)
            .unwrap();
        let args = mkfs.iter().map(OsStr::new).chain([image.as_os_str()]);
        tool(format!("mkfs.{kind}"), args).ok();
        let args = [
            OsStr::new("-o"),
            OsStr::new(options),
            image.as_os_str(),
            at.as_os_str(),
        ];
        tool("mount", args).ok();
        Volume { at }
    }
}

/// A mounted file system. Dropped, it is unmounted, and its loop device with it.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Where it is mounted.
    pub(crate) at: PathBuf,
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What still uses it is found by the leak check, which names the mount.
        let _ = nix::mount::umount2(&self.at, nix::mount::MntFlags::empty());
    }
}

/// The images of a world, which it has in common with other tests.
#[derive(Debug)]
#[must_use]
pub(crate) struct Images {
    own: PathBuf,
    shared: Option<PathBuf>,
}

impl Drop for Images {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        // A test that failed may have spoilt what it built.
        if std::thread::panicking() {
            return;
        }
        for key in entries(&self.own) {
            let (to, scratch) = (
                shared.join(&key),
                shared.join(format!(".new-{}", std::process::id())),
            );
            if !to.exists() {
                copy(&self.own.join(&key), &scratch);
                // Lost to another test that built the same: theirs is as good.
                if fs::rename(&scratch, &to).is_err() {
                    let _ = fs::remove_dir_all(&scratch);
                }
            }
        }
    }
}

/// Finished images, and the downloads that a builder keeps beside them.
fn entries(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with(".new-"))
        .collect()
}

/// Images never change, so on one file system their files are linked.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(path).unwrap().dev();
    let how = if device(from) == device(to.parent().unwrap()) {
        "-al"
    } else {
        "-a"
    };
    tool("cp", [OsStr::new(how), from.as_os_str(), to.as_os_str()])
        .deadline(120)
        .ok();
}
