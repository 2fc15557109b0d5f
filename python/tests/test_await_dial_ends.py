# SPDX-License-Identifier: MIT
"""How a connection that a coroutine has dialled ends, and that nothing is left."""

import contextlib
import errno
import gc
import socket
import threading
import unittest
import weakref

import sttcp
from support import DEADLINE, Peer, Seen, wait_for
from test_await_dial import DialCase


class EndTest(DialCase):
    def check_end(self, end, kind, wait, shakes):
        connections = Seen()

        async def work(connection):
            connections.tell(connection)
            return await wait(connection)

        server = self.front(work)
        peer = self.peer(server)
        connection = connections.next()
        back = self.accept()
        if shakes:
            self.assertTrue(back.recv(1))
        end(server, connection, peer)
        what, error = self.seen.next()
        self.assertEqual(what, "raised", error)
        self.assertIsInstance(error, kind)
        # What it has dialled goes with it, and an attempt is given up.
        error = None
        if shakes:
            with contextlib.suppress(ConnectionResetError):
                while back.recv(4096):
                    pass
        else:
            self.ends.next()
            self.assertEqual(back.recv(1), b"")
        server.stop(0)

    def test_each_end_of_each_wait(self):
        async def dial(connection):
            # Its peer never begins TLS.
            await sttcp.dial("127.0.0.1", self.port, tls=sttcp.TLS(require_peer=False))

        async def recv(connection):
            async with sttcp.dial("127.0.0.1", self.port) as dialled:
                await dialled.recv(1)

        async def messages(connection):
            async with sttcp.dial("127.0.0.1", self.port, framing="line") as dialled:
                async for _ in dialled:
                    pass

        def stop(server, connection, peer):
            server.stop(0)

        waits = [recv, messages] + ([dial] if sttcp.HAS_TLS else [])
        for end, kind in ((lambda server, connection, peer: connection.close(),
                           ConnectionAbortedError),
                          (lambda server, connection, peer: connection.abort(),
                           ConnectionAbortedError),
                          (lambda server, connection, peer: connection.fail("text"),
                           sttcp.HandlerError),
                          (stop, sttcp.StoppedError)):
            for wait in waits:
                with self.subTest(kind=kind, wait=wait.__name__):
                    self.check_end(end, kind, wait, shakes=wait is dial)
        self.assertEqual(self.raised.rest(), [])

    def test_end_of_the_dialled_one(self):
        async def work(connection, dialled):
            self.seen.tell(dialled)
            await dialled.recv(1)

        def reset(dialled, back):
            back.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            back.close()

        for end, kind in ((lambda dialled, back: dialled.close(), ConnectionAbortedError),
                          (lambda dialled, back: dialled.abort(), ConnectionAbortedError),
                          (lambda dialled, back: dialled.fail("text"), sttcp.HandlerError),
                          (reset, ConnectionResetError)):
            with self.subTest(kind=kind):
                _, _, back = self.back_of(work)
                end(self.seen.next(), back)
                what, error = self.seen.next()
                self.assertEqual(what, "raised")
                self.assertIsInstance(error, kind)
                error = self.ends.next()[1]
                self.assertIsInstance(error, kind)

    def test_end_while_a_full_queue_is_waited_for(self):
        async def work(connection, dialled):
            self.seen.tell(dialled)
            while True:
                await dialled.sendall(b"x" * 65536)

        _, _, back = self.back_of(work, send_queue_max=1 << 17)
        dialled = self.seen.next()
        wait_for(lambda: dialled.stats().queued > 60000, "a full queue")
        dialled.abort()
        what, error = self.seen.next()
        self.assertIsInstance(error, ConnectionAbortedError)

    def test_last_reference_closes_it(self):
        async def work(connection):
            dialled = await sttcp.dial("127.0.0.1", self.port)
            await dialled.sendall(b"bye")
            self.seen.tell(weakref.ref(dialled))
            del dialled
            await connection.recv(1)

        server = self.front(work)
        peer = self.peer(server)
        back = self.accept()
        self.assertEqual(back.recv(10), b"bye")
        self.assertEqual(back.recv(10), b"")
        self.assertIsNone(self.seen.next()())
        peer.sendall(b"x")
        self.seen.next()

    def test_graceful_stop_waits_for_it(self):
        async def work(connection, dialled):
            return await dialled.recv(1)

        server, peer, back = self.back_of(work)
        wait_for(lambda: server.count == 1, "the connection")
        thread = threading.Thread(target=server.stop)
        thread.start()
        back.sendall(b"x")
        self.assertEqual(self.seen.next(), ("returned", b"x"))
        peer.close()
        thread.join(DEADLINE)
        self.assertFalse(thread.is_alive())

    def test_bytes_of_a_wait_that_was_given_up_stay(self):
        """Of a connection that several use: the end of one leaves the stream whole."""
        shared = []

        async def work(connection):
            if not shared:
                shared.append(await sttcp.dial("127.0.0.1", self.port))
            return await shared[0].recv_exactly(4)

        server = self.front(work)
        peer = self.peer(server)
        back = self.accept()
        back.sendall(b"ab")
        wait_for(lambda: shared and shared[0].stats().bytes_in == 2, "a part")
        peer.reset()
        self.assertEqual(self.seen.next()[0], "raised")
        back.sendall(b"cd")

        def read():
            try:
                return shared[0].recv_exactly(4)
            except OSError as error:  # the wait has not been taken back so far
                self.assertEqual(error.errno, errno.EBUSY)

        got = []
        wait_for(lambda: got or got.append(read()) or got.pop() and got.append(1) or got, "it")

    def test_nothing_is_left(self):
        async def work(connection):
            async with sttcp.dial("127.0.0.1", self.port) as dialled:
                living.add(dialled)
                await dialled.recv(1)

        living = weakref.WeakSet()
        server = self.front(work)
        peers = [self.peer(server) for _ in range(20)]
        backs = [self.accept() for _ in range(20)]
        wait_for(lambda: len(living) == 20, "20 connections")
        for peer in peers[:10]:
            peer.reset()
        for _ in range(10):
            self.seen.next()
            self.ends.next()
        for back in backs:  # which of them is whose nobody knows
            with contextlib.suppress(OSError):
                back.sendall(b"x")
        for _ in range(10):
            self.seen.next()
        wait_for(lambda: gc.collect() + 1 and not living, "the end of all")
        for back in backs:
            with contextlib.suppress(ConnectionResetError):  # it was late with its byte
                self.assertEqual(back.recv(1), b"")


