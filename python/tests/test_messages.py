# SPDX-License-Identifier: MIT
"""Messages: how they are cut out, what ends them, what is none, what can still be said then, and
ends in order."""

import socket
import threading
import time
import unittest

import sttcp
from sttcp import FrameError, HandlerError, LimitError
from support import DEADLINE, Case, Peer, Seen, wait_for


class MessageTest(Case):
    def messages(self, sent, count, **options):
        seen = Seen()
        server = self.server(**options)

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(data)
            connection.send_message(data)

        server.start()
        peer = self.peer(server)
        peer.sendall(sent)
        found = [seen.next() for _ in range(count)]
        self.assertEqual(peer.read(len(sent)), sent)
        return found

    def test_framings(self):
        self.assertEqual(self.messages(b"a\nbc\n\n", 3, framing="line"), [b"a", b"bc", b""])
        self.assertEqual(self.messages(b"a||b||", 2, delimiter=b"||"), [b"a", b"b"])
        self.assertEqual(self.messages(b"\0\2hi\0\1x", 2, prefix_size=2), [b"hi", b"x"])
        self.assertEqual(self.messages(b"abcd", 2, fixed_size=2), [b"ab", b"cd"])

        def digit(connection, data):
            size = 1 + int(data[:1])
            return 0, size, size

        self.assertEqual(self.messages(b"2ab1c", 2, framing=digit), [b"2ab", b"1c"])
        self.assertEqual(self.messages(b"2ab1c", 2, frame=digit), [b"2ab", b"1c"])

    def test_recv_message_and_set_framing(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def connection(address, connection):
            connection.set_framing("line", max_message=100000)
            seen.tell(connection.recv_message())
            seen.tell(len(connection.recv_message()))
            seen.tell(connection.recv_message())

        server.start()
        peer = self.peer(server)
        peer.sendall(b"first\n" + b"x" * 50000 + b"\n")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual([seen.next() for _ in range(3)], [b"first", 50000, None])

    def refused(self, sent, **options):
        """What the malformed handler gets, the peer reads, and the last handler gets."""
        seen = Seen()
        server = self.server(**options)

        @server.malformed_handler
        def malformed(address, connection, error):
            connection.sendall(b"sorry")
            seen.tell(type(error))
            self.assertRaises(OSError, connection.recv, 1)

        @server.disconnection_handler
        def gone(address, reason):
            seen.tell(type(reason))

        server.start()
        peer = self.peer(server)
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        return seen.next(), peer.read_all(), seen.next()

    def test_malformed_handler_has_the_last_word(self):
        self.assertEqual(self.refused(b"a\nb", framing="line"),
                         (FrameError, b"sorry", FrameError))
        self.assertEqual(self.refused(b"abc\n", framing="line", max_message=2),
                         (LimitError, b"sorry", LimitError))

    def test_malformed_handler_runs_inside_recv_message(self):
        seen = Seen()
        server = self.server(framing="line", max_message=8)

        @server.malformed_handler
        def malformed(address, connection, error):
            seen.tell(threading.get_ident())
            raise KeyError("mine")

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(threading.get_ident())
            try:
                connection.recv_message()
            except OSError as error:
                seen.tell(type(error))

        @server.disconnection_handler
        def gone(address, reason):
            seen.tell(type(reason))

        server.start()
        self.peer(server).sendall(b"go\nmuch too long\n")
        thread = seen.next()
        self.assertEqual([seen.next() for _ in range(3)], [thread, HandlerError, KeyError])
        self.assertEqual([type(error) for error in self.raised.rest()], [KeyError])

    def test_rest_at_end_is_a_message(self):
        for options in {"framing": "line"}, {"delimiter": b"\n"}:
            seen = Seen()
            server = self.server(rest_at_end=True, **options)
            server.receive_handler(lambda address, connection, data: seen.tell(data))
            server.disconnection_handler(lambda address, reason: seen.tell(reason))
            server.start()
            peer = self.peer(server)
            peer.sendall(b"a\nb")
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual([seen.next() for _ in range(3)], [b"a", b"b", None])


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
        for framing in "raw", lambda connection, data: None:
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


def netstring(connection, data):
    head = data.find(b":", 0, 10)
    if head < 0:
        return None if len(data) < 10 else -1
    size = int(data[:head])
    return head + 1, size, head + 1 + size + 1


class FrameTest(Case):
    def talk(self, sent, *expected, **options):
        """What comes of bytes that are sent one by one: messages, and the type of the end."""
        seen = Seen()
        server = self.server(**options)
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.malformed_handler(lambda address, connection, error: seen.tell(type(error)))
        server.start()
        with self.peer(server) as peer:
            for i in range(len(sent)):
                peer.sendall(sent[i:i + 1])
            self.assertEqual([seen.next() for _ in expected], list(expected))

    def test_the_payload_alone_is_delivered(self):
        self.talk(b"3:abc,0:,2:de,", b"abc", b"", b"de", frame=netstring)
        self.talk(b"3:abc,", b"abc", frame=netstring, framing="custom")
        self.talk(b"3:abc,", b"abc", framing=netstring)

    def test_limits_and_malformed_messages_end_it(self):
        self.talk(b"2:ab,3:", b"ab", sttcp.LimitError, frame=netstring, max_message=2)
        self.talk(b"1:a,1234567890", b"a", sttcp.FrameError, frame=netstring)
        for huge in 2**63 - 1, 2**64, 2**80:
            self.talk(b"x", sttcp.LimitError, frame=lambda connection, data: (1, huge, huge + 1))
            self.talk(b"x", sttcp.LimitError, frame=lambda connection, data: huge)
        self.talk(b"x", sttcp.FrameError, frame=lambda connection, data: (1, 1, 1))
        self.talk(b"x", sttcp.FrameError, frame=lambda connection, data: (0, 0, 0))
        self.talk(b"x", sttcp.FrameError, frame=lambda connection, data: -2**80)
        self.assertEqual(self.raised.rest(), [])

    def test_it_is_asked_as_it_wants(self):
        calls = []

        def four(connection, data):
            calls.append(len(data))
            return 4 if len(data) < 4 else (0, 8, 8)

        self.talk(b"12345678abcdefgh", b"12345678", b"abcdefgh", frame=four)
        # For each message: when something has come, and when it has what it wants.
        self.assertLessEqual(len(calls), 4)

    def test_what_it_raises_is_reported(self):
        def wrong(connection, data):
            return answers.pop()

        for answer, error in (("text", TypeError), ((1, 2), TypeError), ((1, "2", 3), TypeError),
                              ((0, -1, 5), ValueError), (1.5, TypeError), ([0, 1, 1], TypeError),
                              (True, TypeError), (False, TypeError)):
            answers = [answer]
            self.talk(b"x", sttcp.FrameError, frame=wrong)
            self.assertIs(type(self.raised.next()), error)

    def test_the_connection_tells_where_the_dialogue_is(self):
        server, seen = self.server(frame=lambda connection, data: (
            connection.data or (1, 3, 4))), Seen()

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(data)
            connection.data = (0, 2, 2)

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"xabc")
            self.assertEqual(seen.next(), b"abc")
            peer.sendall(b"defg")
            self.assertEqual([seen.next(), seen.next()], [b"de", b"fg"])

    def test_a_connection_may_have_its_own(self):
        server, seen = self.server(framing="line"), Seen()

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(data)
            if data == b"go":
                connection.set_framing(frame=netstring)
            elif data == b"line":
                connection.set_framing("line")
            elif data == b"again":
                connection.set_framing("custom")

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"go\n1:a,4:line,b\nagain\n2:\n\n,")
            self.assertEqual([seen.next() for _ in range(6)],
                             [b"go", b"a", b"line", b"b", b"again", b"\n\n"])

    def test_it_is_given_once_and_is_a_function(self):
        self.assertRaises(TypeError, self.server, frame=3)
        self.assertRaises(TypeError, self.server, frame=None)
        self.assertRaises(TypeError, self.server, frame=netstring, framing=netstring)
        self.assertRaises(ValueError, self.server(frame=netstring, framing="line").start)


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
        self.assertEqual(self.answer_to_an_upload(linger_timeout=DEADLINE), b"too large")

    def test_the_last_answer_arrives_by_default(self):
        for _ in range(20):
            began = time.monotonic()
            answer = self.answer_to_an_upload()
            # It lingers for 2 s, and an upload may take longer on a busy machine.
            if answer or time.monotonic() - began < 2:
                break
        self.assertEqual(answer, b"too large")

    def test_without_lingering_it_is_lost(self):
        self.assertIsNone(self.answer_to_an_upload(linger_timeout=None))


