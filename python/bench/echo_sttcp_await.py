# SPDX-License-Identifier: MIT
"""The echo server of the benchmark as a dialogue: a coroutine for each connection. Prints its port."""

import sys

from sttcp.server import Server

TELL = ord("T")  # the engine's counters, for bench/run.py

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0, backlog=4096)


@server.connection_handler
async def talk(address, connection):
    while True:
        data = await connection.recv(65536)
        if not data:
            return
        if data[0] == TELL:
            stats = server.stats()
            data = b"takeovers=%d threads=%d\n" % (stats.takeovers, stats.threads)
        await connection.sendall(data)


server.start()
print("port", server.port, flush=True)
server.keep_alive()
