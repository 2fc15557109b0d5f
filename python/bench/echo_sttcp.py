# SPDX-License-Identifier: MIT
"""The echo server of the benchmark, with this package. Prints its port."""

import sys

from sttcp.server import Server

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0, backlog=4096)


@server.receive_handler
def receive(address, connection, data):
    if data[:1] == b"T":
        stats = server.stats()
        connection.sendall(b"takeovers=%d threads=%d\n" % (stats.takeovers, stats.threads))
        return
    connection.sendall(data)


server.start()
print("port", server.port, flush=True)
server.keep_alive()
