# SPDX-License-Identifier: MIT
"""Messages: what ends them, what is none, what can still be said then, and ends in order."""

import socket
import threading
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


class MalformedTest(Case):
    def test_the_last_handler_learns_what_was_wrong(self):
        for sent, options, text in (
                (b"GET / HTTP/1.1\r\n", {"framing": "length"}, "max_message is 1048576"),
                (b"x" * 100, {"framing": "line", "max_message": 50}, "max_message is 50"),
                (b"half", {"framing": "line"}, "")):
            seen = Seen()
            server = self.server(**options)
            server.malformed_handler(lambda address, connection, error: seen.tell(type(error)))
            server.disconnection_handler(lambda address, reason, connection: (
                seen.tell(type(reason)), seen.tell(str(reason)), seen.tell(connection.fail_text)))
            server.start()
            with self.peer(server) as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                peer.read_all()
            self.assertEqual(seen.next(), seen.next())
            reason, fail_text = seen.next(), seen.next()
            self.assertIn(text, fail_text)
            self.assertIn(fail_text, reason)
            self.assertNotEqual(fail_text, "")

    def test_a_failure_there_is_the_reason(self):
        seen = Seen()
        error = LookupError("mine")
        server = self.server(framing="line")
        server.malformed_handler(lambda address, connection, error_: connection.fail(error))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"half")
            peer.shutdown(socket.SHUT_WR)
            self.assertIs(seen.next(), error)

    def test_a_client_has_the_last_word_too(self):
        seen = Seen()
        server = self.server()
        server.connection_handler(lambda address, connection: connection.sendall(b"x" * 100))
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.start()
        client = self.client(server.port, framing="line", max_message=50)

        @client.malformed_handler
        def malformed(address, connection, error):
            connection.sendall(b"too long")
            seen.tell(type(error))

        client.start()
        self.assertEqual([seen.next(), seen.next()], [sttcp.LimitError, b"too long"])


class IdleTest(Case):
    def test_idle_connections_end_at_a_stop_where_that_is_wished_for(self):
        seen = Seen()
        go = threading.Event()
        inside = threading.Event()
        self.addCleanup(go.set)
        server = self.server(end_idle_at_stop=True, drain_timeout=DEADLINE)

        @server.receive_handler
        def receive(address, connection, data):
            inside.set()
            go.wait(DEADLINE)
            connection.sendall(data)

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        idle, busy = self.peer(server), self.peer(server)
        busy.sendall(b"x")
        self.assertTrue(inside.wait(DEADLINE))
        reports = Seen()
        stopping = threading.Thread(target=lambda: reports.tell(server.stop()))
        stopping.start()
        self.assertEqual(idle.read_all(), b"")
        self.assertIsInstance(seen.next(), sttcp.StoppedError)
        go.set()
        self.assertEqual(busy.read_all(), b"x")
        self.assertIsInstance(seen.next(), sttcp.StoppedError)
        self.assertEqual(reports.next(), sttcp.StopReport(2, 0, 0))


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
