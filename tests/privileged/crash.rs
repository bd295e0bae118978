//! `kill -9` of hostel at every step: the next command works, and nothing leaks.
//!
//! strace kills the command on entry to its Nth system call that changes anything, for N = 1, 2, .. until the command
//! gets to its end. By default a sample of the Ns is taken, spread over the whole; all with `HOSTEL_THOROUGH=1`.

use std::ffi::OsString;

use crate::life::{destroy, recipe};
use crate::support::{Before, Hostel, World, binary, slowness, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] within 1800 => apply_can_be_killed,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] within 1800 => start_can_be_killed,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] within 1800 => stop_can_be_killed,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] within 1800 => destroy_can_be_killed,
}

/// Between two of these nothing changes but memory, so a death there is the same as a death at the next one. `?` is
/// for those that this strace or machine has not.
const CHANGES: &str = "?clone3,?clone,?fork,?vfork,?mount,?move_mount,?open_tree,?fsopen,?fsconfig,?fsmount,\
    ?mount_setattr,?umount2,?pivot_root,?mkdir,?mkdirat,?rmdir,?unlink,?unlinkat,?rename,?renameat,?renameat2,\
    ?symlink,?symlinkat,?link,?linkat,?mknod,?mknodat,?chmod,?fchmod,?fchmodat,?chown,?fchown,?fchownat,?write,\
    ?pwrite64,?writev,?sendto,?sendmsg,?bpf,?ioctl,?kill,?pidfd_send_signal,?flock,?setns,?unshare,?ftruncate,\
    ?copy_file_range,?sendfile,?fsync,?fdatasync,?setxattr,?fsetxattr,?utimensat,?wait4,?waitid,?exit_group";

/// How many points a verb is killed at, unless all are.
const SAMPLE: usize = 24;

struct Crash<'a> {
    world: &'a World,
    before: Before,
}

impl<'a> Crash<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, before: Before::look() }
    }

    /// The changes that the command makes when it gets to its end: the name of each system call, and how many of
    /// that name there have been with it, which is how strace counts.
    fn changes(&self, args: &[&str]) -> Vec<(String, usize)> {
        let log = self.world.dir.join("strace.log");
        let trace = format!("trace={CHANGES}");
        let head = ["-qq", "-o", log.to_str().unwrap(), "-e", "signal=none", "-e", &trace];
        self.strace(&head, args).ok();
        let mut changes: Vec<(String, usize)> = vec![];
        for line in std::fs::read_to_string(log).unwrap().lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let nth = changes.iter().filter(|(known, _)| known == name).count() + 1;
            changes.push((name.to_owned(), nth));
        }
        changes
    }

    fn kill_at(&self, (name, nth): &(String, usize), args: &[&str]) -> i32 {
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:signal=SIGKILL:when={nth}"));
        let head = ["-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        self.strace(&head, args).run().status
    }

    fn strace(&self, head: &[&str], args: &[&str]) -> Hostel {
        let words = head.iter().map(OsString::from).chain([binary().into_os_string()]);
        let words = words.chain(args.iter().map(OsString::from));
        self.world.within(tool("strace", words)).silent().deadline(120)
    }

    /// Kills the command at each point, with `before` to get there and `after` to show that all is well.
    fn everywhere(&self, args: &[&str], before: impl Fn(), after: impl Fn()) {
        before();
        let changes = self.changes(args);
        after();
        let count = changes.len();
        assert!(count > 5, "strace saw {count} changes of `hostel {}`", args.join(" "));
        let points = points(count);
        // What ran is told to whoever reads the log of a failure, and on stdout by the thorough run.
        println!("`hostel {}` changes something {count} times; killed at {points:?}", args.join(" "));
        let mut killed = 0;
        for n in &points {
            before();
            let change = &changes[n - 1];
            let status = self.kill_at(change, args);
            killed += usize::from(status == 128 + 9);
            println!("{n} of {count}, {} {}: exit {status}", change.0, change.1);
            self.world.hostel(["ls"]).ok();
            after();
            // Half-made files are swept by the next command that makes some, or by this one.
            self.world.hostel(["gc"]).ok();
            let leaks = self.before.leaks(self.world);
            assert!(leaks.is_empty(), "after a kill at {n} of {count}, {change:?}: {leaks:#?}");
        }
        // A run may make a few calls fewer than the one that was counted: it waits for less.
        assert!(killed * 4 >= points.len() * 3, "only {killed} of {} were killed", points.len());
    }
}

/// All of 1 to `count`, or a sample with both ends.
fn points(count: usize) -> Vec<usize> {
    let sample = (SAMPLE / slowness() as usize).max(4);
    if count <= sample || std::env::var_os("HOSTEL_THOROUGH").is_some_and(|value| value == "1") {
        return (1..=count).collect();
    }
    (0..sample).map(|i| 1 + i * (count - 1) / (sample - 1)).collect()
}

fn works(world: &World) {
    world.hostel(["exec", "web", "--", "true"]).ok();
}

fn apply_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "files = { [\"/etc/motd\"] = \"hi\" },");
    let file = file.to_str().unwrap();
    Crash::new(world).everywhere(
        &["apply", file],
        // Everything anew: the image, and hostel's own programs and cgroup.
        || {
            world.hostel(["images", "--prune"]).ok();
            world.hostel(["host", "clear"]).ok();
        },
        || {
            world.hostel(["apply", file]).ok();
            works(world);
            destroy(world, "web");
        },
    );
}

fn start_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "limits = { nofile = 256 },");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    Crash::new(world).everywhere(
        &["start", "web"],
        || {},
        || {
            let again = world.hostel(["start", "web"]).run();
            assert!(again.status == 0 || again.stderr.contains("runs already"), "{again}");
            works(world);
            world.hostel(["stop", "web"]).ok();
        },
    );
    destroy(world, "web");
}

fn stop_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    Crash::new(world).everywhere(
        &["stop", "web"],
        || drop(world.hostel(["start", "web"]).ok()),
        || drop(world.hostel(["stop", "web"]).ok()),
    );
    destroy(world, "web");
}

fn destroy_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "");
    let file = file.to_str().unwrap();
    Crash::new(world).everywhere(
        &["destroy", "--force", "web"],
        || drop(world.hostel(["apply", file]).ok()),
        || {
            let again = world.hostel(["destroy", "--force", "web"]).run();
            assert!(again.status == 0 || again.stderr.contains("no guest"), "{again}");
            world.hostel(["ls", "--quiet"]).ok().stdout("").stderr("");
        },
    );
}
