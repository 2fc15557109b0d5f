# SPDX-License-Identifier: MIT
"""Options as Python has them, and as the library wants them.

Times are seconds, sizes bytes; None is off or unlimited. DEFAULT is what the
library does when nothing is said.
"""

from __future__ import annotations

from typing import Any, Callable, Union


class _Default:
    """What the library does when nothing is said."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Any = _Default()

#: Where a message ends: 0 when more is needed to tell, n when the first n bytes are one, below 0
#: when it is malformed.
FrameFunction = Callable[[bytes], int]
Framing = Union[str, FrameFunction]

_FRAMINGS = {"raw": 0, "line": 1, "delimiter": 2, "length": 3, "fixed": 4, "custom": 5}
_OVER = {"pause": 0, "reject": 1}
_TIMES = {"connect_timeout", "drain_timeout", "write_timeout", "linger_timeout", "first_byte_timeout",
          "idle_timeout", "message_timeout", "lifetime", "lifetime_jitter", "dead_peer_timeout"}
_BOOLEANS = {"end_idle_at_stop", "broadcast_skips", "prefix_little_endian", "prefix_varint", "prefix_includes_itself",
             "rest_at_end", "reuse_port", "ipv6_only", "nagle", "half_close"}


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


def _number(name: str, value: Any) -> int:
    if value is None:
        return -1
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer or None, not {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be above 0, or None for no limit, not {value!r}")
    return int(value)


def _word(name: str, value: Any, words: dict[str, int]) -> int:
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, not {value!r}")
    return words[value]


def _framing(options: dict[str, Any]) -> Any:
    """What framing is meant, which a field of it may tell."""
    if "framing" in options:
        return options.pop("framing")
    if "delimiter" in options:
        return "delimiter"
    if "fixed_size" in options:
        return "fixed"
    return "length" if any(name.startswith("prefix_") for name in options) else "raw"


def read_options(given: dict[str, Any]) -> tuple[dict[str, Any], FrameFunction | None]:
    """The options of sttcp.h, and the function that is the framing if there is one."""
    given = {name: value for name, value in given.items() if value is not DEFAULT}
    options: dict[str, Any] = {}
    frame = None
    framing = _framing(given)
    if callable(framing):
        frame = framing
        framing = "custom"
    options["framing"] = _word("framing", framing, _FRAMINGS)
    for name, value in given.items():
        if name in _TIMES:
            options[name + "_ms"] = milliseconds(name, value)
        elif name in _BOOLEANS:
            options[name] = bool(value)
        elif name == "delimiter":
            options[name] = bytes(memoryview(value))
        elif name == "over_limit":
            options[name] = _word(name, value, _OVER)
        else:
            options[name] = _number(name, value)
    return options, frame
