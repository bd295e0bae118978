//! Row 29: a guest takes all that it can get, and the others go on.

use std::fs;

use super::limits::cannot;
use crate::error::{Context as _, Result};
use crate::selftest::arena::{Arena, PROGRAM, eventually};
use crate::selftest::command::Running;
use crate::selftest::script::Arg::{M, N, R, S};
use crate::selftest::script::{Said, Script};
use crate::selftest::{Found, Row, Verdict, control};
use crate::sys::rlimit;

const CWD: i64 = -100;
const WRONLY: i64 = 1;

pub(super) const EXHAUSTION: Row = Row {
    number: 29,
    name: "resource exhaustion",
    tries: "a small guest takes all processes, memory, descriptors, pipes, inotify instances, pending signals and message queues that it can get, beside another",
    attempt: exhaustion,
};

fn exhaustion(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let image = arena.image()?.to_owned();
    let applied = arena.apply(
        "c",
        2,
        &image,
        "limits = { memory = \"48M\", swap = \"0\", pids = 60, nofile = 256 },",
    )?;
    if let Some(verdict) = cannot(&applied) {
        return Ok(verdict);
    }
    applied.ok()?;
    let mut found = Found::new();
    let mut goes_on = |what: &str| -> Result<()> {
        let said = arena.sh(
            "b",
            "for n in 1 2 3 4 5; do true & done; wait; echo $((6 * 7)) >/tmp/x && cat /tmp/x",
        )?;
        found.expect(
            said.stdout == "42\n",
            format!("another guest stands still: {what}"),
        );
        Ok(())
    };
    {
        let bomb = arena.hostel([
            "exec",
            "c",
            "--",
            "sh",
            "-c",
            "for n in $(seq 300); do sleep 1000 & done; wait",
        ]);
        let _bomb = bomb.spawn()?;
        control(
            eventually(|| Ok(arena.processes("c")? >= 56))?,
            "to use all processes",
        )?;
        goes_on("processes")?;
    }
    arena.hostel(["stop", "--kill", "c"]).run()?.ok()?;
    arena.hostel(["start", "c"]).run()?.ok()?;
    // Reads a line that never ends, into memory.
    let hog = arena.sh("c", "tail /dev/zero")?;
    control(hog.code == 137, "to be killed for memory")?;
    goes_on("memory")?;
    let fill = arena.sh("c", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=96")?;
    control(fill.code != 0, "to fill shared memory")?;
    goes_on("shared memory")?;
    arena.sh(
        "c",
        "rm -f /dev/shm/fill; dd if=/dev/zero of=/dev/fill bs=64k count=4",
    )?;

    let mut script = Script::new();
    let files = script.each("descriptors", (1, 5_000), "openat", &[N(CWD), S("/"), N(0)])?;
    let said = arena.attack("c", &script)?;
    let held = said.of(files).is_ok_and(|count| (1..256).contains(&count));
    let mut script = Script::new();
    let pipes = script.each("pipes", (1, 5_000), "pipe2", &[M(0), N(0)])?;
    let few_pipes = arena
        .attack("c", &script)?
        .of(pipes)
        .is_ok_and(|count| (1..128).contains(&count));
    goes_on("descriptors")?;
    found.expect(held, "descriptors are not limited");
    found.expect(few_pipes, "pipes are not limited");
    let taken = counts(arena, &mut found)?;
    Ok(found.verdict(format!(
        "the guest gets what its limits say, and the one beside it and the host go on, also when it has taken all {taken}"
    )))
}

/// A signal that nobody handles here.
const SIGNAL: i64 = 40;
const O_CREAT: i64 = 0o100;
const O_EXCL: i64 = 0o200;
/// The most processes that take inotify instances, 240 each.
const HOGS: i64 = 40;

/// What the kernel counts by user, and again for whoever made a user namespace: all of it is taken in one guest, and there
/// must be some left in another and on the host. What was taken.
fn counts(arena: &Arena<'_>, found: &mut Found) -> Result<String> {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let most = fs::read_to_string(path).context(|| format!("read `{path}`"))?;
    let hogs = (most.trim().parse().unwrap_or(i64::MAX) / 240).min(HOGS - 1) + 1;
    let mut held = Vec::new();
    for _ in 0..hogs {
        let mut script = Script::new();
        script.each("inotify", (1, 240), "inotify_init1", &[N(0)])?;
        held.push(hold(arena, held.len(), script)?);
    }
    let mut script = Script::new();
    // The limit and some: each call after it is refused, and emulated processors make no million of them in a minute.
    let limit = rlimit::read(None, "sigpending".parse()?)?.soft;
    let signals = limit.unwrap_or(u64::MAX).min(1_000_000 - 100) + 100;
    queue_signals(&mut script, i64::try_from(signals).unwrap_or(i64::MAX))?;
    for _ in 0..40 {
        open_queue(&mut script)?;
    }
    held.push(hold(arena, held.len(), script)?);

    let mut one = Script::new();
    let each = [
        (
            "inotify instances",
            one.call("inotify", "inotify_init1", &[N(0)])?,
        ),
        ("message queues", open_queue(&mut one)?),
    ];
    let signals = queue_signals(&mut one, 1)?;
    let inside = arena.attack("c", &one)?;
    let others = [
        ("another guest", arena.attack("b", &one)?),
        ("the host", arena.outside(&one)?),
    ];
    let mut taken = Vec::new();
    for (what, said) in each {
        // A host may give a user more than was tried to take.
        if inside.of(said).is_err() {
            taken.push(what);
            for (who, others) in &others {
                found.expect(others.of(said).is_ok(), format!("{who} has no {what} left"));
            }
        }
    }
    if inside.of(signals) == Ok(0) {
        taken.push("pending signals");
        for (who, others) in &others {
            found.expect(
                others.of(signals) == Ok(1),
                format!("{who} has no pending signals left"),
            );
        }
    }
    control(!taken.is_empty(), "to take all that is counted by user")?;
    Ok(taken.join(", "))
}

/// A process of the guest that makes these calls and then waits for ever. It says that it has by a file.
fn hold(arena: &Arena<'_>, number: usize, mut script: Script) -> Result<Running> {
    let done = format!("/tmp/held-{number}");
    let flags = O_CREAT | O_EXCL | WRONLY;
    script.call("say so", "openat", &[N(CWD), S(&done), N(flags), N(0o600)])?;
    script.call("wait", "ppoll", &[N(0), N(0), N(0), N(0), N(0)])?;
    let run = arena.hostel(["exec", "c", "--", PROGRAM]);
    let running = run.stdin(script.text().as_bytes())?.spawn()?;
    let path = arena.rootfs("c").join(done.trim_start_matches('/'));
    control(eventually(|| Ok(path.exists()))?, "to hold what was taken")?;
    Ok(running)
}

/// Queues a signal for itself that often, and says how many were.
fn queue_signals(script: &mut Script, count: i64) -> Result<Said> {
    const SIG_BLOCK: i64 = 0;
    const SI_QUEUE: i32 = -1;
    script.write(0, &(1_u64 << (SIGNAL - 1)).to_ne_bytes());
    script.call("block it", "rt_sigprocmask", &[N(SIG_BLOCK), M(0), N(0), N(8)])?;
    // `siginfo_t`: the signal, an errno, a code.
    script.write(64 + 8, &SI_QUEUE.to_ne_bytes());
    let own = script.call("its number", "getpid", &[])?;
    script.each(
        "signals",
        (1, count),
        "rt_sigqueueinfo",
        &[R(own), N(SIGNAL), M(64)],
    )
}

/// A message queue without a name, as large as anybody may make one.
fn open_queue(script: &mut Script) -> Result<Said> {
    // `struct mq_attr`: flags, messages, the size of one, and five more.
    for (at, value) in [0_i64, 10, 8192].into_iter().enumerate() {
        script.write(256 + 8 * at, &value.to_ne_bytes());
    }
    // 2: for reading and writing.
    let queue = script.call(
        "a queue",
        "mq_open",
        &[S("hostel"), N(O_CREAT | O_EXCL | 2), N(0o600), M(256)],
    )?;
    script.call("its name", "mq_unlink", &[S("hostel")])?;
    Ok(queue)
}
