//! The process that comes into a guest by `exec` or `enter`, before it is the guest's: its program, and what is seen of it.

use std::fs;

use sha2::{Digest, Sha256};

use crate::error::{Context as _, Error, Kind, Result};
use crate::selftest::arena::{Arena, eventually};
use crate::selftest::script::Arg::{M, N};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

/// Looks at every process again and again, as fast as a shell can. Before its `execve(2)`, one that joins the guest still
/// has hostel's name (`exe`, for it is run as /proc/self/exe).
const WATCH: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    name=; read -r name <$p/comm
    case $name in
    exe|hostel*) case $p in /proc/1) continue;; esac
      line=; got=
      read -r line <$p/maps && got="$got maps"
      true 3<>$p/mem && got="$got mem"
      true 3<$p/environ && read -r line <$p/environ && got="$got environ"
      [ -e $p/exe ] && got="$got exe"
      [ -e $p/root/etc ] && got="$got root"
      [ -e $p/cwd/. ] && got="$got cwd"
      [ -e $p/fd/0 ] && got="$got fd"
      again=; read -r again <$p/comm
      # It may have become the guest's own meanwhile, which anybody there may look at.
      if [ "$name" = "$again" ]; then echo "$name:$got" >>/met; fi;;
    # What this shell may look at, it does see.
    attack) line=; read -r line <$p/maps && true 3<>$p/mem && [ -e $p/exe ] && echo >>/saw;;
    esac
    true 3>>$p/exe && echo "$p $name" >>/written
  done
done 2>/dev/null
"#;

/// A guest that watches, whose shell is the program that runs it.
fn watching(arena: &Arena<'_>, more: &str) -> Result<()> {
    let image = arena.hostile(|root| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(root.join("watch.sh"), WATCH)?;
        fs::write(root.join("bin/evil"), "#!/proc/self/exe\n")?;
        fs::set_permissions(root.join("bin/evil"), fs::Permissions::from_mode(0o755))?;
        let users = fs::read_to_string(root.join("etc/passwd"))?;
        fs::write(root.join("etc/passwd"), users.replacen("/bin/sh", "/bin/evil", 1))
    })?;
    // On a stack of its own there is no Landlock domain, which would keep the watcher from the others by itself.
    let services = "net = { mode = \"none\" }, services = { watch = { exec = { \"/bin/busybox\", \"sh\", \"/watch.sh\" } } },";
    arena
        .apply("c", 2, &image, &format!("{services} {more}"))?
        .ok()
        .map(drop)
}

/// Joins the guest until the watcher has met so many processes on their way in, at most 300 times.
fn join_until_met(arena: &Arena<'_>, wanted: usize) -> Result<Vec<String>> {
    let met = arena.rootfs("c").join("met");
    let mut script = Script::new();
    // 20 ms, for the watcher to see what it may see.
    script.write(0, &[0i64, 20_000_000].map(i64::to_ne_bytes).concat());
    script.call("sleep", "nanosleep", &[M(0), N(0)])?;
    for round in 0..300 {
        arena.attack("c", &script)?;
        arena.exec("c", &["/bin/evil"])?;
        arena.hostel(["enter", "c"]).stdin(b"exit\n")?.run()?;
        let lines = fs::read_to_string(&met).unwrap_or_default();
        if round > 10 && lines.lines().count() >= wanted {
            return Ok(lines.lines().map(str::to_owned).collect());
        }
    }
    let saw = arena.rootfs("c").join("saw").exists();
    Err(Error::new(
        Kind::External,
        format!("the watcher in the guest met too few processes on their way in (saw others: {saw})"),
    ))
}

pub(super) const BINARY: Row = Row {
    number: 1,
    name: "host binary overwritten",
    tries: "programs of the guest are run by /proc/self/exe, and every process's program is opened for writing during exec and enter",
    attempt: binary,
};

fn hash() -> Result<Vec<u8>> {
    let path = "/proc/self/exe";
    let content = fs::read(path).context(|| format!("read `{path}`"))?;
    Ok(Sha256::digest(content).to_vec())
}

fn binary(arena: &Arena<'_>) -> Result<Verdict> {
    let before = hash()?;
    watching(arena, "")?;
    let met = join_until_met(arena, 5)?;
    let saw = eventually(|| Ok(arena.rootfs("c").join("saw").exists()))?;
    control(saw, "to see another process's program")?;
    let mut found = Found::new();
    let written = fs::read_to_string(arena.rootfs("c").join("written")).unwrap_or_default();
    found.expect(
        written.is_empty(),
        format!("a program is opened for writing: {written}"),
    );
    // 126 is what the handover says to its being run again; the host's program would have more to say.
    let again = arena.exec("c", &["/bin/evil"])?;
    found.expect(
        again.code == 126 && again.stdout.is_empty() && again.stderr.is_empty(),
        format!(
            "`#!/proc/self/exe` runs the host's program: {} {}",
            again.code, again.stderr
        ),
    );
    found.expect(hash()? == before, "hostel's own program has changed");
    Ok(found.verdict(format!(
        "hostel's program is what it was; {} processes on their way in were looked at",
        met.len()
    )))
}

pub(super) const JOINER: Row = Row {
    number: 16,
    name: "the joiner is traced",
    tries: "memory, environment, program, root and descriptors of every process that exec and enter send in, in a guest that allows `ptrace`",
    attempt: joiner,
};

fn joiner(arena: &Arena<'_>) -> Result<Verdict> {
    watching(arena, "allow = { \"ptrace\" },")?;
    let met = join_until_met(arena, 5)?;
    let saw = eventually(|| Ok(arena.rootfs("c").join("saw").exists()))?;
    control(saw, "to look at another process of the guest")?;
    let mut found = Found::new();
    found.extend(
        met.iter()
            .filter(|line| !line.ends_with(':'))
            .map(|line| format!("a joiner's `{line}`")),
    );
    Ok(found.verdict(format!(
        "{} processes on their way in showed nothing of themselves",
        met.len()
    )))
}
