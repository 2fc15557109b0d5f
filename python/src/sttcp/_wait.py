# SPDX-License-Identifier: MIT
"""Waiting that Ctrl+C and other signals can interrupt, without looking again and again.

A signal handler of Python runs on the main thread, which therefore must not
wait inside the library. Here it waits for a pipe, into which whoever ends
something writes, and Python for each signal, on whatever thread that came.
"""

import contextlib
import os
import select
import signal
import threading
import time
from typing import Any, Callable, Iterator, Optional, Set, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_pipes: Set[int] = set()
_NEWS = b"\0"  # no signal has this number


def announce() -> None:
    """Something has ended: who waits is to look again."""
    with _lock:
        for pipe in _pipes:
            try:
                os.write(pipe, _NEWS)
            except OSError:  # it is full, and so read in any case
                pass


def _forget_parent() -> None:
    """In a forked child: nobody waits there."""
    global _lock
    _lock = threading.Lock()
    _pipes.clear()


os.register_at_fork(after_in_child=_forget_parent)


def on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _signals_into(pipe: int) -> Iterator[int]:
    """Has Python write each signal's number there; gives the descriptor that had it before."""
    if not on_main_thread():
        yield -1
        return
    before = signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
    try:
        yield before
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)


def _take(pipe: int, before: int) -> None:
    found = os.read(pipe, 512).replace(_NEWS, b"")
    if found and before != -1:
        with contextlib.suppress(OSError):
            os.write(before, found)


def wait_until(done: Callable[[], bool], timeout: Optional[float] = None) -> bool:
    """Waits until done() says yes; False when that took longer than timeout, in seconds."""
    if done():
        return True
    end = None if timeout is None else time.monotonic() + timeout
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        with _lock:
            _pipes.add(writer)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        with _signals_into(writer) as before:
            while not done():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                if poll.poll(None if left is None else left * 1000 + 1):
                    _take(reader, before)
        return True
    finally:
        with _lock:
            _pipes.discard(writer)
        os.close(reader)
        os.close(writer)


def call_interruptibly(call: Callable[[], T]) -> T:
    """Makes a call that waits in the library; on the main thread such that signals are heeded
    meanwhile. If they raise something, the call goes on without us."""
    if not on_main_thread():
        return call()
    outcome: Any = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # handed to the caller
            outcome.append((None, error))
        announce()

    try:
        threading.Thread(target=run, name="sttcp-wait", daemon=True).start()
    except RuntimeError:  # no thread any more: the interpreter is on its way out
        return call()
    wait_until(lambda: bool(outcome))
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM act as Ctrl+C does, where the program has not said otherwise."""
    if not on_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
