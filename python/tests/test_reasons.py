# SPDX-License-Identifier: MIT
"""What handlers raise, and why connections end: as exceptions."""

import errno
import socket
import unittest

import sttcp
from sttcp.client import Client
from support import DEADLINE, Case, Seen, free_port, run_python


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


def raise_it(error):
    raise error


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

    def test_a_text_may_hold_anything(self):
        # What it is about may come from a peer, and its end must not depend on that.
        texts = {"a\0b\0": "a\\x00b\\x00", "caf\xe9 \udc80": "caf\xe9 \\udc80", "100%s %n": "100%s %n",
                 "\xe9" * 300: "\xe9" * 100}
        for given, text in texts.items():
            for end in "fail", "fail_now":
                failed = self.reason(
                    lambda server, peer, connection: getattr(connection, end)(given))
                self.assertIsInstance(failed, sttcp.HandlerError)
                self.assertTrue(str(failed).endswith(text), str(failed))
            error = LookupError(given)
            self.assertIs(self.reason(lambda server, peer, connection: connection.fail(error)), error)
            seen = Seen()
            server = self.server()
            server.receive_handler(lambda address, connection, data: raise_it(error))
            server.disconnection_handler(
                lambda address, reason, connection: seen.tell(reason, connection.fail_text))
            server.start()
            self.peer(server).sendall(b"x")
            self.assertEqual(seen.next(), (error, text))
            self.assertIs(self.raised.next(), error)
        peer, connection = self.peer_and_connection()
        for wrong in b"bytes", 1, None:
            with self.assertRaises(TypeError):
                connection.fail(wrong)

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
            self.assertIn("idle_timeout is 0.02", text)
            self.assertNotIn("_ms", text)
        for text in text_of(lambda server, peer, connection: connection.fail("my idle_timeout_ms is 1")):
            self.assertIn("my idle_timeout_ms is 1", text)
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


class SystemTest(Case):
    def test_a_client_that_the_system_calls_invalid(self):
        """As it does an address of one link, without the link; that the client was not started is
        something else."""
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as link:
                link.connect(("fe80::1", 9))
        except OSError as error:
            if error.errno != errno.EINVAL:
                self.skipTest(f"IPv6 gives {error}")
        seen = Seen()
        client = Client("fe80::1", 9)
        client.unconnected_handler(lambda address, reason: seen.tell(reason))
        for call in client.wait, client.wait_open, lambda: client.send(b"x"):
            with self.assertRaisesRegex(RuntimeError, "not started"):
                call()
        client.start()
        reason = seen.next()
        self.assertIsInstance(reason, OSError)
        self.assertEqual(reason.errno, errno.EINVAL)
        self.assertIn("fe80::1", str(reason))
        self.assertTrue(client.wait(DEADLINE))
        for call in client.wait_open, lambda: client.send(b"x"):
            with self.assertRaises(OSError) as raised:
                call()
            self.assertEqual(raised.exception.errno, errno.EINVAL)


if __name__ == "__main__":
    unittest.main()
