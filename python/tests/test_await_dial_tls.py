# SPDX-License-Identifier: MIT
"""What a coroutine has dialled speaks TLS."""

import itertools
import tempfile
import threading
import time
import types
import unittest

import sttcp
from certs import Certificates
from support import DEADLINE, free_port, run_python
from test_await_dial import DialCase


class TLSTest(DialCase):
    def setUp(self):
        super().setUp()
        if not sttcp.HAS_TLS:
            self.skipTest("built without TLS")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.certs = Certificates(folder.name)
        self.certs.make("good")

    def back_end(self, **options):
        tls = sttcp.TLS(self.certs.path("good.pem"), self.certs.path("good.key"))
        return self.echo_server(tls=tls, **options)

    def test_dialogue(self):
        back = self.back_end()
        tls = sttcp.TLS(trust=self.certs.path("ca.pem"))

        async def work(connection):
            async with sttcp.dial("localhost", back.port, tls=tls) as dialled:
                self.assertTrue(dialled.tls.peer_verified)
                await dialled.sendall(b"y" * 100000)
                got = await dialled.recv_exactly(100000)
                await dialled.sendall(b"more")
                return got == b"y" * 100000, await dialled.recv(1), await dialled.recv(10)

        self.assertEqual(self.outcome(work), (True, b"m", b"ore"))

    def test_files_are_read_while_others_are_in_python(self):
        trust = self.certs.path("many.pem")
        with open(self.certs.path("ca.pem"), encoding="ascii") as one:
            self.certs.write("many.pem", one.read() * 200)
        port = free_port()
        turns = itertools.count()
        seen = []
        held = []  # one that goes lets others in, too
        done = threading.Event()

        @types.coroutine
        def begin(dialling):
            step = dialling.__await__()
            held.append(step)
            # No other thread comes in between, unless the dial lets it.
            before, waits, after = map(next, (turns, step, turns))
            seen.append(after - before > 1)
            yield waits
            yield from step

        async def handler(address, connection):
            end = time.monotonic() + DEADLINE
            while not any(seen) and time.monotonic() < end:
                try:
                    await begin(sttcp.dial("localhost", port, tls=sttcp.TLS(trust=trust)))
                except ConnectionRefusedError:
                    pass
            done.set()

        self.peer(self.talk(handler))
        while not done.wait(0.0001):
            next(turns)
        self.assertTrue(any(seen), seen)

    def test_its_own_connection_ends_as_it_is_given(self):
        """In a process of its own, which with freed memory would crash."""
        run_python("""
import socket, sys, threading
import sttcp
from sttcp.server import Server
from support import DEADLINE, Peer

ended = threading.Event()
outcome = []

class TLS(sttcp.TLS):
    def __del__(self):  # of what the dial has held, the last of it
        peer.reset()
        assert ended.wait(DEADLINE)

back = Server("127.0.0.1", 0, tls=sttcp.TLS(*sys.argv[1:]))
back.connection_handler(lambda address, connection: True)
back.start()
front = Server("127.0.0.1", 0)
front.disconnection_handler(lambda address, reason: ended.set())

@front.connection_handler
async def handler(address, connection):
    try:
        await connection.recv(1)  # there is a peer to be reset
        outcome.append(await sttcp.dial("127.0.0.1", back.port, tls=TLS(require_peer=False)))
    except BaseException as error:
        outcome.append(error)

front.start()
peer = Peer(front.port)
peer.sendall(b"x")
assert ended.wait(DEADLINE)
front.stop(0)
assert type(outcome[0]) is sttcp.Connection, outcome
outcome.clear()
back.stop(0)
""", self.certs.path("good.pem"), self.certs.path("good.key"), options=("-X", "dev"))

    def start_server(self):
        """One that goes over to TLS when it is asked to."""
        tls = sttcp.TLS(self.certs.path("good.pem"), self.certs.path("good.key"))

        async def handler(address, connection):
            async for line in connection:
                await connection.send_message(line.upper())
                if line == b"starttls":
                    await connection.start_tls(tls)

        server = self.server(framing="line")
        server.connection_handler(handler)
        server.start()
        return server

    def test_going_over_to_it(self):
        back = self.start_server()

        async def work(connection):
            async with sttcp.dial("localhost", back.port, framing="line") as dialled:
                await dialled.send_message(b"starttls")
                got = [await dialled.recv_message()]
                await dialled.start_tls(sttcp.TLS(trust=self.certs.path("ca.pem")), "localhost")
                got.append(dialled.tls.peer_verified)
                await dialled.send_message(b"secret")
                got.append(await dialled.recv_message())
                try:
                    await dialled.start_tls(sttcp.TLS())
                except RuntimeError:
                    got.append("twice")
                return got

        self.assertEqual(self.outcome(work), [b"STARTTLS", True, b"SECRET", "twice"])

    def test_going_over_to_it_in_a_thread(self):
        back = self.start_server()

        async def work(connection):
            dialled = await sttcp.dial("localhost", back.port, framing="line")
            self.seen.tell(dialled)
            await connection.recv(1)

        peer = self.peer(self.front(work))
        dialled = self.seen.next()
        dialled.send_message(b"starttls")
        self.assertEqual(dialled.recv_message(), b"STARTTLS")
        with self.assertRaises(sttcp.TLSError):
            dialled.start_tls(sttcp.TLS(), "localhost")  # which does not trust it
        self.assertRaises(sttcp.TLSError, dialled.recv_message)
        peer.sendall(b"x")
        self.seen.next()

    def test_a_certificate_that_is_not_trusted(self):
        back = self.back_end()

        async def work(connection):
            await sttcp.dial("localhost", back.port, tls=True)

        with self.assertRaises(sttcp.TLSError) as waiting:
            self.outcome(work)
        with self.assertRaises(sttcp.TLSError) as blocking:
            sttcp.dial("localhost", back.port, tls=True)
        self.assertEqual(str(waiting.exception), str(blocking.exception))


if __name__ == "__main__":
    unittest.main()
