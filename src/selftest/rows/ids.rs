//! Ids, and what they reach: programs of a guest on the host, processes of others.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Context as _, Error, Kind, Result};
use crate::selftest::arena::{Arena, eventually};
use crate::selftest::command::Run;
use crate::selftest::script::Arg::{N, Round};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};
use crate::sys::mount::{self, Attr};

/// A user of the host who is nobody special: `nobody`.
const STRANGER: u32 = 65_534;

pub(super) const SETUID: Row = Row {
    number: 23,
    name: "set-user-ID files of a guest",
    tries: "a guest makes set-user-ID programs of its root's in its own tree and on a volume, and a user of the host runs them",
    attempt: setuid,
};

/// What the attacker says that is asked for its effective user id, when that is root's.
const GAINED: &str = "= 0\nend";

fn geteuid() -> Result<Script> {
    let mut script = Script::new();
    script.call("effective user id", "geteuid", &[])?;
    Ok(script)
}

/// What the attacker says when a stranger on the host runs it; the error's name when it cannot be run.
fn as_stranger(program: &Path) -> Result<String> {
    let run = Run::new(program, [""; 0]).with(|command| {
        command.uid(STRANGER).gid(STRANGER).current_dir("/");
    });
    match run.stdin(geteuid()?.text().as_bytes())?.run() {
        Ok(output) => Ok(output.stdout.trim().to_owned()),
        Err(err) => match err.errno() {
            Some(errno) => Ok(format!("{errno:?}")),
            None => Err(err),
        },
    }
}

/// Directories where every user of a host comes, and where nothing is that the self-test needs.
const OPEN: [&str; 3] = ["/mnt", "/srv", "/media"];

/// The first of [`OPEN`] that may be covered: the state, and with it the guests of this test, can lie below one.
fn open_directory(arena: &Arena<'_>) -> Result<&'static Path> {
    let program = std::env::current_exe().context(|| "look for this program")?;
    let state = arena.image()?.canonicalize().context(|| "look for the state")?;
    let is_free = |at: &&Path| at.is_dir() && !state.starts_with(at) && !program.starts_with(at);
    OPEN.iter().map(Path::new).find(is_free).ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            format!(
                "hostel or its state lies below each of {}, or they are not there",
                OPEN.join(", ")
            ),
        )
    })
}

fn setuid(arena: &Arena<'_>) -> Result<Verdict> {
    // Where every user of the host comes; but seen by this self-test alone.
    let at = open_directory(arena)?;
    let open = fs::File::open(at).context(|| format!("open `{}`", at.display()))?;
    let options = [(c"mode", Some(c"0755")), (c"size", Some(c"16m"))];
    let shared = mount::new_fs(c"tmpfs", &options, Attr::default()).context(|| "mount a tmpfs")?;
    mount::attach(shared, open).context(|| format!("mount a tmpfs on `{}`", at.display()))?;
    let result = setuid_with(arena, at);
    // Seen nowhere else, and gone with this process at the latest.
    nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH)
        .context(|| format!("unmount `{}`", at.display()))?;
    result
}

fn setuid_with(arena: &Arena<'_>, at: &Path) -> Result<Verdict> {
    let program = &at.join("su");
    fs::copy(arena.image()?.join("attack"), program).context(|| "copy a program")?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o4755))
        .context(|| "make a program set-user-ID")?;
    control(
        as_stranger(program)? == GAINED,
        "a set-user-ID program of the host's root",
    )?;
    fs::remove_file(program).context(|| "remove a program")?;

    let mut found = Found::new();
    arena.guest("c", 2, "")?;
    arena
        .sh("c", "cp /attack /su && chmod 4755 /su && chmod 777 /")?
        .ok()?;
    let mine = arena.rootfs("c").join("su");
    control(
        fs::metadata(&mine).is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0),
        "a set-user-ID file in a guest",
    )?;
    let said = as_stranger(&mine)?;
    found.expect(
        said == "EACCES",
        format!("a user of the host runs a program of the guest: {said}"),
    );
    // Inside it works, as on any server.
    let inside = arena.hostel(["exec", "--user", "nobody", "c", "--", "/su"]);
    let inside = inside.stdin(geteuid()?.text().as_bytes())?.run()?;
    control(
        inside.stdout.trim() == GAINED,
        "a set-user-ID program in its own guest",
    )?;
    arena.destroy("c")?;

    // The guest's root is the volume's root, and the volume is where a user of the host comes.
    let shared = at.join("shared");
    fs::create_dir(&shared).context(|| "make a volume")?;
    let shared = shared.display().to_string();
    let volume = format!("mounts = {{ {{ source = \"{shared}\", target = \"/volume\" }} }},");
    let image = arena.image()?.to_owned();
    let applied = arena.apply("c", 2, &image, &volume)?;
    if applied.code == 0 {
        arena.sh("c", "cp /attack /volume/su && chmod 4755 /volume/su")?;
        let said = as_stranger(&Path::new(&shared).join("su"))?;
        found.expect(
            said != GAINED,
            "a user of the host is root by a program that the guest's root has put on a volume",
        );
    } else {
        let is_told = applied.stderr.contains(&shared);
        found.expect(
            is_told,
            format!("the volume is refused without a word of it: {}", applied.stderr),
        );
    }
    Ok(found.verdict("a user of the host can neither reach the guest's tree nor gain by a volume"))
}

