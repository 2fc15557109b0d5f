# SPDX-License-Identifier: MIT
"""Servers and clients that come, go, fail, list, stop and start at random, all at once: nothing
crashes, hangs, or is left over. STTCP_TEST_SEED repeats a run, as far as threads let it."""

import asyncio
import contextlib
import gc
import os
import random
import socket
import sys
import threading
import time
import unittest

import sttcp
from sttcp.client import Client
from sttcp.server import Server
from support import wait_for

SECONDS = float(os.environ.get("STTCP_TEST_HAMMER_S", "3"))


class Expected(Exception):
    pass


def find_left():
    """The connections and clients that are still there."""
    gc.collect()
    return [each for each in gc.get_objects()
            if type(each) in (sttcp.Connection, Client) and each.port]


def describe(left):
    """What it is, how it has ended, and what has a reference to it that the collector knows of:
    where that is less than its count, the library or a call has one."""
    told = [repr(left), "%d references" % sys.getrefcount(left)]
    if isinstance(left, sttcp.Connection):
        told += ["owner %r" % left.owner, "reason %r %s" % (left.reason, left.fail_text),
                 "descriptor %d" % left.fileno(), repr(left.stats())]
    told += ["from %.300r" % each for each in gc.get_referrers(left)]
    return "\n    ".join(told)


class HammerTest(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get("STTCP_TEST_SEED") or time.time_ns() % 2**32)
        print("seed", self.seed)
        self.wrong = []
        hook = threading.excepthook
        threading.excepthook = self.note
        self.addCleanup(setattr, threading, "excepthook", hook)
        self.end = time.monotonic() + SECONDS

    def note(self, arguments):
        # What was wished for, and what a call says on a connection that has ended.
        if not isinstance(arguments.exc_value, (Expected, OSError)) and \
                "may await" not in str(arguments.exc_value):
            self.wrong.append(repr(arguments.exc_value))

    def make_server(self, number):
        server = Server("127.0.0.1", 0, framing="line")
        chance = random.Random(self.seed + number)

        def pick(*choices):
            """Calls one of (probability, function), or none of them; whether it did."""
            left = chance.random()
            for probability, function in choices:
                left -= probability
                if left < 0:
                    function()
                    return True
            return False

        def fail():
            raise Expected

        def read(connection):
            connection.settimeout(0.01)
            connection.recv_message()

        async def read_or_sleep(address, connection):
            with contextlib.suppress(socket.timeout):
                await connection.recv_exactly(chance.randrange(9), timeout=chance.random() * 0.01)
            await sttcp.sleep(chance.random() * 0.002)
            connection.settimeout(0.01)
            with contextlib.suppress(socket.timeout):
                await connection.send_message(await connection.recv_message() or b"")
            if chance.random() < 0.1:
                async for line in connection:
                    await connection.send_message(line)
            if chance.random() < 0.05:
                await asyncio.sleep(0)

        async def later(connection):
            await sttcp.sleep(0.001)
            await read_or_sleep(None, connection)

        async def answer(address, connection, data):
            await read_or_sleep(address, connection)

        @server.connection_handler
        def begin(address, connection):
            connection.data = address
            connection.join("room")
            if chance.random() < 0.3:
                return read_or_sleep(address, connection)
            pick((0.05, connection.close), (0.03, fail), (0.04, lambda: read(connection)),
                 (0.03, lambda: connection.fail("x" * chance.randrange(400))))
            return chance.random() < 0.95

        @server.receive_handler
        def receive(address, connection, data):
            if connection.data != address:
                self.wrong.append("data is %r" % (connection.data,))
            if not pick((0.02, fail), (0.02, connection.abort), (0.02, connection.close),
                        (0.02, lambda: server.broadcast_message(data, exclude=connection)),
                        (0.02, lambda: server.broadcast_message(data, room="room")),
                        (0.02, lambda: (connection.leave("room"), connection.join("room"))),
                        (0.02, lambda: server.each(repr, room="room")),
                        (0.02, lambda: time.sleep(0.002)),
                        (0.02, lambda: connection.run(lambda: time.sleep(0.001))),
                        (0.02, lambda: connection.every(0.003, lambda each: each.send_message(b""))),
                        (0.02, lambda: connection.run(later)),
                        (0.01, lambda: connection.after(0.001, later)),
                        (0.01, lambda: connection.every(0.003, later)),
                        (0.01, lambda: connection.on_message(answer)),
                        (0.02, lambda: connection.cancel(connection.after(0.001, repr))),
                        (0.02, lambda: connection.cancel(chance.randrange(1, 9))),
                        (0.01, lambda: connection.after(0.002, connection.close)),
                        (0.01, lambda: (connection.pause(), connection.resume())),
                        (0.01, lambda: connection.set_framing("line")),
                        (0.01, lambda: socket.socket(fileno=connection.detach()).close())):
                connection.send_message(data)

        @server.disconnection_handler
        def end(address, reason, connection):
            if connection.data not in (address, None):
                self.wrong.append("data at the end is %r" % (connection.data,))
            repr(connection)

        server.start()
        return server

    def run_clients(self, servers, number):
        chance = random.Random(self.seed + 100 + number)
        while time.monotonic() < self.end:
            client = Client("127.0.0.1", chance.choice(servers).port, framing="line")
            lasts = []

            @client.connection_handler
            def begin(address, connection):
                connection.send_message(b"a" * chance.randrange(100))
                return True

            @client.response_handler
            def response(address, connection, data):
                if chance.random() < 0.02:
                    raise Expected
                connection.send_message(data)
                return chance.random() < 0.9

            client.disconnection_handler(lambda address, reason: lasts.append(reason))
            client.unconnected_handler(lambda address, reason: lasts.append(reason))
            client.start()
            if chance.random() < 0.8:
                client.wait(chance.random() * 0.1)
            client.close()
            if len(lasts) != 1:
                self.wrong.append("%d last handlers" % len(lasts))

    def restart(self, servers):
        chance = random.Random(self.seed + 1000)
        while time.monotonic() < self.end:
            server = chance.choice(servers)
            server.stop(chance.choice([0, 0.01, 0.1]))
            server.start()

    def list_all(self, servers):
        while time.monotonic() < self.end:
            for server in servers:
                for connection in server.connections():
                    repr((connection, connection.stats(), connection.reason))
                    server.find(connection.id)
                repr((server, server.stats()))
            gc.collect()

    def guard(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:
            self.wrong.append("%s: %r" % (function.__name__, error))

    def test_all_at_once(self):
        servers = [self.make_server(number) for number in range(3)]
        work = [(self.run_clients, servers, number) for number in range(4)]
        work += [(self.restart, servers), (self.list_all, servers)]
        threads = [threading.Thread(target=self.guard, args=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for server in servers:
            server.stop(0)

        try:
            wait_for(lambda: not find_left(), "the end of all connections and clients")
        except AssertionError as error:
            left = "\n".join(map(describe, find_left()))
            raise AssertionError("%s, seed %d\n%s\n%s" % (error, self.seed, left, self.wrong)) \
                from None
        self.assertEqual(self.wrong, [], "seed %d" % self.seed)


if __name__ == "__main__":
    unittest.main()
