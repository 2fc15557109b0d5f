# SPDX-License-Identifier: MIT
"""Waiting that Ctrl+C and other signals can interrupt, without polling.

A signal handler of Python runs on the main thread, which therefore must not
wait inside the library. It waits for a pipe instead. Whoever ends something
writes into that pipe, and so does Python for each signal, whichever thread
received it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from sys import is_finalizing
from types import FrameType
from typing import Any, Callable, Iterator, TypeVar

from . import _sttcp

T = TypeVar("T")

_NEWS = b"\0"  # no signal has this number

# How long a wait sleeps from one look to the next where there is no descriptor for a pipe.
_NAP_S = 0.02


class Pipe:
    """Closed with its last reference, and so not while another thread writes."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []
        # In one step: what a signal handler raises between two would leave them open.
        self._ends.extend(map(os.pipe2, [os.O_NONBLOCK | os.O_CLOEXEC]))
        self.reader, self.writer = self._ends[0]

    def __del__(self) -> None:
        for each in self._ends:
            for end in each:
                os.close(end)


# The pipes of all calls that wait. There is no lock: a signal handler may interrupt its holder, and
# then wait for a thread that wants it.
_pipes: set[Pipe] = set()


def announce() -> None:
    """Something has ended: every call that waits checks again."""
    for pipe in list(_pipes):
        try:
            os.write(pipe.writer, _NEWS)
        except OSError:  # it is full, so its reader wakes up in any case
            pass


# What took the signals before the main thread's calls that wait, the outermost first.
_before: list[int] = []

# The pipes of these calls, likewise. They stay as long as another thread might be about to write a
# signal to one: it would write to what has got its number.
_of_main: list[Pipe] = []


def _forget_parent() -> None:
    """In a forked child nobody waits, and whose main thread is another does not find its way back."""
    if _before:
        signal.set_wakeup_fd(_before[0], warn_on_full_buffer=False)
        _before.clear()
    _pipes.clear()
    _of_main.clear()


os.register_at_fork(after_in_child=_forget_parent)


def on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _pipe(is_main: bool, depth: int) -> Pipe | None:
    """None if there are no descriptors left. On the main thread each wait inside a wait has one of
    its own, which else would take the news of the outer one."""
    try:
        if not is_main:
            return Pipe()
        if len(_of_main) <= depth:
            _of_main.append(Pipe())
        return _of_main[depth]
    except OSError:
        return None


def close_idle_pipes() -> None:
    """Of those that the main thread's waits have left; not while there are other threads."""
    if on_main_thread() and threading.active_count() == 1:
        del _of_main[len(_before):]


def _take(pipe: int, before: int) -> None:
    found = os.read(pipe, 512).replace(_NEWS, b"")
    if found and before != -1:
        with contextlib.suppress(OSError):
            os.write(before, found)


def wait_until(done: Callable[[], bool], timeout: float | None = None) -> bool:
    """Waits until done() is true; returns False after timeout seconds."""
    if done():
        return True
    end = None if timeout is None else time.monotonic() + timeout
    is_main = on_main_thread()
    before, depth = -1, len(_before)
    pipe = _pipe(is_main, depth)
    poll = select.poll()
    if pipe:
        poll.register(pipe.reader, select.POLLIN)
    # Whatever a signal handler raises, the descriptor goes back: nothing of Python runs between
    # `try` and the one call, nor between `finally` and the other.
    try:
        if is_main and pipe:
            _sttcp._signals_into(_before, pipe.writer)
            before = _before[depth]
        if pipe:
            _pipes.add(pipe)
        while not done():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            if not pipe:
                time.sleep(_NAP_S if left is None else min(left, _NAP_S))
            elif poll.poll(None if left is None else left * 1000 + 1):
                _take(pipe.reader, before)
        return True
    finally:
        if is_main:
            _sttcp._signals_back(_before, depth)
        if pipe:
            _pipes.discard(pipe)


def _begins(thread: threading.Thread) -> bool:
    """Whether a thread gets to run whose start may have been cut short, before it or behind it."""
    end = time.monotonic() + 1
    while thread.ident is None and time.monotonic() < end:
        time.sleep(0.001)
    return thread.ident is not None


def call_interruptibly(call: Callable[[], T], first: Callable[[], object] = lambda: None,
                       never: Callable[[], object] = lambda: None) -> T:
    """Makes a call that waits in the library; on the main thread in such a way that signals are
    handled meanwhile. If a signal handler raises, the call goes on without this thread. Before a
    thread is begun for it, first() is called, and never() if a handler has come between both. When
    the interpreter has taken itself apart, no new thread gets to run, and who starts one waits for
    it."""
    if not on_main_thread() or is_finalizing():
        return call()
    outcome: Any = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # raised again in the caller
            outcome.append((None, error))
        announce()

    thread = None
    try:
        first()
        thread = threading.Thread(target=run, name="sttcp-wait", daemon=True)
        thread.start()
    except RuntimeError:  # no thread any more: the interpreter is on its way out
        return call()
    except BaseException:
        if thread is None or not _begins(thread):
            never()
        raise
    wait_until(lambda: bool(outcome))
    thread.join()  # it has nothing more to do, and is not to keep anything alive
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM act like Ctrl+C, unless the program has a handler for it; to be followed by
    let_signals_through."""
    if not on_main_thread():
        yield
        return
    taken = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if taken:
        signal.signal(signal.SIGTERM, _interrupt)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        # The mask first: a signal that the program had blocked must not reach its old handler.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if taken:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def let_signals_through() -> None:
    """Unblocks Ctrl+C and SIGTERM on this thread. One that is pending arrives here, as an
    exception."""
    if on_main_thread():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
