"""Resident memory of an idle guest: everything that the tool keeps for it, without the guest's own process."""

import os
import signal
import subprocess
import time
from pathlib import Path

from place import XID
from start import lxc

GUESTS = 10


def rollup(pid, *fields):
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if any(name == field or field.endswith("_") and name.startswith(field) for field in fields):
            total += int(rest.split()[0])
    return total


def processes():
    """Every process: pid -> (parent, command name, command line)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        parent = int(stat[stat.rindex(")") + 2 :].split()[1])
        found[int(entry.name)] = (parent, name, line)
    return found


def available():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    return 0


def settled():
    """Free memory, when it has stopped moving."""
    last = available()
    for _ in range(20):
        time.sleep(0.2)
        current = available()
        if abs(current - last) < 200:
            return current
        last = current
    return last


def weigh(pids, free_before, guests):
    """The tool's share of each of `guests` guests, which together are the processes `pids()`."""
    time.sleep(0.5)
    own = {pid: found for pid, found in pids().items() if not is_payload(found)}
    pss = sum(rollup(pid, "Pss") for pid in own if readable(pid))
    private = sum(rollup(pid, "Private_") for pid in own if readable(pid))
    free = free_before - settled()
    return {
        "processes": round(len(own) / guests, 2),
        "pss_kb": round(pss / guests),
        "private_kb": round(private / guests),
        "free_memory_kb": round(free / guests),
        "names": sorted({name for _, name, _ in own.values()}),
    }


def readable(pid):
    try:
        return rollup(pid, "Rss") > 0
    except OSError:
        return False


def is_payload(found):
    """The guest's own process: `sleep`, run by the tool and the same for all."""
    _, name, line = found
    return name in ("sleep", "busybox") and line.endswith("sleep 1000")


def each(place, started):
    """Starts GUESTS guests with `started(number)`, weighs them, and ends the processes it returned."""
    free = settled()
    running = [started(number) for number in range(GUESTS)]
    tops = [process.pid for process in running]
    try:
        wait_payloads(lambda: descendants(tops), GUESTS)
        return weigh(lambda: descendants(tops), free, GUESTS)
    finally:
        for process in running:
            end(process)


def wait_payloads(pids, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if sum(is_payload(found) for found in pids().values()) >= count:
            return
        time.sleep(0.1)
    raise RuntimeError("the guests did not start within a minute")


def end(process):
    """Ends what a tool was started as: its payload first, so that it cleans up after itself."""
    for pid, found in descendants([process.pid]).items():
        if is_payload(found):
            os.kill(pid, signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def descendants(tops):
    """The processes `tops` and all that they started."""
    tree = processes()
    found = {pid for pid in tops if pid in tree}
    grew = True
    while grew:
        more = {pid for pid, (parent, _, _) in tree.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return {pid: tree[pid] for pid in found}


def of_hostel(place):
    """What is in the guests' cgroups, and every process of hostel's own binary on the host."""
    tree, found = processes(), set()
    for listed in place.cgroup.rglob("cgroup.procs"):
        found.update(int(pid) for pid in listed.read_text().split())
    for pid in tree:
        try:
            if os.readlink(f"/proc/{pid}/exe").startswith(str(place.hostel)):
                found.add(pid)
        except OSError:
            continue
    return {pid: tree[pid] for pid in found if pid in tree}


def hostel(place):
    recipe = place.dir / "memory.lua"
    recipe.write_text(
        f'for i = 1, {GUESTS} do\n  guest(("idle%d"):format(i)) {{\n    xid = {XID} + i, image = "busybox",\n'
        '    services = { idle = { exec = { "/bin/sleep", "1000" } } },\n  }\nend\n'
    )
    free = settled()
    try:
        place.run("apply", str(recipe))
        wait_payloads(lambda: of_hostel(place), GUESTS)
        return weigh(lambda: of_hostel(place), free, GUESTS)
    finally:
        place.run("destroy", "--force", *(f"idle{number}" for number in range(1, GUESTS + 1)), check=False)


def measure(place):
    payload = ["/bin/sleep", "1000"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    config = lxc(place)[4]

    def start_lxc(number):
        return place.start(["lxc-execute", "-n", f"{place.name}-{number}", "-f", config, "--", *payload], **quiet)

    roots = [place.busybox_root(f"nspawn{number}") for number in range(GUESTS)]

    def start_nspawn(number):
        return place.start(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", roots[number], "-M", f"{place.name}-{number}",
             "--as-pid2", "--console=pipe", *payload], **quiet)

    table, skipped = {}, {}
    for name, weighed in {
        "hostel": lambda: hostel(place),
        "LXC": lambda: each(place, start_lxc),
        "systemd-nspawn": lambda: each(place, start_nspawn),
    }.items():
        try:
            table[name] = weighed()
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            skipped[name] = str(error)
    return {"guests": GUESTS, "table": table, "skipped": skipped}
