# SPDX-License-Identifier: MIT
"""Messages: what ends them, what is none, and what can still be said then."""

import socket
import unittest

import sttcp
from support import DEADLINE, Case, Seen


class RestTest(Case):
    """What stands without its delimiter at the peer's end."""

    def told(self, data, **options):
        """What a server's handlers got of it: messages, and why the connection ended."""
        seen = Seen()
        server = self.server(**options)
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.disconnection_handler(lambda address, reason: seen.tell(type(reason)))
        server.start()
        with self.peer(server) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            found = [seen.next()]
            while not isinstance(found[-1], type):
                found.append(seen.next())
        return found

    def test_it_is_no_message(self):
        for options in {"framing": "line"}, {"delimiter": b"\n"}:
            self.assertEqual(self.told(b"one\ntw", **options), [b"one", sttcp.FrameError])
            self.assertEqual(self.told(b"one\n", **options), [b"one", type(None)])

    def test_it_is_one_where_that_is_wished_for(self):
        for options in {"framing": "line"}, {"delimiter": b"\n"}:
            self.assertEqual(self.told(b"one\ntw", rest_at_end=True, **options),
                             [b"one", b"tw", type(None)])
            self.assertEqual(self.told(b"one\n", rest_at_end=True, **options),
                             [b"one", type(None)])

    def test_it_can_be_wished_for_of_one_connection(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def begin(address, connection):
            connection.set_framing("line", rest_at_end=True)

        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"one\ntw")
        self.assertEqual([seen.next(), seen.next()], [b"one", b"tw"])

    def test_a_client_has_it_too(self):
        server = self.server()

        @server.connection_handler
        def begin(address, connection):
            connection.sendall(b"one\ntw")
            return False

        server.start()
        for rest_at_end, expected in (False, sttcp.FrameError), (True, b"tw"):
            seen = Seen()
            client = self.client(server.port, framing="line", rest_at_end=rest_at_end)
            client.response_handler(lambda address, connection, data: seen.tell(data))
            client.disconnection_handler(lambda address, reason: seen.tell(type(reason)))
            client.start()
            self.assertEqual([seen.next(), seen.next()], [b"one", expected])
            self.assertTrue(client.wait(DEADLINE))


class CustomTest(Case):
    def test_a_function_that_nobody_has_given_cannot_be_set(self):
        seen = Seen()
        for framing in "raw", lambda data: len(data):
            server = self.server(framing=framing)

            @server.connection_handler
            def begin(address, connection):
                try:
                    connection.set_framing("custom")
                except ValueError:
                    seen.tell("refused")
                else:
                    seen.tell("set")
                return False

            server.start()
            self.peer(server).close()
            self.assertEqual(seen.next(), "refused" if framing == "raw" else "set")


class LingerTest(Case):
    UPLOAD = 30 << 20

    def answer_to_an_upload(self, **options):
        """What a peer gets that reads when it has sent everything, of a server that has heard enough
        before."""
        server = self.server(**options)

        @server.receive_handler
        def receive(address, connection, data):
            connection.sendall(b"too large")
            connection.close()

        server.start()
        peer = self.peer(server)
        try:
            peer.sendall(bytes(self.UPLOAD))
            return peer.read(9)
        except OSError:
            return None

    def test_the_last_answer_arrives(self):
        self.assertEqual(self.answer_to_an_upload(), b"too large")
        self.assertEqual(self.answer_to_an_upload(linger_timeout=DEADLINE), b"too large")

    def test_without_lingering_it_is_lost(self):
        self.assertIsNone(self.answer_to_an_upload(linger_timeout=None))


if __name__ == "__main__":
    unittest.main()
