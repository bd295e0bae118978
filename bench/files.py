"""Files: cloning a Debian guest, sharing what is equal in ten of them, and carrying one away; beside the peers.

Each kind of file system is an image of the run's own, mounted by a loop device; ext4 is the disk itself where that is
ext4 and nothing is asked of its free space. Contenders that share a figure's row
work on the same trees, in random order; what is made is removed outside of the measured time.
"""

import os
import random
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from place import XID

SIZE = 16 << 30
FILESYSTEMS = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
}
SERVICES = 'services = { idle = { exec = { "/bin/sleep", "100000" } } }'
GUESTS = 10


def shell(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[:300]}")
    return done.stdout


class Volume:
    """A file system with a hostel of its own. With `may_be_host`, the disk of the run itself where that is one of the
    kind: a flush through a loop device takes two."""

    def __init__(self, place, kind, name=None, may_be_host=False):
        self.place = place
        self.kind = kind
        self.dir = place.dir / (name or kind)
        self.dir.mkdir()
        self.image = place.dir / f"{self.dir.name}.img"
        self.is_host = may_be_host and shell("findmnt", "-no", "FSTYPE", "-T", str(place.dir)).strip() == kind
        if not self.is_host:
            with self.image.open("wb") as file:
                file.truncate(SIZE)
            shell(*FILESYSTEMS[kind], str(self.image))
            shell("mount", "-o", "loop", str(self.image), str(self.dir))
        self.environment = {**place.environment, "HOSTEL_ROOT": str(self.dir / "state")}

    def hostel(self, *command, stdout=subprocess.PIPE):
        command = [self.place.hostel, *command]
        done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(f"hostel {command[1]} ended with {done.returncode}: {done.stderr.decode().strip()[:300]}")
        return done.stdout

    def source(self, tree, storage, *names):
        """Guests of that tree, which do not run."""
        names = names or ("source",)
        recipe = self.dir / "recipe.lua"
        image = f'image = "dir:{tree}", storage = "{storage}", {SERVICES}'
        recipe.write_text("\n".join(f'guest "{name}" {{ {image} }}' for name in names) + "\n")
        self.hostel("build", str(recipe))

    def used(self):
        """What it holds, in bytes, when all is written."""
        os.sync()
        stat = os.statvfs(self.dir)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def close(self):
        if self.is_host:
            shutil.rmtree(self.dir)
            return
        shell("umount", str(self.dir))
        self.dir.rmdir()
        self.image.unlink()


def debian(place):
    """The tree of a plain Debian, and how much it is."""
    recipe = place.dir / "debian.lua"
    recipe.write_text(f'guest "debian" {{ xid = {XID}, image = "debian:bookworm", storage = "dir" }}\n')
    place.run("build", str(recipe))
    tree = place.dir / "state/guests/debian/rootfs"
    files = sum(len(files) for _, _, files in os.walk(tree))
    return tree, {"files": files, "mb": round(int(shell("du", "-sk", str(tree)).split()[0]) / 1024)}


def timed(work):
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def interleaved(rounds, contenders):
    """`contenders`: name -> (work, undo). Medians and best times in milliseconds."""
    took = {name: [] for name in contenders}
    for number in range(rounds + 1):  # the first warms the caches and is dropped
        order = list(contenders)
        random.shuffle(order)
        for name in order:
            work, undo = contenders[name]
            spent = timed(work)
            undo()
            if number:
                took[name].append(spent)
    return {name: {"median_ms": statistics.median(all_), "best_ms": min(all_)} for name, all_ in took.items()}


EACH = ", each"  # of ten, of which the time is a tenth


