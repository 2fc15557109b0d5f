# SPDX-License-Identifier: MIT
"""Printing, one thread at a time."""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

#: Held while print_sync prints; hold it to print several lines in one piece.
screen_lock = threading.RLock()
if hasattr(screen_lock, "_at_fork_reinit"):  # from Python 3.9 on
    # Whoever prints when a process forks does so in the parent only.
    os.register_at_fork(after_in_child=screen_lock._at_fork_reinit)


def print_sync(*values: object, sep: str | None = " ", end: str | None = "\n",
               file: SupportsWrite[str] | None = None, flush: bool = False) -> None:
    """Prints as print does, whole lines, one thread at a time."""
    file = file or sys.stdout
    text = io.StringIO()
    builtins.print(*values, sep=sep, end=end, file=text)
    with screen_lock:
        if file is not None:
            # One write: a plain print() of another thread does not get between text and end.
            file.write(text.getvalue())
            if flush:
                cast(Any, file).flush()
