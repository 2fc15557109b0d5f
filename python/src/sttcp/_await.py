# SPDX-License-Identifier: MIT
"""What handlers that are coroutines await beside the methods of connections, and dial."""

from __future__ import annotations

import time
from typing import Awaitable

from . import _sttcp
from ._connection import task_milliseconds


def sleep(seconds: float) -> Awaitable[None]:
    """await sttcp.sleep(seconds): waits in a coroutine that is a handler of a connection, without a
    thread. The end of the connection ends it: it raises the reason. In a plain function it is
    time.sleep, without await."""
    waits = _sttcp._sleep(task_milliseconds(seconds))
    if waits is None:
        time.sleep(seconds)
        waits = _sttcp._slept()
    return waits
