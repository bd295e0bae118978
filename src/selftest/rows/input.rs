//! What outsiders write: archives, names, values.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tar::{EntryType, Header};

use crate::error::{Context as _, Result};
use crate::selftest::arena::Arena;
use crate::selftest::{Found, Row, Verdict, control};

pub(super) const ARCHIVES: Row = Row {
    number: 11,
    name: "hostile archives",
    tries: "archives with `..`, absolute names, links out, duplicates, devices, set-user-ID programs, huge holes, odd names",
    attempt: archives,
};

/// An archive whose names are written as they are.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    /// A long name comes in the way of GNU tar, before its entry.
    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        for (what, text) in [(EntryType::GNULongName, name), (EntryType::GNULongLink, link)] {
            if text.len() > 99 {
                let text = [text.as_bytes(), b"\0"].concat();
                self.entry(what, b"././@LongLink", b"", &text, text.len() as u64);
            }
        }
        self.entry(
            kind,
            name.as_bytes(),
            link.as_bytes(),
            content,
            content.len() as u64,
        );
        self
    }

    fn entry(&mut self, kind: EntryType, name: &[u8], link: &[u8], content: &[u8], size: u64) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        if kind == EntryType::Block || kind == EntryType::Char {
            let device = header
                .set_device_major(8)
                .and_then(|()| header.set_device_minor(0));
            debug_assert!(device.is_ok(), "small numbers fit");
        }
        let old = header.as_old_mut();
        let short = |text: &[u8]| text.len().min(99);
        old.name[..short(name)].copy_from_slice(&name[..short(name)]);
        old.linkname[..short(link)].copy_from_slice(&link[..short(link)]);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name, "", content.as_bytes())
    }

    fn link(self, kind: EntryType, name: &str, to: &str) -> Self {
        self.add(kind, name, to, b"")
    }
}

fn archives(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let host = canary.path().to_str().unwrap_or_default().to_owned();
    let up = format!("../../../../../../../../../../..{host}");
    let (hard, soft) = (EntryType::Link, EntryType::Symlink);
    let new = Archive::default;
    let hostile = [
        ("`..` in a name", new().file(&format!("{up}/new"), "x")),
        ("an absolute name", new().file(&format!("{host}/new"), "x")),
        (
            "`..` behind a directory",
            new().file(&format!("etc/../../{up}/new"), "x"),
        ),
        (
            "a link out and a file through it",
            new().link(soft, "out", &host).file("out/new", "x"),
        ),
        (
            "a relative link out and a file through it",
            new().link(soft, "out", &up).file("out/secret", "x"),
        ),
        (
            "a chain of links",
            new()
                .link(soft, "a", "b")
                .link(soft, "b", &host)
                .file("a/secret", "x"),
        ),
        (
            "a hard link out",
            new()
                .link(hard, "mine", &format!("{host}/secret"))
                .file("mine", "x"),
        ),
        (
            "a hard link up",
            new()
                .link(hard, "mine", &format!("{up}/secret"))
                .file("mine", "x"),
        ),
        (
            "a hard link through a link",
            new()
                .link(soft, "out", &host)
                .link(hard, "mine", "out/secret")
                .file("mine", "x"),
        ),
        (
            "a directory that becomes a link",
            new()
                .file("d/a", "x")
                .link(soft, "d", &host)
                .file("d/secret", "x"),
        ),
        (
            "a file that becomes a link",
            new()
                .file("f", "x")
                .link(soft, "f", &format!("{host}/secret"))
                .file("f", "x"),
        ),
        (
            "a link that becomes a directory",
            new()
                .link(soft, "d", &host)
                .add(EntryType::Directory, "d", "", b"")
                .file("d/new", "x"),
        ),
        (
            "a disk and a file on it",
            new().link(EntryType::Block, "disk", "").file("disk", "x"),
        ),
        ("a character device", new().link(EntryType::Char, "dev/mem", "")),
        (
            "a FIFO and a file on it",
            new().link(EntryType::Fifo, "fifo", "").file("fifo", "x"),
        ),
        ("a name with a newline", new().file("a\nb: 0\n", "x")),
        (
            "a long name up",
            new().file(&format!("{}{up}/new", "a/".repeat(80)), "x"),
        ),
        ("a set-user-ID program", new().file("su", "#!/bin/sh\n")),
        (
            "the root as a link",
            new().link(soft, ".", &host).file("new", "x"),
        ),
        ("a name of nothing", new().file("", "x").file("/", "x")),
    ];
    let mut found = Found::new();
    let build = |number: usize, archive: Archive| -> Result<(bool, std::path::PathBuf)> {
        let path = arena.path(&format!("{number}.tar"));
        let mut file = fs::File::create(&path).context(|| "write an archive")?;
        let end = [0; 1024];
        file.write_all(&archive.0)
            .and_then(|()| file.write_all(&end))
            .context(|| "write an archive")?;
        let recipe = arena.recipe("c", 2, &format!("tar:{}", path.display()), "")?;
        let built = arena.hostel(["build".as_ref(), recipe.as_os_str()]).run()?;
        Ok((built.code == 0, arena.rootfs("c")))
    };
    let count = hostile.len();
    for (number, (what, archive)) in hostile.into_iter().enumerate() {
        let (is_built, root) = build(number, archive)?;
        found.extend(
            canary
                .changes()?
                .into_iter()
                .map(|change| format!("{change} by {what}")),
        );
        if is_built {
            found.extend(
                devices(&root)?
                    .into_iter()
                    .map(|name| format!("`{name}` is a device, by {what}")),
            );
        }
        arena.destroy("c")?;
    }
    let (is_built, root) = build(count, new().file("etc/honest", "x"))?;
    control(is_built && root.join("etc/honest").exists(), "an honest archive")?;
    Ok(found.verdict(format!("{count} archives are refused or stay inside")))
}

