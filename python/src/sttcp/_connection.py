# SPDX-License-Identifier: MIT
"""Connections, as handlers get them."""

from __future__ import annotations

# mypy before 1.7 has to be told.
# mypy: enable-incomplete-feature=Unpack

import errno
import functools
import io
import math
import os
import socket
import threading
from sys import is_finalizing
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Iterator, NamedTuple, NoReturn

from . import _sttcp
from ._group import DataT, check_handler
from ._options import (DEFAULT, Default, Framing, FramingOptions, MessageOptions, lists_options,
                       read_options, wait_milliseconds)
from ._timer import check_task, needs_one
from ._tls import TLS, host_name
from ._wait import call_interruptibly
from .errors import (in_words_of_python, make_exception, make_system_error,
                     make_tls_exception)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer
    from typing_extensions import Unpack

    from .client import Client
    from .server import Server


class ConnectionStats(NamedTuple):
    """Counters of one connection; queued is a gauge, age is in seconds."""

    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    queued: int
    age: float


class _Stream(io.RawIOBase):
    """What makefile() reads from and writes to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._connection.recv_into(buffer)

    def write(self, data: ReadableBuffer) -> int:
        return self._connection.send(data)

    def fileno(self) -> int:
        return self._connection.fileno()


def split_address(text: str) -> tuple[str, int]:
    """('::1', 80) of '[::1]:80'."""
    if text.startswith("unix:") or ":" not in text:
        return text, 0
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def room_name(room: str | bytes) -> bytes:
    """What the library calls a room: a str is its UTF-8."""
    name = room.encode() if isinstance(room, str) else room
    if not isinstance(name, bytes):
        raise TypeError(f"a room is a str or bytes, not {type(room).__name__}")
    if not 1 <= len(name) <= 255 or 0 in name:
        raise ValueError("the name of a room has 1 to 255 bytes, and no NUL")
    return name


def task_milliseconds(seconds: float) -> int:
    """Rounded up: never early."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds must be a number, not {seconds!r}")
    # nan fails the comparison, too.
    if not 0 <= seconds < 2**31 / 1000:
        raise ValueError(f"seconds must be from 0 to 2147483, not {seconds!r}")
    return min(math.ceil(seconds * 1000), 2**31 - 1)


# Without a lock, as in _wait.py. In a forked child nobody sends them.
_sends_apart: list[tuple[Connection, threading.Event]] = []
os.register_at_fork(after_in_child=_sends_apart.clear)


