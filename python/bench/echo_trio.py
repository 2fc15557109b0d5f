# SPDX-License-Identifier: MIT
"""The same with trio: a task for each connection."""

import common
import trio

options = common.options()
limiter = trio.CapacityLimiter(common.THREADS)


async def echo(stream):
    try:
        async for data in stream:
            if data[0] == common.SLEEP:
                await trio.to_thread.run_sync(common.sleep, data, limiter=limiter)
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


async def converse(stream):
    data = b""
    try:
        while True:
            while len(data) < common.SIZE:
                more = await stream.receive_some(65536)
                if not more:
                    return
                data += more
            await stream.send_all(data[:common.SIZE])
            data = data[common.SIZE:]
    except trio.BrokenResourceError:
        pass


async def main():
    listeners = await trio.open_tcp_listeners(options.port, host="127.0.0.1", backlog=common.BACKLOG)
    common.announce(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(converse if options.dialogue else echo, listeners)


try:
    trio.run(main)
except KeyboardInterrupt:
    pass
