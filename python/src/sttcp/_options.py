# SPDX-License-Identifier: MIT
"""The options: their names, their types, and what the library gets for them.

Each is one line of a class below. Its type says how it is read (_FORMS): a time is seconds here and
has the suffix _ms in sttcp.h, which has the other options under the same names. None is off or
unlimited. DEFAULT, or nothing, is what the library does when nothing is said.
"""

from __future__ import annotations

import enum
import inspect
import math
from typing import (TYPE_CHECKING, Any, Callable, Final, Mapping, NamedTuple, Tuple, TypedDict,
                    TypeVar, Union, cast, get_type_hints)

from ._tls import TLS, host_name


class Default(enum.Enum):
    """The type of DEFAULT."""

    DEFAULT = "DEFAULT"

    def __repr__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


#: What the library does when nothing is said.
DEFAULT: Final = Default.DEFAULT

if TYPE_CHECKING:
    from ._connection import Connection
else:
    Connection = Any

#: Where a message ends, told by its first bytes: (skip, size, total) when the first total bytes are
#: one, of which size bytes from skip on are delivered; None when more is needed to tell, n when at
#: least n bytes are; below 0 when it is malformed.
FrameFunction = Callable[[Connection, bytes], Union[Tuple[int, int, int], int, None]]

Framing = Union[str, FrameFunction, Default]
Frame = Union[FrameFunction, Default]
Over = Union[str, Default]
Bytes = Union[bytes, Default]
Number = Union[int, Default]
Limit = Union[int, None, Default]
Seconds = Union[float, None, Default]
Switch = Union[bool, Default]
Text = Union[str, None, Default]
HostName = Union[str, None, Default]
ServerTLS = Union[TLS, None, Default]
ClientTLS = Union[TLS, bool, None, Default]


class MessageOptions(TypedDict, total=False):
    """What a framing needs."""

    max_message: Limit
    delimiter: Bytes
    rest_at_end: Switch
    prefix_size: Number
    prefix_little_endian: Switch
    prefix_varint: Switch
    prefix_includes_itself: Switch
    prefix_offset: Number
    prefix_adjust: Number
    fixed_size: Number
    frame: Frame


class FramingOptions(MessageOptions, total=False):
    """A framing, and what it needs."""

    framing: Framing


class CommonOptions(FramingOptions, total=False):
    """Those of servers, clients and dial."""

    send_queue_max: Limit
    high_water: Limit
    low_water: Limit
    total_queue_max: Limit

    first_byte_timeout: Seconds
    idle_timeout: Seconds
    message_timeout: Seconds
    lifetime: Seconds
    lifetime_jitter: Seconds
    write_timeout: Seconds
    dead_peer_timeout: Seconds
    linger_timeout: Seconds

    nagle: Switch

    tls_handshake_timeout: Seconds


class GroupOptions(CommonOptions, total=False):
    """Those of servers and clients."""

    drain_timeout: Seconds
    half_close: Switch


class ServerOptions(GroupOptions, total=False):
    """Those of servers."""

    broadcast_skips: Switch
    end_idle_at_stop: Switch

    max_connections: Limit
    max_connections_per_ip: Limit
    accept_rate: Limit
    over_limit: Over

    backlog: Number
    reuse_port: Switch
    ipv6_only: Switch
    unix_mode: Number

    tls: ServerTLS


class ClientOptions(GroupOptions, total=False):
    """Those of clients."""

    connect_timeout: Seconds
    local_host: Text
    local_port: Limit

    reconnect: Seconds
    reconnect_max: Seconds
    reconnect_tries: Limit

    tls: ClientTLS
    tls_name: HostName


class DialOptions(CommonOptions, total=False):
    """Those of dial."""

    connect_timeout: Seconds
    local_host: Text
    local_port: Limit

    tls: ClientTLS
    tls_name: HostName


# ---------------------------------------------------------------- reading them

_FRAMINGS = {"raw": 0, "line": 1, "delimiter": 2, "length": 3, "fixed": 4, "custom": 5}
_OVER = {"pause": 0, "reject": 1}


def milliseconds(name: str, seconds: float | None) -> int:
    """-1 for None; at least 1, as 0 is the library's word for its default."""
    if seconds is None:
        return -1
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {seconds!r}")
    # nan fails the comparison, too.
    if not 0 <= seconds < 2**31 / 1000 or (seconds == 0 and name != "drain_timeout"):
        raise ValueError(f"{name} must be above 0 and below 2147483 seconds, not {seconds!r}")
    return max(1, round(seconds * 1000))


#: Some 23 days; poll counts milliseconds as an int, too.
LONGEST_S = 2000000


def wait_milliseconds(timeout: float | None) -> int:
    """How long a call waits: -1 for None and inf, 0 for 0; what is longer than the library can count
    is as long as that."""
    if timeout == 0 and not isinstance(timeout, bool):
        return 0
    if timeout is not None and not isinstance(timeout, bool) and isinstance(timeout, (int, float)):
        if timeout == math.inf:
            return -1
        if timeout > LONGEST_S:
            return LONGEST_S * 1000
    return milliseconds("timeout", timeout)


