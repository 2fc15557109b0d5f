# SPDX-License-Identifier: MIT
"""What importing the package does: the extension gets what it needs of Python, and the end of the
interpreter is heard of. The library itself is left alone until the first start."""

from __future__ import annotations

import atexit

from . import _engine, _group, _log, _sttcp, errors
from ._connection import Connection
from ._tls import TLSInfo
from .client import Client
from .server import Server


def set_up() -> None:
    """Once, as the last step of the import."""
    server, client = Server.HandlerType, Client.HandlerType
    _sttcp._lend(
        connection_type=Connection,
        make_exception=errors.make_exception,
        make_reason=errors.make_reason,
        report=_engine.report,
        thread_begun=_engine.thread_begun,
        thread_gone=_engine.thread_gone,
        log=_engine.log,
        tls_info=TLSInfo,
        # By the number of the event in sttcp.h: none, connection, receive, response, end,
        # disconnection, unconnected.
        server_events=(None, server.connection, server.receive, None, None, server.disconnection,
                       None),
        client_events=(None, client.connection, None, client.response, None, client.disconnection,
                       client.unconnected),
    )
    # The last one registered runs first. Handlers run until the very end; then no thread may come
    # into Python any more.
    atexit.register(_log.leave)
    atexit.register(_group.finish_version_1_1)
