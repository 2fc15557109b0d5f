# SPDX-License-Identifier: MIT
"""A connection's own handler, sends of several parts or without waiting, and reads that know their
size."""

import errno
import gc
import socket
import sys
import threading
import unittest
import weakref

import sttcp
from support import DEADLINE, Case, Seen, wait_for


class OnMessageTest(Case):
    def line_server(self):
        """A line server that tells what its handlers get; "own" gives a handler, "back" takes it."""
        seen = Seen()
        server = self.server(framing="line")

        def own(address, connection, data):
            self.assertEqual(address, connection.address)
            seen.tell("own", data)
            if data == b"back":
                connection.on_message(None)
            if data == b"raise":
                raise ValueError("own")
            return False  # is ignored

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell("server", data)
            if data == b"own":
                self.assertIs(connection.on_message(own), own)

        @server.disconnection_handler
        def gone(address, reason):
            seen.tell("end", reason)

        return server, seen

    def expect(self, seen, *expected):
        self.assertEqual([seen.next() for _ in expected], list(expected))

    def test_it_gets_the_next_message(self):
        server, seen = self.line_server()
        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"a\nown\nb\nback\nc\nown\n")
            self.expect(seen, ("server", b"a"), ("server", b"own"), ("own", b"b"), ("own", b"back"),
                        ("server", b"c"), ("server", b"own"))
            peer.sendall(b"d\n")
            self.expect(seen, ("own", b"d"))
        self.expect(seen, ("end", None))
        self.assertEqual(self.raised.rest(), [])

    def test_the_universal_handler_sees_messages_first(self):
        server, seen = self.line_server()

        @server.universal_handler
        def every(kind, address, connection, data):
            if data is not None:
                seen.tell("every", data)
            return data != b"no"  # does not count

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"own\nno\nback\na\n")
            self.expect(seen, ("every", b"own"), ("server", b"own"), ("every", b"no"),
                        ("own", b"no"), ("every", b"back"), ("own", b"back"), ("every", b"a"),
                        ("server", b"a"))

    def test_the_universal_handler_sets_it_for_the_next_message(self):
        seen = Seen()
        server = self.server(framing="line")
        server.receive_handler(lambda address, connection, data: seen.tell("server", data))

        @server.universal_handler
        def every(kind, address, connection, data):
            if data == b"own":
                connection.on_message(lambda address, connection, data: seen.tell("own", data))
            elif data == b"back":
                connection.on_message(None)

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"own\na\nback\nb\n")
            self.expect(seen, ("server", b"own"), ("own", b"a"), ("own", b"back"), ("server", b"b"))

    def test_it_stands_in_place_of_the_plain_handler(self):
        seen = Seen()

        def plain(address, connection, data):
            seen.tell("plain", data)
            connection.on_message(own)

        def own(address, connection, data):
            seen.tell("own", data)

        server = self.server(plain, framing="line", start=True)
        with self.peer(server) as peer:
            peer.sendall(b"a\nb\n")
            self.expect(seen, ("plain", b"a"), ("own", b"b"))

    def test_a_server_without_handlers_may_have_one(self):
        seen = Seen()
        server = self.server(framing="line", start=True)
        with self.peer(server) as peer:
            wait_for(server.connections)
            connection, = server.connections()

            @connection.on_message
            def own(address, connection, data):
                seen.tell(data)

            peer.sendall(b"a\n")
            self.assertEqual(seen.next(), b"a")

    def test_what_it_raises_ends_the_connection(self):
        server, seen = self.line_server()
        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"own\nraise\na\n")
            self.assertEqual(peer.read_all(), b"")
        self.expect(seen, ("server", b"own"), ("own", b"raise"))
        _, reason = seen.next()
        self.assertIsInstance(reason, ValueError)
        self.assertIs(self.raised.next(), reason)

    def test_a_client_goes_on(self):
        seen = Seen()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = self.client(listener.getsockname()[1], framing="line")

            @client.connection_handler
            def begin(address, connection):
                connection.on_message(own)

            def own(address, connection, data):
                seen.tell("own", data)
                if data == b"back":
                    connection.on_message(None)
                return False

            @client.response_handler
            def respond(address, connection, data):
                seen.tell("client", data)
                return data != b"end"

            client.start()
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"a\nend\nback\nb\nend\nc\n")
                self.expect(seen, ("own", b"a"), ("own", b"end"), ("own", b"back"), ("client", b"b"),
                            ("client", b"end"))
                peer.settimeout(DEADLINE)
                self.assertEqual(peer.recv(1), b"")

    def test_it_stays_when_the_framing_changes(self):
        seen = Seen()
        server = self.server(framing="line")

        def own(address, connection, data):
            seen.tell(data)

        @server.receive_handler
        def receive(address, connection, data):
            connection.on_message(own)
            connection.set_framing(delimiter=b";")

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"go\na\n;b;")
            self.expect(seen, b"a\n", b"b")

    def test_only_functions_are_taken(self):
        seen = Seen()
        server = self.server(framing="line")

        def later(address, connection, data):
            yield

        @server.connection_handler
        def begin(address, connection):
            for wrong in 7, "own", later:
                try:
                    connection.on_message(wrong)
                except TypeError:
                    seen.tell("refused")
            seen.tell(connection)

        server.start()
        with self.peer(server):
            self.expect(seen, "refused", "refused", "refused")
            connection = seen.next()
        server.stop()
        self.assertRaises(OSError, connection.on_message, print)

    def test_it_is_let_go_at_the_end(self):
        seen = Seen()
        server = self.server(framing="line")

        @server.connection_handler
        def begin(address, connection):
            def own(address, connection, data):
                seen.tell(data, connection)

            connection.on_message(own)
            seen.tell(weakref.ref(own))

        server.start()
        with self.peer(server) as peer:
            own = seen.next()
            peer.sendall(b"a\n")
            _, connection = seen.next()
            gc.collect()
            self.assertIsNotNone(own())
        server.stop()
        gc.collect()
        self.assertIsNone(own())
        self.assertFalse(connection.is_open)

    def test_threads_may_change_it_while_messages_come(self):
        most = 3000
        seen = Seen()
        server = self.server(framing="line")
        count = [0]
        done = threading.Event()

        def handle(address, connection, data):
            count[0] += 1  # one at a time
            if count[0] == most:
                done.set()

        server.receive_handler(handle)
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()

        def change(connection):
            while not done.is_set():
                connection.on_message(lambda *arguments: handle(*arguments))
                connection.on_message(None)

        with self.peer(server) as peer:
            connection = seen.next()
            changers = [threading.Thread(target=change, args=(connection,)) for _ in range(2)]
            for each in changers:
                each.start()
            for _ in range(most // 100):
                peer.sendall(b"x\n" * 100)
            self.assertTrue(done.wait(DEADLINE))
            for each in changers:
                each.join()
        self.assertEqual(count[0], most)
        self.assertEqual(self.raised.rest(), [])


class PartsTest(Case):
    def test_messages_of_parts(self):
        peer, connection = self.peer_and_connection(framing="length", prefix_size=2, prefix_offset=1)
        self.assertIsNone(connection.sendv_message([b"ab", memoryview(b""), bytearray(b"cd")]))
        self.assertIsNone(connection.sendv_message((b"x",)))
        self.assertEqual(peer.read(9), b"a\0\3bcdx\0\0")
        self.assertRaises(ValueError, connection.sendv_message, [])
        connection.set_framing("line")
        self.assertIsNone(connection.sendv_message([]))
        self.assertEqual(peer.read(1), b"\n")
        connection.set_framing(delimiter=b"--")
        self.assertRaises(ValueError, connection.sendv_message, [b"a-", b"-b"])

    def test_tries(self):
        peer, connection = self.peer_and_connection(framing="line", send_queue_max=10000)
        self.assertIs(connection.try_send_message(b"abc"), True)
        self.assertIs(connection.try_sendv([b"d", b"ef"]), True)
        self.assertEqual(peer.read(7), b"abc\ndef")
        for call, argument in ((connection.try_send_message, b"x" * 10000),
                               (connection.try_sendv, [b"x", b"x" * 10000])):
            with self.assertRaises(OSError) as caught:
                call(argument)
            self.assertEqual(caught.exception.errno, errno.EMSGSIZE)
        part = b"x" * 4999
        sent = 0
        while connection.try_send_message(part):
            sent += 5000
        while connection.try_sendv([part, b"\n"]):
            sent += 5000
        self.assertIs(connection.try_send_message(part), False)
        self.assertEqual(peer.read(sent), (part + b"\n") * (sent // 5000))

    def test_wrong_parts(self):
        _, connection = self.peer_and_connection()
        for call in connection.try_sendv, connection.sendv_message, connection.sendmsg:
            self.assertRaises(TypeError, call, 7)
            self.assertRaises(TypeError, call, ["text"])
            self.assertRaises(TypeError, call, [b"a", None])
            self.assertRaises(ValueError, call, [b""] * 1025)
        connection.close()
        self.assertRaises(sttcp.Error, connection.try_sendv, [b"a"])
        self.assertRaises(sttcp.Error, connection.sendv_message, [b"a"])
        self.assertRaises(sttcp.Error, connection.try_send_message, b"a")


class SizesTest(Case):
    def read(self, script, sent, **options):
        """What a script returns that a handler runs for the message "go", and what the handler gets
        after it."""
        seen = Seen()
        server = self.server(**options)

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(script(connection) if data == b"go" else data)

        server.start()
        with self.peer(server) as peer:
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            peer.read_all()
        return seen.rest()

    def test_exactly_so_many_bytes(self):
        def script(connection):
            return [connection.recv_exactly(3), connection.recv_exactly(0),
                    connection.recv_exactly(4, 5), connection.recv_exactly(2, timeout=None)]

        self.assertEqual(self.read(script, b"go\nab\ncd\nefg\nlast\n", framing="line"),
                         [[b"ab\n", b"", b"cd\ne", b"fg"], b"", b"last"])

    def test_more_than_bytes_can_be(self):
        def script(connection):
            for size in sys.maxsize, sys.maxsize - 100:
                with self.assertRaises(OSError) as caught:
                    connection.recv_exactly(size)
                self.assertEqual(caught.exception.errno, errno.EMSGSIZE)
            return True

        self.assertEqual(self.read(script, b"go")[0], True)

    def test_or_none_of_them(self):
        def script(connection):
            found = [connection.recv_exactly(100), connection.recv_exactly(100, 0)]
            for size in -1, 1 << 80:
                try:
                    connection.recv_exactly(size)
                except (ValueError, OverflowError) as error:
                    found.append(type(error))
            try:
                connection.recv_exactly(101)
            except OSError as error:
                found.append(error.errno)
            return found

        self.assertEqual(self.read(script, b"go\nab\ncd\n", framing="line", max_message=100),
                         [[None, None, ValueError, OverflowError, errno.EMSGSIZE], b"ab", b"cd"])

    def test_timeouts(self):
        seen = Seen()
        server = self.server(framing="line")

        def kind(call, *arguments, **options):
            try:
                return call(*arguments, **options)
            except OSError as error:
                return type(error)
            except ValueError as error:
                return str(error)

        @server.receive_handler
        def receive(address, connection, data):
            if data != b"go":
                seen.tell(data)
                return
            connection.settimeout(0.01)
            for call in lambda *a: connection.recv_exactly(5, *a), connection.next_size:
                seen.tell([kind(call), kind(call, 0.01), kind(call, 0), kind(call, -1)])
            connection.settimeout(0)
            seen.tell([kind(connection.next_size), kind(connection.next_size, sttcp.DEFAULT)])

        server.start()
        with self.peer(server) as peer:
            peer.sendall(b"go\nabc")
            wanted = [TimeoutError, TimeoutError, BlockingIOError, "Timeout value out of range"]
            found = seen.next()
            self.assertTrue(issubclass(found[0], TimeoutError), found)
            for one in found, seen.next():
                for type_found, type_wanted in zip(one[:3], wanted):
                    self.assertTrue(issubclass(type_found, type_wanted), one)
                self.assertEqual(one[3], wanted[3])
            for each in seen.next():
                self.assertTrue(issubclass(each, BlockingIOError))
            peer.sendall(b"d\n")
            self.assertEqual(seen.next(), b"abcd")

    def test_sizes_are_told(self):
        def script(connection):
            return [connection.next_size(), connection.next_size(0), connection.recv_message(),
                    connection.next_size(timeout=5), connection.recv_message(),
                    connection.next_size(None)]

        self.assertEqual(self.read(script, b"go\nabc\n\nlast\n", framing="line"),
                         [[3, 3, b"abc", 0, b"", 4], b"last"])
        self.assertEqual(self.read(lambda connection: connection.next_size(), b"go\n",
                                   framing="line"), [None])

    def test_only_inside_its_handlers(self):
        seen = Seen()
        server = self.server()
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()
        with self.peer(server):
            connection = seen.next()
            for call in lambda: connection.recv_exactly(1), connection.next_size:
                with self.assertRaises(OSError) as caught:
                    call()
                self.assertEqual(caught.exception.errno, errno.EDEADLK)


if __name__ == "__main__":
    unittest.main()
