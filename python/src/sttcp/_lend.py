# SPDX-License-Identifier: MIT
"""Gives the extension what it needs of Python, once."""

import atexit

from . import _engine, _group, _sttcp, errors
from ._connection import Connection
from .client import Client
from .server import Server

_SERVER = Server.HandlerType
_CLIENT = Client.HandlerType

_sttcp._lend(
    connection_type=Connection,
    make_exception=errors.make_exception,
    make_reason=errors.make_reason,
    report=_engine.report,
    thread_begun=_engine.thread_begun,
    thread_gone=_engine.thread_gone,
    log=_engine.log,
    # By the number of the event in sttcp.h: none, connection, receive, response, end,
    # disconnection, unconnected.
    server_events=(None, _SERVER.connection, _SERVER.receive, None, None, _SERVER.disconnection,
                   None),
    client_events=(None, _CLIENT.connection, None, _CLIENT.response, None, _CLIENT.disconnection,
                   _CLIENT.unconnected),
)

# Runs before the hook that was registered first, which closes the way into Python.
atexit.register(_group.finish_version_1_1)
