# SPDX-License-Identifier: MIT
"""Timers, and pieces of work, on the library's threads."""

from __future__ import annotations

import errno
import functools
import inspect
from typing import Any, Callable

from . import _sttcp
from ._engine import begin
from ._options import milliseconds
from ._wait import announce, call_interruptibly
from .errors import raise_start


def refuse_generator(what: str, function: Callable[..., object] | None) -> None:
    """Nobody would go through it."""
    for each in function, getattr(function, "__call__", None):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise TypeError(f"{what} must not be a generator: nobody would go through it")


def check_task(function: Callable[..., object]) -> None:
    """Of a connection: as a handler."""
    if not callable(function):
        raise TypeError(f"a function must be callable, not {function!r}")
    refuse_generator("a task", function)


def check_function(function: Callable[..., object]) -> None:
    check_task(function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)):
        raise TypeError("a function must not be async: nobody would await it. It may block.")


def needs_one(function: Callable[..., object]) -> bool:
    """Whether it cannot be called without an argument, but with one."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    for arguments in (), (None,):
        try:
            signature.bind(*arguments)
            return bool(arguments)
        except TypeError:
            pass
    return False


class Timer(_sttcp.TimerBase):
    """Calls a function on a thread of the library, once or again and again.

        timer = sttcp.Timer(save, 'players.json')
        timer.start(10, every=60)

    function(*args, **kwargs) may block as a handler may, and never runs beside
    itself. Without arguments here, a function that needs one gets the timer.
    What it raises is reported as what a handler raises, and the timer goes on.

    A timer that is set needs no reference: like a threading.Timer it stays until
    it has called for the last time, or is stopped. It does not keep the program
    from ending. Every method may be called from any thread, and in the function.
    """

    def __init__(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        check_function(function)
        super().__init__()
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._gives_itself = not args and not kwargs and needs_one(function)
        # Of a server or client, while that has it.
        self._let_go: Callable[[Timer], None] | None = None
        self._period_ms = 0
        self._follows = False

    def start(self, first: float, every: float | None = None) -> None:
        """Sets it: the first call after first seconds, which may be 0, then one every so many
        seconds; None or 0: no more. The times are counted from the first one, without drift; those
        that pass while the function runs are left out. Starting it again replaces what was set; in
        the function it does nothing once stop was called elsewhere meanwhile."""
        first_ms = 0 if first == 0 else milliseconds("first", first)
        every_ms = 0 if not every else milliseconds("every", every)
        if first_ms < 0:
            raise TypeError("first must be a number of seconds, not None")
        self._leave_owner()
        self._set(first_ms, every_ms)

    def stop(self) -> bool:
        """Unsets it, and returns True when the function does not run and will not. Inside a
        handler, a timer or a piece of work it does not wait: False if the function runs, for the
        last time then."""
        self._leave_owner()
        if _sttcp._in_handler() or not self._runs:
            return self._unset()
        return call_interruptibly(self._unset)

    def _belong(self, period: float, let_go: Callable[[Timer], None]) -> None:
        """To a server or client, which makes it follow."""
        self._period_ms = milliseconds("seconds", period)
        if self._period_ms < 0:
            raise TypeError("seconds must be a number, not None")
        self._let_go = let_go

    def _follow(self, wanted: bool) -> None:
        """Runs as long as that is started. Never waits for the function."""
        if wanted and not self._follows:
            self._set(self._period_ms, self._period_ms)
        elif not wanted and self._follows:
            self._halt()
        self._follows = wanted

    def _leave_owner(self) -> None:
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go(self)

    def _set(self, first_ms: int, every_ms: int) -> None:
        begin()
        code = self._start(first_ms, every_ms)
        # A stop during the call of the function that this is in counts.
        if code < 0 and code != -errno.ECANCELED:
            raise_start(code, _sttcp.error_text(code))

    def _unset(self) -> bool:
        code = self._stop()
        if code < 0 and code != -errno.EBUSY:
            raise_start(code, _sttcp.error_text(code))
        return code == 0

    def _call(self) -> None:
        if self._gives_itself:
            self.function(self)
        else:
            self.function(*self.args, **self.kwargs)

    def _has_returned(self) -> None:
        """The last call after _halt: whoever waits for it looks again."""
        announce()

    def __repr__(self) -> str:
        return f"<sttcp.Timer of {getattr(self.function, '__qualname__', self.function)}>"


def run(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Calls function(*args, **kwargs) once, soon, on a thread of the library, where it may block.
    Nobody waits for it at the end of the program. What it raises is reported as what a handler
    raises."""
    check_function(function)
    begin()
    code = _sttcp._run(functools.partial(function, *args, **kwargs))
    if code < 0:
        raise_start(code, _sttcp.error_text(code))
