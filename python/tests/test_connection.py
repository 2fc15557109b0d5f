# SPDX-License-Identifier: MIT
"""A connection behaves as a socket, and is one object from its first handler to its last."""

import errno
import gc
import os
import queue
import socket
import threading
import unittest

import sttcp
from sttcp import Connection
from support import Case, Seen, wait_for


class ConnectionTest(Case):
    def test_connection_behaves_as_a_socket(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            self.assertEqual(connection.getpeername(), address)
            self.assertEqual(connection.getsockname(), server.sock_name)
            self.assertGreater(connection.fileno(), 2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.assertTrue(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertEqual((connection.family, connection.type),
                             (socket.AF_INET, socket.SOCK_STREAM))
            self.assertEqual(connection.send(bytearray(b"one ")), 4)
            connection.sendall(memoryview(b"two "))
            self.assertEqual(connection.sendmsg([b"thr", b"ee"]), 5)
            self.assertRaises(TypeError, connection.sendall, "text")
            self.assertIs(connection.server, server)
            self.assertIsNone(connection.client)
            with connection:
                connection.shutdown(socket.SHUT_WR)
            seen.tell(connection)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"x")
        self.assertEqual(peer.read_all(), b"one two three")
        connection = seen.next()
        self.assertFalse(connection.is_open)
        self.assertRaises(OSError, connection.sendall, b"x")
        self.assertEqual(self.raised.rest(), [])

    def test_flags_that_would_change_something_are_refused(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def connection(address, connection):
            for flags in socket.MSG_PEEK, socket.MSG_DONTWAIT, socket.MSG_WAITALL, socket.MSG_OOB, -1:
                for call in (lambda: connection.recv(1, flags),
                             lambda: connection.recv_into(bytearray(1), 1, flags),
                             lambda: connection.sendall(b"x", flags | socket.MSG_NOSIGNAL),
                             lambda: connection.send(b"x", flags)):
                    with self.assertRaisesRegex(ValueError, r"\(\) takes no flags.*, not -?\d+: "):
                        call()
            for call in (lambda: connection.recv(1, 2**40), lambda: connection.sendall(b"x", -2**70),
                         lambda: connection.recv_into(bytearray(1), 1, 2**40)):
                self.assertRaises(OverflowError, call)
            for wrong in None, 1.5, "x":
                self.assertRaises(TypeError, connection.sendall, b"x", wrong)
                self.assertRaises(TypeError, connection.recv, 1, wrong)
            connection.sendall(b"1", socket.MSG_NOSIGNAL)
            connection.send(b"2", socket.MSG_MORE | socket.MSG_NOSIGNAL)
            connection.sendall(b"3", 0)
            seen.tell(connection.recv(1, 0), connection.recv_into(bytearray(1), 1, 0))
            return False

        server.start()
        peer = self.peer(server)
        peer.sendall(b"ab")
        self.assertEqual(peer.read_all(), b"123")
        self.assertEqual(seen.next(), (b"a", 1))
        self.assertEqual(self.raised.rest(), [])

    def test_numbers_that_are_too_large(self):
        seen = Seen()
        large = 10**13, 2**62

        def read(connection):
            for size in large:
                with self.assertRaises(OSError) as caught:
                    connection.recv_exactly(size)
                self.assertEqual(caught.exception.errno, errno.EMSGSIZE)
                seen.tell("ready")
                self.assertEqual(connection.recv(size), b"x")
            connection.set_framing("line", max_message=None)
            self.assertRaises(MemoryError, connection.recv_exactly, 2**62)
            connection.set_framing("line", max_message=1000)
            with self.assertRaises(OSError) as caught:
                connection.recv_exactly(2**62)
            self.assertEqual(caught.exception.errno, errno.EMSGSIZE)
            for value in 2**31, -2**31 - 1, 2**40, 2**70:
                with self.assertRaises(OverflowError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, value)
            seen.tell("over")

        def check(peer):
            for _ in large:
                self.assertEqual(seen.next(), "ready")
                peer.sendall(b"x")
            self.assertEqual(seen.next(), "over")

        for options in {}, {"framing": "line"}:
            server = self.server(**options)
            server.connection_handler(lambda address, connection: read(connection))
            server.start()
            check(self.peer(server))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with sttcp.dial(*listener.getsockname()) as connection:
                with listener.accept()[0] as peer:
                    peer.sendall(b"x")
                    seen.tell("peer")
                    reader = threading.Thread(target=read, args=(connection,))
                    self.assertEqual(seen.next(), "peer")
                    reader.start()
                    self.assertEqual(seen.next(), "ready")
                    self.assertEqual(seen.next(), "ready")
                    peer.sendall(b"x")
                    self.assertEqual(seen.next(), "over")
                    reader.join()

    def test_recv_works_inside_a_handler(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def connection(address, connection):
            connection.sendall(b"name? ")
            seen.tell(connection.recv(3))
            connection.settimeout(0.01)
            self.assertEqual(connection.gettimeout(), 0.01)
            try:
                connection.recv(1)
            except socket.timeout:
                seen.tell("timeout")
            connection.setblocking(False)
            try:
                connection.recv(1)
            except BlockingIOError:
                seen.tell("blocking")
            connection.settimeout(None)
            connection.sendall(b"more? ")
            seen.tell(connection.makefile("rb").readline())
            seen.tell(connection.recv(1))
            seen.tell(connection)

        server.start()
        peer = self.peer(server)
        self.assertEqual(peer.read(6), b"name? ")
        peer.sendall(b"abc")
        self.assertEqual([seen.next() for _ in range(3)], [b"abc", "timeout", "blocking"])
        self.assertEqual(peer.read(6), b"more? ")
        peer.sendall(b"line\n")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual([seen.next() for _ in range(2)], [b"line\n", b""])
        with self.assertRaises(OSError):
            seen.next().recv(1)

    def test_connection_is_one_object_with_data(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def connection(address, connection):
            connection.data = {"count": 0}
            seen.tell(connection)

        @server.receive_handler
        def receive(address, connection, data):
            connection.data["count"] += len(data)
            seen.tell(connection)

        server.disconnection_handler(lambda address, reason, connection: seen.tell(connection))
        server.start()
        peer = self.peer(server)
        first = seen.next()
        peer.sendall(b"abc")
        self.assertIs(seen.next(), first)
        self.assertEqual(server.connections(), [first])
        self.assertIs(server.find(first.id), first)
        self.assertIsNone(server.find(first.id + 1000))
        self.assertEqual(first.stats().bytes_in, 3)
        peer.close()
        self.assertIs(seen.next(), first)
        self.assertEqual(first.data, {"count": 3})
        self.assertIsNone(first.reason)

    def test_connection_that_ends_during_its_first_handler_is_one_object(self):
        def in_thread(call):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

        def break_it(connection, peer):
            peer.reset()
            with self.assertRaises(OSError):
                while True:
                    connection.sendall(b"x" * 1000)

        def fail_and_raise(connection, peer):
            peer.reset()
            raise RuntimeError

        # How it ends, the verdict, and whether its last handler runs.
        ways = [
            (break_it, True, True),
            (break_it, False, False),
            (lambda connection, peer: in_thread(connection.close), True, True),
            (lambda connection, peer: in_thread(connection.close), False, False),
            (lambda connection, peer: connection.close(), True, False),
            (lambda connection, peer: connection.__exit__(), True, False),
            (lambda connection, peer: connection.abort(), True, False),
            (lambda connection, peer: connection.fail("so"), True, True),
            (lambda connection, peer: connection.fail("so"), False, True),
            (lambda connection, peer: connection.fail_now("so"), True, True),
            (lambda connection, peer: (connection.close(), connection.fail_now("so")), True, True),
            (lambda connection, peer: (connection.close(), connection.fail("so")), True, True),
            (lambda connection, peer: (in_thread(connection.close), connection.fail("so")), True,
             True),
            (lambda connection, peer: (in_thread(connection.fail), connection.close()), True, True),
            (lambda connection, peer: in_thread(connection.fail), False, False),
            (fail_and_raise, True, True),
            (lambda connection, peer: os.close(connection.detach()), True, True),
        ]
        for number, (way, verdict, has_last) in enumerate(ways):
            with self.subTest(number):
                server = self.server()
                seen = Seen()
                peers = queue.Queue()

                @server.connection_handler
                def begin(address, connection):
                    connection.data = [id(connection), number]
                    try:
                        way(connection, peers.get(timeout=20))
                    finally:
                        seen.tell("begun")
                    return verdict

                @server.disconnection_handler
                def gone(address, reason, connection):
                    seen.tell([id(connection), number] == connection.data)

                server.start()
                peer = self.peer(server)
                peers.put(peer)
                self.assertEqual(seen.next(), "begun")
                peer.close()
                server.stop()
                self.assertEqual(seen.rest(), [True] if has_last else [])
                del begin, gone
                self.raised.rest()  # its traceback holds the handler's arguments

                def are_gone():
                    gc.collect()
                    return not any(type(each) is Connection and each.owner is server
                                   for each in gc.get_objects())

                wait_for(are_gone, "the end of the object")

    def test_same_object_where_another_thread_asks_while_it_is_made(self):
        """Making it may collect garbage, in the midst of which others may get the GIL."""
        server = self.server(start=True)
        self.peer(server)
        wait_for(lambda: server.count == 1)
        others = []

        def ask(phase, info):
            if threading.current_thread() is threading.main_thread() and not others:
                thread = threading.Thread(target=lambda: others.extend(server.connections()))
                thread.start()
                thread.join()

        threshold = gc.get_threshold()
        gc.callbacks.append(ask)
        gc.set_threshold(1)
        try:
            found = server.connections()
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(ask)
        self.assertEqual(found, others or found)
        self.assertIs(found[0], server.find(found[0].id))

    def test_detach_gives_the_socket_away(self):
        seen = Seen()
        server = self.server()
        server.receive_handler(lambda address, connection, data: seen.tell(connection.detach()))
        server.start()
        peer = self.peer(server)
        peer.sendall(b"x")
        with socket.socket(fileno=seen.next()) as taken:
            taken.sendall(b"by hand")
        self.assertEqual(peer.read_all(), b"by hand")


if __name__ == "__main__":
    unittest.main()
