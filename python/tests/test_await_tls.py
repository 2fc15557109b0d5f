# SPDX-License-Identifier: MIT
"""Handlers that are coroutines, on connections with TLS, and going over to it in one."""

import contextlib
import socket
import unittest

import sttcp
from support import Seen, wait_for
from test_await import AwaitCase
from tls_support import client_tls, server_tls, setUpModule, ssl_client, tearDownModule  # noqa: F401


class AwaitTLSCase(AwaitCase):
    def wrap(self, plain):
        secure = ssl_client().wrap_socket(plain, server_hostname="localhost")
        self._made.callback(secure.close)
        return secure

    def connect(self, server):
        return self.wrap(self.peer(server))


class DialogueTest(AwaitTLSCase):
    def test_each_wait(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(connection.tls is not None)
            seen.tell(await connection.recv_message())
            await sttcp.sleep(0.001)
            await connection.send_message(b"answer")
            seen.tell(await connection.next_size())
            seen.tell(await connection.recv_message())
            async for message in connection:
                await connection.send_message(message.upper())

        server = self.talk(handler, tls=server_tls(), framing="line")
        peer = self.connect(server)
        peer.sendall(b"one\n")
        self.assertEqual(peer.recv(100), b"answer\n")
        peer.sendall(b"three\n")
        self.assertEqual([seen.next() for _ in range(4)], [True, b"one", 5, b"three"])
        for text in b"a\n", b"b" * 20000 + b"\n":
            peer.sendall(text)
            got = b""
            while len(got) < len(text):
                got += peer.recv(65536)
            self.assertEqual(got, text.upper())

    def test_bytes_that_it_does_not_take_stay_to_be_read(self):
        seen = Seen()

        async def handler(address, connection):
            for size in 2, 3:
                seen.tell(await connection.recv(size))
            seen.tell(await connection.recv_exactly(40000))

        server = self.talk(handler, tls=server_tls())
        server.receive_handler(lambda address, connection, data: seen.tell("handler", data))
        peer = self.connect(server)
        peer.sendall(b"abcde" + b"x" * 40000 + b"rest")
        self.assertEqual([seen.next(), seen.next(), seen.next()], [b"ab", b"cde", b"x" * 40000])
        self.assertEqual(seen.next(), ("handler", b"rest"))

    def test_a_full_queue_is_waited_for(self):
        seen = Seen()
        size = 1 << 20

        async def handler(address, connection):
            for _ in range(32):
                await connection.sendall(b"x" * size)
            seen.tell("sent")

        server = self.talk(handler, tls=server_tls(), send_queue_max=2 * size)
        peer = self.connect(server)
        wait_for(lambda: server.count == 1, "the connection")
        self.assertEqual(seen.rest(), [])
        left = 32 * size
        while left:
            left -= len(peer.recv(min(left, 1 << 16)))
        self.assertEqual(seen.next(), "sent")

    def test_no_thread_waits(self):
        async def handler(address, connection):
            await connection.sendall(await connection.recv(1))

        server = self.talk(handler, tls=server_tls())
        peers = [self.connect(server) for _ in range(50)]
        wait_for(lambda: server.count == 50, "50 connections")
        # Those of a moment before leave after five seconds without work.
        wait_for(lambda: server.stats().threads < 20, "the end of idle threads")
        for peer in peers:
            peer.sendall(b"x")
        for peer in peers:
            self.assertEqual(peer.recv(1), b"x")

    def test_sending_goes_on_after_the_end_of_the_peer(self):
        got = Seen()

        async def handler(address, connection):
            await connection.sendall(b"%r" % await connection.recv(10))
            await sttcp.sleep(0.001)
            await connection.sendall(b"%r" % await connection.recv(10))

        server = self.talk(handler, tls=server_tls())
        client = self.client(server.port, tls=client_tls(), tls_name="localhost", half_close=True)
        client.connection_handler(lambda address, connection: connection.shutdown())
        data = []
        client.response_handler(lambda address, connection, part: data.append(part))
        client.disconnection_handler(lambda address, reason: got.tell(reason))
        client.start()
        self.assertIsNone(got.next())
        self.assertEqual(b"".join(data), b"b''b''")
        self.assertEqual(self.ends.next(), ("end", None))

    def test_a_cut_is_told(self):
        seen = Seen()

        async def handler(address, connection):
            try:
                await connection.recv(10)
            except sttcp.CutError as error:
                seen.tell(error)
                raise

        server = self.talk(handler, tls=server_tls())
        peer = self.connect(server)
        wait_for(lambda: server.count == 1, "the connection")
        peer.shutdown(socket.SHUT_RDWR)  # of the socket alone: no close_notify
        self.assertIs(type(seen.next()), sttcp.CutError)
        self.assertIs(type(self.ends.next()[1]), sttcp.CutError)


class StartTest(AwaitTLSCase):
    def test_a_server_goes_over_to_it(self):
        for framing in "raw", "line":
            with self.subTest(framing=framing):
                seen = Seen()

                async def handler(address, connection):
                    read = (connection.recv_message if framing == "line"
                            else lambda: connection.recv(100))
                    seen.tell(await read())
                    await connection.sendall(b"go\n")
                    await connection.start_tls(server_tls())
                    seen.tell(connection.tls is not None)
                    seen.tell(await read())
                    await connection.sendall(b"secret")

                server = self.talk(handler, framing=framing)
                peer = self.peer(server)
                peer.sendall(b"STARTTLS\n")
                self.assertEqual(peer.read(3), b"go\n")
                secure = self.wrap(peer)
                secure.sendall(b"hidden\n")
                self.assertEqual(secure.recv(100), b"secret")
                end = b"" if framing == "line" else b"\n"
                self.assertEqual([seen.next() for _ in range(3)],
                                 [b"STARTTLS" + end, True, b"hidden" + end])

    def test_a_client_goes_over_to_it(self):
        seen = Seen()

        async def handler(address, connection):
            await connection.recv_message()
            await connection.send_message(b"go")
            await connection.start_tls(server_tls())
            async for message in connection:
                await connection.send_message(message.upper())

        server = self.talk(handler, framing="line")
        client = self.client(server.port, framing="line")

        @client.connection_handler
        async def begin(address, connection):
            await connection.send_message(b"STARTTLS")
            seen.tell(await connection.recv_message())
            await connection.start_tls(client_tls(), "localhost")
            await connection.send_message(b"secret")
            seen.tell(await connection.recv_message())

        client.start()
        self.assertEqual([seen.next(), seen.next()], [b"go", b"SECRET"])

    def test_what_was_read_in_the_clear_is_no_tls(self):
        seen = Seen()

        async def handler(address, connection):
            # So much at a time is not cut by the library.
            await connection.recv_exactly(100000)
            try:
                await connection.start_tls(server_tls())
            except RuntimeError as error:
                seen.tell(str(error))
            except sttcp.TLSError:
                seen.tell("no TLS")

        server = self.talk(handler)
        peer = self.peer(server)
        peer.sendall(b"x" * 100000 + b"in the clear" * 1000)
        self.assertIn("no TLS", seen.next())

    def test_a_rest_is_no_tls_for_a_plain_handler_either(self):
        def go_over(connection):
            try:
                connection.sendall(b"go")
                connection.start_tls(server_tls())
            except RuntimeError as error:
                seen.tell(str(error))
                connection.close()
            else:
                seen.tell("TLS")

        async def of_task(address, connection):
            await connection.next_size()
            connection.after(0.01, go_over)
            with contextlib.suppress(TimeoutError):
                await connection.recv_exactly(10, timeout=0.1)

        async def of_paused(address, connection):
            await connection.next_size()
            connection.pause()
            connection.run(go_over)

        async def of_framing(address, connection):
            await connection.next_size()
            connection.after(0.01, lambda k: (k.set_framing("line"), go_over(k)))
            with contextlib.suppress(TimeoutError):
                await connection.recv_exactly(10, timeout=0.1)

        for handler in of_task, of_paused, of_framing:
            with self.subTest(handler=handler.__name__):
                seen = Seen()
                server = self.talk(handler)
                peer = self.peer(server)
                peer.sendall(b"EVIL\n")
                self.assertEqual(peer.read(2), b"go")
                with contextlib.suppress(OSError):
                    self.wrap(peer).sendall(b"good\n")
                self.assertIn("no TLS", seen.next())

    def test_a_failure_is_told(self):
        seen = Seen()

        async def handler(address, connection):
            await connection.recv(100)
            try:
                await connection.start_tls(server_tls())
            except sttcp.TLSError as error:
                seen.tell(type(error))
                raise

        server = self.talk(handler)
        peer = self.peer(server)
        peer.sendall(b"STARTTLS\n")
        peer.sendall(b"this is no hello of TLS\n" * 100)
        peer.read_all()
        self.assertEqual(seen.next(), sttcp.TLSError)
        self.assertIs(type(self.ends.next()[1]), sttcp.TLSError)


if __name__ == "__main__":
    unittest.main()
