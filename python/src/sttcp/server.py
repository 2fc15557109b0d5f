# SPDX-License-Identifier: MIT
"""Servers."""

from __future__ import annotations

# mypy before 1.7 has to be told.
# mypy: enable-incomplete-feature=Unpack

import _thread
import socket
import threading
import time
import warnings
from sys import is_finalizing
from typing import TYPE_CHECKING, Callable, NamedTuple

from . import _group, _sttcp
from ._connection import Connection, room_name, split_address
from ._engine import logger, thread_gone
from ._group import Address, DataT, PlainHandler, StopReport
from ._options import DEFAULT, Seconds, ServerOptions, lists_options, wait_milliseconds
from ._wait import call_interruptibly
from .errors import make_exception, raise_start

if TYPE_CHECKING:
    from typing_extensions import Unpack


# What _broadcast is told: whether each connection's framing is put around the data.
_AS_BYTES, _AS_MESSAGE = False, True


class Stats(NamedTuple):
    """Counters of a server since it was made. connections, queued, threads, threads_blocked,
    longest_ms and longest_id are gauges: they tell the present. threads, takeovers and
    thread_cap_hits are the process's. tls_failed: TLS handshakes, those of start_tls included; of
    the others no handler was told. fibers and fibers_waiting are gauges, too, and 0: handlers in
    Python run on threads."""

    connections: int
    total: int
    declined: int
    failed: int
    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    queued: int
    threads: int
    threads_blocked: int
    takeovers: int
    longest_ms: int
    longest_id: int
    accept_pauses: int
    over_connections: int
    over_per_ip: int
    over_rate: int
    thread_cap_hits: int
    tls_failed: int
    fibers: int
    fibers_waiting: int


def _room(room: str | bytes | None) -> bytes | None:
    return None if room is None else room_name(room)