class Connection(_sttcp.ConnectionBase):
    """A connection: what socket.socket has where that makes sense, and more.

    Every method may be called from any thread at any time. On a connection that
    has ended, methods raise the reason. The same connection is always the same
    object, so it can be a key, and `data` holds anything of yours.

    In a coroutine that is one of its handlers, recv, recv_exactly, recv_message,
    next_size, sendall and send_message are to be awaited: AsyncConnection tells
    that to type checkers. `async for` goes over its messages.
    """

    __slots__ = ()

    # ------------------------------------------------------------ ending it

    def close(self) -> None:
        """Closes the connection in an orderly way: output is flushed first. Never waits; calling it
        again is fine."""
        self._close()

    def abort(self) -> None:
        """Resets the connection at once; queued output is lost."""
        self._abort()

    def fail(self, reason: str | BaseException = "") -> None:
        """Closes the connection as close does, with a reason for the disconnection handler: an
        exception, or a text, which becomes a HandlerError; fail_text has the first 200 bytes of it.
        Overrides the result of the handler."""
        self._fail_with(reason, now=False)

    def fail_now(self, reason: str | BaseException = "") -> None:
        """As fail, but with a reset at once, as abort does: queued output is lost. The first of
        fail and fail_now counts."""
        self._fail_with(reason, now=True)

    def _fail_with(self, reason: str | BaseException, *, now: bool) -> None:
        if isinstance(reason, BaseException):
            self._fail(reason, str(reason) or type(reason).__name__, now)
        else:
            self._fail(None, reason, now)

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """SHUT_WR: ends sending from this side, and receiving goes on. SHUT_RDWR: as close. SHUT_RD
        changes nothing."""
        if how == socket.SHUT_RDWR:
            self._close()
        elif how == socket.SHUT_WR:
            self._check(self._shutdown())
        elif how != socket.SHUT_RD:
            raise ValueError("how must be SHUT_RD, SHUT_WR or SHUT_RDWR")

    def detach(self) -> int:
        """Takes the descriptor out of the library, in blocking mode; you have to close it. Bytes
        that were read but not delivered are lost."""
        return self._check(self._detach())

    def start_tls(self, tls: TLS, name: str | None = None) -> None:
        """Begins TLS on a connection that has spoken plain bytes so far (STARTTLS), inside its
        connection, receive or response handler, or a task. Waits for the handshake, for
        tls_handshake_timeout at most. Whether tls is a server's or a client's decides who begins;
        name is whom a client asks for (the option tls_name, or else the host).

        What was sent before leaves as plain bytes. What came behind the message that is being
        handled is taken for the peer's first bytes of TLS: nobody can put plain commands in front
        of encrypted ones. A handshake that fails raises a TLSError, and ends the connection.
        One that was dialled begins it anywhere. In a coroutine it is awaited, too, but a thread is
        held for the handshake.
        RuntimeError: it has TLS already, or a coroutine has left bytes that came before, which have
        to be read first. OSError (EBUSY): it was dialled, and another call reads it. ValueError: a
        client's object that verifies needs a name, a DNS name or an address."""
        if not isinstance(tls, TLS):
            raise TypeError(f"tls must be a TLS, not {tls!r}")
        elsewhere = self._on_turn(functools.partial(self.start_tls, tls, name))
        if elsewhere is True:
            return None
        if elsewhere is not None:
            return elsewhere  # type: ignore[return-value]
        asked = None if name is None else host_name(name).encode()
        if self.owner is None and _sttcp._awaits() is None:
            done = call_interruptibly(lambda: self._start_tls(tls, asked))
        else:
            done = self._start_tls(tls, asked)  # of the thread that runs its handler
        if isinstance(done, int):
            self._raise_start_tls(done, tls)
        return done  # in a coroutine it is awaited

    def _raise_start_tls(self, code: int, tls: TLS) -> NoReturn:
        if code == self._code:
            raise make_exception(code, self.fail_text)
        if code == -errno.EDEADLK:
            raise make_exception(code, "start_tls works inside this connection's connection, receive "
                                       "and response handlers, and tasks, only")
        if code == -errno.EBUSY:
            if self.tls is None:
                raise make_exception(code, "another call reads this connection, or begins its TLS")
            raise make_tls_exception(code, "the connection has TLS already")
        text = tls._error()
        # About the name. Another thread's use of the object may have put its own in this place.
        if code == -errno.EINVAL and (not text or text.startswith("sttcp_conn_start_tls")):
            raise make_exception(code, text[len("sttcp_conn_"):] or
                                 "start_tls needs the name that the certificate has to be for")
        raise make_tls_exception(code, text or _sttcp.error_text(code))

    # ------------------------------------------------------------ sending

    def _send_apart(self, data: bytes, way: int) -> None:
        """What has no room, on the main thread. One that a signal has cut short goes on by itself, and
        may not stand in the library's line yet: the next one is not to come before it."""
        before = [send for send in list(_sends_apart) if send[0] is self]
        mine = (self, threading.Event())

        def end() -> None:
            if mine in _sends_apart:
                _sends_apart.remove(mine)
            mine[1].set()

        def send() -> None:
            try:
                # At the interpreter's end their threads stand still.
                for _, ended in () if is_finalizing() else before:
                    ended.wait()
                self._send_waiting(data, way)
            finally:
                end()

        call_interruptibly(send, lambda: _sends_apart.append(mine), end)

    # ------------------------------------------------------------ flow

    def flush(self) -> None:
        """Writes coalesced and queued output as far as the kernel accepts it, without blocking."""
        self._check(self._flush())

    def pause(self) -> None:
        """Stops reading from the peer: after the running handler no further data is delivered."""
        self._check(self._pause())

    def resume(self) -> None:
        """Resumes reading from the peer."""
        self._check(self._resume())

    @lists_options(MessageOptions)
    def set_framing(self, framing: Framing = DEFAULT, **options: Unpack[MessageOptions]) -> None:
        """Changes the framing of this open connection; for input, from the next message on.
        'custom' without frame is the function that was given last, for this connection or else
        for all of its server or client. Without framing the options tell it: one of a prefix asks
        for 'length' here even if it is False."""
        read, frame = read_options("set_framing", FramingOptions,
                                   {"framing": framing, **options})
        self._set_framing(read, frame)

    def on_message(self, function: DataT) -> DataT:
        """Gives this connection a handler(address, connection, data) of its own: from the next
        message on it is called in place of the receive or response handler and of the handler given
        to the constructor; None gives those back. So each state of a protocol can be a function.
        The universal handler still sees each message first. What it returns is ignored: the
        connection goes on. It stays when the framing changes. Usable as a decorator."""
        check_handler(function)
        self._on_message(function)
        return function

    # ------------------------------------------------------------ reading

    def recv_exactly(self, size: int, timeout: float | None | Default = DEFAULT) -> bytes | None:
        """Reads exactly so many bytes, inside a handler of this connection. When they have not come
        within the timeout, which is for all of them, or the peer's FIN comes first (then it returns
        None), nothing was taken. The timeout is that of settimeout, unless given here: seconds, or
        None to wait without limit. EMSGSIZE: the size is over max_message."""
        return self._recv_exactly(size, self._wait_ms(timeout))

    def next_size(self, timeout: float | None | Default = DEFAULT) -> int | None:
        """Waits for the next message as recv_message does, and returns its size; the message stays
        to be read: by recv_message, as in a coroutine other reads find it without its framing. None
        at the peer's FIN. With framing 'raw': how many bytes are there."""
        return self._next_size(self._wait_ms(timeout))

    def _wait_ms(self, timeout: float | None | Default) -> int:
        if timeout is DEFAULT:
            return self._timeout_ms
        if timeout is not None and timeout < 0:
            raise ValueError("Timeout value out of range")
        return wait_milliseconds(timeout)

    def __iter__(self) -> Iterator[bytes]:
        """Its messages (with framing 'raw': what comes) until the peer's FIN, as recv_message reads
        them. In a coroutine it is a TypeError: there it is `async for`."""
        while True:
            if self._is_awaited():
                raise TypeError("in a coroutine it is `async for` that goes over the messages of a "
                                "connection")
            message = self.recv_message()
            if message is None:
                return
            yield message

    # ------------------------------------------------------------ rooms

    def join(self, room: str | bytes) -> None:
        """Makes this connection of a server a member of the room, for server.broadcast(data,
        room=...) and the like; it may be in several. Nothing happens if it is one already. In the
        connection handler it counts once that has returned; the connection leaves all its rooms
        before its disconnection handler starts."""
        self._check_room(self._join(room_name(room)))

    def leave(self, room: str | bytes) -> None:
        """Leaves the room; nothing happens if it is not in it."""
        self._check_room(self._leave(room_name(room)))

    def _check_room(self, code: int) -> None:
        if code == -errno.EINVAL:
            raise TypeError("a client's connection has no rooms")
        self._check(code)

    # ------------------------------------------------------------ tasks

    def run(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Calls function(*args, **kwargs) as one of this connection's handlers: soon, never at the
        same time as another of them, and before the disconnection handler. Without arguments here,
        a function that needs one gets the connection. Never waits. The function may block and
        read, as a handler may; what it raises ends the connection, as in a handler. What one thread
        gives runs in that order. What has not begun when the connection ends does not run any
        more."""
        self._give_task(function, args, kwargs, -1, False)

    def after(self, seconds: float, function: Callable[..., object], *args: Any,
              **kwargs: Any) -> int:
        """As run, once, after so many seconds; returns a number for cancel. Nothing waits for it:
        the connection may end before, and counts as idle meanwhile."""
        return self._give_task(function, args, kwargs, task_milliseconds(seconds), False)

    def every(self, seconds: float, function: Callable[..., object], *args: Any,
              **kwargs: Any) -> int:
        """As after, again and again, without drift, until it is cancelled or the connection ends.
        Times that pass while it runs are left out."""
        return self._give_task(function, args, kwargs, task_milliseconds(seconds), True)

    def _give_task(self, function: Callable[..., object], args: tuple[Any, ...],
                   kwargs: dict[str, Any], ms: int, repeats: bool) -> int:
        check_task(function)
        has_arguments = bool(args or kwargs)
        takes_connection = not has_arguments and needs_one(function)
        if has_arguments:
            function = functools.partial(function, *args, **kwargs)
        return self._check(self._give(function, takes_connection, ms, repeats))

    def cancel(self, number: int) -> bool:
        """Cancels what after or every has returned the number of: False if it has run already, was
        cancelled, or never was. Does not wait: a call that runs goes on, and is the last one."""
        result = self._cancel(number)
        if result != -errno.ENOENT:
            self._check(result)
        return result == 0

    # ------------------------------------------------------------ as a socket

    def settimeout(self, timeout: float | None) -> None:
        """How long recv waits, in seconds: None without limit, 0 not at all. For sending there is
        the option write_timeout."""
        self._timeout_ms = self._wait_ms(timeout)

    def gettimeout(self) -> float | None:
        """What settimeout has set; None at first."""
        return None if self._timeout_ms < 0 else self._timeout_ms / 1000

    def setblocking(self, flag: bool) -> None:
        """settimeout(None) or settimeout(0)."""
        self._timeout_ms = -1 if flag else 0

    def getblocking(self) -> bool:
        """Whether recv waits."""
        return self._timeout_ms != 0

    def getpeername(self) -> tuple[str, int]:
        """The peer's (host, port)."""
        return self.address

    def getsockname(self) -> tuple[str, int]:
        """The (host, port) of this side."""
        return split_address(self._local_address)

    def makefile(self, mode: str = "r", buffering: int | None = None, *,
                 encoding: str | None = None, errors: str | None = None,
                 newline: str | None = None) -> Any:
        """A file that reads and writes the connection, as socket.socket.makefile; reading works
        inside its handlers. Closing the file leaves the connection open."""
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        binary = "b" in mode
        reads = "r" in mode or "w" not in mode
        raw = _Stream(self)
        if buffering == 0:
            if not binary:
                raise ValueError("unbuffered streams must be binary")
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        stream: Any
        if reads and "w" in mode:
            stream = io.BufferedRWPair(raw, raw, size)
        elif reads:
            stream = io.BufferedReader(raw, size)
        else:
            stream = io.BufferedWriter(raw, size)
        return stream if binary else io.TextIOWrapper(stream, encoding, errors, newline)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET, AF_INET6 or AF_UNIX."""
        host = self.address[0]
        if host.startswith("unix:"):
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in host else socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        """SOCK_STREAM."""
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """IPPROTO_TCP, or 0 for a Unix socket."""
        return 0 if self.family == socket.AF_UNIX else socket.IPPROTO_TCP

    # ------------------------------------------------------------ what is known of it

    @property
    def fail_text(self) -> str:
        """A text that adds to the reason: that of fail(), or which option ended it and its value, or
        what was malformed; '' when there is none."""
        return in_words_of_python(self._code, super().fail_text)

    @property
    def host(self) -> str:
        """The peer's numeric address, or unix:/path."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The peer's port; 0 for a Unix socket."""
        return self.address[1]

    @property
    def server(self) -> Server | None:
        """The server of the connection; None for a client's."""
        return None if self.owner is None or self.owner._is_client else self.owner

    @property
    def client(self) -> Client | None:
        """The client of the connection; None for a server's."""
        return self.owner if self.owner is not None and self.owner._is_client else None

    def stats(self) -> ConnectionStats:
        """The counters of the connection."""
        counts = self._stats()
        return ConnectionStats(*counts[:5], age=counts[5] / 1000)

    def _check(self, code: int) -> int:
        if code < 0:
            if code == -errno.EINVAL:
                raise make_system_error(code)
            raise make_exception(code, self.fail_text if code == self._code else None)
        return code

    def __repr__(self) -> str:
        if self.is_open:
            state = "open"
        else:
            code = self._code
            state = f"ended: {_sttcp.error_name(code)}" if code < 0 else "ended"
        way = "from" if self.server is not None else "to"
        return f"<sttcp.Connection {self.id} {way} {self.host}:{self.port} {state}>"


if TYPE_CHECKING:
    class AsyncConnection(Connection):
        """The same, as a coroutine sees it that is a handler of the connection: for annotations."""

        def recv(self, size: int, flags: int = 0, /  # type: ignore[override]
                 ) -> Awaitable[bytes]: ...
        def recv_message(self) -> Awaitable[bytes | None]: ...  # type: ignore[override]
        def recv_exactly(self, size: int,  # type: ignore[override]
                         timeout: float | None | Default = DEFAULT,
                         ) -> Awaitable[bytes | None]: ...
        def next_size(self, timeout: float | None | Default = DEFAULT,  # type: ignore[override]
                      ) -> Awaitable[int | None]: ...
        def sendall(self, data: ReadableBuffer, flags: int = 0, /  # type: ignore[override]
                    ) -> Awaitable[None]: ...
        def send_message(self, data: ReadableBuffer, /  # type: ignore[override]
                         ) -> Awaitable[None]: ...
        def start_tls(self, tls: TLS, name: str | None = None,  # type: ignore[override]
                      ) -> Awaitable[None]: ...
else:
    AsyncConnection = Connection
