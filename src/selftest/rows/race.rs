//! Trees that change while hostel works on them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::Result;
use crate::selftest::arena::{Arena, eventually};
use crate::selftest::canary::Canary;
use crate::selftest::command::{Run, Running};
use crate::selftest::script::Arg::{N, S};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

const CWD: i64 = -100;
/// `RENAME_EXCHANGE` of `renameat2(2)`: two names change places in one step.
const EXCHANGE: i64 = 2;
/// Lets two names change places, without end.
fn swap(arena: &Arena<'_>, a: &Path, b: &Path) -> Result<Running> {
    let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
    let mut script = Script::new();
    // Longer than any start: it is killed.
    script.each(
        "swap",
        (0, i64::from(i32::MAX)),
        "renameat2",
        &[N(CWD), S(&a), N(CWD), S(&b), N(EXCHANGE)],
    )?;
    Run::new(arena.image()?.join("attack"), [""; 0])
        .stdin(script.text().as_bytes())?
        .spawn()
}

/// Whether the names really change places.
fn swaps(path: &Path) -> Result<bool> {
    let is_link = || fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    let (mut link, mut dir) = (false, false);
    eventually(|| {
        for _ in 0..1000 {
            if is_link() {
                link = true;
            } else {
                dir = true;
            }
        }
        Ok(link && dir)
    })
}

/// Starts the guest `c` again and again while two names change places; what is open of each start.
fn race(
    arena: &Arena<'_>,
    (a, b): (&Path, &Path),
    canary: &Canary,
    look: &dyn Fn() -> Result<Vec<String>>,
) -> Result<(u32, Found)> {
    let swapper = swap(arena, a, b)?;
    control(swaps(a)?, "to swap two names")?;
    let mut found = Found::new();
    let mut started = 0;
    for _ in 0..arena.starts {
        if arena.hostel(["start", "c"]).run()?.code == 0 {
            started += 1;
            found.extend(look()?);
        }
        arena.hostel(["stop", "--kill", "c"]).run()?;
        found.extend(canary.changes()?);
        if !found.0.is_empty() {
            break;
        }
    }
    control(swapper.is_alive()?, "to swap to the end")?;
    Ok((started, found))
}

/// What is to be swapped, where it is not in the topmost layer yet: a directory `a`, and a link `b`.
fn trap(root: &Path, below: &str, dir: &str, link: &Path) -> Result<()> {
    let at = root.join(below);
    let made = fs::create_dir_all(at.join(dir)).and_then(|()| match fs::symlink_metadata(at.join("b")) {
        Ok(_) => Ok(()),
        Err(_) => symlink(link, at.join("b")),
    });
    made.map_err(|err| crate::Error::io("make a trap", err))
}

pub(super) const TWICE: Row = Row {
    number: 7,
    name: "a path is resolved twice",
    tries: "a component of a read-only mount's target changes places with a link out, while the guest is started again and again",
    attempt: twice,
};

fn twice(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let source = arena.canary()?;
    let image = arena.hostile(|root| {
        fs::create_dir_all(root.join("srv/a/data"))?;
        symlink(canary.path(), root.join("srv/b"))
    })?;
    // Where the link leads there is such a directory too: on the host, and in the guest.
    let mount = format!(
        "mounts = {{ {{ source = \"{}\", target = \"/srv/a/data\", readonly = true }} }},",
        source.path().display()
    );
    arena.apply("c", 2, &image, &mount)?.ok()?;
    arena.hostel(["stop", "--kill", "c"]).run()?.ok()?;
    let root = arena.rootfs("c");
    trap(&root, "srv", "a/data", canary.path())?;
    let name = source
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let look = || -> Result<Vec<String>> {
        // Wherever it is in the guest, it is read-only.
        let script = format!(
            "grep '{name}' /proc/self/mountinfo | while read -r a b c d at options rest; do \
             case ,$options, in *,ro,*) ;; *) echo \"writable at $at\";; esac; touch $at/new 2>/dev/null && echo \"written at $at\"; done"
        );
        let said = arena.sh("c", &script)?.stdout;
        Ok(said.lines().map(str::to_owned).collect())
    };
    let (started, mut found) = race(arena, (&root.join("srv/a"), &root.join("srv/b")), &canary, &look)?;
    found.extend(source.changes()?);
    Ok(found.verdict(format!(
        "{started} of {} starts succeeded, each read-only; the others were refused",
        arena.starts
    )))
}

pub(super) const MKDIR: Row = Row {
    number: 9,
    name: "mkdir race on a shared volume",
    tries: "a component of a mount's target on a volume changes places with a link out, while the guest is started again and again",
    attempt: mkdir,
};

fn mkdir(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let volume = arena.directory("volume")?;
    let made =
        fs::create_dir_all(volume.join("a/new/dir")).and_then(|()| symlink(canary.path(), volume.join("b")));
    made.map_err(|err| crate::Error::io("make a volume", err))?;
    let other = arena.directory("other")?;
    let mounts = format!(
        "mounts = {{ {{ source = \"{}\", target = \"/vol\" }}, {{ source = \"{}\", target = \"/vol/a/new/dir\" }} }},",
        volume.display(),
        other.display()
    );
    let image = arena.image()?.to_owned();
    arena.apply("c", 2, &image, &mounts)?.ok()?;
    arena.hostel(["stop", "--kill", "c"]).run()?;
    let (first, mut found) = race(arena, (&volume.join("a"), &volume.join("b")), &canary, &|| {
        Ok(Vec::new())
    })?;
    // The swapper stopped somewhere.
    if fs::symlink_metadata(volume.join("a")).is_ok_and(|meta| meta.is_symlink()) {
        let back =
            [("a", "c"), ("b", "a"), ("c", "b")].map(|(from, to)| (volume.join(from), volume.join(to)));
        for (from, to) in back {
            fs::rename(from, to).map_err(|err| crate::Error::io("put a volume back", err))?;
        }
    }
    // The same in the guest's own tree, where hostel makes what is missing before the volume lies over it.
    let root = arena.rootfs("c");
    fs::remove_dir_all(root.join("vol")).map_err(|err| crate::Error::io("make a trap", err))?;
    trap(&root, "vol", "a", canary.path())?;
    let (second, more) = race(
        arena,
        (&root.join("vol/a"), &root.join("vol/b")),
        &canary,
        &|| Ok(Vec::new()),
    )?;
    found.extend(more.0);
    Ok(found.verdict(format!(
        "nothing was made on the host in {} starts ({first} and {second} succeeded)",
        2 * arena.starts
    )))
}
