//! What comes into a guest with a command that `exec`, `enter` or `start` begins: descriptors, a terminal, capabilities, ids.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::CapSet;
use crate::selftest::arena::{Arena, PROGRAM, eventually};
use crate::selftest::command::Run;
use crate::selftest::script::Arg::{M, N, R, Round, S};
use crate::selftest::script::{Said, Script};
use crate::selftest::{Found, Row, Verdict, control};
use crate::sys::{command, terminal};

const CWD: i64 = -100;
const RDONLY: i64 = 0;
const RDWR: i64 = 2;

pub(super) const LEAKS: Row = Row {
    number: 2,
    name: "leaked descriptors",
    tries: "hostel is called with ten leaked descriptors and a working directory reached by one, for exec and for start",
    attempt: leaks,
};

fn leaks(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let canary = arena.canary()?;
    let mut script = Script::new();
    let open = script.each("descriptors from 3 up", (3, 1023), "fcntl", &[Round, N(1)])?;
    let cwd = script.call("getcwd", "getcwd", &[M(0), N(4096)])?;
    script.read(0, 2);
    let up = script.call("open ../secret", "openat", &[N(CWD), S("../secret"), N(RDONLY)])?;
    let image = arena.hostile(|root| fs::write(root.join("script"), script.text()))?;
    let service = format!(
        "services = {{ look = {{ exec = {{ \"sh\", \"-c\", \"{PROGRAM} </script >/said; ls -l /proc/1/fd >/first\" }}, restart = \"never\" }} }},"
    );
    let recipe = arena.recipe("c", 2, &format!("dir:{}", image.display()), &service)?;

    // Without close-on-exec, as a careless manager leaves them.
    let leaked: Vec<OwnedFd> = (0..10)
        .map(|_| -> Result<OwnedFd> {
            let fd = OwnedFd::from(File::open(canary.path()).context(|| "open the canary")?);
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).context(|| "leak a descriptor")?;
            Ok(fd)
        })
        .collect::<Result<_>>()?;
    let place = format!("/proc/self/fd/{}/sub", leaked[9].as_raw_fd());
    let there = |run: Run| {
        run.with(|command| {
            command.current_dir(&place);
        })
    };

    let control_run =
        there(Run::new(arena.image()?.join("attack"), [""; 0])).stdin(script.text().as_bytes())?;
    let outside = script.answers(&control_run.run()?.stdout)?;
    control(
        outside.of(open).is_ok_and(|count| count >= 10) && outside.of(up).is_ok(),
        "to leak descriptors",
    )?;

    there(arena.hostel(["apply".as_ref(), recipe.as_os_str()]))
        .run()?
        .ok()?;
    let entered = there(arena.hostel(["exec", "a", "--", PROGRAM]))
        .stdin(script.text().as_bytes())?
        .run()?;
    let first = arena.rootfs("c").join("first");
    control(eventually(|| Ok(first.exists()))?, "the service of a guest")?;
    drop(leaked);
    let said = fs::read_to_string(arena.rootfs("c").join("said")).context(|| "read what the service said")?;
    let mut found = Found::new();
    for (what, text) in [("exec", &entered.stdout), ("a service", &said)] {
        let said = script.answers(text)?;
        let count = said.of(open);
        found.expect(
            count == Ok(0),
            format!("{what} has descriptors of the caller: {count:?}"),
        );
        found.expect(
            said.of(cwd) == Ok(2) && said.read() == [b"/\0".to_vec()],
            format!("{what} is not in `/`"),
        );
        found.expect(
            said.of(up).is_err(),
            format!("{what} reads `../secret` of the host"),
        );
    }
    let first = fs::read_to_string(first).context(|| "read what the service said")?;
    found.expect(
        !first.contains("canary"),
        format!("process 1 has descriptors of the caller: {first}"),
    );
    found.extend(canary.changes()?);
    Ok(found.verdict("only standard input, output and error come in"))
}

pub(super) const TERMINAL: Row = Row {
    number: 13,
    name: "TIOCSTI into the caller's terminal",
    tries: "keys are typed into the terminal of whoever called exec, by TIOCSTI (also with high bits), TIOCLINUX and line disciplines",
    attempt: type_into,
};

/// What is typed: it would be seen on the terminal.
const KEYS: [&str; 3] = ["Q", "J", "Z"];

fn typing() -> Result<(Script, Vec<Said>, Said)> {
    let mut script = Script::new();
    let tty = script.call("open /dev/tty", "openat", &[N(CWD), S("/dev/tty"), N(RDWR)])?;
    let mut typed = Vec::new();
    // TIOCSTI; TIOCLINUX (paste the selection); TIOCSETD (N_TTY); TIOCCONS.
    for number in [0x5412, 0x5412 | 1 << 32, 0x541c, 0x541c | 1 << 32, 0x5423, 0x541d] {
        for key in KEYS {
            typed.push(script.call(
                format!("ioctl {number:#x}"),
                "ioctl",
                &[R(tty), N(number), S(key)],
            )?);
        }
    }
    Ok((script, typed, tty))
}

