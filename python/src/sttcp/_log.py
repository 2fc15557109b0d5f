# SPDX-License-Identifier: MIT
"""The thread that passes the library's log on to the logger, when nobody else is in Python."""

from __future__ import annotations

import os
import signal
import threading
from sys import is_finalizing

from . import _sttcp

# They come of what the thread itself does, and faulthandler is to see them.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


class _Passer:
    def __init__(self) -> None:
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="sttcp-log", daemon=True)
        # The program's signals are for its own threads, which may wait for one that all block.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run(self) -> None:
        seen = 0
        while not self._ended:
            _sttcp._fetch_log()
            seen = _sttcp._wait_log(seen)

    def end(self) -> None:
        self._ended = True
        _sttcp._wake_log()
        if self._thread is not threading.current_thread():
            self._thread.join()


_passer: _Passer | None = None
_making = threading.Lock()


def begin_passing() -> None:
    """Before the first start, and the first in a forked child, which has no such thread."""
    global _passer
    # Who makes it is followed by nobody: a signal handler may have interrupted that.
    if _passer is not None or is_finalizing() or not _making.acquire(blocking=False):
        return
    try:
        if _passer is None:
            _passer = _Passer()
    except RuntimeError:  # no thread to be had: handlers and starts pass it on
        pass
    finally:
        _making.release()


def end_passing() -> None:
    """Returns when the thread has ended. A daemon thread that holds the lock of standard error at the
    end of the interpreter would crash that."""
    global _passer
    passer, _passer = _passer, None
    if passer is not None:
        passer.end()


def leave() -> None:
    """At the end of the interpreter: the last lines, and no more."""
    end_passing()
    _sttcp._leave()


def _forget_parent() -> None:
    global _passer, _making
    _passer = None
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget_parent)
