# SPDX-License-Identifier: MIT
"""Clients."""

from __future__ import annotations

# mypy before 1.7 has to be told.
# mypy: enable-incomplete-feature=Unpack

import threading
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

from . import _group, _sttcp
from ._connection import Connection, split_address
from ._engine import logger
from ._group import Address, DataT, PlainHandler, count_arguments
from ._options import ClientOptions, lists_options
from ._printing import print_sync
from ._wait import call_interruptibly, wait_until
from .errors import DestructionException as _DestructionException

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

    A client without any handler sends b'ok', prints the answer and ends.
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
        if self._has_handlers():
            return
        self._put(_group.CONNECTION, _send_ok)
        self._put(_group.DATA, _print_response)
        self._put(_group.UNCONNECTED, _raise_unconnected)

    def close(self) -> None:
        """Ends the attempt or the connection now: output is flushed, and the last handler gets a
        DestructionException. Returns when that handler has returned; inside a handler it returns at
        once."""
        if not self._was_started or self.closed:
            return
        if _sttcp._in_handler():
            self._stop(0)
            return

        def close() -> None:
            self._stop(0)
            self._wait_for_timers(None)

        call_interruptibly(close)

    def stop(self) -> None:
        """The same as close."""
        self.close()

    def _stop_now(self) -> None:
        """Ends it without waiting for a handler that runs, or for a peer that does not read: what the
        peer does not take within moments is lost."""
        if not self._was_started or self.closed:
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
        return self._current()[0]

    def _state(self) -> str:
        return "connected" if self.is_connected else "connecting"
