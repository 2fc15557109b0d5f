# SPDX-License-Identifier: MIT
"""Why connections end, and why calls fail, as exceptions.

Whatever comes from the library or the system is an sttcp.Error, which has the
number and the name of its cause, and is one of Python's own exceptions as well:
StoppedError is a ConnectionAbortedError, and a reset by the peer is both an
sttcp.Error and a ConnectionResetError. What a handler raised is passed on as it
is. Wrong arguments, and calls at a wrong time that the package itself refuses,
are Python's own exceptions alone.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from typing import Any, cast

from . import _sttcp


class Error(Exception):
    """The base of all exceptions that the library makes. `code` is a number of sttcp.h, or of the
    system (-errno)."""

    code: int = 0

    @property
    def name(self) -> str:
        """The name of the code: 'STTCP_ESLOW', 'ECONNRESET'; '' where there is no code."""
        return _sttcp.error_name(self.code) if self.code else ""


class StoppedError(Error, ConnectionAbortedError):
    """The server is stopping, and did not wait any longer."""

    code = _sttcp.ESTOPPED


class SlowPeerError(Error, ConnectionAbortedError):
    """The peer reads too slowly: its send queue exceeded its cap."""

    code = _sttcp.ESLOW


class HandlerError(Error, ConnectionAbortedError):
    """The connection was failed on this side, with a text."""

    code = _sttcp.EHANDLER


class LimitError(Error, ConnectionError):
    """A message, or what was held of one, went over max_message."""

    code = _sttcp.ELIMIT


class FrameError(Error, ConnectionError):
    """A malformed message."""

    code = _sttcp.EFRAME


class TLSError(Error, ConnectionError):
    """TLS failed: a handshake, what a peer sent, or what files hold. The text says what was wrong.
    It is no ssl.SSLError, which only comes with that module, but an OSError as that is."""

    code = _sttcp.ETLS


class CutError(Error, ConnectionAbortedError):
    """The peer ended without TLS's end of the stream, close_notify: it may have been cut off by
    somebody on the way, but many peers are careless about it. ssl has SSLEOFError for that."""

    code = _sttcp.ECUT


if sys.version_info >= (3, 10):
    _Timeout = TimeoutError
else:
    class _Timeout(socket.timeout, TimeoutError):
        """What both were before they became one: programs catch one or the other."""

    _Timeout.__name__ = "TimeoutError"


class TimeLimitError(Error, _Timeout):
    """A time limit; `limit` names it: 'connect', 'first_byte', 'idle', 'message', 'write',
    'lifetime', 'dead_peer' or 'tls_handshake'."""

    limit: str = ""


class DestructionException(Error, ConnectionAbortedError):
    """The program closed the client. Known as Client.DestructionException."""

    code = _sttcp.EDESTROYED


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
    _sttcp.ETIME_HANDSHAKE: "tls_handshake",
}

_KINDS: dict[int, tuple[type[OSError], int]] = {
    _sttcp.EDESTROYED: (DestructionException, errno.ECONNABORTED),
    _sttcp.ECLOSED: (ConnectionAbortedError, errno.ECONNABORTED),
    _sttcp.ESTOPPED: (StoppedError, errno.ECONNABORTED),
    _sttcp.EHANDLER: (HandlerError, errno.ECONNABORTED),
    _sttcp.EFRAME: (FrameError, errno.EPROTO),
    _sttcp.ELIMIT: (LimitError, errno.EMSGSIZE),
    _sttcp.ESLOW: (SlowPeerError, errno.ECONNABORTED),
    _sttcp.ERESOLVE: (socket.gaierror, socket.EAI_NONAME),
    _sttcp.ETLS: (TLSError, errno.EPROTO),
    _sttcp.ECUT: (CutError, errno.ECONNABORTED),
    -errno.ETIMEDOUT: (_Timeout, errno.ETIMEDOUT),
}


_made_kinds: dict[type[Exception], type[Error]] = {}


def _make_again(base: type[Exception], arguments: tuple[Any, ...]) -> Error:
    return _kind(base)(*arguments)


def _kind(base: type[Exception]) -> type[Error]:
    """An Error that is a `base`, too, and of its name."""
    if issubclass(base, Error):
        return base
    if base not in _made_kinds:
        _made_kinds.setdefault(base, _make_kind(base))
    return _made_kinds[base]


def _make_kind(base: type[Exception]) -> type[Error]:
    def reduce(self: Error) -> tuple[Any, ...]:
        # pickle would look for the class by its name.
        # OSError's own knows of the file's name.
        return _make_again, (base, cast(Any, base).__reduce__(self)[1]), self.__dict__

    members = {"__module__": __name__, "__doc__": base.__doc__, "__reduce__": reduce}
    return cast("type[Error]", type(base.__name__, (Error, base), members))


def _make(base: type[Exception], code: int, *arguments: object) -> Error:
    made = _kind(base)(*arguments)
    made.code = code
    return made


_TIME = re.compile(r"\b((?:connect|first_byte|idle|message|write|dead_peer|linger|drain|tls_handshake)"
                   r"_timeout|lifetime|lifetime_jitter|reconnect|reconnect_max)_ms\b(?:(,? which is | is )(-?\d+)\b)?")
_WORD = re.compile(r"\bSTTCP_(FRAMING|OVER)_([A-Z]+)\b(?: \(\d\))?")


def _seconds(found: re.Match[str]) -> str:
    name, between, number = found.groups()
    if number is None:
        return name
    return f"{name}{between}{'None' if number == '-1' else format(int(number) / 1000, 'g')}"


def in_words_of_python(code: int, text: str) -> str:
    """What the library says, with the options as they are called here. What the program itself has said
    stays."""
    if code == _sttcp.EHANDLER:
        return text
    text = _WORD.sub(lambda found: f"{found[1].lower()} {found[2].lower()!r}", _TIME.sub(_seconds, text))
    text = text.replace("delimiter and delimiter_size, of", "delimiter, of")
    return text.replace("delimiter_size", "the size of delimiter").replace("frame_fn", "frame")


def make_exception(code: int, text: str | None) -> Error:
    """What a call raises for a code below 0; text is more telling than the code's own."""
    text = in_words_of_python(code, text or "") or (_sttcp.error_text(code) if code <= _sttcp.EDESTROYED else os.strerror(-code))
    if code == _sttcp.EFORK:
        return _make(RuntimeError, code, text)
    if code == -errno.EINVAL:
        return _make(ValueError, code, text)
    if code in _TIMES:
        made = _make(TimeLimitError, code, errno.ETIMEDOUT, text)
        cast(TimeLimitError, made).limit = _TIMES[code]
        return made
    # OSError itself knows which of its kinds a number of the system is.
    base, number = _KINDS.get(code) or (type(OSError(-code, text)), -code)
    return _make(base, code, number, text)