class HammerTest(DialCase):
    def test_ends_at_any_moment(self):
        """Peers, back ends, waits and servers that end amid each other; in the end nothing is left."""
        rounds = 200
        living = weakref.WeakSet()
        shared = []
        back = self.server()

        @back.receive_handler
        def answer(address, connection, data):
            if data[-1] % 7 == 0:
                connection.abort()
            elif data[-1] % 5 == 0:
                connection.close()
            else:
                connection.sendall(data)

        back.start()

        async def ask(dialled, number):
            await dialled.sendall(bytes([number % 256]) * (1 + number * 37 % 5000))
            with contextlib.suppress(socket.timeout):
                await dialled.recv_exactly(1 + number % 3, timeout=0.05)
            dialled.settimeout(0.002)
            with contextlib.suppress(socket.timeout):
                await dialled.recv(1 + number % 100)

        async def work(connection):
            number = (await connection.recv(1))[0]
            try:
                async with sttcp.dial("127.0.0.1", back.port) as dialled:
                    living.add(dialled)
                    if number % 4 == 0:
                        shared.append(dialled)
                        del shared[:-3]
                    await ask(dialled, number)
                    for other in shared[:]:
                        await ask(other, number)
            except OSError as error:
                if isinstance(error, sttcp.StoppedError) or error.errno == errno.EBUSY:
                    raise
            await connection.sendall(b"x")

        front = self.front(work)
        for number in range(rounds):
            peer = Peer(front.port)
            peer.sendall(bytes([number]))
            if number % 3 == 0:
                peer.reset()
            elif number % 3 == 1:
                self._made.callback(peer.close)
            else:
                peer.close()
        for _ in range(rounds):
            self.seen.next()
        front.stop(0)
        del shared[:]
        self.seen.rest()
        self.ends.rest()
        self.raised.rest()
        wait_for(lambda: gc.collect() + 1 and not living, "the end of all")
        wait_for(lambda: back.count == 0, "the end of their other ends")


if __name__ == "__main__":
    unittest.main()
