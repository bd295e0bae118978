//! A guest of busybox, put together by `unshare(1)` and a shell script: nothing of `life` is under test here.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostel::guest::{CapSet, Init, Restart, Service, Span};
use hostel::life::init_config::{self, InitConfig};
use hostel::life::init_status::{self, ServiceStatus};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{Output, Running, World, eventually, tool};

/// What runs between `unshare` and the init, as life would do it. `$1` is the guest's root; the init is open on 9.
const ENTER: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc -o nosuid,nodev,noexec
mount -t tmpfs dev dev -o mode=755
for d in null zero full random urandom tty; do : > dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666,mode=620
ln -s pts/ptmx dev/ptmx
mount -t tmpfs shm dev/shm
mount -t tmpfs run run
pivot_root . old
umount -l old
exec /bin/busybox env -i /proc/self/fd/9 < /dev/null
"#;

/// Where the ids of a guest with a user namespace begin on the host.
pub(super) const FIRST_ID: u32 = 20_000 << 16;

/// What a guest is made of.
pub(super) struct Plan {
    pub(super) init: Init,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) caps: CapSet,
    pub(super) stop: Span,
    /// Whether it has ids of its own.
    pub(super) has_user_namespace: bool,
    /// The cgroup that goes in on descriptor 4.
    pub(super) cgroup: Option<PathBuf>,
}

impl Plan {
    pub(super) fn services(services: &[(&str, Service)]) -> Self {
        Self {
            init: Init::Hostel,
            services: services
                .iter()
                .map(|(name, service)| ((*name).to_owned(), service.clone()))
                .collect(),
            caps: CapSet::guest_default(),
            stop: Span::from_secs(20),
            has_user_namespace: false,
            cgroup: None,
        }
    }

    /// Its own init, with the right to reboot.
    pub(super) fn own(path: &str) -> Self {
        Self {
            init: Init::Own(path.into()),
            caps: CapSet::guest_default().with("sys_boot".parse().unwrap()),
            ..Self::services(&[])
        }
    }

    pub(super) fn config(&self) -> Vec<u8> {
        let env = BTreeMap::from([("GREETING".to_owned(), "hello guest".to_owned())]);
        let config = InitConfig {
            no_users: false,
            init: &self.init,
            services: &self.services,
            env: &env,
            caps: self.caps,
            hostname: "guest",
            stop_timeout: self.stop,
            mask: &["/proc/cmdline", "/proc/fs", "/proc/not-there"],
            readonly: &["/proc/sys"],
            has_cgroup: self.cgroup.is_some(),
            has_report: false,
            filter: &[],
            no_new_privs: false,
        };
        init_config::encode(&config).unwrap()
    }
}

/// A service that runs this shell script.
pub(super) fn script(text: &str) -> Service {
    Service {
        exec: ["/bin/sh", "-c", text].map(str::to_owned).into(),
        restart: Restart::Never,
        after: vec![],
        user: None,
        dir: None,
        env: BTreeMap::new(),
        stop_signal: None,
    }
}

/// Files of a guest that has not been started.
pub(super) fn files(world: &World) -> PathBuf {
    let root = world.dir.join("guest");
    for dir in [
        "bin", "sbin", "proc", "sys", "dev", "run", "tmp", "etc", "var", "root", "old", "srv",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    // Its own lines may be written by anyone: the tests' services run as different users.
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists());
    fs::copy(busybox.unwrap(), root.join("bin/busybox")).unwrap();
    for applet in [
        "cat", "dd", "echo", "env", "false", "grep", "halt", "head", "id", "kill", "ls", "mount", "poweroff",
        "ps", "pwd", "readlink", "reboot", "setsid", "sh", "sleep", "true", "tty", "umount", "usleep", "wc",
        "yes",
    ] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/srv:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nwww:x:34:\nadm:x:4:other,www\nnot:x:5:wwwx\n",
    )
    .unwrap();
    root
}

/// A guest that runs. Dropped, it is killed.
pub(super) struct Guest {
    pub(super) root: PathBuf,
    /// Of its process 1, on the host.
    pub(super) pid: i32,
    running: Running,
    _open: [OwnedFd; 2],
}

impl Guest {
    pub(super) fn start(root: PathBuf, plan: &Plan) -> Self {
        Self::start_with(root, plan, &plan.config())
    }

