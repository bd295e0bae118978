"""Where the benchmark works: a directory, a cgroup and hostel's own paths, all its own and all removed at the end."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

XID = 700  # the first context id of the benchmark; guests of a benchmark use the following ones
APPLETS = "sh true sleep cat ls mount umount mkdir ps kill env echo".split()


def cgroup2():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split()[0] == "cgroup2":
            return Path(fields.split()[4])
    raise RuntimeError("no cgroup2 is mounted")


class Place:
    def __init__(self, args):
        self.args = args
        self.quick = args.quick
        self.rounds = args.rounds
        self.hostel = args.hostel.resolve()
        self.name = f"hostel-bench-{os.getpid()}"
        self.cgroup = cgroup2() / self.name
        self.processes = []
        self.pivots = self.lxc_pivots()
        self.addresses = self.loopbacks()
        self.environment = None

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="hostel-bench-", dir="/var/tmp"))
        try:
            return self.furnish()
        except BaseException:
            self.__exit__()
            raise

    def furnish(self):
        self.dir.chmod(0o755)
        self.hostel = self.installed(self.hostel)
        self.root = self.busybox_root("root")
        self.floor = self.compile("floor", "-static")
        self.pingpong = self.compile("pingpong", "-static")
        self.cgroup.mkdir()
        # A BPF file system of its own: unmounted at the end, it takes every program and map of the run with it.
        (self.dir / "run/bpf").mkdir(parents=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", self.dir / "run/bpf"], check=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOSTEL_ROOT": str(self.dir / "state"),
            "HOSTEL_CGROUP": f"{self.name}/hostel",
            "HOSTEL_RUN": str(self.dir / "run"),
        }
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self.environment:  # after an interrupted part there are guests still
            left = self.run("ls", "--quiet", check=False).stdout.split()
            if left:
                self.run("destroy", "--force", *left, check=False)
        self.remove_cgroups()
        for address in self.loopbacks() - self.addresses:
            subprocess.run(["ip", "addr", "del", address, "dev", "lo"], check=False, capture_output=True)
        for pivot in self.lxc_pivots() - self.pivots:
            pivot.rmdir()
        self.unmount()
        shutil.rmtree(self.dir, ignore_errors=True)

    def unmount(self):
        """Unmounts what was mounted in the benchmark's directory, so that removing it reaches nothing else."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        for target in reversed([line.split()[4] for line in lines]):
            if target.startswith(f"{self.dir}/"):
                subprocess.run(["umount", target], check=True)

    @staticmethod
    def loopbacks():
        """The `::1` of guests with the benchmark's numbers, which a killed hostel leaves on `lo`."""
        numbers = {f"fd68:6f73:7465:6c::{number:x}/128" for number in range(XID, XID + 500)}
        listed = subprocess.run(["ip", "-6", "-o", "addr", "show", "dev", "lo"], capture_output=True, text=True).stdout
        return numbers & set(listed.split())

    @staticmethod
    def lxc_pivots():
        """The empty cgroup that LXC leaves in every hierarchy."""
        top = Path("/sys/fs/cgroup")
        return {*top.glob("lxc.pivot"), *top.glob("*/lxc.pivot")}

    def remove_cgroups(self):
        """Kills what is left in the benchmark's own cgroups, of either version, and removes them."""
        for mount in {self.cgroup.parent, *Path("/sys/fs/cgroup").glob("*")}:
            top = mount / self.name
            if not top.is_dir():
                continue
            for directory in sorted(top.rglob("*"), reverse=True):
                if directory.is_dir():
                    self.empty(directory)
            self.empty(top)

    @staticmethod
    def empty(directory):
        for _ in range(100):
            try:
                for pid in (directory / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                directory.rmdir()
                return
            except (OSError, ProcessLookupError):
                if not directory.exists():
                    return
                time.sleep(0.02)

    def busybox_root(self, name):
        root = self.dir / name
        for directory in "bin dev etc proc root run sbin sys tmp usr/bin usr/lib var".split():
            (root / directory).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/os-release").write_text("ID=bench\n")
        return root

    def compile(self, name, *flags):
        source = Path(__file__).parent / f"{name}.c"
        subprocess.run(["cc", "-O2", *flags, "-o", self.dir / name, source], check=True)
        return self.installed(self.dir / name)

    def installed(self, program):
        """A copy, as `install` makes: what a linker has written lies in smaller pieces in the page cache, and starts slower
        than the peers, which came in packages."""
        there = self.dir / "bin" / program.name
        there.parent.mkdir(exist_ok=True)
        shutil.copy(program, there)
        return str(there)

    def run(self, *command, check=True, timeout=600, **options):
        """Runs a hostel command and returns it completed."""
        done = subprocess.run(
            [self.hostel, *command], env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, **options,
        )
        if check and done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise RuntimeError(f"hostel {command[0]} ended with {done.returncode}: {' / '.join(lines[:3])}")
        return done

    def start(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process
