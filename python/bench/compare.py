#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs this package beside other ways to write a server in Python: progress on standard error, a table on
standard output, a plot by gnuplot. docs/compare.md tells what the figures mean.

Servers run on one CPU, the load on another, interleaved; the best round of each counts. The load generator,
the loop in C that is the measure, and the reasons for all of this are those of bench/README.md.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import types

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench"))
import run  # noqa: E402
from cells import Cell, Run, args  # noqa: E402

# The name, the script with its words, and what has to be there to import.
SERVERS = {
    "sttcp": (["echo_sttcp.py"], "sttcp"),
    "sttcp-async": (["echo_sttcp.py", "--coroutine"], "sttcp"),
    "socketserver": (["echo_socketserver.py"], "socketserver"),
    "asyncio": (["echo_asyncio.py"], "asyncio"),
    "uvloop": (["echo_asyncio.py", "--uvloop"], "uvloop"),
    "gevent": (["echo_gevent.py"], "gevent"),
    "trio": (["echo_trio.py"], "trio"),
}
# The same server as the one above it, but for its dialogue.
DIALOGUE_ALONE = {"sttcp-async"}
BASE = "a loop in C"
IDLE = 5000
SLEEP_US = 50000


def runs(names, load, words=(), with_base=True):
    """One of each, under the same load."""
    found = [Run(BASE, "epoll", load)] if with_base else []
    return found + [Run(name, "python-" + name, load, words=words) for name in names]


def cells(names, short):
    dialogue = ("--dialogue",)
    others = [name for name in names if name not in DIALOGUE_ALONE]
    return [
        Cell("echo 64", runs(others, args("visited", 64)), []),
        Cell("echo 1000", runs(others, args("visited", 1000)), []),
        Cell("dialogue 64", runs(names, args("visited", 64), dialogue), []),
        Cell("asleep 8 of 64", runs(others, args("mixed", 56, 8, SLEEP_US), with_base=False), []),
        Cell("idle", runs(others, args("idle", 500 if short else IDLE, 0, None, "--warm", 1, "--seconds", 1)), [],
             once=True),
    ]


# A column of the table: its title, the cell, the key of the load generator's line, and whether it is
# told as a part of the C loop's.
COLUMNS = [
    ("echo, 64", "echo 64", "quick_cpu", True),
    ("echo, 1000", "echo 1000", "quick_cpu", True),
    ("dialogue, 64", "dialogue 64", "quick_cpu", True),
    ("56 beside 8 asleep, /s", "asleep 8 of 64", "quick_p90", False),
    ("the 8, /s of 160", "asleep 8 of 64", "slow_p90", False),
    ("p99 of the 56, ms", "asleep 8 of 64", "quick_p99_us", False),
    ("an idle one, bytes", "idle", "bytes_per_conn", False),
    ("threads for them", "idle", "grown_threads", False),
]


class Comparison(run.Bench):
    """The benchmark's, with the servers of this folder."""

    def __init__(self, options):
        super().__init__(types.SimpleNamespace(short=True, programs=options.programs, server=[],
                                               python=options.python))
        self.versions = {}
        for name, (words, module) in SERVERS.items():
            script = os.path.join(HERE, words[0])
            # The port goes first, and the words of the run last.
            self.programs["python-" + name] = [sys.executable, "-B", script, *words[1:]]
            found = subprocess.run([sys.executable, "-B", "-c",
                                    f"import {module} as m; print(getattr(m, '__version__', ''))"],
                                   env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   check=False)
            if found.returncode:
                self.missing.add("python-" + name)
            elif module not in ("asyncio", "socketserver"):
                self.versions[name] = found.stdout.strip()

    def add_tls(self):
        """Nothing here speaks TLS."""
        self.certs = None
        self.missing |= {"sttcp_tls", "epoll_tls"}

    def best(self, cell, name, key):
        """Of the least disturbed round: the lowest time or memory, the highest rate."""
        values = [line[key] for line in self.lines.get((cell, name), []) if key in line]
        if not values:
            return None
        return max(values) if re.search("cpu|p90|rate", key) and not key.endswith("_us") else min(values)


