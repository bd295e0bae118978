//! What a guest's specification puts into its files: names, resolvers, and the recipe's own files.

use std::fs;
use std::path::Path;

use super::inside;
use super::{Inside, Progress};
use crate::error::{Context, Result};
use crate::guest::Spec;

/// Writes /etc/hostname, /etc/hosts, /etc/resolv.conf and the recipe's `files` into the guest. The recipe comes
/// last: what it says about one of these files holds.
pub fn fill(inside: &Inside, spec: &Spec, progress: &dyn Progress) -> Result<()> {
    let name = &spec.name;
    let hostname = spec.effective_hostname();
    let write = |path: &str, text: &str| inside.write_file(Path::new(path), text.as_bytes(), 0o644, 0, 0);
    write("/etc/hostname", &format!("{hostname}\n"))?;
    write("/etc/hosts", &hosts(hostname))?;
    if !spec.files.contains_key(Path::new("/etc/resolv.conf")) {
        let (text, loopback) = resolvers(Path::new("/etc/resolv.conf"))?;
        if let Some(address) = loopback {
            progress.warning(&format!(
                "the host resolves names at {address}, which `{name}` cannot reach: its own loopback is another; \
                 give it /etc/resolv.conf in `files`"
            ));
        }
        write("/etc/resolv.conf", &text)?;
    }
    for (path, file) in &spec.files {
        inside.write_file(path, file.content.as_bytes(), file.mode, file.uid, file.gid)?;
    }
    Ok(())
}

/// Makes the targets of the guest's mounts that are not there: a directory for a directory, a file for anything else. A
/// source that is missing is left to the start, which names it.
pub fn make_targets(inside: &Inside, spec: &Spec) -> Result<()> {
    for mount in &spec.mounts {
        let kind = match mount.source.path().map(fs::metadata) {
            Some(Err(_)) => continue,
            Some(Ok(source)) if !source.is_dir() => inside::Kind::File,
            Some(Ok(_)) | None => inside::Kind::Dir,
        };
        inside.open_target(mount.target.as_path(), kind)?;
    }
    Ok(())
}

fn hosts(hostname: &str) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names = if short == hostname {
        hostname.to_owned()
    } else {
        format!("{hostname} {short}")
    };
    // Not 127.0.1.1, as Debian does: a guest has one loopback address of each family.
    format!("127.0.0.1\tlocalhost {names}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

/// The host's resolvers as a file for a guest, and the first that is a loopback address, if there is one.
/// systemd-resolved keeps the real ones beside its stub; they are taken instead.
fn resolvers(path: &Path) -> Result<(String, Option<String>)> {
    let read = |path: &Path| match fs::read_to_string(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.context(|| format!("read `{}`", path.display())),
    };
    let text = read(path)?;
    if loopback(&text).is_some() {
        let upstream = read(Path::new("/run/systemd/resolve/resolv.conf"))?;
        if upstream.contains("nameserver") && loopback(&upstream).is_none() {
            return Ok((upstream, None));
        }
    }
    let found = loopback(&text);
    Ok((text, found))
}

fn loopback(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .map(str::trim)
        .find(|address| {
            address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Silent;

    #[test]
    fn writes_names_and_the_recipes_files_last() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().to_owned();
        let inside = Inside::open(&rootfs, "web").unwrap();
        let spec = serde_json::json!({
            "name": "web", "image": "busybox", "hostname": "web.example.net",
            "files": { "/etc/motd": { "content": "hi", "mode": 0o600 }, "/etc/hosts": { "content": "mine" } },
        });
        fill(&inside, &serde_json::from_value(spec).unwrap(), &Silent).unwrap();
        let read = |name: &str| fs::read_to_string(rootfs.join("etc").join(name)).unwrap();
        assert_eq!(read("hostname"), "web.example.net\n");
        assert_eq!(read("hosts"), "mine");
        assert_eq!(read("motd"), "hi");
        assert!(rootfs.join("etc/resolv.conf").exists());
    }

    #[test]
    fn a_loopback_resolver_is_seen() {
        assert_eq!(loopback("nameserver 127.0.0.53\n"), Some("127.0.0.53".to_owned()));
        assert_eq!(loopback("nameserver 192.0.2.1\n# nameserver ::1\n"), None);
        assert!(hosts("web.example.net").starts_with("127.0.0.1\tlocalhost web.example.net web\n"));
    }
}
