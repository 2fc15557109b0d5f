# SPDX-License-Identifier: MIT
"""Why connections end, as exceptions.

A disconnection or unconnected handler gets one of these, one of Python's own
(ConnectionResetError, ConnectionRefusedError, TimeoutError, socket.gaierror,
OSError, ...), or the very exception that a handler raised. Those that come from
the library have an attribute `code`, a number of sttcp.h, and `name`.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Callable

from . import _sttcp


class StoppedError(ConnectionAbortedError):
    """The server is stopping, and did not wait any longer."""


class SlowPeerError(ConnectionAbortedError):
    """The peer reads too slowly: what was queued for it went over its cap."""


class HandlerError(ConnectionAbortedError):
    """The connection was failed on this side, with a text."""


class LimitError(ConnectionError):
    """A message, or what was held of one, went over max_message."""


class FrameError(ConnectionError):
    """A malformed message."""


class TimeLimitError(TimeoutError):
    """A time limit; `limit` tells which: 'connect', 'first_byte', 'idle', 'message', 'write',
    'lifetime' or 'dead_peer'."""

    limit: str = ""


class DestructionException(ConnectionAbortedError):
    """The client was closed by its owner. Known as Client.DestructionException."""


DestructionException.__qualname__ = "Client.DestructionException"
DestructionException.__module__ = "sttcp.client"

_TIMES: dict[int, str] = {
    _sttcp.ETIME_CONNECT: "connect",
    _sttcp.ETIME_FIRST_BYTE: "first_byte",
    _sttcp.ETIME_IDLE: "idle",
    _sttcp.ETIME_MESSAGE: "message",
    _sttcp.ETIME_WRITE: "write",
    _sttcp.ETIME_LIFETIME: "lifetime",
    _sttcp.EDEAD_PEER: "dead_peer",
}

_KINDS: dict[int, "tuple[type[OSError], int]"] = {
    _sttcp.EDESTROYED: (DestructionException, errno.ECONNABORTED),
    _sttcp.ECLOSED: (ConnectionAbortedError, errno.ECONNABORTED),
    _sttcp.ESTOPPED: (StoppedError, errno.ECONNABORTED),
    _sttcp.EHANDLER: (HandlerError, errno.ECONNABORTED),
    _sttcp.EFRAME: (FrameError, errno.EPROTO),
    _sttcp.ELIMIT: (LimitError, errno.EMSGSIZE),
    _sttcp.ESLOW: (SlowPeerError, errno.ECONNABORTED),
    _sttcp.ERESOLVE: (socket.gaierror, socket.EAI_NONAME),
    _sttcp.ETLS: (ConnectionAbortedError, errno.EPROTO),
}


def make_exception(code: int, text: str | None) -> BaseException:
    """What a call raises for a code below 0; text is more telling than the code's own."""
    text = text or (_sttcp.error_text(code) if code <= _sttcp.EDESTROYED else os.strerror(-code))
    made: Any
    if code == _sttcp.EFORK:
        made = RuntimeError(text)
    elif code == -errno.EINVAL:
        made = ValueError(text)
    elif code in _TIMES:
        made = TimeLimitError(errno.ETIMEDOUT, text)
        made.limit = _TIMES[code]
    elif code in _KINDS:
        kind, number = _KINDS[code]
        made = kind(number, text)
    elif code == -errno.ETIMEDOUT:
        made = socket.timeout(errno.ETIMEDOUT, text)
    else:
        made = OSError(-code, text)
    made.code = code
    made.name = _sttcp.error_name(code)
    return made  # type: ignore[no-any-return]


def make_reason(code: int, text: str) -> BaseException | None:
    """What a handler gets: None for an end in order, and for one that was wished for here."""
    if code in (0, _sttcp.ECLOSED):
        return None
    return make_exception(code, text)


def raise_start(code: int, text: str) -> None:
    """Raises what a start failed with."""
    if code == -errno.EBUSY:
        raise RuntimeError(text)
    raise make_exception(code, text)


Report = Callable[[BaseException], None]
