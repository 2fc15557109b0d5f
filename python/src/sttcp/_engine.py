# SPDX-License-Identifier: MIT
"""The process: threads, the log, the interpreter's end."""

import atexit
import errno
import itertools
import logging
import threading
from typing import Any, Optional

from . import _sttcp
from ._printing import screen_lock

logger = logging.getLogger("sttcp")
# Where nobody has configured logging, Python would print what is a warning or worse.
logger.addHandler(logging.NullHandler())

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}
_numbers = itertools.count(1)
_own_excepthook = threading.excepthook


def configure(*, loops: int = 1, max_threads: int = 0, stack_size: int = 0) -> None:
    """Sets how many event loops and threads the process has, before the first start.

    loops: 1 by default, since Python runs one thread at a time and more loops
    would only wait for each other; 0 is one for each CPU. max_threads: for
    handlers that block, 4096 by default. stack_size: in bytes, the system's by
    default. RuntimeError: something was started already.
    """
    code = _sttcp._configure(loops, max_threads, stack_size)
    if code == -errno.EBUSY:
        raise RuntimeError("configure() comes before the first start")
    if code < 0:
        raise ValueError(_sttcp.error_text(code))


def report(exception: BaseException) -> None:
    """Prints the traceback of what left a handler, as that of a thread: threading.excepthook
    may be replaced."""
    hook: Any = threading.excepthook
    arguments = threading.ExceptHookArgs(
        (type(exception), exception, exception.__traceback__, threading.current_thread()))
    if hook is not _own_excepthook:
        hook(arguments)
        return
    with screen_lock:
        hook(arguments)


def log(level: int, text: str) -> None:
    logger.log(_LEVELS.get(level, logging.INFO), "%s", text)


def thread_begun() -> None:
    """A thread of the library comes into Python for the first time."""
    threading.current_thread().name = "sttcp-%d" % next(_numbers)


def thread_gone() -> None:
    """It is about to end: what current_thread() has made for it would stay for ever."""
    ident = threading.get_ident()
    active: Any = threading._active  # type: ignore[attr-defined]
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        known: Optional[threading.Thread] = active.get(ident)
        if isinstance(known, threading._DummyThread):
            del active[ident]


# Handlers run until the very end; then no thread may come in any more.
atexit.register(_sttcp._leave)
configure()