def table_of(bench, names):
    rows = []
    for name in [BASE, *names]:
        row = {"server": f"{name} {bench.versions.get(name, '')}".strip()}
        for title, cell, key, relative in COLUMNS:
            value, base = bench.best(cell, name, key), bench.best(cell, BASE, key)
            if value is not None and relative:
                value = value / base if base else None
            elif value is not None and key.endswith("_us"):
                value /= 1000
            row[title] = value
        rows.append(row)
    return rows


def cell_text(value, relative):
    if value is None:
        return "-"
    return f"{value:.2f}" if relative else run.show(value)


def print_table(rows):
    titles = ["server", *[title for title, *_ in COLUMNS]]
    lines = [titles] + [[row["server"], *[cell_text(row[title], relative) for title, _, _, relative in COLUMNS]]
                        for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip())


def plot(rows, path):
    """Bars for what is told as a part of the C loop's. Without gnuplot there is none, with a word."""
    if not shutil.which("gnuplot"):
        print("gnuplot is not there: no plot", file=sys.stderr)
        return
    titles = [title for title, _, _, relative in COLUMNS if relative]
    data = "\n".join(" ".join([row["server"].split()[0], *[str(row[title] or 0) for title in titles]])
                     for row in rows if row["server"] != BASE)
    bars = ", ".join(f"$data using {column}{':xtic(1)' if column == 2 else ''} title '{title}'"
                     for column, title in enumerate(titles, 2))
    text = f"""set terminal svg size 900,420 font 'sans,12' background '#ffffff'
set output '{path}'
set title 'Messages per second of CPU, as a part of a hand-written loop in C (more is better)'
set style data histogram
set style histogram cluster gap 1
set style fill solid 0.9 noborder
set yrange [0:*]
set grid y
set key top right
$data << EOD
{data}
EOD
plot {bars}
"""
    done = subprocess.run(["gnuplot"], input=text, text=True, capture_output=True, check=False)
    print(f"plot: {path}" if not done.returncode else f"gnuplot: {done.stderr}", file=sys.stderr)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", help="some of: " + ", ".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run (2)")
    parser.add_argument("--short", action="store_true", help="one round of 0.5 s each: only to see that it works")
    parser.add_argument("--programs", default=os.path.join(HERE, "..", "..", "build", "bench"), metavar="DIR")
    parser.add_argument("--python", default=os.path.join(HERE, "..", "..", "build", "python"), metavar="DIR",
                        help="where the package is, built for this interpreter")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured there, too")
    parser.add_argument("--plot", metavar="FILE", help="draw it there, as SVG")
    options = parser.parse_args()
    unknown = set(options.servers) - set(SERVERS)
    if unknown:
        parser.error("no such server: " + ", ".join(sorted(unknown)))
    return options


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Comparison(options)
    wanted = [name for name in SERVERS if not options.servers or name in options.servers]
    names = [name for name in wanted if "python-" + name not in bench.missing]
    for name in wanted:
        if name not in names:
            print(f"{name} is not there for {sys.executable}: left out", file=sys.stderr)
    if "epoll" in bench.missing:
        sys.exit("compare.py: the loop in C is not there; --programs tells where it is")
    rounds, seconds, warm = (1, 0.5, 0.2) if options.short else (options.rounds, options.seconds, 0.5)
    begin = time.monotonic()
    chosen = cells(names, options.short)
    for number in range(1, rounds + 1):
        for cell in chosen:
            if number == 1 or not cell.once:
                bench.do_round(cell, f"[{number}/{rounds}]", seconds, warm)
    rows = table_of(bench, names)
    print_table(rows)
    print(f"\n{rounds} rounds, {time.monotonic() - begin:.0f} s, Linux {platform.release()}, {os.cpu_count()} CPUs, "
          f"Python {platform.python_version()}. Echo and dialogue: messages per second of the server's CPU, as a "
          "part of the C loop's.")
    for note in bench.notes:
        print("failed:", note)
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"kernel": platform.release(), "cpus": os.cpu_count(), "rows": rows, "failed": bench.notes,
                       "runs": [{"cell": cell, "server": name, "lines": lines}
                                for (cell, name), lines in bench.lines.items()]}, file, indent=1)
    sys.exit(1 if bench.notes else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
