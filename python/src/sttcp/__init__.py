# SPDX-License-Identifier: MIT
"""Simple threaded TCP: servers and clients of a few handlers, which may block.

    from sttcp.server import Server

    server = Server('localhost', 62134)

    @server.receive_handler
    def echo(address, connection, data):
        connection.sendall(data)

    server.start()
    server.keep_alive()  # until Ctrl+C

A handler may block for as long as it likes; other connections go on. An idle
connection has no thread. Handlers of one connection never overlap; those of
different connections run on different threads, one at a time in Python, like
all threads of Python.
"""

try:
    from . import _sttcp
except ImportError as _error:
    # What Python itself says of those with a lock of their own.
    if "does not support loading in subinterpreters" in str(_error):
        raise ImportError("sttcp works in the main interpreter only, not in a subinterpreter",
                          name=_error.name, path=_error.path) from None
    if "libssl" not in str(_error) and "libcrypto" not in str(_error):
        raise
    raise ImportError(f"sttcp was built with TLS, and OpenSSL 3 is not there: {_error}. On Debian: "
                      "sudo apt-get install libssl3; or install sttcp with STTCP_TLS=OFF in the "
                      "environment", name=_error.name, path=_error.path) from None
_sttcp._check_interpreter()
from ._await import sleep
from ._connection import AsyncConnection, Connection, ConnectionStats
from ._dial import dial
from ._engine import configure, log_level, log_to_stderr
from ._group import Address, StopReport, connections
from ._options import DEFAULT, Default
from ._printing import print_sync, screen_lock
from ._setup import set_up as _set_up
from ._timer import Timer, run
from ._tls import HAS_TLS, TLS, TLSInfo
from .client import Client
from .errors import (CutError, Error, FrameError, HandlerError, LimitError, SlowPeerError,
                     StoppedError, TimeLimitError, TLSError)
from .general import engine_shutdown, keep_alive
from .server import Server, Stats

__version__ = "2.0.0"
core_version = _sttcp.core_version

_set_up()

__all__ = [
    "Address", "AsyncConnection", "Client", "Connection", "ConnectionStats", "CutError", "DEFAULT",
    "Default", "Error", "FrameError", "HAS_TLS", "HandlerError", "LimitError", "Server",
    "SlowPeerError", "Stats", "StopReport", "StoppedError", "TLS", "TLSError", "TLSInfo",
    "TimeLimitError", "Timer", "configure", "connections", "core_version", "dial",
    "engine_shutdown", "keep_alive", "log_level", "log_to_stderr", "print_sync", "run", "screen_lock",
    "sleep",
]
