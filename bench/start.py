"""Start, run /bin/true, clean up: hostel beside a C floor and the peers, in interleaved rounds."""

import json
import os
import random
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from place import XID

KEPT = "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot audit_write setfcap"


def contenders(place):
    """Each contender: its name, its command, and what it sets up."""
    root, xid = str(place.root), str(XID)
    hostel = str(place.hostel)
    full = [
        hostel, "context", "--xid", xid, "--hostname", "bench", "--isolate", "pid,ipc,uts,mount,cgroup,user",
        "--chroot", root, "--bind", f"127.{XID >> 8}.{XID & 255}.1", "--cap-only", KEPT.replace(" ", ","), "--", "/bin/true",
    ]
    common = [hostel, "context", "--xid", xid, "--hostname", "bench", "--isolate", "pid,ipc,uts,mount,cgroup,user",
              "--chroot", root, "--", "/bin/true"]
    return {
        "hostel": (full, "user, pid, ipc, uts, mount, cgroup; idmapped root; cgroup; BPF bind; capabilities; Landlock; masks"),
        "hostel, as bubblewrap": (common, "the same without BPF bind"),
        "C floor": ([place.floor, root, str(place.cgroup), str(XID + 1), "/bin/true"], "the kernel calls of `hostel`, but for its BPF maps"),
        "C floor, bare": ([place.floor, "-b", root, "/bin/true"], "pid, ipc, uts, mount; pivot, /proc"),
        "unshare": (["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--root", root,
                     "--mount-proc", "/bin/true"], "pid, ipc, uts, mount, cgroup; chroot, /proc"),
        "bubblewrap": (["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
                        "--uid", "0", "--gid", "0", "--hostname", "bench", "--bind", root, "/", "--proc", "/proc",
                        "--dev", "/dev", "/bin/true"], "user, pid, ipc, uts, mount, cgroup; one id; /dev, /proc"),
        "lxc-execute": (lxc(place), "pid, ipc, uts, mount, cgroup; cgroups; capabilities; no user ids"),
        "runc": (runc(place), "pid, ipc, uts, mount, cgroup; cgroups; capabilities; seccomp; no user ids"),
        "systemd-nspawn": (["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", root, "-M", place.name,
                            "--as-pid2", "--console=pipe", "/bin/true"], "pid, ipc, uts, mount; seccomp; no user ids"),
    }


def lxc(place):
    config = place.dir / "lxc.conf"
    config.write_text(
        f"lxc.rootfs.path = dir:{place.root}\nlxc.uts.name = bench\nlxc.net.0.type = none\nlxc.autodev = 1\n"
        f"lxc.mount.auto = proc:mixed sys:ro\nlxc.cap.keep = {KEPT}\n"
    )
    return ["lxc-execute", "-n", f"{place.name}-lxc", "-f", str(config), "--", "/bin/true"]


def runc(place):
    bundle = place.dir / "bundle"
    bundle.mkdir(exist_ok=True)
    if shutil.which("runc") is None:
        return ["runc"]
    (bundle / "config.json").unlink(missing_ok=True)
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/true"])
    config["root"] = {"path": str(place.root), "readonly": False}
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
    (bundle / "config.json").write_text(json.dumps(config))
    # Not the benchmark's own name: runc makes, and removes, a cgroup of the container's name.
    return ["runc", "run", "-b", str(bundle), f"{place.name}-runc"]


def once(command, environment, actions):
    """Milliseconds from spawn to the reaped end, and the exit code."""
    began = time.perf_counter_ns()
    pid = os.posix_spawnp(command[0], command, environment, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    return (time.perf_counter_ns() - began) / 1e6, os.waitstatus_to_exitcode(status)


def usable(command, environment):
    """Why a contender cannot run here, or None."""
    if shutil.which(command[0]) is None:
        return "not installed"
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return "did not end within 30 s"
    if done.returncode == 0:
        return None
    said = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
    return f"exit code {done.returncode}: {said}"


def measure(place):
    skipped, running = {}, {}
    for name, (command, sets_up) in contenders(place).items():
        reason = usable(command, place.environment)
        if reason:
            skipped[name] = reason
        else:
            running[name] = (command, sets_up)
    times = {name: [] for name in running}
    said = place.dir / "stderr"
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    actions.append((os.POSIX_SPAWN_OPEN, 2, str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    order = list(running)
    for number in range(place.rounds + 3):
        random.shuffle(order)
        for name in order:
            took, code = once(running[name][0], place.environment, actions)
            if code != 0:
                raise RuntimeError(f"{name} ended with {code} in round {number}: {said.read_text().strip()}")
            if number >= 3:  # the first rounds fill the caches
                times[name].append(took)
    # nspawn leaves a directory behind for every name it was given.
    leftover = Path("/run/systemd/nspawn/propagate") / place.name
    if leftover.is_dir():
        leftover.rmdir()
    table = {
        name: {
            "median_ms": round(statistics.median(took), 3),
            "best_ms": round(min(took), 3),
            "p90_ms": round(statistics.quantiles(took, n=10)[8], 3) if len(took) > 1 else None,
            "sets_up": running[name][1],
        }
        for name, took in times.items()
    }
    return {"rounds": place.rounds, "table": table, "skipped": skipped}
