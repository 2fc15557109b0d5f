# SPDX-License-Identifier: MIT
"""Clients."""

from __future__ import annotations

# mypy before 1.7 has to be told.
# mypy: enable-incomplete-feature=Unpack

import errno
import threading
import time
from sys import is_finalizing
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

from . import _group, _sttcp
from ._connection import Connection, split_address
from ._engine import logger
from ._group import Address, DataT, PlainHandler, count_arguments
from ._options import DEFAULT, ClientOptions, lists_options, wait_milliseconds
from ._printing import print_sync
from ._wait import call_interruptibly, on_main_thread, wait_until
from .errors import DestructionException as _DestructionException, make_end, make_exception

if TYPE_CHECKING:
    from typing_extensions import Unpack

UnconnectedHandler = Union[Callable[[Address], object], Callable[[Address, Any], object]]
UnconnectedT = TypeVar("UnconnectedT", bound=Optional[UnconnectedHandler])

#: How long _stop_now lets bytes leave, and then the last handler run.
_MOMENTS_S = 0.5


def _send_ok(address: Address, connection: Connection) -> None:
    connection.sendall(b"ok")


def _print_response(address: Address, connection: Connection, data: bytes) -> bool:
    text = data.decode("utf-8", "backslashreplace")
    print_sync(f'Received "{text}"')
    return False


def _raise_unconnected(address: Address, reason: BaseException) -> None:
    host, port = address
    print_sync(f"Couldn't connect to {host}:{port}")
    raise reason


