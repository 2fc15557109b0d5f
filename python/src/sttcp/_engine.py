# SPDX-License-Identifier: MIT
"""The process: threads, the log, the interpreter's end."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import threading
from typing import Any

from . import _sttcp
from ._log import begin_passing
from ._printing import screen_lock
from ._wait import wait_until

logger = logging.getLogger("sttcp")
# Where nobody has configured logging, Python would print what is a warning or worse.
logger.addHandler(logging.NullHandler())

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
_INFO = 3
_TRACE = 4
_TO_LOGGER = -1
_LOOPS = 1
# Waiting for the GIL looks like blocking to the library (ext/gil.c): 10 000 connections that closed at
# once beside a thread that computed brought 1700 to 2100 threads and took 4.1 to 4.7 s with its own
# default of 4096, 1.2 to 1.6 s with 256, 0.7 s where nobody computed.
_MAX_THREADS = 512
_is_configured = False
ends: set[int] = set()  # threads that are in the midst of ending the engine
_wished: int | None = None  # by log_level
_goes_somewhere = False
_goes_to_logger = False
_numbers = itertools.count(1)
_own_excepthook = threading.excepthook

os.register_at_fork(after_in_child=ends.clear)


def configure(*, loops: int = _LOOPS, max_threads: int = _MAX_THREADS, stack_size: int = 0) -> None:
    """Sets the number of event loops and threads of the process, before the first start.

    loops: 1 by default, since Python runs one thread at a time and more loops
    would only wait for each other; 0 is one for each CPU. max_threads: for
    handlers that block, 512 by default, since all but one of those that are awake
    wait for the GIL; a program whose plain handlers sleep or wait in larger
    numbers asks for more, and coroutines need none while they wait; 0 is 4096.
    While all of them are in use and others want one, handlers that wait longest
    for a silent peer in recv and its kin lose their connections (LimitError).
    stack_size: in bytes, the system's by default.
    RuntimeError: something was started already, and engine_shutdown was
    not called since.
    """
    global _is_configured
    code = _sttcp._configure(loops, max_threads, stack_size)
    if code == -errno.EBUSY:
        raise RuntimeError("configure() comes before the first start")
    if code < 0:
        raise ValueError(_sttcp.error_text(code))
    _is_configured = True


def report(exception: BaseException) -> None:
    """Prints the traceback of what left a handler, as that of a thread: threading.excepthook
    may be replaced."""
    hook = threading.excepthook
    arguments = threading.ExceptHookArgs(
        (type(exception), exception, exception.__traceback__, threading.current_thread()))
    if hook is not _own_excepthook:
        hook(arguments)
        return
    with screen_lock:
        hook(arguments)


def _check_level(level: int) -> int:
    if isinstance(level, bool) or not isinstance(level, int):
        raise TypeError(f"level must be a number from 0 to 4, not {level!r}")
    if not 0 <= level <= _TRACE:
        raise ValueError(f"level must be from 0 to 4, not {level!r}")
    return level


def log_level(level: int) -> None:
    """The highest level of the library's diagnostics that the logger 'sttcp' gets: 0 none, 1
    errors, 2 warnings, 3 info (each end that the library decided), 4 trace (the life of each
    connection), which is DEBUG in logging. Without a call: 4 if the logger is enabled for DEBUG
    when something is started, else 3."""
    global _wished
    _wished = _check_level(level)
    _sttcp._log_level(level)


def log_to_stderr(level: int = _INFO) -> None:
    """Prints the library's diagnostics to standard error instead, up to this level; 0: to the
    logger again. STTCP_LOG=4 in the environment does the same without a change to the program."""
    global _goes_somewhere, _goes_to_logger
    _goes_somewhere = True
    _goes_to_logger = _check_level(level) == 0
    _sttcp._log_to(level or _TO_LOGGER)
    if _goes_to_logger:
        begin_passing()


def begin() -> None:
    """Something is about to be started."""
    global _is_configured
    wait_until(lambda: not ends)
    if not _is_configured:
        # It is refused where another thread was first, which has done the same.
        _sttcp._configure(_LOOPS, _MAX_THREADS, 0)
        _is_configured = True
    _begin_log()


def _begin_log() -> None:
    global _goes_somewhere, _goes_to_logger
    if not _goes_somewhere:
        _goes_somewhere = True
        # Otherwise the library reads it, with the first start.
        if os.environ.get("STTCP_LOG", "") not in ("0", "1", "2", "3", "4"):
            _sttcp._log_to(_TO_LOGGER)
            _goes_to_logger = True
    if _goes_to_logger:
        begin_passing()
    if _wished is None:
        _sttcp._log_level(_TRACE if logger.isEnabledFor(logging.DEBUG) else _INFO)


def log(level: int, text: str) -> None:
    logger.log(_LEVELS.get(level, logging.INFO), "%s", text)


def thread_begun() -> None:
    """A thread of the library comes into Python for the first time."""
    threading.current_thread().name = f"sttcp-{next(_numbers)}"


def thread_gone() -> None:
    """It is about to end: what current_thread() has made for it would stay for ever."""
    ident = threading.get_ident()
    active: Any = threading._active  # type: ignore[attr-defined]
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        known: threading.Thread | None = active.get(ident)
        if isinstance(known, threading._DummyThread):
            del active[ident]

