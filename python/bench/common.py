# SPDX-License-Identifier: MIT
"""What the servers of the comparison share. A message is echoed. One that begins with "s" and a number has its
handler sleep that many microseconds first, in a function that blocks, as most functions do."""

import argparse
import resource
import time

SIZE = 64  # of a message in a dialogue; the load generator's default
BACKLOG = 4096
SLEEP = ord("s")
THREADS = 64  # for functions that block, where the program has to say how many


def options():
    """The command line; and the limit of descriptors, raised as far as it may be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--dialogue", action="store_true", help="read message by message, in one function")
    parser.add_argument("--coroutine", action="store_true", help="echo_sttcp.py: that function is async")
    parser.add_argument("--uvloop", action="store_true", help="echo_asyncio.py: on uvloop's event loop")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return parser.parse_args()


def announce(port):
    print("port", port, flush=True)


def sleep(data):
    """Blocks."""
    digits = data[1:10].split(b".", 1)[0]
    time.sleep(int(digits or b"0") / 1e6)
