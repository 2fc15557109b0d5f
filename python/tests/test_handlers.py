# SPDX-License-Identifier: MIT
"""Exceptions and reasons; what the core can do beyond the seed; leaks; the interpreter's end."""

import errno
import gc
import os
import queue
import socket
import sys
import threading
import time
import unittest

import sttcp
from sttcp import Connection, FrameError, HandlerError, LimitError, _group
from sttcp.client import Client
from sttcp.server import Server
from support import SANITIZED, Case, Peer, Seen, free_port, run_python, wait_for


class ExceptionTest(Case):
    def raising_server(self, name, error):
        seen = Seen()
        server = self.server()

        def function(*arguments):
            raise error

        getattr(server, name + "_handler")(function)
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        return server, seen

    def test_exception_ends_the_connection_and_is_the_reason(self):
        for name in "connection", "receive", "universal":
            error = ZeroDivisionError(name)
            server, seen = self.raising_server(name, error)
            for _ in range(3):  # the server goes on
                peer = self.peer(server)
                peer.sendall(b"x")
                self.assertEqual(peer.read_all(), b"")
                self.assertIs(seen.next(), error)
                self.assertIs(self.raised.next(), error)
            self.assertTrue(server.is_listening)

    def test_exception_in_the_disconnection_handler_is_printed(self):
        error = KeyError("last")
        server = self.server()

        def raise_error(address, reason):
            raise error

        server.disconnection_handler(raise_error)
        server.start()
        self.peer(server).close()
        self.assertIs(self.raised.next(), error)

    def test_traceback_is_printed(self):
        result = run_python(
            "import socket\nfrom sttcp.server import Server\n"
            "server = Server('127.0.0.1', 0)\n"
            "@server.receive_handler\n"
            "def receive(address, connection, data):\n    raise ValueError('my fault')\n"
            "server.start()\n"
            "with socket.create_connection(server.sock_name, 20) as peer:\n"
            "    peer.sendall(b'x')\n    peer.recv(1)\n"
            "server.stop()\n")
        self.assertIn("Traceback (most recent call last)", result.stderr)
        self.assertIn("ValueError: my fault", result.stderr)
        self.assertIn("in receive", result.stderr)

    def test_client_handler_that_raises_ends_its_connection(self):
        server = self.echo_server()
        client = self.client(server.port)
        seen = Seen()
        error = ValueError("mine")

        @client.connection_handler
        def connection(address, connection):
            raise error

        client.disconnection_handler(lambda address, reason: seen.tell(reason))
        client.start()
        self.assertIs(seen.next(), error)


