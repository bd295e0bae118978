//! `debian:SUITE`, `devuan:SUITE`, `ubuntu:SUITE`: built by mmdebstrap with the recipe's packages, from the host's own
//! mirror where it has one of the distribution.
//!
//! The builder runs in namespaces of its own ([`crate::sys::unshare`]): killed at any instant, it leaves neither a
//! mount nor a process. Packages that were downloaded once are kept in `images/.apt` and not downloaded again.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sha2::{Digest, Sha256};

use super::super::{Layout, Progress, emulator, tree};
use super::sources::{self, Source};
use super::{make_dir, make_root, open, short};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::{Arch, Distribution, Emulator};
use crate::sys::{self, unshare};

/// Counts changes to how an image is built; it is part of the key.
const REVISION: u8 = 1;

/// Hard links into the cache cost nothing. A package's script could spoil the cached files, but it comes from the
/// same signed archive and will be root in the guest.
const BEFORE: &str = r#"set -e
mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"
find "$HOSTEL_APT/archives" -name '*.deb' -exec ln -t "$1/var/cache/apt/archives" {} +
find "$HOSTEL_APT/lists" -maxdepth 1 -type f -exec cp -p -t "$1/var/lib/apt/lists" {} +"#;

/// Lists appear in the cache by rename, so that another build reads whole ones. What two guests of one image must not
/// have in common is taken out: the keys of an ssh server, and the host's resolver and name.
const AFTER: &str = r#"set -e
for deb in "$1"/var/cache/apt/archives/*.deb; do
  [ ! -f "$deb" ] || [ -e "$HOSTEL_APT/archives/${deb##*/}" ] || ln "$deb" "$HOSTEL_APT/archives/" || :
done
mkdir -p "$HOSTEL_SCRATCH/lists"
find "$1/var/lib/apt/lists" -maxdepth 1 -type f ! -name lock -exec cp -p -t "$HOSTEL_SCRATCH/lists" {} +
find "$HOSTEL_SCRATCH/lists" -type f -exec mv -f -t "$HOSTEL_APT/lists" {} +
rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub "$1/etc/resolv.conf" "$1/etc/hostname""#;

/// An image of a suite to be.
pub(super) struct Debian {
    distribution: Distribution,
    suite: String,
    packages: Vec<String>,
    sources: Vec<Source>,
    /// What processor it is for, where it is not the host's.
    arch: Option<Arch>,
    tool: PathBuf,
}

