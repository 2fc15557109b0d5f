# SPDX-License-Identifier: MIT
"""What a coroutine reads and sends on a connection that it has dialled."""

import errno
import socket
import threading
import unittest

import sttcp
from support import Seen, wait_for
from test_await_dial import DialCase


class ReadingTest(DialCase):
    def test_each_way(self):
        async def work(connection, dialled):
            got = [await dialled.recv(2), await dialled.recv_exactly(4)]
            got.append(await dialled.next_size())
            got.append(await dialled.recv_message())
            dialled.settimeout(0.01)
            for read in (dialled.recv(1), dialled.recv_message(), dialled.recv_exactly(1),
                         dialled.next_size()):
                try:
                    got.append(await read)
                except socket.timeout:
                    got.append("late")
            return got + [await dialled.recv(0)]

        _, _, back = self.back_of(work)
        back.sendall(b"abcdefghijk")
        self.assertEqual(self.seen.next(), ("returned", [
            b"ab", b"cdef", 5, b"ghijk", "late", "late", "late", "late", b""]))

    def test_a_part_that_came_too_late_stays(self):
        async def work(connection, dialled):
            try:
                await dialled.recv_exactly(4, timeout=0.02)
            except socket.timeout:
                self.seen.tell("late")
            return await dialled.recv_exactly(4), await dialled.recv(10)

        _, _, back = self.back_of(work)
        back.sendall(b"ab")
        self.assertEqual(self.seen.next(), "late")
        back.sendall(b"cdef")
        self.assertEqual(self.seen.next(), ("returned", (b"abcd", b"ef")))

    def test_without_waiting(self):
        async def work(connection, dialled):
            dialled.settimeout(0)
            try:
                await dialled.recv(1)
            except BlockingIOError:
                self.seen.tell("nothing")
            await connection.recv(1)
            return await dialled.recv(1), await dialled.recv_exactly(2)

        _, peer, back = self.back_of(work)
        self.assertEqual(self.seen.next(), "nothing")
        back.sendall(b"abc")
        peer.sendall(b"x")
        self.assertEqual(self.seen.next(), ("returned", (b"a", b"bc")))

    def test_messages_until_the_fin_which_does_not_end_it(self):
        async def work(connection, dialled):
            got = [message async for message in dialled]
            got += [await dialled.recv_message(), await dialled.recv(1)]
            await dialled.send_message(b"after")
            return got + [dialled.is_open]

        _, _, back = self.back_of(work, framing="line")
        back.sendall(b"one\n\nthree\n")
        back.shutdown(socket.SHUT_WR)
        self.assertEqual(self.seen.next(),
                         ("returned", [b"one", b"", b"three", None, b"", True]))
        self.assertEqual(back.recv(100), b"after\n")
        self.assertEqual(back.recv(100), b"")

    def test_frame_function(self):
        def frame(connection, data):
            self.assertIsInstance(connection, sttcp.Connection)
            return (0, 2, 2) if len(data) >= 2 else None

        async def work(connection, dialled):
            return [await dialled.recv_message(), await dialled.recv_message()]

        _, _, back = self.back_of(work, framing=frame)
        back.sendall(b"abcd")
        self.assertEqual(self.seen.next(), ("returned", [b"ab", b"cd"]))

    def test_frame_function_may_not_read(self):
        """As that of any connection; it would wait for itself."""
        def frame(connection, data):
            for call in (lambda: connection.recv(1), lambda: connection.recv_into(bytearray(1)),
                         lambda: connection.recv_exactly(1), connection.recv_message,
                         connection.next_size, lambda: connection.start_tls(sttcp.TLS())):
                try:
                    call()
                except OSError as error:
                    self.seen.tell(error.errno)
            return 1, 1, 2

        async def work(connection, dialled):
            return await dialled.recv_message()

        _, _, back = self.back_of(work, framing=frame)
        back.sendall(b"ab")
        self.assertEqual([self.seen.next() for _ in range(6)], [errno.EDEADLK] * 6)
        self.assertEqual(self.seen.next(), ("returned", b"b"))

    def test_malformed_message(self):
        async def work(connection, dialled):
            await dialled.recv_message()

        _, _, back = self.back_of(work, framing="line", max_message=10)
        back.sendall(b"x" * 20)
        what, error = self.seen.next()
        self.assertIsInstance(error, sttcp.LimitError)
        self.assertIn("max_message", str(error))

    def test_two_coroutines_do_not_read_one(self):
        shared = []

        async def work(connection):
            if not shared:
                shared.append(await sttcp.dial("127.0.0.1", self.port))
                return await shared[0].recv(1)
            try:
                await shared[0].recv(1)
            except OSError as error:
                # Sending is not reading.
                await shared[0].sendall(b"y")
                return error.errno

        server = self.front(work)
        self.peer(server)
        back = self.accept()
        wait_for(lambda: shared, "the first")
        self.peer(server)
        self.assertEqual(self.seen.next(), ("returned", errno.EBUSY))
        self.assertEqual(back.recv(1), b"y")
        back.sendall(b"x")
        self.assertEqual(self.seen.next(), ("returned", b"x"))

    def test_threads_and_plain_handlers_use_it_too(self):
        async def work(connection, dialled):
            self.seen.tell(dialled)
            await connection.recv(1)

        _, peer, back = self.back_of(work)
        dialled = self.seen.next()
        back.sendall(b"abcdefghij")
        self.assertEqual(dialled.recv(2), b"ab")
        self.assertEqual(dialled.recv_exactly(2), b"cd")
        self.assertEqual(dialled.next_size(), 6)
        into = bytearray(1)
        self.assertEqual(dialled.recv_into(into), 1)
        self.assertEqual(into, b"e")
        dialled.settimeout(0.01)
        self.assertEqual(dialled.recv_message(), b"fghij")
        self.assertRaises(socket.timeout, dialled.recv, 1)
        dialled.settimeout(None)
        got = Seen()
        dialled.run(lambda same: got.tell(same.recv_exactly(2)))
        back.sendall(b"xy")
        self.assertEqual(got.next(), b"xy")

        async def task():
            got.tell(await dialled.recv(5))

        dialled.run(task)
        back.sendall(b"z")
        self.assertEqual(got.next(), b"z")
        dialled.pause()
        dialled.resume()
        back.sendall(b"end")
        self.assertEqual(dialled.recv_exactly(3), b"end")
        reader = threading.Thread(target=lambda: got.tell(dialled.recv(1)))
        reader.start()
        back.sendall(b"t")
        self.assertEqual(got.next(), b"t")
        reader.join()
        self.assertRaises(ValueError, dialled.on_message, print)
        self.assertRaises(TypeError, dialled.join, "room")
        peer.sendall(b"x")
        self.seen.next()

    def test_framing_is_changed(self):
        async def work(connection, dialled):
            got = [await dialled.recv_exactly(4)]
            dialled.set_framing("line")
            return got + [await dialled.recv_message(), await dialled.recv_message()]

        _, _, back = self.back_of(work)
        back.sendall(b"HEADone\ntwo\n")
        self.assertEqual(self.seen.next(), ("returned", [b"HEAD", b"one", b"two"]))

    def test_full_queue_is_waited_for(self):
        size = 1 << 20

        async def work(connection, dialled):
            for _ in range(16):
                await dialled.sendall(b"x" * size)
                self.seen.tell("sent")
            return "all"

        server, _, back = self.back_of(work, send_queue_max=2 * size)
        self.assertEqual(self.seen.next(), "sent")
        left = 16 * size
        while left:
            left -= len(back.recv(min(left, 1 << 16)))
        wait_for(lambda: ("returned", "all") in self.seen.rest(), "the end")


if __name__ == "__main__":
    unittest.main()
