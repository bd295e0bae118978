"""Runs the benchmarks and writes their report. Started by scripts/dev/bench; docs/benchmarks.md says what it measures."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import files
import lua
import many
import memory
import network
import report
import start
from place import Place

PARTS = {
    "start": start.measure,
    "memory": memory.measure,
    "network": network.measure,
    "many": many.measure_guests,
    "plan": many.measure_plan,
    "lua": lua.measure,
    "files": files.measure,
}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/dev/bench")
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the start benchmark")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to try the benchmark itself")
    parser.add_argument("--hostel", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release/hostel")
    args = parser.parse_args()
    args.only = args.only.split(",")
    for part in args.only:
        if part not in PARTS:
            parser.error(f"no part `{part}`; there are {', '.join(PARTS)}")
    if args.quick:
        args.rounds = min(args.rounds, 6)
    return args


def interrupted(number, _):
    """Ends the run by way of every clean-up on the way out."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # the clean-up is not interrupted again
    sys.exit(128 + number)


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    args = arguments()
    for each in ENDING:
        signal.signal(each, interrupted)
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": report.machine(), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "parts": {}}
    with Place(args) as place:
        for part in args.only:
            print(f"bench: {part}", file=sys.stderr, flush=True)
            began = time.monotonic()
            try:
                results["parts"][part] = PARTS[part](place)
            except Exception as error:  # one part that cannot run must not cost the others' figures
                results["parts"][part] = {"error": f"{type(error).__name__}: {error}"}
            results["parts"][part]["seconds"] = round(time.monotonic() - began, 1)
    (args.out / "bench.json").write_text(json.dumps(results, indent=2) + "\n")
    text = report.markdown(results)
    (args.out / "bench.md").write_text(text)
    print(text)
    return 1 if any("error" in part for part in results["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
