# SPDX-License-Identifier: MIT
"""The echo server of the benchmark, with this package. Prints its port."""

import common
from sttcp.server import Server

TELL = ord("T")  # the engine's counters, for bench/run.py

options = common.options()
server = Server("127.0.0.1", options.port, backlog=common.BACKLOG)

if options.dialogue and options.coroutine:

    @server.connection_handler
    async def converse_async(address, connection):
        while data := await connection.recv_exactly(common.SIZE):
            await connection.sendall(data)

elif options.dialogue:

    @server.connection_handler
    def converse(address, connection):
        while True:
            data = connection.recv_exactly(common.SIZE)
            if not data:
                return False
            connection.sendall(data)


@server.receive_handler
def receive(address, connection, data):
    if data[0] == common.SLEEP:
        common.sleep(data)
    elif data[0] == TELL:
        stats = server.stats()
        data = b"takeovers=%d threads=%d\n" % (stats.takeovers, stats.threads)
    connection.sendall(data)


server.start()
common.announce(server.port)
server.keep_alive()