impl Debian {
    /// Checks the names and finds the builder.
    pub(super) fn new(
        distribution: Distribution,
        suite: &str,
        packages: &[String],
        arch: Option<Arch>,
    ) -> Result<Self> {
        let mut packages = packages.to_vec();
        for package in &packages {
            if !is_package(package) {
                let message = format!("`{}` is not a Debian package", package.escape_debug());
                return Err(Error::new(Kind::Invalid, message).with_hint(
                    "`a-z`, `0-9`, `+`, `-` and `.`, then `=VERSION`, `/SUITE` or `:ARCH` if need be",
                ));
            }
        }
        let sources = sources::of(distribution, suite, arch)?;
        if sources.iter().any(Source::needs_certificates) {
            packages.push("ca-certificates".to_owned());
        }
        packages.sort();
        packages.dedup();
        let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let tool = env::split_paths(&path)
            .map(|dir| dir.join("mmdebstrap"))
            .find(|tool| tool.is_file());
        let tool = tool.ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no mmdebstrap on the host")
                .with_hint("apt install mmdebstrap")
        })?;
        Ok(Self {
            distribution,
            suite: suite.to_owned(),
            packages,
            sources,
            arch: arch.filter(|arch| !arch.is_native()),
            tool,
        })
    }

    /// Of everything that decides what is built. The builder is a script: its text says more than its version, and
    /// reading it is faster than running it.
    pub(super) fn key(&self) -> Result<String> {
        let tool = fs::read(&self.tool).context(|| format!("read `{}`", self.tool.display()))?;
        let mut hash = Sha256::new();
        hash.update([REVISION]);
        hash.update(self.arch.map_or(env::consts::ARCH, Arch::name));
        hash.update(Sha256::digest(&tool));
        for word in self
            .packages
            .iter()
            .chain(&self.sources.iter().map(Source::line).collect::<Vec<_>>())
        {
            hash.update([0]);
            hash.update(word);
        }
        let of_arch = self.arch.map(|arch| format!("{arch}-")).unwrap_or_default();
        let hash = short(hash);
        Ok(format!("{}-{}-{of_arch}{hash}", self.distribution, self.suite))
    }

    /// Makes `rootfs` in `dir`.
    pub(super) fn build(
        &self,
        layout: &Layout,
        key: &str,
        dir: &Path,
        progress: &dyn Progress,
    ) -> Result<()> {
        let cache = layout.images().join(".apt");
        for made in [cache.clone(), cache.join("archives"), cache.join("lists")] {
            if !made.is_dir() {
                fs::create_dir_all(&made).context(|| format!("make `{}`", made.display()))?;
            }
        }
        // Packages run programs of theirs while they are installed.
        let emulator = emulator::way(self.arch)?.into_emulator();
        let (root, scratch) = (dir.join("rootfs"), dir.join("scratch"));
        make_root(&root)?;
        make_dir(&scratch, 0o700)?;
        // Where it survives a failure: the scratch directory does not.
        let log_path = layout.images().join(format!(".{key}.log"));
        let of_arch = self.arch.map(|arch| format!(" for {arch}")).unwrap_or_default();
        let title = self.distribution.title();
        progress.stage(&format!("building {title} {}{of_arch}", self.suite));
        let mut command = self.command(&root, &cache, &scratch);
        run(&mut command, "mmdebstrap", emulator.as_ref(), &log_path, progress)?;
        // Device nodes of the builder; a guest gets its own /dev.
        let dev = root.join("dev");
        for entry in fs::read_dir(&dev).context(|| format!("list `{}`", dev.display()))? {
            let entry = entry.context(|| format!("list `{}`", dev.display()))?;
            tree::remove(open(&dev)?, Path::new(&entry.file_name()))?;
        }
        tree::remove(open(dir)?, Path::new("scratch"))?;
        fs::rename(&log_path, dir.join("build.log")).context(|| format!("move `{}`", log_path.display()))
    }

    fn command(&self, root: &Path, cache: &Path, scratch: &Path) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .args([
                "--mode=root",
                "--variant=minbase",
                "--format=directory",
                "--skip=essential/unlink",
            ])
            .arg(format!("--setup-hook={BEFORE}"))
            .arg(format!("--customize-hook={AFTER}"));
        if let Some(arch) = self.arch {
            // Of the emulator hostel knows more than the builder, which looks for one in the host's settings.
            command
                .arg(format!("--architectures={arch}"))
                .arg("--skip=check/qemu");
        }
        if !self.packages.is_empty() {
            command.arg(format!("--include={}", self.packages.join(",")));
        }
        command.arg("--").arg(&self.suite).arg(root);
        command.args(self.sources.iter().map(Source::line));
        command
            .env_clear()
            .envs(proxies())
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/root")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("TMPDIR", scratch)
            .env("HOSTEL_SCRATCH", scratch)
            .env("HOSTEL_APT", cache);
        command
    }
}

/// Gives a guest that was made of a Debian image what no other guest may have: the keys of its ssh server.
/// The guest has not run yet, so its programs are still those of the image.
pub(super) fn personalise(root: &Path, progress: &dyn Progress) -> Result<()> {
    if !root.join("etc/ssh/sshd_config").is_file() || !root.join("usr/bin/ssh-keygen").is_file() {
        return Ok(());
    }
    progress.stage("making the keys of its ssh server");
    let mut command = Command::new("/usr/bin/ssh-keygen");
    command.arg("-A").env_clear().stdin(Stdio::null());
    unshare::in_own_namespaces(&mut command, Some(root), None).context(|| "prepare `ssh-keygen`")?;
    let output = command.output().context(|| "run `ssh-keygen` in the new guest")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Err(Error::new(
        Kind::External,
        format!("`ssh-keygen` failed in the new guest: {last}"),
    ))
}

/// How the host reaches the network, if not directly.
fn proxies() -> Vec<(&'static str, OsString)> {
    [
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ]
    .into_iter()
    .filter_map(|name| Some((name, env::var_os(name)?)))
    .collect()
}

