//! `busybox`: the host's static busybox, its applets, and just enough of /etc. Made in milliseconds, no download.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Progress;
use super::{digest, make_dir, make_root};
use crate::error::{Context, Error, Kind, Result};

/// Counts changes to what [`Busybox::build`] puts around the program; it is part of the key.
const REVISION: u8 = 1;

/// Directories and their modes.
const DIRS: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("srv", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/spool/cron", 0o755),
    ("var/spool/cron/crontabs", 0o755),
    ("var/tmp", 0o1777),
    ("var/www", 0o755),
];

/// Files and their modes. No account has a password: one is set from the host, or nobody logs in with one.
const FILES: &[(&str, u32, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\n\
         daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
         www-data:x:33:33:www-data:/var/www:/bin/false\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    (
        "etc/shadow",
        0o600,
        "root:*:19000:0:99999:7:::\n\
         daemon:*:19000:0:99999:7:::\n\
         www-data:*:19000:0:99999:7:::\n\
         nobody:*:19000:0:99999:7:::\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n",
    ),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    (
        "etc/profile",
        0o644,
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         [ \"$(id -u)\" = 0 ] && PS1='\\h:\\w# ' || PS1='\\h:\\w$ '\n",
    ),
    (
        "etc/nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
    // For guests whose init is busybox's own. Without an inittab it would ask for consoles that are not there.
    (
        "etc/inittab",
        0o644,
        "::sysinit:/etc/rc\n::ctrlaltdel:/sbin/reboot\n::shutdown:/etc/rc.shutdown\n",
    ),
    ("etc/rc", 0o755, "#!/bin/sh\n# Run once by /sbin/init at start.\n"),
    (
        "etc/rc.shutdown",
        0o755,
        "#!/bin/sh\n# Run once by /sbin/init before it stops everything.\n",
    ),
];

/// A static busybox on the host.
pub(super) struct Busybox {
    path: PathBuf,
}

/// The first static one in the usual places.
pub(super) fn find() -> Result<Busybox> {
    let mut dynamic = None;
    for place in [
        "/bin/busybox",
        "/usr/bin/busybox",
        "/usr/local/bin/busybox",
        "/sbin/busybox",
    ] {
        let path = PathBuf::from(place);
        match is_static(&path) {
            Ok(true) => return Ok(Busybox { path }),
            Ok(false) => dynamic = Some(path),
            Err(_) => {}
        }
    }
    let hint = "apt install busybox-static";
    Err(match dynamic {
        None => Error::new(Kind::NotFound, "there is no busybox on the host"),
        Some(path) => Error::new(
            Kind::Invalid,
            format!("`{}` is not a static program", path.display()),
        ),
    }
    .with_hint(hint))
}

impl Busybox {
    /// Of the program's bytes, so that an upgrade on the host makes a new image.
    pub(super) fn key(&self) -> Result<String> {
        let reading = || format!("read `{}`", self.path.display());
        let file = File::open(&self.path).context(reading)?;
        digest::key("busybox", &[REVISION], &file, reading)
    }

    /// Makes `rootfs` in `dir`.
    pub(super) fn build(&self, dir: &Path, progress: &dyn Progress) -> Result<()> {
        progress.stage("making the busybox image");
        let root = dir.join("rootfs");
        make_root(&root)?;
        chmod(&root, 0o755)?;
        for (name, mode) in DIRS {
            let path = root.join(name);
            make_dir(&path, *mode)?;
            chmod(&path, *mode)?;
        }
        for (name, mode, content) in FILES {
            let path = root.join(name);
            fs::write(&path, content).context(|| format!("write `{}`", path.display()))?;
            chmod(&path, *mode)?;
        }
        let program = root.join("bin/busybox");
        fs::copy(&self.path, &program).context(|| format!("copy `{}`", self.path.display()))?;
        chmod(&program, 0o755)?;
        for applet in self.applets()? {
            let path = root.join(&applet);
            let target = match applet.split('/').count() {
                1 => "bin/busybox",
                2 if applet.starts_with("bin/") => "busybox",
                2 => "../bin/busybox",
                _ => "../../bin/busybox",
            };
            match symlink(target, &path) {
                Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(format!("link `{}`", path.display()), err));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where each applet belongs, such as `usr/bin/env`.
    fn applets(&self) -> Result<Vec<String>> {
        let list = |option| {
            let output = Command::new(&self.path)
                .arg(option)
                .env_clear()
                .output()
                .context(|| format!("run `{}`", self.path.display()))?;
            Ok::<_, Error>((output.status.success(), output.stdout))
        };
        // `--list-full` is left out of small builds; then everything goes to /bin.
        let (text, prefix) = match list("--list-full")? {
            (true, text) => (text, ""),
            (false, _) => (list("--list")?.1, "bin/"),
        };
        let applets: Vec<_> = String::from_utf8_lossy(&text)
            .lines()
            .map(|line| format!("{prefix}{line}"))
            .filter(|path| path.rsplit_once('/').is_none_or(|(dir, _)| is_dir(dir)))
            .collect();
        if applets.is_empty() {
            return Err(Error::new(
                Kind::External,
                format!("`{}` lists no applets", self.path.display()),
            ));
        }
        Ok(applets)
    }
}

fn is_dir(name: &str) -> bool {
    DIRS.iter().any(|(dir, _)| *dir == name)
}

/// Sets the mode exactly: the umask of whoever runs hostel has no say in an image.
fn chmod(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("chmod `{}`", path.display()))
}

/// Whether a program runs without the host's libraries: an ELF file without `PT_INTERP` (`elf(5)`).
fn is_static(path: &Path) -> std::io::Result<bool> {
    const PT_INTERP: u32 = 3;
    let file = File::open(path)?;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    // The class decides where `e_phoff`, `e_phentsize` and `e_phnum` are.
    let (offset, size, count) = match (&head[..4], head[4], head[5]) {
        (b"\x7fELF", 2, 1) => {
            let mut word = [0; 8];
            word.copy_from_slice(&head[32..40]);
            (u64::from_le_bytes(word), u16_at(54), u16_at(56))
        }
        (b"\x7fELF", 1, 1) => {
            let mut word = [0; 4];
            word.copy_from_slice(&head[28..32]);
            (u64::from(u32::from_le_bytes(word)), u16_at(42), u16_at(44))
        }
        _ => return Ok(false),
    };
    for entry in 0..u64::from(count) {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, offset + entry * u64::from(size))?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_static_program_from_a_dynamic_one() {
        // This test itself needs the host's libraries.
        assert!(!is_static(Path::new("/proc/self/exe")).unwrap());
        assert!(!is_static(Path::new("/etc/passwd")).unwrap_or(false));
        assert!(is_static(&find().unwrap().path).unwrap());
    }

    #[test]
    fn every_applet_leads_to_the_program() {
        let dir = tempfile::tempdir().unwrap();
        find()
            .unwrap()
            .build(dir.path(), &crate::storage::Silent)
            .unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin/sh", "usr/bin/env", "sbin/init", "usr/sbin/httpd", "linuxrc"] {
            let Ok(at) = root.join(name).canonicalize() else {
                panic!("{name} leads nowhere");
            };
            assert!(at.ends_with("rootfs/bin/busybox"), "{name}");
        }
    }
}
