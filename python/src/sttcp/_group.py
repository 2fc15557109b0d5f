# SPDX-License-Identifier: MIT
"""What servers and clients have in common: handlers, and the life from start to end."""

from __future__ import annotations

import enum
import errno
import inspect
import math
import os
import threading
import time
import warnings
import weakref
from typing import (TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Tuple, TypeVar, Union,
                    cast)

from . import _sttcp
from ._engine import begin, logger
from ._options import LONGEST_S, read_options, without_off
from ._timer import Timer, refuse_generator
from ._tls import TLS, host_name
from ._wait import (announce, call_interruptibly, let_signals_through, terminable,
                    wait_until)
from .errors import raise_start

if TYPE_CHECKING:
    from .client import Client
    from .server import Server

Address = Tuple[str, int]

# A handler may name its types as it likes: connection: socket.socket is what programs write.
ConnectionHandler = Callable[[Address, Any], object]
DataHandler = Callable[[Address, Any, bytes], object]
PlainHandler = Callable[[Address, Any, Any], object]
DisconnectionHandler = Union[Callable[[Address], object], Callable[[Address, Any], object],
                             Callable[[Address, Any, Any], object]]
MalformedHandler = Callable[[Address, Any, Any], object]
UniversalHandler = Callable[[Any, Address, Any, Any], object]

ConnectionT = TypeVar("ConnectionT", bound=Optional[ConnectionHandler])
DataT = TypeVar("DataT", bound=Optional[DataHandler])
PlainT = TypeVar("PlainT", bound=Optional[PlainHandler])
DisconnectionT = TypeVar("DisconnectionT", bound=Optional[DisconnectionHandler])
MalformedT = TypeVar("MalformedT", bound=Optional[MalformedHandler])
UniversalT = TypeVar("UniversalT", bound=Optional[UniversalHandler])
GroupT = TypeVar("GroupT", bound="Group")

# As in group.h.
SLOTS = range(9)
CONNECTION, DATA, END, DISCONNECTION, UNCONNECTED, DRAINED, MALFORMED, UNIVERSAL, PLAIN = SLOTS

#: How long keep_alive lets connections come to their end after Ctrl+C, unless drain_timeout is set.
SIGNAL_DRAIN_MS = 10000

#: How long a start waits for handlers of the last run.
LAST_RUN_S = 10.0

#: The servers and clients that are started, under the name that the first versions gave it.
connections: list[Server | Client] = []

_lock = threading.RLock()
_running: set[Group] = set()  # keeps them alive
_starts: set[Group] = set()  # that another thread makes for the main thread
_unstarted: list[weakref.ReferenceType[Group]] = []
_start_called = False


def _forget_parent() -> None:
    """In a forked child: what the parent has started is not here, and nobody unlocks its locks."""
    global _lock
    _lock = threading.RLock()
    for each in _running:
        each._state_lock = threading.RLock()
        each._timers_lock = threading.RLock()
        each._timers.clear()
        each._starter = 0
        each.closed = True
    _running.clear()
    _starts.clear()
    connections.clear()
    _unstarted.clear()


os.register_at_fork(after_in_child=_forget_parent)


class StopReport(NamedTuple):
    """The outcome of a stop, in connections: those that ended by themselves, those that were closed
    by force, and of these, those whose handler still runs."""

    ended: int
    forced: int
    running: int


def read_port(port: str | int | None) -> int:
    if isinstance(port, bool) or not isinstance(port, (int, str)):
        raise TypeError(f"port must be int or str, not {type(port).__name__}")
    number = int(port)
    if not 0 <= number <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {port!r}")
    return number


def read_wait(timeout: float | None) -> float | None:
    """Seconds: None for inf, and what a poll can count."""
    if timeout is None or timeout == math.inf:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if timeout != timeout:  # nan
        raise ValueError(f"timeout must be a number of seconds or None, not {timeout!r}")
    return min(timeout, LONGEST_S)


def core_host(host: str | None) -> str:
    """localhost is 127.0.0.1, as it has always been in this package: programs compare addresses
    with that. The library would take ::1, too. Other names are in ASCII, as socket has them; those of
    files stay."""
    if host is None:
        return ""
    name = host if isinstance(host, str) and host.startswith("unix:") else host_name(host, "host")
    return "127.0.0.1" if name == "localhost" else name


