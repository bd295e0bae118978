"""The figures as a page of Markdown, with ratios: milliseconds of one machine say little about another."""

import os
import platform
from pathlib import Path


def machine():
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    total = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    return {"kernel": platform.release(), "processors": os.cpu_count(), "model": model, "memory_kb": int(total)}


def rows(header, body):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in body]
    return lines


def ratio(value, base):
    return f"{value / base:.2f}" if value and base else ""


def start(part):
    table = part["table"]
    base = table.get("C floor", {}).get("median_ms")
    own = table.get("hostel", {}).get("median_ms")
    body = [
        (name, f"{row['median_ms']:.2f}", f"{row['best_ms']:.2f}", ratio(row["median_ms"], base),
         ratio(row["median_ms"], own), row["sets_up"])
        for name, row in sorted(table.items(), key=lambda item: item[1]["median_ms"])
    ]
    head = f"Start, run /bin/true, clean up: {part['rounds']} interleaved rounds."
    return [head, "", *rows(("", "median ms", "best ms", "x floor", "x hostel", "sets up"), body)]


def memory(part):
    body = [(name, row["pss_kb"], row["private_kb"], row["free_memory_kb"], row["processes"], ", ".join(row["names"]))
            for name, row in part["table"].items()]
    head = f"Memory a guest, of {part['guests']} idle ones, without the guest's own process (free memory with it), kB."
    return [head, "", *rows(("", "PSS", "private", "free memory", "processes", "which"), body)]


def difference(times):
    return "" if times is None else f"{(times - 1) * 100:+.1f} %"


def network(part):
    table = part["table"]
    body = [
        (name, *(text for kind in ("gbit", "rr_us", "crr_us") for text in (f"{row[kind]:.2f}", difference(row[kind + "_x"]))))
        for name, row in table.items()
    ]
    head = (f"Network, medians of {part['rounds']} interleaved rounds, {part['seconds_each']} s for throughput and "
            f"{part['seconds_each_latency']} s for each latency; the differences are medians of those within a round.")
    return [head, "", *rows(("", "Gbit/s", "", "round trip us", "", "connect and round trip us", ""), body)]


def many(part):
    body = [(count, row["apply_s"], row["guests_a_second"], row["apply_again_s"], row["ls_ms"], row["free_memory_kb_each"],
             row["destroy_ms_each"]) for count, row in part["table"].items()]
    header = ("guests", "apply s", "guests/s", "apply again s", "ls ms", "free memory kB each", "destroy ms each")
    return ["Many guests of the busybox image in one apply, bind mode, hostel's init.", "", *rows(header, body)]


def plan(part):
    body = [(count, row["median_ms"], row["best_ms"]) for count, row in part["table"].items()]
    return ["Evaluation and plan of a recipe with a loop.", "", *rows(("guests", "median ms", "best ms"), body)]


def lua(part):
    body = [(what, f"{row['median_ms']:.2f}", f"{row['best_ms']:.2f}") for what, row in part["table"].items()]
    goals = [(what, row["goal_ms"], f"{row['median_ms']:.2f}", f"{row['best_ms']:.2f}") for what, row in part["goals"].items()]
    times = ", ".join(f"{what} {value:.2f}" for what, value in part["ratio"].items())
    return [
        f"Evaluation of recipes to validated specifications, {part['rounds']} interleaved rounds.", "",
        *rows(("", "median ms", "best ms"), body), "",
        "Against the goals; of a large file with mistakes, what the mistakes add.", "",
        *rows(("", "goal ms", "median ms", "best ms"), goals), "",
        f"Hermetic as a multiple of plain: {times}.",
    ]


def files(part):
    times = lambda table: [(name, f"{row['median_ms']:.1f}", f"{row['best_ms']:.1f}") for name, row in table.items()]
    # What starts out shared has nothing to run.
    runs = lambda row: ((f"{row['first_s']:.2f}", f"{row['again_s']:.2f}", f"{row['first_s'] / row['again_s']:.0f}")
                        if "first_s" in row else ("", "", ""))
    shared = [(name, *runs(row), f"{row['before']:.2f}", f"{row['after']:.3f}") for name, row in part["share"].items()]
    tree = part["tree"]
    return [
        f"A Debian root of {tree['files']} files, {tree['mb']} MB: a copy of it that is a guest, by file system.", "",
        *rows(("", "median ms", "best ms"), times(part["clone"])), "",
        f"{part['guests']} of them that know nothing of each other, made to share what is equal; disk as a multiple of one's.", "",
        *rows(("", "first run s", "again s", "times faster", "disk before", "disk after"), shared), "",
        "One into a file, and back.", "",
        *rows(("", "median ms", "best ms"), times(part["carry"])),
    ]


SECTIONS = {"start": ("Start", start), "memory": ("Memory", memory), "network": ("Network", network),
            "many": ("Many guests", many), "plan": ("Plan", plan), "lua": ("Lua", lua),
            "files": ("Files", files)}


def markdown(results):
    box = results["machine"]
    lines = [
        "# Benchmark of hostel", "",
        f"{results['when']}, Linux {box['kernel']}, {box['processors']} x {box['model']}, "
        f"{box['memory_kb'] // 1024} MB. Compare within this run only.",
    ]
    for name, part in results["parts"].items():
        title, section = SECTIONS[name]
        lines += ["", f"## {title}", ""]
        if "error" in part:
            lines += [f"Could not be measured: {part['error']}"]
            continue
        lines += section(part)
        for what, why in part.get("skipped", {}).items():
            lines += ["", f"Not measured: {what}: {why}"]
    return "\n".join(lines) + "\n"
