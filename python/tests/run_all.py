# SPDX-License-Identifier: MIT
"""Runs the tests' modules, several at a time, each in a process of its own:

    run_all.py JOBS [MODULE...]

What a module prints is shown when it fails, and what it says was not tested. Without names it is all
test_*.py of this directory."""

import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_S = 900  # of a module
# They take longest, so they begin first.
LONG = ("test_install", "test_types", "test_threads")


def run(module):
    began = time.monotonic()
    # A file, not a pipe: nobody waits for what a test has left behind.
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        process = subprocess.Popen(
            [sys.executable, "-B", "-X", "dev", "-m", "unittest", module, "--buffer"], cwd=HERE,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait(TIMEOUT_S)
            late = ""
        except subprocess.TimeoutExpired:
            late = "\nit did not end in %d s\n" % TIMEOUT_S
            process.send_signal(signal.SIGABRT)  # -X dev prints where each thread is
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        file.seek(0)
        output = file.read() + late
    count = re.findall(r"^Ran (\d+) tests? in ", output, re.MULTILINE)
    tests = int(count[-1]) if count else 0
    return process.returncode == 0 and tests > 0, tests, time.monotonic() - began, output


def main():
    jobs = int(sys.argv[1])
    modules = sys.argv[2:] or sorted(
        os.path.splitext(os.path.basename(path))[0]
        for path in glob.glob(os.path.join(HERE, "test_*.py")))
    modules.sort(key=lambda module: module not in LONG)
    total = 0
    failed = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
        runs = {threads.submit(run, module): module for module in modules}
        for done, future in enumerate(concurrent.futures.as_completed(runs), 1):
            module = runs[future]
            passed, tests, seconds, output = future.result()
            total += tests
            skipped = re.findall(r"^OK \(skipped=(\d+)\)", output, re.MULTILINE)
            print("%2d/%d %s: %s, %d tests%s in %.0f s" % (
                done, len(modules), module, "passed" if passed else "FAILED", tests,
                ", %s of them skipped," % skipped[-1] if skipped else "", seconds), flush=True)
            if not passed:
                failed.append(module)
            for line in output.splitlines():
                if not passed or "NOT TESTED" in line:
                    print(line, flush=True)
    print("python: %d tests in %d modules: %s" % (
        total, len(modules), "FAILED: " + " ".join(sorted(failed)) if failed else "OK"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