class ReasonTest(Case):
    def reason(self, end, **options):
        """What the disconnection handler of a server gets."""
        seen = Seen()
        server = self.server(**options)
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.peer(server)
        end(server, peer, seen.next())
        return seen.next()

    def test_reasons_are_exceptions(self):
        self.assertIsNone(self.reason(lambda server, peer, connection: peer.close()))
        self.assertIsNone(self.reason(lambda server, peer, connection: connection.close()))
        self.assertIsNone(self.reason(lambda server, peer, connection: connection.abort()))
        reset = self.reason(lambda server, peer, connection: peer.reset())
        self.assertIsInstance(reset, ConnectionResetError)
        self.assertEqual(reset.errno, errno.ECONNRESET)
        stopped = self.reason(lambda server, peer, connection: server.stop(0))
        self.assertIsInstance(stopped, sttcp.StoppedError)
        self.assertIsInstance(stopped, ConnectionAbortedError)
        failed = self.reason(lambda server, peer, connection: connection.fail("my text"))
        self.assertIsInstance(failed, sttcp.HandlerError)
        self.assertIn("my text", str(failed))
        failed = self.reason(lambda server, peer, connection: connection.fail_now("my text"))
        self.assertIsInstance(failed, sttcp.HandlerError)
        self.assertIn("my text", str(failed))
        error = LookupError("x")
        self.assertIs(self.reason(lambda server, peer, connection: connection.fail_now(error)),
                      error)
        self.assertIs(self.reason(lambda server, peer, connection: connection.fail(error)), error)

    def test_time_limits_are_timeout_errors(self):
        limit = self.reason(lambda *unused: None, idle_timeout=0.02)
        self.assertIsInstance(limit, TimeoutError)
        self.assertEqual((limit.limit, limit.name), ("idle", "STTCP_ETIME_IDLE"))
        limit = self.reason(lambda *unused: None, first_byte_timeout=0.02)
        self.assertEqual(limit.limit, "first_byte")
        limit = self.reason(lambda *unused: None, lifetime=0.02)
        self.assertEqual(limit.limit, "lifetime")

    def test_the_first_failure_counts(self):
        first, second = LookupError("1"), KeyError("2")

        def twice(one, two):
            return self.reason(lambda server, peer, connection: (one(connection), two(connection)))

        self.assertIs(twice(lambda each: each.fail(first), lambda each: each.fail_now(second)),
                      first)
        self.assertIs(twice(lambda each: each.fail_now(first), lambda each: each.fail(second)),
                      first)
        reason = twice(lambda each: each.fail("so"), lambda each: each.fail(second))
        self.assertIsInstance(reason, sttcp.HandlerError)
        self.assertIn("so", str(reason))

    def test_a_failure_in_a_handler_counts_before_what_it_raises(self):
        first = LookupError("1")
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            connection.fail(first)
            raise KeyError("2")

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        self.peer(server).sendall(b"x")
        self.assertIs(seen.next(), first)
        self.assertIsInstance(self.raised.next(), KeyError)

    def test_fail_now_resets(self):
        seen = Seen()
        server = self.server(send_queue_max=16 << 20)
        error = LookupError("x")

        @server.receive_handler
        def receive(address, connection, data):
            if data == b"now":
                connection.sendall(bytes(8 << 20))
                connection.fail_now(error)
            else:
                connection.fail(error)

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        for data, is_reset in (b"now", True), (b"x", False):
            peer = self.peer(server)
            peer.sendall(data)
            self.assertIs(seen.next(), error)
            try:
                while peer.recv(65536):
                    pass
            except ConnectionResetError:
                self.assertTrue(is_reset)
            else:
                self.assertFalse(is_reset)

    def test_what_a_handler_raises_after_the_end_changes_nothing(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            connection.close()
            connection.sendall(data)

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        self.peer(server).sendall(b"x")
        self.assertIsNone(seen.next())
        self.assertEqual(self.raised.rest(), [])

    def test_the_text_of_an_end_is_told(self):
        def text_of(end, **options):
            found = []
            reason = self.reason(lambda server, peer, connection: (
                found.append(connection), end(server, peer, connection)), **options)
            with self.assertRaises(OSError) as caught:
                found[0].sendall(b"x")
            return str(reason), found[0].fail_text, str(caught.exception)

        for text in text_of(lambda *unused: None, idle_timeout=0.02):
            self.assertIn("idle_timeout_ms is 20", text)
        for text in text_of(lambda server, peer, connection: connection.fail("my text")):
            self.assertIn("my text", text)
        reason, text, raised = text_of(lambda server, peer, connection: connection.close())
        self.assertEqual((reason, text), ("None", ""))
        # What has no text of its own has its name.
        for text in text_of(lambda server, peer, connection: connection.fail(KeyError()))[1:]:
            self.assertIn("KeyError", text)

    def test_close_of_a_client_is_a_destruction(self):
        server = self.echo_server()
        client = self.client(server.port)
        seen = Seen()
        client.connection_handler(lambda *unused: seen.tell("there"))
        client.disconnection_handler(lambda address, reason: seen.tell(reason))
        client.start()
        seen.next()
        client.close()
        self.assertIsInstance(seen.next(), Client.DestructionException)

    def test_unconnected_handler_gets_the_address_as_given_and_the_exception(self):
        seen = Seen()
        client = self.client(free_port(), host="localhost")
        client.unconnected_handler(lambda address, exception: seen.tell(address, exception))
        client.start()
        address, exception = seen.next()
        self.assertEqual(address, ("localhost", client.port))
        self.assertIsInstance(exception, ConnectionRefusedError)

    def test_unknown_host_is_a_gaierror(self):
        seen = Seen()
        client = self.client(1, host="no.such.host.invalid")
        client.unconnected_handler(lambda address, exception: seen.tell(exception))
        client.start()
        self.assertIsInstance(seen.next(), socket.gaierror)

    def test_start_raises_when_the_port_is_taken(self):
        first = self.server(start=True)
        second = self.server(port=first.port)
        with self.assertRaises(OSError) as caught:
            second.start()
        self.assertEqual(caught.exception.errno, errno.EADDRINUSE)
        self.assertIn(str(first.port), str(caught.exception))
        self.assertFalse(second.is_listening)
        first.stop()
        second.start()
        self.assertRaises(RuntimeError, second.start)


class LifeTest(Case):
    def test_close_waits_for_the_connections(self):
        server = self.echo_server()
        peer = self.peer(server)
        wait_for(lambda: server.count == 1)
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_for(lambda: not server.is_listening)
        peer.sendall(b"still there")
        self.assertEqual(peer.read(11), b"still there")
        self.assertTrue(closing.is_alive())
        peer.close()
        closing.join(20)
        self.assertTrue(server.closed)

    def test_stop_reports(self):
        server = self.echo_server()
        self.peer(server)
        wait_for(lambda: server.count == 1)
        report = server.stop(timeout=0)
        self.assertEqual(report, sttcp.StopReport(ended=0, forced=1, running=0))

    def test_start_waits_for_the_handlers_that_a_stop_has_left_running(self):
        go = threading.Event()
        inside = threading.Event()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            inside.set()
            go.wait(20)

        server.start()
        self.peer(server).sendall(b"x")
        self.assertTrue(inside.wait(20))
        self.assertEqual(server.stop(0), (0, 0, 1))
        self.addCleanup(setattr, _group, "LAST_RUN_S", _group.LAST_RUN_S)
        _group.LAST_RUN_S = 0.1
        self.assertRaisesRegex(RuntimeError, "of its last run", server.start)
        self.assertTrue(server.closed)
        _group.LAST_RUN_S = 20.0
        threading.Timer(0.1, go.set).start()
        server.start()
        self.assertTrue(go.is_set())
        peer = self.peer(server)
        peer.sendall(b"x")
        peer.close()
        wait_for(lambda: server.stats().total == 2)
        server.stop()

    def test_stop_inside_a_handler_returns_and_completes(self):
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            server.stop()
            connection.close()

        server.start()
        self.peer(server).sendall(b"x")
        self.assertTrue(server.wait(20))

    def test_everything_can_be_started_again(self):
        server = self.echo_server()
        for _ in range(3):
            client = self.client(server.port)
            seen = Seen()
            client.connection_handler(lambda a, c: c.sendall(b"x"))
            client.response_handler(lambda a, c, data: seen.tell(data) or False)
            for _ in range(20):
                client.start()
                self.assertEqual(seen.next(), b"x")
                self.assertTrue(client.wait(20))
            server.stop()
            self.assertTrue(server.closed)
            server.start()

    def test_client_starts_again_inside_its_last_handlers(self):
        seen = Seen()
        client = self.client(free_port())
        tries = []

        @client.unconnected_handler
        def unconnected(address, exception):
            tries.append(exception)
            if len(tries) < 3:
                client.start()
            else:
                seen.tell("enough")

        client.start()
        self.assertEqual(seen.next(), "enough")
        self.assertTrue(client.wait(20))
        self.assertEqual(len(tries), 3)

    def test_waiting_inside_a_handler_is_refused(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            for wait in server.wait, server.keep_alive, sttcp.keep_alive:
                try:
                    wait()
                except RuntimeError:
                    seen.tell("refused")

        server.start()
        self.peer(server).sendall(b"x")
        self.assertEqual([seen.next() for _ in range(3)], ["refused"] * 3)
        self.assertRaises(RuntimeError, self.server().keep_alive)

    def test_keep_alive_swallows_signals_and_stops(self):
        for number in "SIGINT", "SIGTERM":
            for wait in "server.keep_alive()", "sttcp.general.keep_alive()":
                run_python(
                    "import os, signal, threading, sttcp.general\n"
                    "from sttcp.server import Server\n"
                    "server = Server('127.0.0.1', 0)\nserver.start()\n"
                    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                    "threading.Timer(0.3, os.kill, (os.getpid(), signal.%s)).start()\n"
                    "%s\nassert server.closed\nprint('swallowed')\n" % (number, wait))

    def test_keep_alive_is_woken_by_an_interrupt_of_another_thread(self):
        run_python("import _thread, threading\nfrom sttcp.server import Server\n"
                   "server = Server('127.0.0.1', 0)\nserver.start()\n"
                   "threading.Timer(0.3, _thread.interrupt_main).start()\n"
                   "server.keep_alive()\nassert server.closed\n")


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


class MoreTest(Case):
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

    def test_start_names_the_option_that_is_wrong(self):
        for options, word in (({"delimiter": b";", "framing": "line"}, "delimiter"),
                              ({"high_water": 2000, "send_queue_max": 1000}, "high_water"),
                              ({"lifetime_jitter": 1}, "lifetime_jitter")):
            with self.assertRaisesRegex(ValueError, word):
                self.server(**options).start()
            with self.assertRaisesRegex(ValueError, word):
                Client("localhost", 1, **options).start()

    def test_options_are_checked(self):
        for wrong in ({"framing": "words"}, {"idle_timeout": -1}, {"idle_timeout": 0},
                      {"max_connections": 0}, {"over_limit": "panic"},
                      {"idle_timeout": float("nan")}):
            self.assertRaises(ValueError, Server, "localhost", 1, **wrong)
        for wrong in {"idle_timeout": "5"}, {"max_connections": 1.5}, {"no_such_option": 1}:
            self.assertRaises(TypeError, Server, "localhost", 1, **wrong)
        self.assertRaises(ValueError, self.server(framing="fixed").start)
        Server("localhost", 1, idle_timeout=None, max_connections=None, drain_timeout=0)

    def test_broadcast_reaches_all_but_one(self):
        server = self.server(framing="line", start=True)
        peers = [self.peer(server) for _ in range(3)]
        wait_for(lambda: server.count == 3)
        first = server.connections()[0]
        self.assertEqual(server.broadcast(b"a\n"), 3)
        self.assertEqual(server.broadcast_message(b"b", exclude=first), 2)
        self.assertEqual(server.broadcast(b"c\n", first), 2)
        server.each(lambda connection: connection.close())
        found = sorted(peer.read_all() for peer in peers)
        self.assertEqual(found, [b"a\n", b"a\nb\nc\n", b"a\nb\nc\n"])

    def test_max_connections_rejects(self):
        server = self.server(max_connections=1, over_limit="reject")
        server.connection_handler(lambda address, connection: connection.sendall(b"in"))
        server.start()
        first = self.peer(server)
        self.assertEqual(first.read(2), b"in")
        self.assertEqual(self.peer(server).read_all(), b"")
        self.assertEqual(server.stats().over_connections, 1)

    def test_half_close_calls_the_end_handler(self):
        server = self.server(half_close=True)

        @server.end_handler
        def end(address, connection):
            connection.sendall(b"goodbye")
            connection.close()

        server.start()
        peer = self.peer(server)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"goodbye")

    def test_drained_handler_goes_on_with_a_long_answer(self):
        server = self.server(send_queue_max=65536)
        part = b"x" * 16384
        left = [2000]

        def send_more(address, connection):
            while left[0] and connection.try_send(part):
                left[0] -= 1
            if not left[0]:
                connection.close()

        server.connection_handler(send_more)
        server.drained_handler(send_more)
        server.start()
        self.assertEqual(len(self.peer(server).read_all()), 2000 * len(part))

    def test_pause_and_resume(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            connection.pause()
            seen.tell(connection, data)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"a")
        connection, data = seen.next()
        peer.sendall(b"b")
        connection.resume()
        self.assertEqual(seen.next()[1], b"b")

    def test_unix_sockets(self):
        import os
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = "unix:" + os.path.join(folder, "socket")
            server = self.server(host=path)
            server.receive_handler(lambda address, connection, data: connection.sendall(data))
            server.start()
            client = self.client(0, host=path)
            seen = Seen()
            client.connection_handler(lambda address, connection: connection.sendall(b"x"))
            client.response_handler(lambda address, connection, data:
                                    seen.tell(address, data) or False)
            client.start()
            self.assertEqual(seen.next(), ((path, 0), b"x"))
            self.assertTrue(client.wait(20))
            server.stop()


class LeakTest(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "memory grows with the sanitizer")
    def test_ten_thousand_connections_leave_nothing(self):
        result = run_python('''
import gc, os, socket, sys, threading
from sttcp.client import Client
from sttcp.server import Server

server = Server("127.0.0.1", 0, lambda address, connection, data: None)
ends = threading.Semaphore(0)

@server.connection_handler
def connection(address, connection):
    connection.data = [connection]  # a cycle

@server.receive_handler
def receive(address, connection, data):
    connection.sendall(data)
    if data == b"raise":
        raise ValueError(data)

@server.disconnection_handler
def disconnection(address, reason):
    ends.release()

threading.excepthook = lambda args: None
server.start()

def round_of(count):
    for number in range(count):
        if number % 50 == 1:
            client = Client("127.0.0.1", server.port)
            client.connection_handler(lambda address, connection: connection.sendall(b"x"))
            client.response_handler(lambda address, connection, data: False)
            client.start()
            client.wait(20)
        else:
            with socket.create_connection(server.sock_name, 20) as peer:
                peer.sendall(b"raise" if number % 50 == 2 else b"hello")
                peer.recv(5)
        ends.acquire(timeout=20)

def figures():
    while server.count:
        pass
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(gc.get_objects()), sys.getallocatedblocks(), pages * 4

round_of(2000)
before = figures()
round_of(10000)
after = figures()
print(before, after)
assert after[0] - before[0] < 50, "objects"
assert after[1] - before[1] < 500, "blocks"
assert after[2] - before[2] < 1024, "KiB"
server.stop()
''')
        self.assertTrue(result.stdout)

    def test_server_that_is_gone_leaves_nothing(self):
        import weakref
        for started in False, True:
            server = Server("127.0.0.1", 0)
            server.receive_handler(lambda address, connection, data: server.count)
            if started:
                server.start()
                server.stop()
            gone = weakref.ref(server)
            del server
            gc.collect()
            self.assertIsNone(gone())


class ExitTest(unittest.TestCase):
    PROGRAM = '''
import socket, sys, threading, time
from sttcp.client import Client
from sttcp.server import Server
server = Server("127.0.0.1", 0)
entered = threading.Event()
@server.receive_handler
def receive(address, connection, data):
    entered.set()
    %s
@server.disconnection_handler
def disconnection(address, reason):
    time.sleep(0)
server.start()
peers = [socket.create_connection(server.sock_name, 20) for _ in range(8)]
for peer in peers:
    peer.sendall(b"x")
entered.wait(20)
'''

    @unittest.skipIf(SANITIZED, "the sanitizer does not know threads that are ended")
    def test_interpreter_ends_with_servers_running(self):
        for handler in ("connection.sendall(data)", "time.sleep(1000)", "while True: time.sleep(0)",
                        "while True: connection.sendall(data)", "raise SystemExit"):
            for end in "", "\nsys.exit(0)", "\nserver.stop(0)":
                if end.endswith("stop(0)") and "True" in handler:
                    continue
                result = run_python(self.PROGRAM % handler + end)
                self.assertEqual(result.stderr, "", handler + end)

    @unittest.skipIf(SANITIZED, "the sanitizer does not know threads that are ended")
    def test_interpreter_ends_under_load(self):
        for _ in range(5):
            run_python(self.PROGRAM % "connection.sendall(data)" + '''
def load(peer):
    try:
        while True:
            peer.sendall(b"y" * 64)
            peer.recv(4096)
    except OSError:
        pass
for peer in peers:
    threading.Thread(target=load, args=(peer,), daemon=True).start()
time.sleep(0.1)
''')

    def test_forked_child_refuses_and_ends(self):
        run_python('''
import os, sys
from sttcp.server import Server
server = Server("127.0.0.1", 0)
server.start()
child = os.fork()
if child == 0:
    try:
        server.broadcast(b"x")
    except RuntimeError:
        pass
    else:
        sys.exit(1)
    for call in (server.start, server.wait, server.keep_alive, server.connections, server.stats,
                 lambda: server.count):
        try:
            call()
        except RuntimeError:
            continue
        sys.exit(2)
    assert server.closed and not server.is_listening, server
    assert server.stop() == (0, 0, 0)
    own = Server("127.0.0.1", 0)
    own.start()
    own.stop()
    sys.exit(7)
assert os.waitpid(child, 0)[1] >> 8 == 7
server.stop()
''')


if __name__ == "__main__":
    unittest.main()
