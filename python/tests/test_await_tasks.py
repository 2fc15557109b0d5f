# SPDX-License-Identifier: MIT
"""Coroutines of a connection that has as many tasks as it may: some waits end by one."""

import inspect
import socket
import unittest

import sttcp
from support import DEADLINE, Peer, Seen, wait_for
from test_await_dial import DialCase


def fill(connection):
    """Gives it tasks until it takes no more; returns their numbers."""
    numbers = []
    while True:
        try:
            # With an argument nobody looks at what it takes, which is slow.
            numbers.append(connection.after(1000, print, "late"))
        except BlockingIOError:
            return numbers


class FullTest(DialCase):
    def begin(self, work, **options):
        """A connection whose handler does that work: the connection, its peer, the coroutine."""
        began = Seen()

        async def tell(connection):
            try:
                self.seen.tell("returned", await work(connection))
            except BaseException as error:
                self.seen.tell("raised", error)

        def handler(address, connection):
            coroutine = tell(connection)
            began.tell(connection, coroutine)
            return coroutine

        server = self.talk(handler, **options)
        peer = Peer.of(socket.socket())
        self._made.callback(peer.close)
        # Its buffer, and with it the queue on the other side, is soon full.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        connection, coroutine = began.next()
        return connection, peer, coroutine

    def wait_until_it_waits(self, coroutine):
        wait_for(lambda: inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED, "a wait")

    def test_a_wait_is_refused_whose_end_could_not_be_told(self):
        async def work(connection):
            numbers = fill(connection)
            with self.assertRaises(BlockingIOError):
                await sttcp.dial("127.0.0.1", self.port)
            self.listener.setblocking(False)
            self.assertRaises(BlockingIOError, self.listener.accept)
            self.listener.settimeout(DEADLINE)
            connection.cancel(numbers[0])
            async with sttcp.dial("127.0.0.1", self.port) as dialled:
                self.assertEqual(fill(connection), [])
                # As long as the coroutine runs the place is its own.
                self.accept().sendall(b"abc")
                return await dialled.recv_exactly(3)

        self.begin(work)
        self.assertEqual(self.seen.next(), ("returned", b"abc"))

    def test_a_send_is_refused_that_could_not_be_told_of_room(self):
        async def work(connection):
            fill(connection)
            with self.assertRaises(BlockingIOError):
                while True:
                    await connection.sendall(bytes(4000))

        self.begin(work, send_queue_max=100000)
        self.assertEqual(self.seen.next(), ("returned", None))

    def test_what_it_waits_for_is_told_when_others_have_come_since(self):
        reads = []

        async def work(connection):
            async with sttcp.dial("127.0.0.1", self.port) as dialled:
                reads.append(dialled)
                return await dialled.recv_exactly(3)

        connection, _, coroutine = self.begin(work)
        back = self.accept()
        wait_for(lambda: reads, "a dialled one")
        self.wait_until_it_waits(coroutine)
        numbers = fill(connection)
        # The place has a number, too, which nobody was given.
        cancelled = [connection.cancel(number) for number in range(numbers[-1] + 1)]
        self.assertEqual(cancelled.count(True), len(numbers))
        fill(connection)
        back.sendall(b"abc")
        self.assertEqual(self.seen.next(), ("returned", b"abc"))

    def test_room_is_told_when_others_have_come_since(self):
        async def work(connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for _ in range(300):
                await connection.sendall(bytes(4000))
            connection.close()

        connection, peer, coroutine = self.begin(work, send_queue_max=100000)
        self.wait_until_it_waits(coroutine)
        fill(connection)
        self.assertEqual(len(peer.read_all()), 1200000)
        self.assertEqual(self.seen.next(), ("returned", None))

    def test_resume_says_so_where_what_has_come_cannot_be_given(self):
        async def work(connection):
            await connection.next_size()
            connection.pause()

        got = Seen()
        connection, peer, coroutine = self.begin(work)
        connection.server.receive_handler(lambda address, connection, data: got.tell(data))
        peer.sendall(b"abc")
        self.assertEqual(self.seen.next(), ("returned", None))
        # Not before the handler has returned.
        wait_for(lambda: inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED, "its end")
        numbers = fill(connection)
        self.assertRaises(BlockingIOError, connection.resume)
        self.assertEqual(got.rest(), [])
        connection.cancel(numbers[0])
        connection.resume()
        self.assertEqual(got.next(), b"abc")

    def test_a_read_that_could_not_be_taken_back_is_in_nobodys_way(self):
        dialled = []

        async def work(connection):
            dialled.append(await sttcp.dial("127.0.0.1", self.port, timeout=DEADLINE))
            await dialled[0].recv(1)

        _, peer, coroutine = self.begin(work)
        back = self.accept()
        wait_for(lambda: dialled, "a dialled one")
        self.wait_until_it_waits(coroutine)
        # What takes the read to the connection is a task of that.
        wait_for(lambda: self.reads(dialled[0]), "a read")
        numbers = fill(dialled[0])
        peer.reset()
        self.assertEqual(self.seen.next()[0], "raised")
        for number in numbers:
            dialled[0].cancel(number)
        self.assertFalse(self.reads(dialled[0]))
        back.sendall(b"abc")
        self.assertEqual(dialled[0].recv_exactly(3), b"abc")

    def reads(self, dialled):
        """Whether a coroutine reads it: then nobody else does."""
        dialled.settimeout(0)
        try:
            dialled.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            dialled.settimeout(DEADLINE)


if __name__ == "__main__":
    unittest.main()
