#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the benchmark: progress on standard error, the table on standard output.

Servers run on one CPU, the load on another; README.md beside this file tells
what the figures mean and why they are made the way they are.
"""

import argparse
import ctypes
import functools
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # no droppings in the source tree
import certs  # noqa: E402
import others  # noqa: E402
from cells import CELLS  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
HOG = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
MOST_ROUNDS = 9


class CellFailed(Exception):
    pass


def start(command, cpus, **more):
    """A child on these CPUs that does not outlive this process, however that ends."""

    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cpus)

    return subprocess.Popen(command, preexec_fn=prepare, text=True, **more)


def stop(child):
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()


def read_port(server):
    words = server.stdout.readline().split()
    if len(words) != 2 or words[0] != "port":
        raise CellFailed("the server did not start")
    return int(words[1])


def parse_line(text):
    line = {}
    for pair in text.split():
        key, value = pair.split("=", 1)
        try:
            line[key] = float(value)
        except ValueError:
            line[key] = value
    if line["mode"] == "paced" and line["quick"]:
        line["switches_per_message"] = line["switches"] / line["quick"]
    wrong = line["errors"] or line.get("answers", line["conns"]) != line["conns"]
    if wrong or line.get("quick") == 0 or line.get("slow") == 0:
        raise CellFailed("not all connections were served: " + text.strip())
    return line


def ask_counters(port):
    """The engine's counters, which the library's server tells when asked with a T."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"T")
        text = connection.makefile().readline()
    return {key: float(value) for key, value in (pair.split("=") for pair in text.split())}


def start_server(run, cpus, bench, target):
    """Returns the child and its port. `target` is the port that a relay connects to."""
    if run.server not in others.COMMANDS:
        words = [word.format(certs=bench.certs) for word in run.words]
        server = start([*bench.programs[run.server], "0", *words], cpus, stdout=subprocess.PIPE, env=bench.env)
        return server, None
    port = others.free_port()
    command, env = others.command_of(run.server, bench.examples, port, target)
    return start(command, cpus, executable=bench.programs[run.server][0], stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL, env={**bench.env, **env}), port


def measure(run, seconds, warm, bench):
    """Runs one server under one load; returns what the load generator and the server tell."""
    load = list(run.load)
    if "--seconds" not in load:
        load += ["--seconds", str(seconds)]
    if bench.short and "--waves" in load:
        load[load.index("--waves") + 1] = "8"
    if "--warm" not in load:
        load += ["--warm", str(warm)]
    server_cpus = bench.all_cpus if run.spread else {bench.server_cpu}
    load_cpus = bench.all_cpus if run.spread else {bench.load_cpu}
    children = []
    target = others.listen()
    try:
        target_port = target.getsockname()[1]
        if run.behind:
            behind = start([*bench.programs[run.behind], "0"], load_cpus, stdout=subprocess.PIPE)
            children.append(behind)
            target_port = read_port(behind)
        server, port = start_server(run, server_cpus, bench, target_port)
        children.append(server)
        if port is None:
            port = read_port(server)
        else:
            others.wait_for_listener(server, port)
        if run.hog:
            children.append(start([sys.executable, "-c", HOG], server_cpus))
        if load[0] == "redis-benchmark":
            return others.redis_benchmark(functools.partial(start, cpus=load_cpus), run.load[1:], port, server.pid,
                                          seconds)
        if load[0] == "relay":
            load += ["--target", str(target.fileno())]
        command = [*bench.programs["load"], *load, "--port", str(port), "--pid", str(server.pid)]
        loader = start(command, load_cpus, stdout=subprocess.PIPE, pass_fds=[target.fileno()])
        children.append(loader)
        text = loader.stdout.read()
        if loader.wait() or not text:
            raise CellFailed(f"load generator: status {loader.returncode}")
        line = parse_line(text)
        if run.hog:
            line.update(ask_counters(port))
        return line
    except (OSError, ValueError, others.OtherFailed) as error:
        raise CellFailed(str(error)) from error
    finally:
        target.close()
        for child in reversed(children):
            stop(child)


