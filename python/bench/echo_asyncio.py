# SPDX-License-Identifier: MIT
"""The same with asyncio, on its own event loop or on uvloop's: a protocol, which is the fastest it has,
and streams for a dialogue."""

import asyncio
import concurrent.futures

import common

options = common.options()
pool = concurrent.futures.ThreadPoolExecutor(common.THREADS)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if data[0] == common.SLEEP:
            slept = asyncio.get_running_loop().run_in_executor(pool, common.sleep, data)
            slept.add_done_callback(lambda _: self.transport.write(data))
        else:
            self.transport.write(data)


async def converse(reader, writer):
    try:
        while True:
            data = await reader.readexactly(common.SIZE)
            writer.write(data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    if options.dialogue:
        server = await asyncio.start_server(converse, "127.0.0.1", options.port, backlog=common.BACKLOG)
    else:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", options.port,
                                                                backlog=common.BACKLOG)
    common.announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if options.uvloop:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