def clones(place, tree, table, skipped):
    rounds = 2 if place.quick else 9
    for kind, storages in (("btrfs", ("btrfs", "reflink")), ("xfs", ("reflink",)), ("ext4", ("overlay", "dir"))):
        volume = Volume(place, kind, may_be_host=True)
        try:
            contenders = {}
            for storage in storages:
                volume.source(tree, storage, f"s-{storage}")

                def remove(name):
                    volume.hostel("destroy", "--force", name)

                def clone(storage=storage):
                    volume.hostel("clone", f"s-{storage}", f"c-{storage}")

                def both(storage=storage):
                    volume.hostel("clone", f"s-{storage}", f"c-{storage}", "--start")

                contenders[f"hostel clone, {storage}"] = (clone, lambda storage=storage: remove(f"c-{storage}"))
                contenders[f"hostel clone and start, {storage}"] = (both, lambda storage=storage: remove(f"c-{storage}"))
            copy, peer = volume.dir / "copy", volume.dir / "peer"
            if kind == "btrfs":
                shell("btrfs", "subvolume", "create", str(peer))
                shell("cp", "-a", f"{tree}/.", str(peer))
                contenders["btrfs subvolume snapshot"] = (
                    lambda: shell("btrfs", "subvolume", "snapshot", str(peer), str(copy)),
                    lambda: shell("btrfs", "subvolume", "delete", str(copy)),
                )
                ten = [str(volume.dir / f"copy{number}") for number in range(1, 11)]
                contenders["hostel clone --count 10, btrfs" + EACH] = (
                    lambda: volume.hostel("clone", "s-btrfs", "ten1", "--count", "10"),
                    lambda: volume.hostel("destroy", "--force", *(f"ten{number}" for number in range(1, 11))),
                )
                contenders["btrfs subvolume snapshot, ten of them" + EACH] = (
                    lambda: [shell("btrfs", "subvolume", "snapshot", str(peer), copy) for copy in ten],
                    lambda: shell("btrfs", "subvolume", "delete", *ten),
                )
            else:
                shell("cp", "-a", str(tree), str(peer))
            if kind != "ext4":
                contenders["cp -a --reflink"] = (
                    lambda: shell("cp", "-a", "--reflink=always", str(peer), str(copy)), lambda: shutil.rmtree(copy))
            else:
                contenders["cp -a"] = (lambda: shell("cp", "-a", str(peer), str(copy)), lambda: shutil.rmtree(copy))
                lxc(volume, peer, contenders, skipped)
            os.sync()
            for name, row in interleaved(rounds, contenders).items():
                if name.endswith(EACH):
                    row = {what: took / 10 for what, took in row.items()}
                table[f"{kind}: {name}"] = row
            volume.hostel("destroy", "--force", *(f"s-{storage}" for storage in storages))
        finally:
            volume.close()


def lxc(volume, tree, contenders, skipped):
    """A container of LXC with that tree, which lxc-copy copies with `rsync` or lays a layer over."""
    if not shutil.which("lxc-copy"):
        skipped["lxc-copy"] = "not installed"
        return
    base = volume.dir / "lxc"
    (base / "source").mkdir(parents=True)
    shell("cp", "-a", str(tree), str(base / "source/rootfs"))
    (base / "source/config").write_text(
        f"lxc.rootfs.path = dir:{base}/source/rootfs\nlxc.uts.name = source\nlxc.net.0.type = none\n")

    def copy(*more):
        shell("lxc-copy", "-P", str(base), "-n", "source", "-N", "copy", *more)

    def destroy():
        shell("lxc-destroy", "-P", str(base), "-n", "copy")

    for name, more in (("lxc-copy", ()), ("lxc-copy, overlay", ("-s", "-B", "overlay"))):
        try:
            copy(*more)
            destroy()
        except RuntimeError as error:
            skipped[name] = str(error)
            shutil.rmtree(base / "copy", ignore_errors=True)
            continue
        contenders[name] = (lambda more=more: copy(*more), destroy)


def share(place, tree, table, skipped):
    """Ten trees that are equal and know nothing of each other. Disk is a multiple of what one of them takes."""
    guests = 3 if place.quick else GUESTS
    for kind, contenders in (
        ("xfs", {
            "hostel unify, reflink": None,
            "hostel unify --min-size 1, reflink": None,
            "duperemove": ["duperemove", "-rdhq"],
        }),
        ("ext4", {
            "hostel unify, overlay": None,
            "rdfind (hard links)": ["rdfind", "-makehardlinks", "true", "-makeresultsfile", "false"],
            "jdupes (hard links)": ["jdupes", "-r", "-L", "-q"],
            "hardlink (hard links)": ["hardlink", "-q"],
        }),
    ):
        for name, command in contenders.items():
            if command and not shutil.which(command[0]):
                skipped[name] = "not installed"
                continue
            volume = Volume(place, kind, f"share-{kind}")
            try:
                empty = volume.used()
                if command:
                    trees = [volume.dir / f"tree{number}" for number in range(guests)]
                    one = None
                    for target in trees:
                        shell("cp", "-a", "--reflink=never", str(tree), str(target))
                        one = one or volume.used() - empty
                    record = ["--hashfile", str(volume.dir / "hashes")] if command[0] == "duperemove" else []

                    def work():
                        # duperemove ends with 1 where a file could not be read, as a link that leads nowhere.
                        subprocess.run([*command, *record, *map(str, trees)], capture_output=True, cwd=volume.dir)
                else:
                    storage = name.rpartition(" ")[2]
                    options = ["--min-size", "1"] if "--min-size" in name else []
                    names = [f"g{number}" for number in range(guests)]
                    volume.source(tree, storage, names[0])
                    one = volume.used() - empty
                    for other in names[1:]:
                        volume.source(tree, storage, other)

                    def work(*more):
                        volume.hostel("unify", *options, *more)

                before = volume.used() - empty
                # Nothing has been written for a while; cold for nobody, for it fits into memory.
                time.sleep(2)
                first, second = timed(work), None
                after = volume.used() - empty
                second = timed(work)
                table[f"{kind}: {name}"] = {
                    "first_s": first / 1000, "again_s": second / 1000, "before": before / one, "after": after / one,
                }
                if not command:
                    if storage == "reflink":
                        # As if each had run: every tree is walked.
                        walked = timed(lambda: work("--full"))
                        table[f"{kind}: {name}, again --full"] = {
                            "first_s": first / 1000, "again_s": walked / 1000, "before": before / one, "after": after / one,
                        }
                    volume.hostel("destroy", "--force", *names)
            finally:
                volume.close()
    shared_image(place, tree, table, guests)