class RawTest(Case):
    def test_a_message_is_what_next_size_tells_of(self):
        seen = Seen()
        sizes = 1, 4096, 4097, 30000

        def read_all(connection):
            for size in sizes:
                seen.tell("ready")
                connection.recv_exactly(1)
                wait_for(lambda: connection.next_size() == size)
                message = connection.recv_message()
                seen.tell(len(message), set(message))
            connection.settimeout(0)
            self.assertRaises(BlockingIOError, connection.recv_message)
            connection.settimeout(None)
            seen.tell("ready")
            seen.tell(connection.recv_message(), connection.next_size())

        def check(peer):
            for size in sizes:
                self.assertEqual(seen.next(), "ready")
                peer.sendall(b"!" + b"x" * size)
                self.assertEqual(seen.next(), (size, {ord("x")}))
            self.assertEqual(seen.next(), "ready")
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(seen.next(), (None, None))

        server = self.server()
        server.connection_handler(lambda address, connection: read_all(connection))
        server.start()
        check(self.peer(server))
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        for options in {}, {"framing": "line"}:
            with sttcp.dial(*listener.getsockname(), **options) as connection:
                connection.set_framing("raw")
                peer = Peer.of(listener.accept()[0])
                self.addCleanup(peer.close)
                reader = threading.Thread(target=read_all, args=(connection,))
                reader.start()
                check(peer)
                reader.join()


if __name__ == "__main__":
    unittest.main()
