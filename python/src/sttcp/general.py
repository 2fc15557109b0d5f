# SPDX-License-Identifier: MIT
"""For all servers and clients at once."""

from __future__ import annotations

import errno
import os
import threading
import time
from sys import is_finalizing
from typing import Callable

from . import _sttcp
from ._engine import ends
from ._group import LAST_RUN_S, running_objects
from .errors import make_exception
from ._log import end_passing
from ._wait import (announce, call_interruptibly, close_idle_pipes, let_signals_through,
                    on_main_thread, terminable, wait_until)


def _in_parallel(calls: list[Callable[[], object]]) -> None:
    if is_finalizing():
        for call in calls:
            call()
        return
    threads = [threading.Thread(target=call, daemon=True, name="sttcp-wait") for call in calls]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    call_interruptibly(run)


def _end_engine() -> int:
    """Threads that look a name up end when the resolver has answered, and hear no signal."""
    threads: list[int] = []

    def end() -> int:
        threads.append(threading.get_native_id())
        ends.add(threads[0])
        try:
            return _sttcp._engine_shutdown()
        finally:
            ends.discard(threads[0])
            announce()

    if not on_main_thread():
        return end()
    code = call_interruptibly(end)
    # Joined it may still be on its way out, and nobody is to find a thread behind this.
    while (threads[0] != threading.get_native_id()
           and os.path.exists(f"/proc/self/task/{threads[0]}")):
        time.sleep(0.0002)
    return code


def engine_shutdown() -> None:
    """Ends every thread and closes every descriptor of the library; connections that still flush
    are closed at once. Only the pipe through which signals wake the main thread stays, if the
    program has other threads or this is called on one. No program needs this at its end: it is for
    a fork that should find a process without threads, for leak checkers, and for another configure.
    The next start begins anew. RuntimeError: something is started, a timer is set, or this is a
    handler. After a stop that has left handlers running it waits for those, and for what run() was
    given, for 10 seconds at most."""
    deadline = time.monotonic() + LAST_RUN_S
    code = _end_engine()
    # What has told its end is not quite there yet in the library.
    while (code == -errno.EBUSY and not running_objects() and not _sttcp._timers_set()
           and time.monotonic() < deadline):
        time.sleep(0.001)
        code = _end_engine()
    if code == -errno.EDEADLK:
        raise RuntimeError("engine_shutdown() inside a handler")
    if code == -errno.EBUSY:
        raise RuntimeError("engine_shutdown() while something is started" if running_objects() else
                           "engine_shutdown() while a timer is set" if _sttcp._timers_set() else
                           "engine_shutdown() while a handler of the last run, or what run() was "
                           "given, still runs")
    if code < 0:
        raise make_exception(code, None)
    end_passing()
    close_idle_pipes()


def keep_alive() -> None:
    """Waits until all servers and clients that are started have ended, including those that are
    started meanwhile. Ctrl+C, or SIGTERM if the program has no handler of its own, stops them
    gracefully, and a second one at once; KeyboardInterrupt is swallowed."""
    if _sttcp._in_handler():
        raise RuntimeError("waiting for everything inside a handler")
    with terminable():
        try:
            let_signals_through()
            wait_until(lambda: not running_objects())
        except KeyboardInterrupt:
            try:
                for each in running_objects():
                    each._tell_stopping()
                _in_parallel([each._stop_after_signal for each in running_objects()])
            except KeyboardInterrupt:
                _in_parallel([each._stop_now for each in running_objects()])
