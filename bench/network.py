"""Throughput and latency between two guests in bind mode, beside plain loopback and veth pairs on a bridge."""

import json
import operator
import os
import random
import shutil
import statistics
import subprocess
from pathlib import Path

from place import XID

PORT = 5201


def fill(place):
    """Puts iperf3 with its libraries, and pingpong, into the benchmark's root."""
    shutil.copy(place.pingpong, place.root / "bin/pingpong")
    iperf3 = shutil.which("iperf3")
    shutil.copy(iperf3, place.root / "bin/iperf3")
    listed = subprocess.run(["ldd", iperf3], capture_output=True, text=True, check=True).stdout
    for word in listed.split():
        if word.startswith("/"):
            target = place.root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(word), target)


class Path_:
    """One way from a client to a server: prefixes of their commands, and the server's address."""

    def __init__(self, server, client, address):
        self.server, self.client, self.address = server, client, address


SERVER, CLIENT = "10.77.1.1", "10.77.1.2"  # on one stack; a guest's 127.0.0.0/8 reaches no other guest


class Stack:
    """A network stack that stands for the host's, with addresses for two guests on its `lo`, and hostel's BPF
    programs on it. Plain processes and guests in bind mode both use it, so nothing else differs between them."""

    def __init__(self, place):
        self.place = place
        self.name = f"{place.name}-h"[-15:]
        self.run = place.dir / "run-net"
        self.prefix = ["nsenter", f"--net=/run/netns/{self.name}", "--"]

    def __enter__(self):
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        for address in (SERVER, CLIENT):
            ip("-n", self.name, "addr", "add", f"{address}/32", "dev", "lo")
        (self.run / "bpf").mkdir(parents=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", self.run / "bpf"], check=True)
        self.environment = {**self.place.environment, "HOSTEL_CGROUP": f"{self.place.name}/net", "HOSTEL_RUN": str(self.run)}
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def plain(self):
        return Path_(self.prefix, self.prefix, SERVER)

    def guests(self):
        return Path_(self.guest(XID + 41, SERVER), self.guest(XID + 42, CLIENT), SERVER)

    def guest(self, xid, address):
        place = self.place
        return [*self.prefix, str(place.hostel), "context", "--xid", str(xid), "--isolate", "pid,ipc,uts,mount,cgroup,user",
                "--chroot", str(place.root), "--bind", address, "--"]


class Bridge:
    """Two network namespaces joined by veth pairs and a bridge, in a third: nothing of it is on the host's stack."""

    def __init__(self, place):
        self.names = [f"{place.name}-{role}"[-15:] for role in ("b", "s", "c")]

    def __enter__(self):
        bridge, server, client = self.names
        for name in self.names:
            ip("netns", "add", name)
        ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", bridge, "link", "set", "br0", "up")
        for name, address, port in ((server, "10.77.0.1/24", "p1"), (client, "10.77.0.2/24", "p2")):
            ip("-n", bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", bridge, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", address, "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        return Path_(["ip", "netns", "exec", server], ["ip", "netns", "exec", client], "10.77.0.1")

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


# What the kernel itself takes for confining, before a line of hostel's programs has run: cgroups of their own for
# both sides, then a packet filter of two instructions ("allow") on each direction.
EMPTY = """
#include <linux/bpf.h>
__attribute__((section("cgroup_skb/ingress"), used)) int in(struct __sk_buff *packet) { return 1; }
__attribute__((section("cgroup_skb/egress"), used)) int out(struct __sk_buff *packet) { return 1; }
"""


class Steps:
    """Cgroups for the two sides of a plain connection: fresh ones, and ones below empty packet filters."""

    def __init__(self, place, stack):
        self.place, self.stack = place, stack
        self.top = place.cgroup / "steps"

    def __enter__(self):
        self.top.mkdir()
        return self

    def __exit__(self, *_):
        pass  # the cgroups and the BPF file system are the place's; it removes both

    def cgroups(self, name):
        for side in ("server", "client"):
            (self.top / name / side).mkdir(parents=True)
        return Path_(self.joined(name, "server"), self.joined(name, "client"), SERVER)

    def joined(self, name, side):
        procs = self.top / name / side / "cgroup.procs"
        return ["sh", "-c", f'echo $$ >{procs}; exec "$@"', "sh", *self.stack.prefix]

    def filtered(self, name):
        way = self.cgroups(name)
        source, built = self.place.dir / "empty.c", self.place.dir / "empty.o"
        pinned = self.stack.run / "bpf/empty"
        source.write_text(EMPTY)
        include = next(Path("/usr/include").glob("*/asm/types.h")).parent.parent
        run("clang", "-O2", "-target", "bpf", f"-I{include}", "-c", source, "-o", built)
        run("bpftool", "prog", "loadall", built, pinned)
        for program, kind in (("in", "cgroup_inet_ingress"), ("out", "cgroup_inet_egress")):
            run("bpftool", "cgroup", "attach", self.top / name, kind, "pinned", pinned / program, "multi")
        return way


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def on(processor, command):
    """Both sides of a round trip are on one processor, where nothing but their work is measured: no wakeup of the
    other processor, which takes longer and varies by more than everything that is compared here. Real-time, so that
    what else runs on the machine disturbs little. The sides of a stream have a processor each."""
    if processor is None:
        return ["chrt", "--rr", "10", "taskset", "--cpu-list", "0", *command]
    return ["taskset", "--cpu-list", str(processor % os.cpu_count()), *command]


def throughput(place, environment, way, seconds):
    server = place.start(on(0, [*way.server, "iperf3", "-s", "-1", "-B", way.address, "-p", str(PORT), "--forceflush"]),
                         env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in server.stdout:
        if "listening" in line:
            break
    else:
        raise RuntimeError("the server of iperf3 did not start")
    done = subprocess.run(on(1, [*way.client, "iperf3", "-c", way.address, "-p", str(PORT), "-t", str(seconds), "-J"]),
                          env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    server.communicate(timeout=20)
    result = json.loads(done.stdout)
    if "error" in result:
        raise RuntimeError(f"iperf3: {result['error']}")
    return result["end"]["sum_received"]["bits_per_second"] / 1e9


def latency(place, environment, way, kind, seconds):
    """Microseconds: the median round trip."""
    server = place.start(on(None, [*way.server, program(place, way), "serve", way.address, str(PORT + 1)]),
                         env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if server.stdout.readline() != "ready\n":
            raise RuntimeError("the server of pingpong did not start")
        done = subprocess.run(on(None, [*way.client, program(place, way), kind, way.address, str(PORT + 1), str(seconds)]),
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"pingpong: {done.stderr.strip()}")
        return int(done.stdout.split()[1]) / 1000
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def program(place, way):
    return "/bin/pingpong" if str(place.hostel) in way.server else place.pingpong


def measure(place):
    fill(place)
    # Many short rounds: the machine's speed drifts, and each figure is compared with that of the same round.
    seconds, trips, rounds = (1, 0.2, 3) if place.quick else (1, 0.25, 15)
    skipped = {}
    with Bridge(place) as bridge, Stack(place) as stack, Steps(place, stack) as steps:
        environment = stack.environment
        ways = {
            "plain loopback": stack.plain(),
            "plain, two cgroups": steps.cgroups("plain"),
        }
        try:
            ways["the same, empty filters"] = steps.filtered("filtered")
        except (OSError, StopIteration, subprocess.SubprocessError) as error:
            skipped["the same, empty filters"] = f"needs clang, bpftool and the kernel's headers: {error}"
        ways["two guests, bind mode"] = stack.guests()
        ways["veth and bridge"] = bridge
        for name in list(ways):
            try:
                latency(place, environment, ways[name], "rr", 0.2)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                skipped[name] = str(error)
                del ways[name]
        found = {name: {"gbit": [], "rr_us": [], "crr_us": []} for name in ways}
        order = list(ways)
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                found[name]["gbit"].append(throughput(place, environment, ways[name], seconds))
                found[name]["rr_us"].append(latency(place, environment, ways[name], "rr", trips))
                found[name]["crr_us"].append(latency(place, environment, ways[name], "crr", trips))
    base = found.get("plain loopback")
    table = {}
    for name, kinds in found.items():
        row = table[name] = {kind: round(statistics.median(values), 2) for kind, values in kinds.items()}
        for kind, values in kinds.items():
            row[f"{kind}_x"] = round(statistics.median(map(operator.truediv, values, base[kind])), 3) if base else None
    return {"rounds": rounds, "seconds_each": seconds, "seconds_each_latency": trips, "table": table, "skipped": skipped}
