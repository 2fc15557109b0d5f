# SPDX-License-Identifier: MIT
"""For tests that disturb the main thread in a call, and not before it."""

import threading
import time


def _rest(thread):
    """What changes whenever it runs; None while it does, or is about to."""
    with open("/proc/self/task/%d/status" % thread.native_id, encoding="ascii") as file:
        lines = file.read().split("\n")
    if not any(line.startswith("State:\tS") for line in lines):
        return None
    return [line for line in lines if "ctxt_switches" in line]


def once_main_waits(function, *arguments):
    """Calls the function on another thread as soon as the main thread has slept in the kernel from one
    look to the next. For the interpreter's lock it does not, as that is free between the looks."""
    main = threading.main_thread()

    def look():
        before = None
        while True:
            now = _rest(main)
            if now is not None and now == before:
                function(*arguments)
                return
            before = now
            time.sleep(0.01)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    return thread