/// Runs a builder in its own namespaces. Its stages are told; on failure its last complaint is the error.
fn run(
    command: &mut Command,
    name: &str,
    emulator: Option<&Emulator>,
    log_path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let log = || format!("write `{}`", log_path.display());
    let mut file = File::create(log_path).context(log)?;
    let (reader, writer) = std::io::pipe().context(|| "make a pipe")?;
    let twin = writer.try_clone().context(|| "make a pipe")?;
    command.stdin(Stdio::null()).stdout(twin).stderr(writer);
    unshare::in_own_namespaces(command, None, emulator).context(|| format!("prepare `{name}`"))?;
    crate::sys::command::tell(command);
    let mut child = command.spawn().context(|| format!("run `{name}`"))?;
    // The command keeps the writing ends of the pipe, which would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut last = String::new();
    let mut lines = Lines {
        reader,
        rest: Vec::new(),
    };
    let told: Result<()> = (|| {
        while let Some(line) = lines.next_line(log_path)? {
            file.write_all(&line).context(log)?;
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if let Some(stage) = text.strip_prefix("I: ") {
                progress.stage(stage.trim_end_matches("..."));
            } else if !text.is_empty() && !last.starts_with("E: ") {
                // The first complaint is the cause; those after it are of the callers, up to the builder.
                last = text;
            }
        }
        Ok(())
    })();
    if told.is_err() {
        // Interrupted, or the disk is full. The whole namespace goes with its outer process.
        let _ = child.kill();
    }
    let status = child.wait().context(|| format!("wait for `{name}`"))?;
    told?;
    if status.success() {
        return Ok(());
    }
    Err(
        Error::new(Kind::External, format!("`{name}` failed ({status}): {last}"))
            .with_hint(format!("the whole of what it said is in {}", log_path.display())),
    )
}

/// What a builder says, line by line. A read that a signal ends is where an interruption is seen.
struct Lines {
    reader: PipeReader,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line with its end; `None` at the end of all.
    fn next_line(&mut self, log_path: &Path) -> Result<Option<Vec<u8>>> {
        let reading = || format!("read what goes to `{}`", log_path.display());
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let after = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, after)));
            }
            // A signal that came just before the wait does not end it; the next turn sees it.
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(500_u16));
            sys::interrupt::check()?;
            match ready {
                Ok(0) | Err(Errno::EINTR) => continue,
                other => other.context(reading)?,
            };
            let mut chunk = [0; 4096];
            let read = self.reader.read(&mut chunk).context(reading)?;
            if read == 0 {
                let last = std::mem::take(&mut self.rest);
                return Ok((!last.is_empty()).then_some(last));
            }
            self.rest.extend_from_slice(&chunk[..read]);
        }
    }
}

fn is_package(text: &str) -> bool {
    let end = text.find(['=', '/', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let head = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_version = |b: u8| b.is_ascii_alphanumeric() || b"+-.~:=/".contains(&b);
    head && name.bytes().all(is_name) && rest.bytes().all(is_version) && text.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Silent;

    #[test]
    fn a_package_is_no_option_and_no_list() {
        for good in [
            "nginx",
            "libstdc++6",
            "gcc:amd64",
            "nginx=1.22.1-9+deb12u1",
            "nginx/bookworm-backports",
        ] {
            assert!(is_package(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "a,b",
            "a b",
            "?essential",
            "~n.",
            "./x.deb",
            "/x",
            "a\nb",
            "A",
        ] {
            assert!(!is_package(bad), "{bad}");
        }
    }

    #[test]
    fn the_key_is_the_set_of_packages() {
        let key = |packages: &[&str]| {
            let packages: Vec<_> = packages.iter().map(|&p| p.to_owned()).collect();
            Debian::new(Distribution::Debian, "bookworm", &packages, None)
                .unwrap()
                .key()
                .unwrap()
        };
        assert_eq!(key(&["a", "b"]), key(&["b", "a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["a"]));
        assert!(key(&[]).starts_with("debian-bookworm-"));
    }

    #[test]
    fn a_failing_builder_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo I: one...; echo 'E: Unable to locate package x' >&2; echo 'E: run_chroot failed' >&2; exit 25"]);
        let err = run(&mut command, "builder", None, &log, &Silent).unwrap_err();
        assert_eq!(
            err.to_string(),
            "`builder` failed (exit status: 25): E: Unable to locate package x"
        );
        assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 3);
    }
}