class Bench:
    """The programs, the CPUs, and every line measured so far by cell and run."""

    def __init__(self, options):
        cpus = sorted(os.sched_getaffinity(0))
        self.short = options.short
        self.all_cpus = set(cpus)
        self.server_cpu = cpus[0]
        self.load_cpu = cpus[-1]
        if len(cpus) == 1:
            print("only one CPU: server and load share it", file=sys.stderr)
        self.programs = {name: [os.path.join(options.programs, "sttcp_bench_" + name)]
                         for name in ("load", "sttcp", "epoll", "threads", "epoll_tls")}
        for pair in options.server:
            name, _, path = pair.partition("=")
            self.programs[name] = [path]
        self.missing = {name for name, (path,) in self.programs.items() if not os.access(path, os.X_OK)}
        if "load" in self.missing:
            sys.exit(f"run.py: {self.programs['load'][0]} is not there; --programs tells where it is")
        self.add_tls()
        self.add_others(os.path.abspath(os.path.join(options.programs, "..", "examples")))
        self.add_python(options.python or os.path.join(options.programs, "..", "python"))
        self.lines = {}
        self.notes = []

    def add_tls(self):
        """The library's server takes part where the build has TLS: then there is an epoll loop over it."""
        self.certs = None  # the folder, made when it is needed
        self.programs.setdefault("sttcp_tls", self.programs["sttcp"])
        if "epoll_tls" in self.missing:
            print("the build has no TLS", file=sys.stderr)
        elif not certs.can_make():
            print("no certificates without the program openssl", file=sys.stderr)
            self.missing.add("epoll_tls")
        if "epoll_tls" in self.missing or "sttcp" in self.missing:
            self.missing.add("sttcp_tls")

    def make_certs(self, cells):
        """The folder to be removed at the end, or None when no cell wants one."""
        wanted = {run.server for cell in cells for run in cell.runs if any("{certs}" in word for word in run.words)}
        if not wanted - self.missing:
            return None
        folder = tempfile.TemporaryDirectory(prefix="sttcp-bench-")
        self.certs = folder.name
        try:
            certs.make(self.certs)
        except certs.NoCertificates as error:
            print(error, file=sys.stderr)
            self.missing |= wanted
        return folder

    def add_others(self, examples):
        self.examples = examples
        for name in others.COMMANDS:
            if not self.programs.setdefault(name, [others.find_program(name, examples)])[0]:
                self.missing.add(name)

    def add_python(self, tree):
        """The servers in Python, if the package is built for this interpreter."""
        self.env = {**os.environ, "PYTHONPATH": os.path.abspath(tree)}
        for name, script in (("python", "echo_sttcp.py"), ("python-await", "echo_sttcp_await.py"),
                             ("socketserver", "echo_socketserver.py")):
            self.programs[name] = [sys.executable, "-B", os.path.join(HERE, "..", "python", "bench", script)]
        built = subprocess.run([sys.executable, "-B", "-c", "import sttcp"], env=self.env, stderr=subprocess.DEVNULL,
                               check=False)
        if built.returncode:
            self.missing |= {"python", "python-await", "socketserver"}

    def do_round(self, cell, number, title, seconds, warm):
        for run in cell.runs:
            if run.server in self.missing:
                continue
            print(f"{title} {cell.name} {run.name}", end="", file=sys.stderr, flush=True)
            try:
                line = measure(run, cell.seconds or seconds, warm, self)
            except CellFailed as error:
                self.notes.append(f"{cell.name} {run.name}: {error}")
                print(f": FAILED: {error}", file=sys.stderr)
                continue
            line["round"] = number
            self.lines.setdefault((cell.name, run.name), []).append(line)
            told = [f" {key}={show(line[key])}" for key in ("quick_rate", "slow_rate", "last_ms", "bytes_per_s", "requests_rate")
                    if key in line]
            print(":" + "".join(told), file=sys.stderr)

    def values(self, cell, run, key):
        return [line[key] for line in self.lines.get((cell.name, run), []) if key in line]

    def ratio_of_rounds(self, cell, run, base, key):
        """The median of a run divided by its base in the same round."""
        bases = {line["round"]: line[key] for line in self.lines.get((cell.name, base), []) if line.get(key)}
        ratios = [line[key] / bases[line["round"]] for line in self.lines.get((cell.name, run), [])
                  if key in line and line["round"] in bases]
        return statistics.median(ratios) if ratios else None