def count_arguments(function: Callable[..., object] | None, most: int) -> int:
    """How many positional arguments a last handler takes: 1 before version 1.3, 2 since, and 3 if
    it wants the connection, too."""
    if function is None:
        return 2
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 2
    positional = [each for each in parameters
                  if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = sum(each.default is each.empty for each in positional)
    if any(each.kind == each.VAR_POSITIONAL for each in parameters):
        return max(2, min(required, most))
    return max(1, min(most, max(required, min(2, len(positional)))))


def check_handler(function: Callable[..., object] | None) -> None:
    """Raises TypeError for what cannot be a handler."""
    if function is not None and not callable(function):
        raise TypeError(f"a handler must be callable, not {function!r}")
    refuse_generator("a handler", function)


def running_objects() -> list[Group]:
    with _lock:
        return list(_running)


def _start_unstarted(kinds: Callable[[Group], bool]) -> list[Group]:
    found = [each for each in (reference() for reference in _unstarted)
             if each is not None and not each._was_started and kinds(each)]
    found.sort(key=lambda each: bool(each._is_client))  # servers first
    for each in found:
        each._begin()
    return found


def start_as_version_1_1() -> None:
    """Programs for versions 1.0 and 1.1 never call start, as there was none: everything was started
    when it was made. This does that, late."""
    if not _start_called:
        _start_unstarted(lambda each: True)


def finish_version_1_1() -> None:
    """The end of such a program that has clients only, which kept it alive then."""
    if _start_called:
        return
    try:
        for each in _start_unstarted(
                lambda each: bool(each._is_client and each._uses_set_handler)):
            each.keep_alive()
    except OSError as error:
        logger.error("%s", error)


class HandlerType(enum.Enum):
    """The phase in which a universal handler is called."""


class Group(_sttcp.GroupBase):
    """The base of Server and Client."""

    _is_client = False
    _what = "server"
    _options: type

    def __init__(self, host: str | None, port: str | int | None, handler: PlainHandler | None,
                 **options: Any) -> None:
        number = self._read_port(host, port)
        read, frame = read_options(self._what.capitalize(), self._options,
                                   without_off(self._options, options))
        if self._is_client and host == "localhost" and not read.get("tls_name"):
            # Certificates are for the name, whatever core_host makes of it.
            read["tls_name"] = host
        super().__init__(self._is_client, core_host(host), number, read, frame)
        self.host: str = "" if host is None else host
        self._port_given = max(0, number)
        self._given: Address = (self.host, self._port_given)  # what an unconnected handler gets
        #: Its TLS, or None.
        self.tls: TLS | None = read.get("tls")
        self._drain_ms: int = read.get("drain_timeout_ms", 0)
        self._state_lock = threading.RLock()
        self._timers_lock = threading.RLock()
        self._timers: list[Timer] = []
        self._was_started = False
        self._uses_set_handler = False
        self._starter = 0  # the thread that is in the midst of a start
        self._runs = 0  # a stop of an earlier run must not end a later one
        self._stopping = False  # this run
        self._is_open = False  # this run, from the end of its start on
        self._stop_requested = False  # by a signal handler
        self._is_followed = False  # and somebody sees to that
        #: Whether it was started and has come to its end.
        self.closed = False
        if handler is not None:
            self._put(PLAIN, handler)
        with _lock:
            # Those that have gone make room.
            _unstarted[:] = [each for each in _unstarted
                             if getattr(each(), "_was_started", True) is False]
            _unstarted.append(weakref.ref(self))

    def _read_port(self, host: str | None, port: str | int | None) -> int:
        """As the library wants it."""
        return read_port(port)

    # ------------------------------------------------------------ handlers

    def _put(self, slot: int, function: Callable[..., object] | None, nargs: int = 2) -> None:
        check_handler(function)
        self._set_handler(slot, function, nargs)

    def _has_handlers(self) -> bool:
        return any(self._get_handler(slot) is not None for slot in SLOTS)

    @property
    def handler(self) -> PlainHandler | None:
        """handler(address, connection, data): runs after the specific one, its result ignored."""
        return self._get_handler(PLAIN)

    @handler.setter
    def handler(self, function: PlainHandler | None) -> None:
        self._put(PLAIN, function)

    def set_handler(self, function: PlainT) -> PlainT:
        """Sets handler(address, connection, data). Deprecated since version 1.2."""
        warnings.warn("set_handler is deprecated: use the handler of a phase",
                      DeprecationWarning, stacklevel=2)
        self._uses_set_handler = True
        self._put(PLAIN, function)
        return function

    def connection_handler(self, function: ConnectionT) -> ConnectionT:
        """Sets handler(address, connection), the first of every connection. False ends it, and
        declines it on a server; None leaves that to the universal handler. Usable as a decorator,
        like all of these; None removes a handler."""
        self._put(CONNECTION, function)
        return function

    def disconnection_handler(self, function: DisconnectionT) -> DisconnectionT:
        """Sets handler(address, reason), the last one of every connection. The reason is None after
        an orderly close, otherwise an exception. handler(address) works, too, and so does
        handler(address, reason, connection)."""
        self._put(DISCONNECTION, function, count_arguments(function, 3))
        return function

    def universal_handler(self, function: UniversalT) -> UniversalT:
        """Sets handler(handler_type, address, connection, data), which runs first in every phase.
        Its result counts if the handler of the phase is not set or returns None. connection and
        data are None where there is none."""
        self._put(UNIVERSAL, function)
        return function

    def end_handler(self, function: ConnectionT) -> ConnectionT:
        """Sets handler(address, connection) for the peer's FIN (option half_close): sending goes on
        until one side closes the connection."""
        self._put(END, function)
        return function

    def drained_handler(self, function: ConnectionT) -> ConnectionT:
        """Sets handler(address, connection) for the moment when the send queue is empty again: a
        good one to continue a long answer."""
        self._put(DRAINED, function)
        return function

    def malformed_handler(self, function: MalformedT) -> MalformedT:
        """Sets handler(address, connection, error), which runs before a refused message ends its
        connection: error is a FrameError (it is malformed, or cut off by the peer's FIN) or a
        LimitError (it is too large). What is sent here still goes out; recv raises. If a handler is
        waiting in recv_message, this one runs inside that call."""
        self._put(MALFORMED, function)
        return function

    # ------------------------------------------------------------ life

    def _prepare(self) -> None:
        """What a start does first."""

    def _opened(self, goes_on: bool) -> None:
        """What it does last; goes_on: a client was started inside its last handler."""

    def start(self) -> None:
        """Starts it. RuntimeError: it is started already. After a stop that did not wait for all
        handlers it waits for those, for 10 seconds at most."""
        global _start_called
        _start_called = True
        self._begin()

    def _begin(self) -> None:
        begin()
        self._prepare()
        with _lock:
            # It runs, or this is its last handler, which may start a client again.
            again = self in _running
            over = self.closed
            was_started = self._was_started
            if not again:
                _running.add(self)
                connections.append(cast("Server | Client", self))
                self._begin_run()
        try:
            try:
                code = self._start_library(over)
            except BaseException:  # a handler of a signal has raised
                if not again:
                    if self not in _starts:
                        self._undo_start()
                    self._forget()
                    self._take_back_run(was_started, over)
                raise
            if code < 0:
                if not again:
                    self._forget()
                    self._take_back_run(was_started, over)
                self._raise_refused(code, over)
            self._opened(code > 0)
        finally:
            if not again:
                self._starter = 0
                announce()
            self._settle_timers()

    def _begin_run(self) -> None:
        """Handlers may run before the start has returned, and close this: all that they look at is
        in place by then."""
        with self._state_lock:
            self._starter = threading.get_ident()
            self._runs += 1
            self._is_open = False
            self._is_followed = False
            self._stop_requested = False
            self._stopping = False
            self._was_started = True
            self.closed = False

    def _take_back_run(self, was_started: bool, over: bool) -> None:
        """The start has failed. Nobody ends a later run in place of this one."""
        with self._state_lock:
            self._runs += 1
            self._was_started = was_started
            self.closed = over

    def _start_library(self, over: bool) -> int:
        """over: a run has ended before this one. 1 for a client that goes on, else 0 or a code."""
        wait_until(lambda: self not in _starts)
        code = self._start_apart()
        deadline = time.monotonic() + LAST_RUN_S
        # One that has told its end is not quite there yet in the library: a client in its last
        # handler, or a server of which a forced stop has left a handler running.
        while code == -errno.EBUSY and over and time.monotonic() < deadline:
            if self._wait(100) < 0:
                time.sleep(0.001)
            code = self._start_apart()
        return code

    def _raise_refused(self, code: int, over: bool) -> None:
        _sttcp._fetch_log()  # why stands in the log by the time that this raises
        text = self._error() or _sttcp.error_text(code)
        if code == -errno.EBUSY and over:
            text = f"cannot start {self}: a handler of its last run still runs"
        raise_start(code, text, self.tls._error() if self.tls is not None else "")

    def _looks_up(self) -> bool:
        """Whether a start looks names up on the thread that calls it."""
        return False

    def _start_apart(self) -> int:
        """A thread that looks a name up hears no signal meanwhile, so on the main thread another one
        starts it. Where a signal handler has raised, what comes of that is stopped."""
        if not self._looks_up():
            return self._start()
        lock = threading.Lock()
        is_left = False
        code = -1

        def start() -> int:
            nonlocal code
            with lock:
                if is_left:
                    return -1
                _starts.add(self)
            try:
                result = self._start()
                with lock:
                    code = result
                if is_left and result >= 0:
                    self._undo_start()
                return result
            finally:
                _starts.discard(self)
                announce()

        try:
            return call_interruptibly(start)
        except BaseException:
            with lock:
                is_left = True
            if code >= 0:
                self._undo_start()
            raise

    def _undo_start(self) -> None:
        """Where nothing has begun, it does nothing."""
        call_interruptibly(lambda: self._stop(0))

    def _has_begun(self) -> bool:
        """Whether there is something to stop. Waits for the end of a start on another thread; a
        handler does not, and a signal handler in the midst of a server's leaves it to its end."""
        if self._starter == threading.get_ident():
            self._stop_requested = True
            return False
        if not _sttcp._in_handler():
            wait_until(lambda: not self._starter)
        return self._was_started and not self.closed

    def _finish(self, run: int) -> None:
        """A run is over, if it was not told yet."""
        with self._state_lock:
            if self._runs != run or self.closed:
                return
            self.closed = True
        self._ended()

    def _finish_later(self, run: int) -> None:
        wait_until(lambda: not self._starter)
        self._wait(-1)
        self._finish(run)

    def _forget(self) -> None:
        with _lock:
            _running.discard(self)
            connections[:] = [each for each in connections if each is not self]

    def _ended(self) -> None:
        """It has come to its end: called once for each start."""
        self._forget()
        self.closed = True
        self._settle_timers()
        logger.info("Stopped %s %s", self._what, self)
        announce()

    def _tell_stopping(self) -> None:
        """After Ctrl+C: what keep_alive waits for now."""
        logger.info("Stopping %s %s...", self._what, self)

    def _stop_now(self) -> None:
        """What a second Ctrl+C does."""
        raise NotImplementedError

    def _stop_after_signal(self) -> None:
        """What the first one does."""
        raise NotImplementedError

    # ------------------------------------------------------------ timers

    def every(self, seconds: float, function: Callable[..., object], *args: Any,
              **kwargs: Any) -> Timer:
        """Calls function(*args, **kwargs) every so many seconds, for the first time after that long,
        while this is started: from now or the next start on, and until it has ended, so also while a
        stop waits for connections. Each start begins anew. Returns the Timer: its stop() ends this
        for good. The function may block, and connections go on; stop and close wait for it as they
        do for handlers."""
        timer = Timer(function, *args, **kwargs)
        timer._belong(seconds, self._let_timer_go)
        with self._timers_lock:
            self._timers.append(timer)
        self._settle_timers()
        return timer

    def _let_timer_go(self, timer: Timer) -> None:
        with self._timers_lock:
            if timer in self._timers:
                self._timers.remove(timer)

    def _is_started(self) -> bool:
        return self._was_started and not self.closed

    def _settle_timers(self) -> None:
        """Whenever that has changed. A signal handler may change it in the midst of this."""
        with self._timers_lock:
            wanted = not self._is_started()
            while wanted != self._is_started():
                wanted = self._is_started()
                for timer in list(self._timers):
                    timer._follow(wanted)

    def _wait_for_timers(self, timeout: float | None) -> None:
        """Until none of their functions runs, when it has ended."""
        wait_until(lambda: not any(each._runs for each in self._timers), timeout)

    def __enter__(self: GroupT) -> GroupT:
        """Starts it, and stops it at the end of the block: within drain_timeout, or within 10 s if
        that is not set; at once if an exception leaves the block."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        if kind is not None:
            self._stop_now()
            return
        try:
            self._stop_after_signal()
        except BaseException:  # Ctrl+C, mostly: enough waited
            self._stop_now()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended; returns False after timeout seconds."""
        self._check_wait()
        return wait_until(lambda: self.closed, read_wait(timeout))

    def _check_wait(self) -> None:
        if _sttcp._in_handler():
            raise RuntimeError(f"waiting for a {self._what} inside a handler")
        if not self._was_started:
            raise RuntimeError(f"the {self._what} was not started")
        if self._wait(0) == _sttcp.EFORK:
            raise_start(_sttcp.EFORK, _sttcp.error_text(_sttcp.EFORK))

    def keep_alive(self) -> None:
        """Waits until it has ended. Ctrl+C, or SIGTERM if the program has no handler of its own,
        stops it gracefully, and a second one at once; KeyboardInterrupt is swallowed."""
        self._check_wait()
        with terminable():
            try:
                let_signals_through()
                wait_until(lambda: self.closed)
            except KeyboardInterrupt:
                try:
                    self._tell_stopping()
                    self._stop_after_signal()
                except KeyboardInterrupt:
                    self._stop_now()

    # ------------------------------------------------------------ what is known of it

    @property
    def port(self) -> int:
        """The port that was given."""
        return self._port_given

    @property
    def address(self) -> str:
        """'host:port'."""
        return self.host if self.host.startswith("unix:") else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.address

    def _state(self) -> str:
        """A word for repr(), while it is started."""
        raise NotImplementedError

    def __repr__(self) -> str:
        if not self._was_started:
            state = "not started"
        else:
            state = "closed" if self.closed else self._state()
        return f"<sttcp.{self._what.capitalize()} {self.address} {state}>"