/// Device files in a tree.
fn devices(root: &Path) -> Result<Vec<String>> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut all = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).context(|| format!("list `{}`", dir.display()))? {
            let entry = entry.context(|| format!("list `{}`", dir.display()))?;
            let kind = entry.file_type().context(|| "look at a file")?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_block_device() || kind.is_char_device() {
                all.push(entry.path().display().to_string());
            }
        }
    }
    Ok(all)
}

pub(super) const TEXT: Row = Row {
    number: 12,
    name: "text injection",
    tries: "names, hostnames, variables and paths with newlines, `..`, leading `-`, 300 characters; configuration inside a tree",
    attempt: text,
};

fn text(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let mut found = Found::new();
    let long = "x".repeat(300);
    let up = format!("../../..{}", canary.path().display());
    let host = canary.path().display().to_string();
    let names = [
        "a\nb",
        "../c",
        &up,
        &host,
        "-c",
        "--force",
        &long,
        "",
        ".",
        "..",
        "a/b",
        "a b",
        "a\tb",
        "c\u{7f}",
        "\u{1b}[2J",
    ];
    for name in names {
        for argv in [
            &["exec", name, "--", "true"][..],
            &["start", name],
            &["destroy", "--force", name],
            &["logs", name],
            &["status", name],
        ] {
            let said = arena.hostel(argv).run()?;
            found.expect(
                said.code != 0,
                format!("`hostel {}` accepts `{}`", argv[0], name.escape_debug()),
            );
            // What is told must not drive the terminal of whoever reads it.
            let is_clean = !said.stderr.contains('\u{1b}') && !said.stderr.contains('\u{7f}');
            found.expect(
                is_clean,
                format!("`hostel {}` prints `{}` as it is", argv[0], name.escape_debug()),
            );
        }
        found.extend(refused(
            arena,
            &format!("guest({}) {{ image = \"busybox\" }}", lua(name)),
            "a name",
            name,
        )?);
    }
    let hosts = [
        "a\nb",
        "../x",
        "-x",
        &long,
        "",
        "a b",
        "a_b\u{0}",
        "a..b",
        "\u{1b}[2J",
    ];
    for host in hosts {
        let recipe = format!("guest \"c\" {{ image = \"busybox\", hostname = {} }}", lua(host));
        found.extend(refused(arena, &recipe, "a hostname", host)?);
    }
    for key in ["A=B", "A\nB", "", "A\u{0}", "=", "A B\n"] {
        let recipe = format!(
            "guest \"c\" {{ image = \"busybox\", env = {{ [{}] = \"x\" }} }}",
            lua(key)
        );
        found.extend(refused(arena, &recipe, "a variable", key)?);
    }
    let value = "a\u{0}b";
    let recipe = format!(
        "guest \"c\" {{ image = \"busybox\", env = {{ A = {} }} }}",
        lua(value)
    );
    found.extend(refused(arena, &recipe, "a value", value)?);
    for path in ["../x", "etc/x", "/etc/../../x", "/", "", "/a\u{0}"] {
        for recipe in [
            format!(
                "guest \"c\" {{ image = \"busybox\", files = {{ [{}] = \"x\" }} }}",
                lua(path)
            ),
            format!(
                "guest \"c\" {{ image = \"busybox\", mounts = {{ {{ source = \"/srv\", target = {} }} }} }}",
                lua(path)
            ),
        ] {
            found.extend(refused(arena, &recipe, "a path", path)?);
        }
    }
    for cgroup in ["../hostel", "a/../../b", "/../x", "a//../b", "a\nb"] {
        let run = arena.hostel(["context", "--isolate", "pid", "--", "true"]);
        let said = run
            .with(|command| {
                command.env("HOSTEL_CGROUP", cgroup);
            })
            .run()?;
        let limited = arena.hostel(["limit", "pids=10", "--", "true"]);
        let limited = limited
            .with(|command| {
                command.env("HOSTEL_CGROUP", cgroup);
            })
            .run()?;
        found.expect(
            limited.code != 0,
            format!(
                "the cgroup `{}` is accepted ({})",
                cgroup.escape_debug(),
                said.code
            ),
        );
    }
    // What the tree says of itself is for the guest alone.
    let image = arena.hostile(|root| {
        let spec =
            "{ \"name\": \"c\", \"image\": \"busybox\", \"net\": { \"mode\": \"host\" }, \"userns\": false }";
        fs::write(root.join("spec.json"), spec)?;
        fs::create_dir_all(root.join("etc/hostel/lua/hostel"))?;
        fs::write(
            root.join("etc/hostel/lua/hostel/net.lua"),
            "error('from the guest')",
        )?;
        fs::write(root.join("hostel.lua"), "guest \"d\" { image = \"busybox\" }")
    })?;
    arena.apply("c", 2, &image, "")?.ok()?;
    let map = arena.exec("c", &["cat", "/proc/self/uid_map"])?.ok()?.stdout;
    found.expect(
        map.split_whitespace().nth(1) != Some("0"),
        "a file of the tree sets the guest's ids",
    );
    let listed = arena.hostel(["ls", "--quiet"]).run()?.ok()?.stdout;
    found.expect(
        !listed.lines().any(|name| name == "d"),
        "a recipe of the tree makes a guest",
    );
    found.extend(canary.changes()?);
    Ok(found.verdict(format!(
        "{} texts are refused, and nothing in a tree is believed",
        names.len() + hosts.len() + 24
    )))
}

/// A text as Lua writes it.
fn lua(text: &str) -> String {
    let bytes = text.bytes().map(|byte| format!("\\{byte:03}"));
    format!("\"{}\"", bytes.collect::<String>())
}

/// Checks that a recipe is refused.
fn refused(arena: &Arena<'_>, recipe: &str, what: &str, text: &str) -> Result<Option<String>> {
    let path = arena.path("recipe.lua");
    fs::write(&path, recipe).context(|| "write a recipe")?;
    let said = arena.hostel(["apply".as_ref(), path.as_os_str()]).run()?;
    let is_clean = !said.stderr.contains('\u{1b}');
    if said.code == 1 && is_clean {
        return Ok(None);
    }
    arena.destroy("c")?;
    Ok(Some(format!("`{}` is accepted as {what}", text.escape_debug())))
}