    pub(super) fn start_with(root: PathBuf, plan: &Plan, config: &[u8]) -> Self {
        let program = init_config::memfd().unwrap();
        let config = hostel::sys::memfd::sealed(c"config", config).unwrap();
        let (own, base) = (std::process::id(), FIRST_ID);
        let fd = |fd: &OwnedFd| format!("/proc/{own}/fd/{}", fd.as_raw_fd());
        let mut opened = format!("exec 3<{} 9<{}", fd(&config), fd(&program));
        if let Some(cgroup) = &plan.cgroup {
            opened = format!("{opened} 4<{}", cgroup.display());
        }
        let (mut enter, mut holder) = (String::new(), None);
        if plan.has_user_namespace {
            give(&root, base);
            let namespace = user_namespace(base);
            enter = format!(
                "nsenter --user=/proc/{}/ns/user --setuid 0 --setgid 0",
                namespace.pid()
            );
            holder = Some(namespace);
        }
        let text = format!(
            "{opened}; exec {enter} unshare --fork --kill-child --pid --mount --ipc --uts sh -c \"$1\" sh \"$2\""
        );
        let running = tool("sh", ["-c", &text, "sh", ENTER, root.to_str().unwrap()]).spawn();
        let unshare = running.pid();
        let mut pid = 0;
        let found = eventually(Duration::from_secs(10), || {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
            pid = children
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
            // Its name while the script runs is the shell's.
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("/proc/self/fd/9"))
                || !Path::new(&format!("/proc/{unshare}/exe")).exists()
        });
        assert!(found, "the init does not start");
        drop(holder);
        Self {
            root,
            pid,
            running,
            _open: [program, config],
        }
    }

    /// A log of the guest, and whether the file is there at all.
    pub(super) fn log(&self, name: &str) -> String {
        let path = self.root.join("var/log/hostel").join(name);
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Waits until the log contains `text`, and gives all of it.
    #[track_caller]
    pub(super) fn wait_log(&self, name: &str, text: &str) -> String {
        self.wait(|| self.log(name).contains(text), &format!("{text:?} in {name}"));
        self.log(name)
    }

    /// Waits until `is_so`.
    #[track_caller]
    pub(super) fn wait(&self, is_so: impl FnMut() -> bool, what: &str) {
        let found = eventually(Duration::from_secs(15), is_so);
        assert!(
            found,
            "no {what}; init.log:\n{}\nconsole.log:\n{}",
            self.log("init.log"),
            self.log("console.log")
        );
    }

    /// What the init says of its services.
    pub(super) fn status(&self) -> Vec<ServiceStatus> {
        let path = format!("/proc/{}/root{}", self.pid, init_status::PATH);
        init_status::parse(&fs::read(path).unwrap_or_default())
    }

    pub(super) fn signal(&self, signal: i32) {
        let result = nix::errno::Errno::result(kill(self.pid, signal));
        result.expect("signal the init");
    }

    /// Waits for its end.
    pub(super) fn end(self) -> Output {
        self.running.wait()
    }

    /// Children of process `pid` of the host.
    pub(super) fn children(pid: i32) -> Vec<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Resident memory of process `pid` of the host, in KiB.
    pub(super) fn resident(pid: i32) -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A process in a user namespace with 65,536 ids from `base`.
fn user_namespace(base: u32) -> Running {
    let holder = tool("unshare", ["--user", "sleep", "60"]).spawn();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let pid = holder.pid().to_string();
    assert!(eventually(Duration::from_secs(5), || namespace(&pid) != namespace("self")));
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), format!("0 {base} 65536")).unwrap();
    }
    holder
}

/// nix has no real-time signals, so those go through `kill(1)`.
fn kill(pid: i32, signal: i32) -> i32 {
    match Signal::try_from(signal) {
        Ok(signal) => nix::sys::signal::kill(Pid::from_raw(pid), signal).map_or(-1, |()| 0),
        Err(_) => tool("kill", [format!("-{signal}"), pid.to_string()]).run().status,
    }
}

/// Moves the owners of a tree up by `base`.
fn give(path: &Path, base: u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_symlink() {
        return std::os::unix::fs::lchown(path, Some(base + meta.uid()), Some(base + meta.gid())).unwrap();
    }
    let mode = meta.permissions();
    chown(path, Some(base + meta.uid()), Some(base + meta.gid())).unwrap();
    fs::set_permissions(path, mode).unwrap();
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), base);
        }
    }
}
