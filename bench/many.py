"""Many guests: starting them in one apply, listing them, and planning without starting any."""

import statistics
import time

from memory import available, settled
from place import XID

COUNTS = (1, 10, 100, 300)


def recipe(place, count):
    path = place.dir / f"many{count}.lua"
    path.write_text(
        f'for i = 1, {count} do\n  guest(("many%04d"):format(i)) {{\n    xid = {XID} + 100 + i, image = "busybox",\n'
        '    net = { mode = "bind", address = { ("127.77.%d.%d/8"):format(i // 200, i % 200 + 1) } },\n'
        '    services = { idle = { exec = { "/bin/sleep", "1000" } } },\n  }\nend\n'
    )
    return str(path)


def names(count):
    return [f"many{number:04}" for number in range(1, count + 1)]


def timed(place, *command, codes=(0,)):
    began = time.perf_counter()
    done = place.run(*command, check=False)
    took = time.perf_counter() - began
    if done.returncode not in codes:
        raise RuntimeError(f"hostel {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[:300]}")
    return took


def measure_guests(place):
    table = {}
    warm = recipe(place, 1)
    place.run("apply", warm)  # the image is built once and cached
    place.run("destroy", "--force", *names(1))
    for count in COUNTS[:3] if place.quick else COUNTS:
        path = recipe(place, count)
        free = settled()
        took = timed(place, "apply", path)
        try:
            listed = statistics.median(timed(place, "ls") for _ in range(15))
            again = timed(place, "apply", path)
            used = free - available()
        finally:
            began = time.perf_counter()
            place.run("destroy", "--force", *names(count), check=False)
            gone = time.perf_counter() - began
        table[str(count)] = {
            "apply_s": round(took, 3),
            "guests_a_second": round(count / took, 1),
            "apply_again_s": round(again, 3),
            "ls_ms": round(listed * 1000, 1),
            "free_memory_kb_each": round(used / count),
            "destroy_ms_each": round(gone / count * 1000, 1),
        }
    return {"table": table}


def measure_plan(place):
    """Evaluating a recipe and planning it against a host that has none of its guests."""
    table = {}
    for count in (1, 1000):
        path = recipe(place, count)
        took = [timed(place, "plan", path, codes=(0, 2)) for _ in range(3 if place.quick else 11)]
        table[str(count)] = {"median_ms": round(statistics.median(took) * 1000, 1), "best_ms": round(min(took) * 1000, 1)}
    return {"table": table}
