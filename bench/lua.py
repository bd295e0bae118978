"""Evaluation of recipes, in process and in its child, and what `hostel --help` costs."""

import json
import statistics
import subprocess
import time
from pathlib import Path

# (what, goal in ms); what stands behind a minus is taken away: the same recipe without its mistakes.
GOALS = (
    ("state with hostel.net, plain", None, 0.2),
    ("hostel check, 1,000 guests", None, 50),
    ("hostel check, 10,000 guests", None, 500),
    ("20,000 lines, 1 mistake", "20,000 lines, right", 20),
    ("20,000 lines, 200 mistakes", "20,000 lines, right", 20),
    ("hostel --help", None, 5),
)


def spawned(command, rounds):
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        took.append((time.perf_counter() - began) * 1000)
    return {"median_ms": statistics.median(took), "best_ms": min(took)}


def measure(place):
    rounds = 3 if place.quick else 15
    program = ["cargo", "run", "--quiet", "--release", "--example", "bench-lua", "--", str(rounds)]
    part = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    table = part["table"]
    fleet = (Path(__file__).parent / "fleet.lua").read_text()
    for count in (1000, 10000):
        recipe = place.dir / f"fleet{count}.lua"
        recipe.write_text(fleet.replace("COUNT", str(count)))
        table[f"hostel check, {count:,} guests"] = spawned([str(place.hostel), "check", str(recipe)], rounds * 2)
    table["hostel --help"] = spawned([str(place.hostel), "--help"], rounds * 3)
    part["goals"] = {}
    for what, without, goal in GOALS:
        row = {kind: table[what][kind] - (table[without][kind] if without else 0) for kind in ("median_ms", "best_ms")}
        part["goals"][what] = {**row, "goal_ms": goal}
    part["ratio"] = {
        kind: table[f"{kind}, hermetic"]["median_ms"] / table[f"{kind}, plain"]["median_ms"]
        for kind in ("state with hostel.net", "1,000 guests", "10,000 guests")
    }
    return part