# The least of numbers that may be 0 or below it; that of the others is 1.
_LEAST = {"prefix_offset": 0, "prefix_adjust": -2**31}
_MOST = {"fixed_size": 2**63 - 1}
# Limits that count things; those of others count bytes.
_COUNTS = {"max_connections", "max_connections_per_ip", "accept_rate", "reconnect_tries", "local_port"}


def _number(name: str, value: Any) -> int:
    least = _LEAST.get(name, 1)
    most = _MOST.get(name, 2**31 - 1)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value!r}")
    return int(value)


def _limit(name: str, value: Any) -> int:
    if value is None:
        return -1
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer or None, not {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be above 0, or None, not {value!r}")
    most = 2**31 - 1 if name in _COUNTS else 2**63 - 1
    if value > most:
        raise ValueError(f"{name} must be at most {most}, or None, not {value!r}")
    return int(value)


def _word(words: dict[str, int]) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if value not in words:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, not {value!r}")
        return words[value]

    return read


def _function(name: str, value: Any) -> Any:
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None, not {value!r}")
    if not value or "\0" in value:
        raise ValueError(f"{name} must have characters, and none that is NUL, not {value!r}")
    return value


def _host_name(name: str, value: Any) -> str:
    return host_name(_text(name, value), name)


def _server_tls(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, TLS):
        raise TypeError(f"{name} must be a TLS('cert.pem', 'key.pem') or None, not {value!r}")
    if value is not None and not value.server_side:
        raise ValueError(f"{name} of a server must have a certificate: TLS('cert.pem', 'key.pem')")
    return value


def _client_tls(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return TLS() if value else None
    if value is not None and not isinstance(value, TLS):
        raise TypeError(f"{name} must be True, a TLS() or None, not {value!r}")
    if value is not None and value.server_side:
        raise ValueError(f"{name} of a client may not be that of a server: TLS(), or server_side=False")
    return value


class _Form(NamedTuple):
    shown: str  # by help()
    read: Callable[[str, Any], Any]
    suffix: str = ""  # of the name in sttcp.h


_FORMS: dict[Any, _Form] = {
    Framing: _Form("str | FrameFunction", _word(_FRAMINGS)),
    Frame: _Form("FrameFunction", _function),
    Over: _Form("str", _word(_OVER)),
    Bytes: _Form("bytes", lambda name, value: bytes(memoryview(value))),
    Number: _Form("int", _number),
    Limit: _Form("int | None", _limit),
    Seconds: _Form("float | None", milliseconds, "_ms"),
    Text: _Form("str | None", _text),
    HostName: _Form("str | None", _host_name),
    ServerTLS: _Form("TLS | None", _server_tls),
    ClientTLS: _Form("TLS | bool | None", _client_tls),
    Switch: _Form("bool", lambda name, value: bool(value)),
}


def _forms_of(options: type) -> dict[str, _Form]:
    return {name: _FORMS[form] for name, form in get_type_hints(options).items()}


_KNOWN = {options: _forms_of(options)
          for options in (MessageOptions, FramingOptions, ServerOptions, ClientOptions, DialOptions)}


def _refuse_unknown(function: str, known: Mapping[str, object],
                    given: Mapping[str, object]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def _framing(given: Mapping[str, Any]) -> Any:
    """What framing is meant, which a field of it may tell."""
    if "framing" in given:
        return given["framing"]
    if "delimiter" in given:
        return "delimiter"
    if "fixed_size" in given:
        return "fixed"
    if "frame" in given:
        return "custom"
    return "length" if any(name.startswith("prefix_") for name in given) else "raw"


def read_options(function: str, options: type, given: Mapping[str, Any],
                 ) -> tuple[dict[str, Any], FrameFunction | None]:
    """What sttcp.h has for those that a function was given, and the function that is the framing if
    there is one."""
    known = _KNOWN[options]
    _refuse_unknown(function, known, given)
    given = {name: value for name, value in given.items() if value is not DEFAULT}
    framing = _framing(given)
    if callable(framing):
        if "frame" in given:
            raise TypeError(f"{function}() got two functions, framing and frame")
        given["frame"] = framing
        framing = "custom"
    given["framing"] = framing
    read = {name + known[name].suffix: known[name].read(name, value)
            for name, value in given.items()}
    return read, read.pop("frame", None)


def without_off(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Where a switch that is off says nothing: prefix_varint=False does not ask for a prefix."""
    known = _KNOWN[options]
    return {name: value for name, value in given.items()
            if known.get(name) is not _FORMS[Switch] or value}


# ---------------------------------------------------------------- showing them

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def lists_options(options: type) -> Callable[[FunctionT], FunctionT]:
    """Decorates a function that takes **options: help() and inspect.signature() name each."""

    def decorate(function: FunctionT) -> FunctionT:
        signature = inspect.signature(function)
        parameters = [each for each in signature.parameters.values()
                      if each.kind is not each.VAR_KEYWORD]
        for name, form in _KNOWN[options].items():
            default = False if form is _FORMS[Switch] else DEFAULT
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY,
                                                default=default, annotation=form.shown))
        cast(Any, function).__signature__ = signature.replace(parameters=parameters)
        return function

    return decorate