def shared_image(place, tree, table, guests):
    """Guests of one image, on what ext4 gets, in each of which /usr/share has been written anew, as by the same upgrade."""
    volume = Volume(place, "ext4", "share-image")
    archive = place.dir / "debian.tar"
    names = [f"g{number}" for number in range(guests)]
    try:
        shell("tar", "--xattrs", "--numeric-owner", "-cf", str(archive), "-C", str(tree), ".")
        empty = volume.used()
        alone = one = None
        for number, name in enumerate(names):
            recipe = volume.dir / "recipe.lua"
            recipe.write_text(f'guest "{name}" {{ xid = {XID + number}, image = "tar:{archive}", {SERVICES} }}\n')
            volume.hostel("apply", str(recipe))
            alone = alone or volume.used() - empty
        fresh = volume.used() - empty
        table["ext4: hostel, guests of one image as they start"] = {"before": fresh / alone, "after": fresh / alone}
        for name in names:
            volume.hostel("exec", name, "--", "sh", "-ec", "cd /usr; cp -a share new; rm -r share; mv new share")
            volume.hostel("stop", name)
            # What one of them takes that is alone.
            one = one or volume.used() - empty - (fresh - alone)
        before = volume.used() - empty
        first = timed(lambda: volume.hostel("unify"))
        after = volume.used() - empty
        again = timed(lambda: volume.hostel("unify"))
        table["ext4: hostel unify, guests of one image"] = {
            "first_s": first / 1000, "again_s": again / 1000, "before": before / one, "after": after / one,
        }
        volume.hostel("destroy", "--force", *names)
    finally:
        archive.unlink(missing_ok=True)
        volume.close()


def carry(place, tree, table):
    rounds = 1 if place.quick else 5
    volume = Volume(place, "ext4", "carry", may_be_host=True)
    try:
        volume.source(tree, "dir", "source")
        files = volume.dir / "state/guests/source/rootfs"
        ours, theirs, out = volume.dir / "ours.tar.zst", volume.dir / "theirs.tar.zst", volume.dir / "out"
        flags = ["--xattrs", "--acls", "--sparse", "--numeric-owner"]

        def unpack():
            out.mkdir()
            shell("tar", "--zstd", *flags, "-xpf", str(theirs), "-C", str(out))
            os.sync()

        made = interleaved(rounds, {
            "hostel export": (lambda: volume.hostel("export", "source", "--force", "-o", str(ours)), lambda: None),
            "tar --zstd -c": (lambda: shell("tar", "--zstd", *flags, "-cf", str(theirs), "-C", str(files), "."), lambda: None),
        })
        read = interleaved(rounds, {
            "hostel import": (
                lambda: volume.hostel("import", str(ours), "--name", "again", "--storage", "dir"),
                lambda: volume.hostel("destroy", "--force", "again"),
            ),
            "tar --zstd -x, sync": (unpack, lambda: shutil.rmtree(out)),
        })
        for name, row in {**made, **read}.items():
            table[name] = row
        table["hostel export"]["mb"] = ours.stat().st_size / 2**20
        table["tar --zstd -c"]["mb"] = theirs.stat().st_size / 2**20
        volume.hostel("destroy", "--force", "source")
    finally:
        volume.close()


def measure(place):
    tree, what = debian(place)
    part = {"tree": what, "guests": 3 if place.quick else GUESTS, "clone": {}, "share": {}, "carry": {}, "skipped": {}}
    clones(place, tree, part["clone"], part["skipped"])
    share(place, tree, part["share"], part["skipped"])
    carry(place, tree, part["carry"])
    place.run("destroy", "--force", "debian")
    return part
