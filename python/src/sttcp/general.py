# SPDX-License-Identifier: MIT
"""For all servers and clients at once."""

import threading
from typing import Any, Callable, List

from . import _sttcp
from ._engine import logger
from ._group import running_objects
from ._wait import call_interruptibly, let_signals_through, terminable, wait_until


def _in_parallel(calls: List[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=call, daemon=True, name="sttcp-wait") for call in calls]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    call_interruptibly(run)


def keep_alive() -> None:
    """Waits until all servers and clients that are started have ended, those that are started
    meanwhile, too. Ctrl+C, or SIGTERM where the program has no handler of its own, stops them in
    order, and a second one at once; KeyboardInterrupt is swallowed."""
    if _sttcp._in_handler():
        raise RuntimeError("waiting for everything inside a handler")
    with terminable():
        try:
            let_signals_through()
            wait_until(lambda: not running_objects())
        except KeyboardInterrupt:
            for each in running_objects():
                logger.info("Stopping %s %s...", each._what, each)
            try:
                _in_parallel([each.stop_after_signal for each in running_objects()])
            except KeyboardInterrupt:
                _in_parallel([each.stop_now for each in running_objects()])
