//! `hostel enter` on a real terminal, and what `exec` says of how a command ended.

use crate::life::{destroy, running};
use crate::support::{World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("python3")] => enter_is_a_terminal_as_at_the_machine,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => exec_says_how_its_command_ended,
}

/// A person at a terminal: types, and waits for what comes. What is waited for is never in what was typed, which
/// the terminal shows too.
const PERSON: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
def size(fd, rows, columns): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], [sys.argv[1], "enter", "web"])
seen = b""
def wait(what):
    global seen
    end = time.monotonic() + 20
    while what not in seen:
        if time.monotonic() > end: sys.exit("no %r in %r" % (what, seen))
        if select.select([fd], [], [], 0.2)[0]:
            try: seen += os.read(fd, 4096)
            except OSError: sys.exit("ended before %r: %r" % (what, seen))
    seen = seen.split(what, 1)[1]
def type(text): os.write(fd, text)
size(fd, 30, 100)
type(b"echo a$((1+1))b $(tty)\n"); wait(b"a2b /dev/pts/")
size(fd, 41, 123)
type(b"echo size $((2*21)) $(stty size)\n"); wait(b"size 42 41 123")
# Ctrl-C ends what runs in front, not the shell.
type(b"echo r$((3*3)); sleep 1000\n"); wait(b"r9"); time.sleep(0.3); type(b"\x03")
type(b"echo code $?.\n"); wait(b"code 130.")
# Ctrl-Z stops it, and it goes on in the background.
type(b"echo s$((3*4)); sleep 1000\n"); wait(b"s12"); time.sleep(0.3); type(b"\x1a"); wait(b"Stopped")
type(b"bg; jobs; kill %1; wait; echo d$((5*5))\n"); wait(b"Running"); wait(b"d25")
type(b"exit 7\n")
try:
    while os.read(fd, 4096): pass
except OSError: pass
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn enter_is_a_terminal_as_at_the_machine(world: &World) {
    running(world, "web", 0, "");
    let person = world.file("person.py", PERSON);
    let hostel = crate::support::binary();
    world.within(tool("python3", [&person, &hostel])).deadline(60).ok().stdout("7\n");
    destroy(world, "web");
}

fn exec_says_how_its_command_ended(world: &World) {
    running(world, "web", 0, "");
    let code = |argv: &[&str]| world.hostel(["exec", "web", "--"].iter().chain(argv)).run().status;
    for number in [0, 1, 42, 124, 125, 255] {
        assert_eq!(code(&["sh", "-c", &format!("exit {number}")]), number);
    }
    for signal in [1, 2, 6, 9, 15, 34] {
        assert_eq!(code(&["sh", "-c", &format!("kill -{signal} $$")]), 128 + signal, "signal {signal}");
    }
    assert_eq!(code(&["no-such-program"]), 127);
    assert_eq!(code(&["/no/such/program"]), 127);
    assert_eq!(code(&["/etc/passwd"]), 126);
    let hostel = |argv: &[&str]| world.hostel(argv.iter()).run().status;
    assert_eq!(hostel(&["exec", "--user", "nobody-there", "web", "--", "true"]), 125);
    assert_eq!(hostel(&["exec", "no-guest", "--", "true"]), 125);
    destroy(world, "web");
}
