# SPDX-License-Identifier: MIT
"""await sttcp.dial() in a handler that is a coroutine."""

import contextlib
import gc
import socket
import time
import unittest

import sttcp
from support import DEADLINE, Seen, free_port, wait_for
from test_await import AwaitCase


class DialCase(AwaitCase):
    def setUp(self):
        super().setUp()
        self.seen = Seen()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.listener.settimeout(DEADLINE)
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]

    def accept(self):
        back = self.listener.accept()[0]
        self._made.callback(back.close)
        back.settimeout(DEADLINE)
        return back

    def front(self, work, **options):
        """A server whose handler does that work; tells what it returns or raises."""
        async def handler(address, connection):
            try:
                self.seen.tell("returned", await work(connection))
            except BaseException as error:
                self.seen.tell("raised", error)
                raise

        return self.talk(handler, **options)

    def outcome(self, work):
        """What the work comes to in the handler of one connection."""
        server = self.front(work)
        peer = self.peer(server)
        what, value = self.seen.next()
        peer.close()
        self.ends.next()
        if what == "raised":
            raise value
        return value

    def back_of(self, work, **options):
        """Begins the work with a dialled connection: (the server, its peer, the other end)."""
        async def dial_first(connection):
            async with await sttcp.dial("127.0.0.1", self.port, **options) as dialled:
                return await work(connection, dialled)

        server = self.front(dial_first)
        return server, self.peer(server), self.accept()


class OpeningTest(DialCase):
    def test_gateway(self):
        back = self.echo_server()

        async def handler(address, connection):
            async with await sttcp.dial("localhost", back.port, framing="line",
                                        timeout=DEADLINE) as dialled:
                self.assertIs(type(dialled), sttcp.Connection)
                self.assertIsNone(dialled.server)
                self.assertIsNone(dialled.client)
                self.assertIsNone(dialled.owner)
                self.assertEqual(dialled.address, ("127.0.0.1", back.port))
                self.assertEqual(dialled.gettimeout(), DEADLINE)
                async for line in connection:
                    await dialled.send_message(line)
                    await connection.send_message((await dialled.recv_message()).upper())
            self.assertFalse(dialled.is_open)

        server = self.talk(handler, framing="line")
        peer = self.peer(server)
        for text in b"one\n", b"two\n", b"x" * 30000 + b"\n":
            peer.sendall(text)
            self.assertEqual(peer.read(len(text)), text.upper())
        peer.close()
        self.assertEqual(self.ends.next(), ("end", None))
        self.assertEqual(self.raised.rest(), [])

    def test_async_with_needs_no_await(self):
        back = self.echo_server()

        async def work(connection):
            async with sttcp.dial("127.0.0.1", back.port) as dialled:
                await dialled.sendall(b"abc")
                return dialled, await dialled.recv_exactly(3)

        dialled, data = self.outcome(work)
        self.assertEqual(data, b"abc")
        self.assertFalse(dialled.is_open)

    def test_errors_are_those_of_the_blocking_form(self):
        port = free_port()
        for arguments, options in ((("127.0.0.1", port), {}), (("no-such-name.invalid", 7), {}),
                                   (("unix:/no/such/file",), {}),
                                   (("127.0.0.1", port), {"local_host": "192.0.2.1"})):
            with self.subTest(arguments=arguments, options=options):
                async def work(connection):
                    await sttcp.dial(*arguments, **options)

                with self.assertRaises(sttcp.Error) as waiting:
                    self.outcome(work)
                with self.assertRaises(sttcp.Error) as blocking:
                    sttcp.dial(*arguments, **options)
                self.assertIs(type(waiting.exception), type(blocking.exception))
                self.assertEqual(waiting.exception.code, blocking.exception.code)
                self.assertEqual(str(waiting.exception), str(blocking.exception))

    def test_timeout(self):
        # A queue that is full takes no more.
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        full = []
        for _ in range(3):
            each = socket.socket()
            self.addCleanup(each.close)
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(("127.0.0.1", port))
            full.append(each)
        wait_for(lambda: full[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, "a queue")

        async def work(connection):
            before = time.monotonic()
            try:
                await sttcp.dial("127.0.0.1", port, timeout=0.05)
            finally:
                self.seen.tell(time.monotonic() - before)

        server = self.front(work)
        self.peer(server)
        self.assertGreaterEqual(self.seen.next(), 0.05)
        error = self.seen.next()[1]
        self.ends.next()
        self.assertIsInstance(error, sttcp.TimeLimitError)
        self.assertEqual(error.limit, "connect")

    def test_wrong_arguments_are_told_at_once(self):
        async def work(connection):
            self.assertRaises(TypeError, sttcp.dial, "127.0.0.1", 1, reconnect=1)
            self.assertRaises(ValueError, sttcp.dial, "127.0.0.1", 1, timeout=0)
            return "told"

        self.assertEqual(self.outcome(work), "told")

    def test_where_nothing_is_parked_it_holds_the_thread(self):
        back = self.echo_server()
        server = self.server()

        @server.disconnection_handler
        async def gone(address, reason):
            async with sttcp.dial("127.0.0.1", back.port) as dialled:
                await dialled.sendall(b"gone")
                self.seen.tell(await dialled.recv_exactly(4))

        server.start()
        self.peer(server).close()
        self.assertEqual(self.seen.next(), b"gone")

    def test_outside_a_coroutine_it_is_the_blocking_one(self):
        back = self.echo_server()
        server = self.server()

        @server.connection_handler
        def handler(address, connection):
            with sttcp.dial("127.0.0.1", back.port) as dialled:
                dialled.sendall(b"x")
                self.seen.tell(dialled.recv(1))

        server.start()
        self.peer(server)
        self.assertEqual(self.seen.next(), b"x")

    def test_one_of_the_blocking_form_is_awaited_too(self):
        back = self.echo_server()
        dialled = sttcp.dial("127.0.0.1", back.port)
        self._made.callback(dialled.close)

        async def work(connection):
            await dialled.sendall(b"abcdef")
            return await dialled.recv_exactly(2), await dialled.recv(1), await dialled.next_size()

        self.assertEqual(self.outcome(work), (b"ab", b"c", 3))
        self.assertEqual(dialled.recv(3), b"def")

    def test_not_awaited_it_warns_and_dials_nobody(self):
        async def work(connection):
            with self.assertWarns(RuntimeWarning):
                sttcp.dial("127.0.0.1", self.port)
                gc.collect()
            return True

        self.assertTrue(self.outcome(work))
        self.listener.setblocking(False)
        self.assertRaises(BlockingIOError, self.listener.accept)

    def test_of_a_client(self):
        back = self.echo_server()
        server = self.echo_server()
        client = self.client(server.port)

        @client.connection_handler
        async def begin(address, connection):
            async with sttcp.dial("127.0.0.1", back.port) as dialled:
                await dialled.sendall(b"over")
                await connection.sendall(await dialled.recv_exactly(4))
                self.seen.tell(await connection.recv_exactly(4))

        client.start()
        self.assertEqual(self.seen.next(), b"over")


if __name__ == "__main__":
    unittest.main()