def _is_name(host: str) -> bool:
    """Whether it has to be looked up."""
    if not host or host.startswith("unix:"):
        return False
    try:
        socket.getaddrinfo(host.strip("[]"), None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return True
    return False


def _log_connection(address: Address, connection: Connection) -> None:
    logger.info("Connected by %s:%s", *address)


def _log_disconnection(address: Address, reason: BaseException | None) -> None:
    logger.info("Disconnected by %s:%s", *address)


class Server(_group.Group):
    """A TCP server.

        server = Server('localhost', 62134, framing='line', idle_timeout=30)

    host: a name, an IPv4 or IPv6 address, '' for all interfaces, 'unix:/path',
    or 'unix:@name' for a Unix socket without a file. port: int or str; 0 lets
    the kernel choose, and `port` tells which. Server(None, None) has no address of
    its own, only those of add_address and add_listener. handler: handler(address, connection,
    data), after the receive handler. The rest are options; times are in seconds,
    sizes in bytes, None is off or unlimited.

    Messages:
        framing: how bytes are split into messages: 'raw' (not at all), 'line',
            'delimiter', 'length', 'fixed', or as frame says ('custom').
        frame: frame(connection, data) gets the bytes so far and tells where the
            first message ends: (skip, size, total) when the first total bytes
            are one, of which size bytes from skip on are delivered; they need
            not have come yet. None: needs more. n: needs n bytes at least, and
            is not asked before. Below 0: malformed.
        delimiter: 1 to 16 bytes. fixed_size: of every message.
        prefix_size: 1, 2, 3, 4 (default) or 8 bytes of length;
            prefix_little_endian, prefix_varint, prefix_includes_itself.
        prefix_offset: bytes of the payload in front of the length (0).
        prefix_adjust: added to the length, it tells what follows it (0).
        rest_at_end: input without a delimiter at the peer's FIN is a last message
            ('line', 'delimiter'); without it the connection ends with FrameError.
        max_message: cap on a payload (1 MiB).
    Queues and backpressure:
        send_queue_max: cap on the bytes queued for one connection (1 MiB).
        high_water, low_water: stop reading from a peer when this many bytes are
            queued for it (512 KiB), and resume at this many (128 KiB).
        total_queue_max: cap for all connections together.
        broadcast_skips: a member over its cap misses a broadcast, but stays.
    Timeouts:
        first_byte_timeout, idle_timeout, message_timeout: off by default.
        lifetime, lifetime_jitter: off by default.
        write_timeout: time that a queue may stand still (30).
        linger_timeout: time after a close in which further input is dropped (2).
        dead_peer_timeout: approximate time to detect a peer that has vanished (60).
        drain_timeout: time that close() and stop() wait for connections to end
            (None; after Ctrl+C in keep_alive, and at the end of a with block, 10).
        end_idle_at_stop: idle connections end at once then.
    Limits:
        max_connections, max_connections_per_ip, accept_rate (per second): off.
        over_limit: 'pause' leaves new connections in the kernel's queue, 'reject'
            closes them.
    Sockets:
        backlog, reuse_port, ipv6_only, nagle; half_close: the peer's FIN calls
        the end handler, and sending stays possible.
        unix_mode: permissions of a socket file, 0o660 for example, set before
            anybody can connect (as the umask leaves them).
    TLS:
        tls: a TLS('cert.pem', 'key.pem'): every connection speaks TLS from its
            first byte on, and its connection handler runs after the handshake.
        tls_handshake_timeout: limit on a handshake (10).
    """

    class HandlerType(_group.HandlerType):
        connection = 1
        receive = 2
        disconnection = 3

    _options = ServerOptions

    @lists_options(ServerOptions)
    def __init__(self, host: str | None, port: str | int | None,
                 handler: PlainHandler | None = None, **options: Unpack[ServerOptions]) -> None:
        super().__init__(host, port, handler, **options)
        self._sock_name: Address = self._given
        self._hosts = [_group.core_host(host)]  # its own, and those added

    # ------------------------------------------------------------ handlers

    def receive_handler(self, function: DataT) -> DataT:
        """Sets handler(address, connection, data), for received data. Its result is ignored:
        connection.close() ends the connection."""
        self._put(_group.DATA, function)
        return function

    # ------------------------------------------------------------ addresses

    def _read_port(self, host: str | None, port: str | int | None) -> int:
        """Neither host nor port: no address of its own. -1 is how C says that."""
        self._has_own = bool(host) or (port is not None and port != -1)
        return _group.read_port(port) if self._has_own else -1

    def _check_added(self, code: int) -> None:
        if code < 0:
            raise_start(code, self._error())

    def add_address(self, host: str | None, port: str | int) -> None:
        """One more address to listen on, from the next start on; host and port as for Server. A
        start listens on all addresses or on none. RuntimeError: the server is not stopped."""
        self._check_added(self._add_address(_group.core_host(host), _group.read_port(port)))
        self._hosts.append(_group.core_host(host))

    def add_listener(self, listener: int | socket.socket) -> None:
        """A socket that listens already, for example one that systemd has passed, or its
        descriptor. It is the server's from now on: a socket object is detached, and what it was is
        closed when the server is garbage. It may be shared with other processes: a stop accepts no
        more from it and leaves it listening. ValueError: it is no stream socket that listens.
        RuntimeError: the server is not stopped."""
        if isinstance(listener, socket.socket):
            self._check_added(self._add_listener(listener.fileno()))
            listener.detach()
        elif isinstance(listener, int) and not isinstance(listener, bool):
            self._check_added(self._add_listener(listener))
        else:
            raise TypeError(f"listener must be a socket or a descriptor, not {listener!r}")

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the server listens on, from the start on, one text for each socket:
        '127.0.0.1:7000', '[::1]:7000', 'unix:/path'. Its own come first, then those added."""
        return tuple(self._addresses())

    @property
    def address(self) -> str:
        """'host:port'. Without an address of its own: the first that it listens on, or ''."""
        if self._has_own:
            return super().address
        return next(iter(self.addresses), "")

    # ------------------------------------------------------------ life

    def _prepare(self) -> None:
        if not logger.isEnabledFor(20):
            return
        # What the first versions printed where nothing else was set.
        if self._get_handler(_group.CONNECTION) is None:
            self._put(_group.CONNECTION, _log_connection)
        if self._get_handler(_group.DISCONNECTION) is None:
            self._put(_group.DISCONNECTION, _log_disconnection)

    def _looks_up(self) -> bool:
        return any(map(_is_name, self._hosts))

    def _opened(self, goes_on: bool) -> None:
        if self._looks_up():
            run = self._runs
            try:
                self._sock_name = call_interruptibly(self._listens_on)
            except BaseException:  # a handler of a signal has raised
                self._undo_start()
                self._finish(run)
                raise
        else:
            self._sock_name = self._listens_on()
        logger.info("Listening to %s:%s", *self._sock_name)
        for each in self.addresses[1:]:
            logger.info("Listening to %s:%s", *split_address(each))
        self._is_open = True
        if self._stop_requested:
            self._follow_request()

    def _listens_on(self) -> Address:
        host = _group.core_host(self.host)
        port = self._port()
        if host.startswith("unix:"):
            return host, 0
        if not self._has_own:
            return split_address(self.address)
        if not host:
            return "0.0.0.0", port
        if host.startswith("["):
            return host.strip("[]"), port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError:
            return host, port
        # The first IPv4 address, if there is one.
        found.sort(key=lambda each: each[0] != socket.AF_INET)
        return str(found[0][4][0]), port

    def _stop_within(self, timeout_ms: int) -> StopReport:
        if not self._has_begun():
            return StopReport(0, 0, 0)
        # Without the lock, in which a signal handler might stop it once more, and wait for a thread
        # that wants the lock. The run comes last: of two it is the later one, which _stop ends.
        if self.closed:
            return StopReport(0, 0, 0)
        self._stopping = True
        run = self._runs
        if _sttcp._in_handler():
            report = self._stop(timeout_ms)
            try:
                threading.Thread(target=self._finish_later, args=(run,), name="sttcp-wait",
                                 daemon=True).start()
            except RuntimeError:  # no thread to be had: nobody would tell its end
                self._finish(run)
                raise
            return StopReport(*report[1:])

        end = time.monotonic() + timeout_ms / 1000

        def stop() -> StopReport:
            report = self._stop(timeout_ms)
            self._finish(run)
            self._wait_for_timers(None if timeout_ms < 0 else max(0, end - time.monotonic()))
            return StopReport(*report[1:])

        return call_interruptibly(stop)

    def stop(self, timeout: Seconds = DEFAULT) -> StopReport:
        """Stops listening at once, waits until every connection has ended, and returns; inside a
        handler it returns at once, and completes later. Connections left after timeout seconds are
        flushed and closed with a StoppedError, and counted in the report. A timeout of 0 is at
        once, None waits without limit; the default is the option drain_timeout."""
        if timeout is DEFAULT:
            return self._stop_within(self._drain_ms or -1)
        return self._stop_within(wait_milliseconds(timeout))

    def close(self, timeout: Seconds = DEFAULT) -> StopReport:
        """The same as stop."""
        return self.stop(timeout)

    def _stop_now(self) -> None:
        self._stop_within(0)

    def _tell_stopping(self) -> None:
        waits = self.count
        more = ""
        if waits == 1:
            more = ", waits for 1 connection, Ctrl+C again ends it"
        elif waits:
            more = f", waits for {waits} connections, Ctrl+C again ends them"
        logger.info("Stopping server %s%s...", self, more)

    def _stop_after_signal(self) -> None:
        self._stop_within(self._drain_ms or _group.SIGNAL_DRAIN_MS)

    def request_stop(self) -> None:
        """For signal handlers, which may interrupt anything: starts what a first Ctrl+C starts in
        keep_alive, and does not wait. A second request does nothing more. RuntimeError: no thread
        can be made, or the process was forked."""
        self._stop_requested = True
        code = self._request_stop()
        if code < 0:
            raise make_exception(code, None)
        # In the middle of a start, the end of that looks.
        if self._is_open and not self.closed:
            self._stopping = True
            self._follow_request()

    def _follow_request(self) -> None:
        """Once a run. A threading.Thread will not do: what that locks may be what a signal has
        interrupted. As that does, this waits for the thread's first step: an interpreter that ends
        crashes on threads that have not begun."""
        if self._is_followed or is_finalizing():
            return
        self._is_followed = True
        begun = _thread.allocate_lock()
        begun.acquire()
        try:
            _thread.start_new_thread(self._stop_as_requested, (begun.release,))
        except RuntimeError:
            self._is_followed = False
            raise
        begun.acquire()

    def _stop_as_requested(self, tell_begun: Callable[[], object]) -> None:
        tell_begun()
        try:
            self._stop_after_signal()
        finally:
            thread_gone()

    def mainloop(self) -> None:
        """keep_alive, as it was called before version 1.2, and for programs of that time start."""
        warnings.warn("mainloop was renamed to keep_alive", DeprecationWarning, stacklevel=2)
        if not self._was_started:
            _group.start_as_version_1_1()
        self.keep_alive()

    # ------------------------------------------------------------ connections

    def broadcast(self, data: bytes, exclude: Connection | None = None,
                  room: str | bytes | None = None) -> int:
        """Sends the bytes unframed to every connection, or to those in the room, except exclude.
        Never waits: a connection whose queue would exceed its cap is dropped, or with
        broadcast_skips left out. Returns the number of connections it was sent to."""
        return self._broadcast(data, exclude, _AS_BYTES, _room(room))

    def broadcast_message(self, data: bytes, exclude: Connection | None = None,
                          room: str | bytes | None = None) -> int:
        """The same with one message, framed for each connection."""
        return self._broadcast(data, exclude, _AS_MESSAGE, _room(room))

    def connections(self, room: str | bytes | None = None) -> list[Connection]:
        """The connections, each from the return of its connection handler to the start of its
        disconnection handler; or those in the room."""
        return self._connections(_room(room))

    def each(self, function: Callable[[Connection], object],
             room: str | bytes | None = None) -> int:
        """Calls function(connection) for each of them; returns the number of calls."""
        found = self.connections(room)
        for connection in found:
            function(connection)
        return len(found)

    def find(self, connection_id: int) -> Connection | None:
        """The connection with this id, or None."""
        return self._find(connection_id)

    @property
    def count(self) -> int:
        """The number of connections."""
        return self._count()

    def count_in(self, room: str | bytes) -> int:
        """The number of connections in the room; 0 if there is none of this name."""
        return self._count_in(room_name(room))

    def stats(self) -> Stats:
        """The counters of the server."""
        return Stats(**self._stats())

    # ------------------------------------------------------------ what is known of it

    @property
    def port(self) -> int:
        """The port that the server listens on; before the start, the one that was given."""
        if not self._was_started:
            return self._port_given
        port = self._port()
        # Of a forked child the library does not tell.
        return self._sock_name[1] if port == _sttcp.EFORK else port or self._port_given

    @property
    def sock_name(self) -> Address:
        """(host, port); from the start on, those of the socket."""
        return self._listens_on() if self._starter else self._sock_name

    @property
    def is_listening(self) -> bool:
        """Whether it accepts connections."""
        return self._was_started and not self._stopping and not self.closed

    def _state(self) -> str:
        return f"{'stopping' if self._stopping else 'listening'}, {self.count} connections"
