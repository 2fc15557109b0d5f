# SPDX-License-Identifier: MIT
"""Dialling: the client of code that wants no handlers."""

from __future__ import annotations

# mypy before 1.7 has to be told.
# mypy: enable-incomplete-feature=Unpack

from typing import TYPE_CHECKING, Any, Awaitable, Generator, cast

from . import _sttcp
from ._connection import AsyncConnection, Connection
from ._engine import begin
from ._group import core_host, read_port
from ._options import (DEFAULT, Default, DialOptions, lists_options, milliseconds, read_options,
                       without_off)
from ._wait import call_interruptibly
from .errors import raise_start

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._tls import TLS


@lists_options(DialOptions)
def dial(host: str, port: str | int = 0, *, timeout: float | None | Default = DEFAULT,
         **options: Unpack[DialOptions]) -> Dialled:
    """Connects, waits until that has an outcome, and returns an open connection without handlers.

        with sttcp.dial('localhost', 62134, framing='line', timeout=5) as connection:
            connection.send_message(b'hello')
            for message in connection:
                print(message)

    host and port are as for a Client ('unix:/path' needs no port), and so are the options, but for
    those of connecting again, drain_timeout and half_close. timeout is that of
    socket.create_connection: seconds for name lookup and connecting (10; None: without limit), and
    what settimeout is called with (None).

    Any thread may read it, one at a time (OSError EBUSY for others), and any number may send: recv,
    recv_message, recv_exactly and next_size work everywhere, and Ctrl+C interrupts them. The peer's
    FIN does not end it: recv returns b'', recv_message None, and sending goes on. close(), the end of
    a with statement, and the last reference to it close it in order, without waiting; what is queued
    still leaves, as long as the program runs. It has no server and no client, and no on_message().

    Inside a handler it blocks as all else that waits. In a handler that is a coroutine it is awaited,
    and has no thread meanwhile; so are the methods of the connection then, as those of the
    coroutine's own connection are:

        async with sttcp.dial('localhost', 62134, framing='line', timeout=5) as back:
            async for line in connection:
                await back.send_message(line)
                await connection.send_message(await back.recv_message())

    `await sttcp.dial(...)` alone gives the connection. The end of the coroutine's connection gives
    the attempt up, and ends waits for what was dialled: they raise its reason.

    What cannot be connected to raises an sttcp.Error: ConnectionRefusedError, TimeLimitError,
    socket.gaierror, TLSError.
    """
    number = read_port(port)
    given: dict[str, Any] = dict(options)
    if timeout is not DEFAULT:
        given.setdefault("connect_timeout", timeout)
    read, frame = read_options("dial", DialOptions, without_off(DialOptions, given))
    if host == "localhost" and not read.get("tls_name"):
        # Certificates are for the name, whatever core_host makes of it.
        read["tls_name"] = host
    begin()

    def complain(code: int, text: str) -> None:
        tls = cast("TLS | None", read.get("tls"))
        raise_start(code, text, tls._error() if tls is not None else "")

    def connect() -> Connection:
        made = call_interruptibly(lambda: _sttcp._dial(core_host(host), number, read, frame))
        if isinstance(made, tuple):
            complain(*made)
            raise AssertionError(made)
        made._timeout_ms = limit
        return made

    limit = -1 if timeout is DEFAULT or timeout is None else milliseconds("timeout", timeout)
    parks = _sttcp._awaits()
    if parks is None:
        return connect()  # type: ignore[return-value]
    if not parks:
        return _sttcp._done(connect())  # type: ignore[return-value]
    # The peer's FIN does not end it.
    return _sttcp._dial_waiting(  # type: ignore[return-value]
        core_host(host), number, {**read, "half_close": True}, frame, limit, complain)


if TYPE_CHECKING:
    class Dialled(Connection):
        """What dial returns: in a coroutine it is awaited, and comes to a connection whose methods
        are, too."""

        def __await__(self) -> Generator[Any, Any, AsyncConnection]: ...
        def __aenter__(self) -> Awaitable[AsyncConnection]: ...  # type: ignore[override]