def make_tls_exception(code: int, text: str) -> Error:
    """What a TLS object is wrong about: for a file that cannot be read what open() raises, with its
    name."""
    text = text.replace("sttcp_tls_", "TLS.")
    if code == -errno.EBUSY:
        return _make(RuntimeError, code, text)
    if code in (-errno.EINVAL, -errno.ENOSYS):
        return _make(TLSError, code, -code, text)
    file = text.rpartition(" cannot be read: ")[0]
    if file and code > _sttcp.EDESTROYED:
        return _make(type(OSError(-code, "")), code, -code, os.strerror(-code), file)
    return make_exception(code, text)


def make_reason(code: int, text: str) -> Error | None:
    """What a handler gets: None after an orderly close by the peer or by this side."""
    if code in (0, _sttcp.ECLOSED):
        return None
    if code == -errno.EINVAL:  # of the system: a handler has no arguments
        return _make(OSError, code, errno.EINVAL, in_words_of_python(code, text) or os.strerror(errno.EINVAL))
    return make_exception(code, text)


def make_end(code: int) -> Error:
    """What a client has ended with, for who waits for its connection."""
    return make_system_error(code) if code == -errno.EINVAL else make_exception(code, None)


def make_system_error(code: int) -> Error:
    """The system's error where -EINVAL is not about an argument."""
    return _make(type(OSError(-code, "")), code, -code, os.strerror(-code))


def raise_start(code: int, text: str, tls_text: str = "") -> None:
    """Raises what a start failed with; tls_text is what its TLS object is wrong about."""
    if tls_text and text.endswith(tls_text):
        made = make_tls_exception(code, tls_text)
        raise made if getattr(made, "filename", None) else make_tls_exception(code, text)
    if code == -errno.EBUSY:
        raise _make(RuntimeError, code, text)
    raise make_exception(code, text)