class Client(_group.Group):
    """A TCP client, for one connection at a time; it can be started again after its end.

        client = Client('localhost', 62134, connect_timeout=5)

    host: a name, an IPv4 or IPv6 address, 'unix:/path' or 'unix:@name'. port:
    int or str.
    handler: handler(address, connection, data), after the connection handler
    with data None, and after the response handler. The rest are options, as of a
    Server; connect_timeout is for name resolution and all addresses together
    (10), drain_timeout for flushing output when it is closed (10), local_host and
    local_port are its own end's address (any).

    tls: True, or a TLS with settings of its own: the connection speaks TLS. The server's certificate
    has to be trusted by the system, and to be for tls_name (the host); a failed handshake is told to
    the unconnected handler, a TLSError with a sentence. tls_handshake_timeout begins when
    connect_timeout ends (10).

    reconnect: connect again after a failed attempt, and after an end that nobody on this side asked
    for. Asked for are close() of the client; close, abort, fail and detach of its connection; a
    handler that returns False, and one that raises. Each wait is random, up to reconnect seconds at
    first, and up to twice as many each time, as far as reconnect_max (30). It is short again after a
    connection that was open for reconnect_max. reconnect_tries: attempts of this kind since it was
    last open, after which it ends for good (None: without limit). closed, wait() and keep_alive()
    are about the end for good.

    A client without any handler sends b'ok', prints the answer and ends; one with reconnect has
    none.
    """

    class HandlerType(_group.HandlerType):
        connection = 1
        response = 2
        disconnection = 3
        unconnected = 4

    DestructionException = _DestructionException

    _is_client = True
    _what = "client"
    _options = ClientOptions

    @lists_options(ClientOptions)
    def __init__(self, host: str | None, port: str | int, handler: PlainHandler | None = None,
                 **options: Unpack[ClientOptions]) -> None:
        super().__init__(host, port, handler, **options)
        self._reconnects = options.get("reconnect") not in (None, DEFAULT)

    # ------------------------------------------------------------ handlers

    def response_handler(self, function: DataT) -> DataT:
        """Sets handler(address, connection, data), for received data. False ends the connection;
        None leaves that to the universal handler."""
        self._put(_group.DATA, function)
        return function

    def unconnected_handler(self, function: UnconnectedT) -> UnconnectedT:
        """Sets handler(address, exception), for an attempt that has failed; address is the one that
        the client was made with. The handler may start the client again."""
        self._put(_group.UNCONNECTED, function, count_arguments(function, 2))
        return function

    # ------------------------------------------------------------ life

    def _prepare(self) -> None:
        if self._has_handlers() or self._reconnects:
            return
        self._put(_group.CONNECTION, _send_ok)
        self._put(_group.DATA, _print_response)
        self._put(_group.UNCONNECTED, _raise_unconnected)

    def _opened(self, goes_on: bool) -> None:
        # The library alone knows whether the end of a connection is that of the client.
        if not self._reconnects or goes_on:
            return
        run = self._runs
        try:
            threading.Thread(target=self._finish_later, args=(run,), name="sttcp-wait",
                             daemon=True).start()
        except RuntimeError:  # no thread to be had: nobody would tell its end
            self._stop(0)
            self._finish(run)
            raise

    def close(self) -> None:
        """Ends the attempt or the connection now: output is flushed, and the last handler gets a
        DestructionException. Returns when that handler has returned; inside a handler it returns at
        once. Between two attempts (reconnect) no handler runs."""
        if not self._has_begun():
            return
        if _sttcp._in_handler():
            self._stop(0)
            return
        run = self._runs

        def close() -> None:
            self._stop(0)
            if self._reconnects:
                self._finish(run)
            self._wait_for_timers(None)

        call_interruptibly(close)

    def stop(self) -> None:
        """The same as close."""
        self.close()

    def _stop_now(self) -> None:
        """Ends it without waiting for a handler that runs, or for a peer that does not read: what the
        peer does not take within moments is lost."""
        if not self._has_begun():
            return
        if is_finalizing():  # no thread and no handler runs any more
            self._stop(0)
            return
        connection = self.connection
        closing = threading.Thread(target=self._stop, args=(0,), name="sttcp-wait", daemon=True)
        try:
            closing.start()
        except RuntimeError:  # no thread any more: the interpreter is on its way out
            self._stop(0)
        if _sttcp._in_handler() or wait_until(lambda: self.closed, _MOMENTS_S):
            return
        if connection is not None:
            connection.abort()
        wait_until(lambda: self.closed, _MOMENTS_S)

    def _stop_after_signal(self) -> None:
        self.close()

    def _check_wait(self) -> None:
        """In handlers of other objects it may be waited for."""
        if not self._was_started:
            raise RuntimeError("the client was not started")
        self._check_code(self._wait(0))

    def _check_code(self, code: int) -> None:
        if code == -errno.EDEADLK:
            raise RuntimeError("waiting for a client inside one of its own handlers")
        if code == _sttcp.EFORK:
            raise make_exception(code, None)

    # ------------------------------------------------------------ sending

    def wait_open(self, timeout: float | None = None) -> bool:
        """Waits until there is an open connection, that is, until the connection handler has
        returned without False. Returns False after timeout seconds; raises why the client has
        ended, if it has for good. Not inside its own handlers."""
        self._check_wait()
        limit_ms = wait_milliseconds(timeout)
        code = self._wait_open(0)
        if code == -errno.ETIMEDOUT and limit_ms:
            code = call_interruptibly(lambda: self._wait_open(limit_ms))
        if code == -errno.ETIMEDOUT:
            return False
        self._check_code(code)
        if code < 0:
            raise make_end(code)
        return True

    def _send_now(self, data: bytes, framed: bool) -> int:
        """On the open connection. The main thread leaves waiting at the cap to another one."""
        if not on_main_thread():
            return self._send(data, framed)
        code = self._wait_open(0)
        if code < 0 or self._try_send(data, framed):
            return code
        kept = bytes(data)  # it goes on if a signal handler raises
        return call_interruptibly(lambda: self._send(kept, framed))

    def _send_on_open(self, data: bytes, framed: bool, timeout: float | None) -> None:
        self._check_wait()
        limit_ms = wait_milliseconds(timeout)
        end = None if limit_ms < 0 else time.monotonic() + limit_ms / 1000
        code = self._send_now(data, framed)
        while code == -errno.ETIMEDOUT:
            left = None if end is None else max(0, end - time.monotonic())
            if not self.wait_open(left):
                raise make_exception(-errno.ETIMEDOUT, None)
            code = self._send_now(data, framed)
        self._check_code(code)
        if code < 0:
            raise make_end(code) if self.closed else make_exception(code, None)

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Waits for an open connection, for timeout seconds at most (TimeoutError), and sends all of
        the data on it, as its sendall does. Raises why the client has ended, if it has for good.
        Bytes that a lost connection had accepted are lost with it. Not inside its own handlers,
        which have their connection."""
        self._send_on_open(data, False, timeout)

    def send_message(self, data: bytes, timeout: float | None = None) -> None:
        """The same with one message, framed as the connection's input is."""
        self._send_on_open(data, True, timeout)

    # ------------------------------------------------------------ what is known of it

    @property
    def connection(self) -> Connection | None:
        """The open connection, or None."""
        return self._connection()

    @property
    def sock_name(self) -> Address:
        """(host, port): before the first connection as given, then the local address of the last
        one."""
        local = self._current()[1]
        return split_address(local) if local else self._given

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection: from the start of its first handler to that of its
        last."""
        return not self.closed and self._current()[0]

    def _state(self) -> str:
        return "connected" if self.is_connected else "connecting"
