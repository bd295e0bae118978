//! Secrets: values that are kept outside of recipes and shown nowhere.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The most that a secret may hold; a key or a certificate with its chain is far smaller.
const MOST: u64 = 1 << 20;

/// Whether a name is one: components of letters, digits, `-`, `_` and `.`, none of them starting with a dot.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 200
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
}

/// The environment variable of a secret: `web/db` is `HOSTEL_SECRET_WEB_DB`.
fn variable(name: &str) -> String {
    let upper = name
        .to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("HOSTEL_SECRET_{upper}")
}

/// The value of a secret, from the environment or from `root/secrets/NAME`; what is wrong and the help otherwise.
/// One newline at the end of a file is the editor's and is left out.
pub(crate) fn read(root: &Path, name: &str) -> Result<String, (String, String)> {
    let variable = variable(name);
    if let Ok(value) = std::env::var(&variable) {
        return Ok(value);
    }
    let path = root.join("secrets").join(name);
    let shown = path.display();
    // A link could lead anywhere, and a FIFO would wait for ever.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let open = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    let file = open.map_err(|source| {
        let help = format!("write it to {shown} (mode 0600), or set {variable}");
        (
            format!("the secret `{name}` cannot be read: {}", source.kind()),
            help,
        )
    })?;
    let refuse = |what: &str, help: String| (format!("the secret `{name}` {what}"), help);
    let meta = file
        .metadata()
        .map_err(|source| refuse(&format!("cannot be read: {source}"), shown.to_string()))?;
    if !meta.is_file() || meta.size() > MOST {
        return Err(refuse("is not a file of at most 1 MiB", shown.to_string()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(refuse("can be read by others", format!("chmod 0600 {shown}")));
    }
    let mut value = String::new();
    file.take(MOST)
        .read_to_string(&mut value)
        .map_err(|source| refuse(&format!("cannot be read: {}", source.kind()), shown.to_string()))?;
    if value.contains('\0') {
        return Err(refuse("holds a NUL byte", shown.to_string()));
    }
    if value.ends_with('\n') {
        value.pop();
    }
    Ok(value)
}