fn type_into(arena: &Arena<'_>) -> Result<Verdict> {
    let (script, typed, tty) = typing()?;
    let file = arena.path("script");
    fs::write(&file, script.text()).context(|| "write an attack")?;
    let pair = || -> Result<(OwnedFd, OwnedFd)> {
        let master = terminal::open_inside().context(|| "open a terminal")?;
        let slave = terminal::slave(master.as_fd()).context(|| "open a terminal")?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "open a terminal")?;
        Ok((master, slave))
    };
    // By root of the host, who may.
    let (master, slave) = pair()?;
    let line = format!("{} <{}", arena.image()?.join("attack").display(), file.display());
    let busybox = arena.image()?.join("bin/busybox");
    Run::new(busybox, ["sh", "-c", &line]).terminal(&slave)?.run()?;
    let shown = read(&master);
    control(KEYS.iter().all(|key| shown.contains(key)), "TIOCSTI")?;
    drop((master, slave));

    let image = arena.hostile(|root| fs::write(root.join("script"), script.text()))?;
    arena.apply("c", 2, &image, "")?.ok()?;
    let (master, slave) = pair()?;
    let line = format!("{PROGRAM} </script >/said; echo over");
    let ended = arena
        .hostel(["exec", "-t", "c", "--", "sh", "-c", &line])
        .terminal(&slave)?
        .run()?;
    let shown = read(&master);
    drop(slave);
    control(ended.code == 0 && shown.contains("over"), "exec with a terminal")?;
    let said = fs::read_to_string(arena.rootfs("c").join("said")).context(|| "read what the attack said")?;
    let said = script.answers(&said)?;
    control(said.of(tty).is_ok(), "to open the terminal")?;
    let mut found = Found::new();
    found.extend(said.among(&typed).but(&[Errno::EPERM, Errno::ENOTTY, Errno::EIO]));
    let keys: Vec<&str> = KEYS.into_iter().filter(|key| shown.contains(key)).collect();
    found.expect(
        keys.is_empty(),
        format!("`{}` was typed into the caller's terminal", keys.concat()),
    );
    Ok(found.verdict("nothing was typed into the caller's terminal"))
}

/// All that is on the terminal.
fn read(master: &OwnedFd) -> String {
    let mut seen = Vec::new();
    if let Ok(copy) = master.try_clone() {
        // EAGAIN or EIO ends it: the other side has closed.
        let _ = File::from(copy).read_to_end(&mut seen);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

pub(super) const CAPS: Row = Row {
    number: 14,
    name: "inherited capabilities",
    tries: "hostel is called with inheritable and ambient capabilities",
    attempt: caps,
};

/// `CAP_NET_RAW`, which no guest has by default.
const NET_RAW: u8 = 13;

fn caps(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let look = ["grep", "^Cap", "/proc/self/status"];
    let with = |run: Run| run.with(|command| command::inherits_capability(command, NET_RAW));
    let field = |text: &str, name: &str| -> Result<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .ok_or_else(|| {
                Error::new(
                    Kind::External,
                    format!("no `{name}` in `{}`", text.escape_debug()),
                )
            })
    };
    let outside = with(Run::new(arena.image()?.join("bin/busybox"), look))
        .run()?
        .ok()?
        .stdout;
    let bit = 1 << NET_RAW;
    control(
        field(&outside, "CapInh")? & bit != 0 && field(&outside, "CapAmb")? & bit != 0,
        "to inherit a capability",
    )?;
    let mut found = Found::new();
    for user in ["root", "nobody"] {
        let argv = [&["exec", "--user", user, "a", "--"][..], &look].concat();
        let inside = with(arena.hostel(argv)).run()?.ok()?.stdout;
        for name in ["CapInh", "CapAmb"] {
            let value = field(&inside, name)?;
            found.expect(value == 0, format!("{name} of {user} is {value:x}"));
        }
        let (bounding, effective) = (field(&inside, "CapBnd")?, field(&inside, "CapEff")?);
        let default = CapSet::guest_default().bits();
        found.expect(bounding == default, format!("CapBnd of {user} is {bounding:x}"));
        let wanted = if user == "root" { default } else { 0 };
        found.expect(effective == wanted, format!("CapEff of {user} is {effective:x}"));
    }
    Ok(found.verdict("inheritable and ambient are empty, bounding is the guest's"))
}

pub(super) const UIDS: Row = Row {
    number: 15,
    name: "lenient user ids",
    tries: "numbers that are no user ids, or that some programs read as another one",
    attempt: uids,
};

fn uids(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let run = |user: &str| {
        arena
            .hostel(["exec", &format!("--user={user}"), "a", "--", "id", "-u"])
            .run()
    };
    let one = run("1")?;
    control(one.stdout == "1\n", "`exec --user 1`")?;
    let mut found = Found::new();
    let wrong = [
        "4294967296",
        "4294967295",
        "4294967297",
        "65536",
        "-1",
        "-0",
        "+1",
        "0x1",
        "1e0",
        " 1",
        "1 ",
        "",
        ":",
        "1:",
        "1:-1",
        "1:4294967296",
        "18446744073709551616",
        "0:65536",
        "1\n",
        "/",
        "root\n",
        "..",
    ];
    for user in wrong {
        let output = run(user)?;
        let is_refused = output.code == 125 && output.stdout.is_empty();
        found.expect(
            is_refused,
            format!("`--user {}` is {}", user.escape_debug(), output.stdout.trim()),
        );
    }
    Ok(found.verdict(format!("1 is 1, and {} others are refused", wrong.len())))
}