pub(super) const RANGES: Row = Row {
    number: 25,
    name: "overlapping id ranges",
    tries: "one guest has as many processes as it may while another makes some, and signals what the other and the host have",
    attempt: ranges,
};

fn ranges(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let map = |guest: &str| -> Result<(u64, u64)> {
        let text = arena.exec(guest, &["cat", "/proc/self/uid_map"])?.ok()?.stdout;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [0, base, count] => Ok((base, count)),
            _ => Err(Error::new(Kind::External, format!("an id map `{}`", text.trim()))),
        }
    };
    let mut found = Found::new();
    let ((a, length), (b, other)) = (map("a")?, map("b")?);
    found.expect(
        a + length <= b || b + other <= a,
        format!("the ids of two guests overlap: {a} and {b}"),
    );
    found.expect(a >= 65_536 && b >= 65_536, "a guest has ids of the host's users");

    // Processes until there can be no more; by limit, so that the host does not notice.
    let bombed = arena.apply("c", 2, arena.image()?, "limits = { pids = 40 },")?;
    if bombed.code == 0 {
        let bomb = arena.hostel([
            "exec",
            "c",
            "--",
            "sh",
            "-c",
            "for n in $(seq 200); do sleep 1000 & done; wait",
        ]);
        let _bomb = bomb.spawn()?;
        let full = eventually(|| Ok(arena.processes("c")? >= 36))?;
        control(full, "to use all processes of a guest")?;
        let said = arena.sh("b", "for n in $(seq 50); do true & done; wait; echo made")?;
        found.expect(said.stdout == "made\n", "another guest cannot make processes");
    }
    // Numbers of the host, and of the other guest on the host: none is there to be signalled.
    let mut script = Script::new();
    for pid in [arena.init_of("b")?, i64::from(std::process::id())] {
        if pid < 64 {
            continue;
        }
        script.call(format!("signal process {pid}"), "kill", &[N(pid), N(9)])?;
        script.call(format!("open process {pid}"), "pidfd_open", &[N(pid), N(0)])?;
        script.call(
            format!("priority of process {pid}"),
            "setpriority",
            &[N(0), N(pid), N(19)],
        )?;
        script.call(
            format!("limit of process {pid}"),
            "prlimit64",
            &[N(pid), N(7), N(0), N(0)],
        )?;
    }
    found.extend(arena.attack("a", &script)?.but(&[Errno::ESRCH, Errno::EPERM]));
    found.expect(
        arena.exec("b", &["pidof", "sleep"])?.code == 0,
        "the other guest's processes are gone",
    );
    Ok(found.verdict(format!(
        "ids {a} and {b} and the {length} after each; no process of another can be named"
    )))
}

pub(super) const SIGNALS: Row = Row {
    number: 28,
    name: "signals",
    tries: "the guest's root kills every number from 2 to 65535, and all at once",
    attempt: signals,
};

fn signals(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let nap = "services = { nap = { exec = { \"sleep\", \"100000\" }, restart = \"never\" } },";
    arena.guest("c", 2, nap)?;
    let busybox = arena.image()?.join("bin/busybox");
    let bystander = Run::new(busybox, ["sleep", "100000"]).spawn()?;
    let alive = |guest: &str| -> Result<bool> { Ok(arena.exec(guest, &["pidof", "sleep"])?.code == 0) };
    control(eventually(|| alive("c"))?, "the guest's own process")?;
    let own = fs::read_to_string("/proc/self/stat").context(|| "read `/proc/self/stat`")?;
    // By built-in commands, as nothing else lives on; itself last.
    let script =
        "n=65535; while [ $n -ge 2 ]; do [ $n = $$ ] || kill -9 $n 2>/dev/null; n=$((n-1)); done; kill -9 -1";
    arena.sh("c", script)?;
    let mut all = Script::new();
    all.each("group", (2, 65_535), "kill", &[Round, N(0)])?;
    all.call("everything", "kill", &[N(-1), N(9)])?;
    arena.attack("c", &all)?;
    control(!alive("c")?, "to kill the guest's own process")?;
    let mut found = Found::new();
    found.expect(bystander.is_alive()?, "a process of the host was killed");
    found.expect(
        !own.is_empty() && Path::new("/proc/1").exists(),
        "the host is gone",
    );
    for guest in ["a", "b"] {
        found.expect(
            alive(guest)?,
            format!("a process of the guest `{guest}` was killed"),
        );
    }
    found.expect(
        arena.exec("c", &["true"])?.code == 0,
        "the guest's process 1 was killed from inside",
    );
    Ok(found.verdict("only the guest's own processes died"))
}