def show(number):
    for limit, divisor, unit in ((2e9, 1e9, "G"), (2e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(number) >= limit:
            return f"{number / divisor:.1f}{unit}"
    return f"{number:.0f}" if abs(number) >= 1000 or number == int(number) else f"{number:.3g}"


def summary(values, key, plain):
    """The one number that counts, and all that a doubter wants to see beside it."""
    middle = statistics.median(values)
    # The least disturbed round: the lowest time, the highest rate.
    best = min(values) if key.endswith(("_us", "_ms")) else max(values)
    spread = f"{show(middle)} ({show(min(values))}..{show(max(values))})"
    return (middle if plain else best), spread


def judge(bench, cell, figure):
    """One row of the table, as a dictionary; None when it was not measured."""
    by_round = None
    values = bench.values(cell, figure.run, figure.key)
    if not values:
        return None
    if figure.worst:
        middle, spread = summary(values, figure.key, True)
        value = min(values) / middle
        row = {"here": min(values), "here_median": spread, "base": middle, "base_median": ""}
    elif figure.base is None:
        # A count, whose worst matters.
        value = max(values)
        row = {"here": value, "here_median": summary(values, figure.key, True)[1], "base": None, "base_median": ""}
    else:
        here, here_spread = summary(values, figure.key, figure.plain)
        if isinstance(figure.base, str):
            base_values = bench.values(cell, figure.base, figure.key)
            if not base_values:
                return None
            base, base_spread = summary(base_values, figure.key, figure.plain)
            by_round = bench.ratio_of_rounds(cell, figure.run, figure.base, figure.key)
        else:
            base, base_spread = figure.base, ""
        value = here / base if base else 0.0
        row = {"here": here, "here_median": here_spread, "base": base, "base_median": base_spread}
    verdict = ""
    if figure.mark is not None:
        reached = value <= figure.mark if figure.most else value >= figure.mark
        verdict = "ok" if reached else "MISSED"
        near = figure.base is not None and abs(value - figure.mark) <= figure.near
        if near and len(values) < MOST_ROUNDS:
            verdict += ", near"
    row.update(cell=cell.name, figure=figure.text, value=value, mark=figure.mark, most=figure.most, verdict=verdict,
               rounds=len(values), by_round=by_round)
    return row


def rows_of(bench, cells):
    rows = [judge(bench, cell, figure) for cell in cells for figure in cell.figures]
    return [row for row in rows if row]


def print_table(rows):
    titles = ("cell", "figure", "value", "to reach", "", "by round", "best", "median (min..max)", "base", "median (min..max)")
    table = [titles]
    for row in rows:
        mark = "" if row["mark"] is None else ("<= " if row["most"] else ">= ") + show(row["mark"])
        base = "" if row["base"] is None else show(row["base"])
        value = show(row["value"]) if row["base"] is None else f"{row['value']:.3f}"
        by_round = "" if row["by_round"] is None else f"{row['by_round']:.3f}"
        table.append((row["cell"], row["figure"], value, mark, row["verdict"], by_round, show(row["here"]),
                      row["here_median"], base, row["base_median"]))
    widths = [max(len(line[column]) for line in table) for column in range(len(titles))]
    for line in table:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip())


def parse_options():
    parser = argparse.ArgumentParser(description="Measures the library against an epoll loop and threads.")
    parser.add_argument("cells", nargs="*", help="names of cells, or beginnings of names (all)")
    parser.add_argument("--short", action="store_true", help="three short rounds: about seven minutes")
    parser.add_argument("--rounds", type=int, help="instead of 5, or 3 in the short form")
    parser.add_argument("--seconds", type=float, help="of a run: instead of 2, or 1 in the short form")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there, too")
    parser.add_argument("--programs", default=os.path.join(HERE, "..", "build", "bench"), metavar="DIR",
                        help="where the programs are (build/bench)")
    parser.add_argument("--python", metavar="DIR",
                        help="where the Python package is, built for this interpreter (beside the programs)")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=PATH",
                        help="another program for sttcp, epoll or threads")
    parser.add_argument("--list", action="store_true", help="list the cells and leave")
    return parser.parse_args()


def main():
    options = parse_options()
    cells = [cell for cell in CELLS
             if not options.cells or any(cell.name.startswith(name) for name in options.cells)]
    if not cells:
        sys.exit("run.py: no such cell; --list tells them")
    if options.list:
        for cell in cells:
            print(f"{cell.name}: " + "; ".join(figure.text for figure in cell.figures))
        return
    # A termination ends the children in the same way as Ctrl+C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    certificates = bench.make_certs(cells)
    for name in sorted(bench.missing):
        print(f"{name} is not there: left out", file=sys.stderr)
    rounds = options.rounds or (3 if options.short else 5)
    seconds = options.seconds or (1.0 if options.short else 2.0)
    warm = 0.3 if options.short else 0.5
    begin = time.monotonic()

    wanted = {cell.name: 1 if cell.once else options.rounds or cell.rounds // (10 if options.short else 1) or rounds
              for cell in cells}
    for number in range(1, max(wanted.values()) + 1):
        for cell in cells:
            if number <= wanted[cell.name]:
                bench.do_round(cell, number, f"[{number}/{wanted[cell.name]}]", seconds, warm)
    if not options.short and not options.rounds:
        for number in range(rounds + 1, MOST_ROUNDS + 1):
            for cell in cells:
                if any("near" in row["verdict"] for row in rows_of(bench, [cell])):
                    bench.do_round(cell, number, f"[{number}/{MOST_ROUNDS}, near]", seconds, warm)

    rows = rows_of(bench, cells)
    print_table(rows)
    print(f"\n{rounds} rounds, {time.monotonic() - begin:.0f} s, Linux {platform.release()}, "
          f"{os.cpu_count()} CPUs; each figure is the best of a run divided by the best of its base,\n"
          "and beside it the median of what each round gives.")
    for note in bench.notes:
        print("failed:", note)
    if options.json:
        lines = [{"cell": cell, "run": run, "lines": found} for (cell, run), found in bench.lines.items()]
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"kernel": platform.release(), "cpus": os.cpu_count(), "figures": rows, "runs": lines,
                       "failed": bench.notes}, file, indent=1)
    if certificates:
        certificates.cleanup()
    if bench.notes:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
