# SPDX-License-Identifier: MIT
"""Servers and clients as context managers: how a block ends, and how long that may take."""

import contextlib
import os
import signal
import threading
import time
import unittest

import sttcp
from sttcp.client import Client
from sttcp.server import Server
from support import DEADLINE, Case, Seen, wait_for
from test_seed import ProgramCase

# A block that should end at once, and one that waits for its limit, may take this long on a machine
# that is busy; without an end they would take all of the default limit, or for ever.
AT_ONCE = 5.0


class Left(Exception):
    """What leaves a block."""


class WithCase(Case):
    def ends_at_once(self, block):
        """Runs it in a thread, since it could hang: what it raised."""
        raised = Seen()

        def run():
            try:
                block()
            except BaseException as error:
                raised.tell(error)
            else:
                raised.tell(None)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(AT_ONCE)
        self.assertFalse(thread.is_alive(), "the block has not ended in %s s" % AT_ONCE)
        return raised.next()


class ServerTest(WithCase):
    def test_an_exception_in_the_block_stops_at_once(self):
        server = self.server()
        seen = Seen()
        server.disconnection_handler(lambda address, reason: seen.tell(reason))

        def block():
            with server:
                self.peer(server)
                wait_for(lambda: server.count == 1)
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)
        self.assertTrue(server.closed)
        self.assertIsInstance(seen.next(), sttcp.StoppedError)

    def test_an_exception_does_not_wait_for_a_handler_that_blocks(self):
        server = self.server()
        inside = threading.Event()
        go = threading.Event()
        self.addCleanup(go.set)

        @server.receive_handler
        def receive(address, connection, data):
            inside.set()
            go.wait(DEADLINE * 3)

        def block():
            with server:
                self.peer(server).sendall(b"x")
                self.assertTrue(inside.wait(DEADLINE))
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)

    def test_the_end_of_the_block_waits_for_the_drain_limit(self):
        server = self.server(drain_timeout=0.3)
        began = []

        def block():
            with server:
                self.peer(server)
                wait_for(lambda: server.count == 1)
                began.append(time.monotonic())

        self.assertIsNone(self.ends_at_once(block))
        self.assertGreaterEqual(time.monotonic() - began[0], 0.3)
        self.assertTrue(server.closed)

    def test_the_end_of_the_block_lets_connections_end_by_themselves(self):
        server = self.echo_server_of()
        seen = Seen()
        server.disconnection_handler(lambda address, reason: seen.tell(reason))

        def block():
            with server:
                peer = self.peer(server)
                wait_for(lambda: server.count == 1)
                leave = threading.Thread(target=self.leave_when_stopping, args=(server, peer))
                leave.start()
            leave.join()

        self.assertIsNone(self.ends_at_once(block))
        self.assertIsNone(seen.next())

    def echo_server_of(self, **options):
        server = self.server(**options)
        server.receive_handler(lambda address, connection, data: connection.sendall(data))
        return server

    @staticmethod
    def leave_when_stopping(server, peer):
        wait_for(lambda: not server.is_listening)
        peer.sendall(b"bye")
        assert peer.read(3) == b"bye"
        peer.close()

    def test_the_limit_is_ten_seconds_where_none_is_set_and_none_where_none_is_wished_for(self):
        limits = []

        class Told(Server):
            def _stop_within(self, timeout_ms):
                limits.append(timeout_ms)
                return super()._stop_within(timeout_ms)

        for options in {}, {"drain_timeout": 3}, {"drain_timeout": None}, {"drain_timeout": 0}:
            with Told("127.0.0.1", 0, **options):
                pass
        with contextlib.suppress(Left), Told("127.0.0.1", 0, drain_timeout=None):
            raise Left
        self.assertEqual(limits, [10000, 3000, -1, 1, 0])

    def test_nested_blocks_end_one_after_the_other(self):
        servers = [self.echo_server_of() for _ in range(3)]

        def block():
            with servers[0], servers[1], servers[2]:
                for server in servers:
                    self.peer(server)
                    wait_for(lambda server=server: server.count == 1)
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)
        self.assertTrue(all(server.closed for server in servers))

    def test_a_stop_in_the_block_is_the_end(self):
        server = self.server()

        def block():
            with server:
                self.peer(server)
                wait_for(lambda: server.count == 1)
                server.stop(0)

        self.assertIsNone(self.ends_at_once(block))

    def test_a_server_that_cannot_start_leaves_nothing(self):
        first = self.server(start=True)
        second = Server("127.0.0.1", first.port)
        with self.assertRaises(OSError), second:
            self.fail("it has started")
        self.assertNotIn(second, sttcp.connections)

    def test_a_block_in_a_handler_does_not_wait(self):
        seen = Seen()
        inner = self.server()
        outer = self.server()

        @outer.receive_handler
        def receive(address, connection, data):
            with contextlib.suppress(Left), inner:
                self.peer(inner)
                wait_for(lambda: inner.count == 1)
                raise Left
            seen.tell("left")

        outer.start()
        self.peer(outer).sendall(b"x")
        self.assertEqual(seen.next(), "left")
        wait_for(lambda: inner.closed)


class ClientTest(WithCase):
    def setUp(self):
        super().setUp()
        self.inside = threading.Event()
        self.go = threading.Event()
        self.addCleanup(self.go.set)

    def block_handler(self, *unused):
        self.inside.set()
        self.go.wait(DEADLINE * 3)

    def test_an_exception_in_the_block_ends_the_connection(self):
        server = self.echo_server()
        client = self.client(server.port)
        seen = Seen()
        client.connection_handler(lambda address, connection: seen.tell("connected"))
        client.disconnection_handler(lambda address, reason: seen.tell(reason))

        def block():
            with client:
                self.assertEqual(seen.next(), "connected")
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)
        self.assertTrue(client.closed)
        self.assertIsInstance(seen.next(), Client.DestructionException)

    def test_an_exception_does_not_wait_for_a_handler_that_blocks(self):
        server = self.echo_server()
        client = self.client(server.port)
        client.connection_handler(self.block_handler)

        def block():
            with client:
                self.assertTrue(self.inside.wait(DEADLINE))
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)
        self.go.set()
        wait_for(lambda: client.closed)

    def test_an_exception_does_not_wait_for_a_peer_that_does_not_read(self):
        server = self.server(start=True)
        wait = threading.Event()
        self.addCleanup(wait.set)
        server.stop(0)
        server.receive_handler(lambda *unused: wait.wait(DEADLINE * 3))
        server.start()
        client = self.client(server.port, send_queue_max=32 << 20)
        sent = threading.Event()

        @client.connection_handler
        def connected(address, connection):
            connection.sendall(bytes(16 << 20))
            sent.set()

        def block():
            with client:
                self.assertTrue(sent.wait(DEADLINE))
                wait_for(lambda: client.connection is not None)
                raise Left

        self.assertIsInstance(self.ends_at_once(block), Left)
        wait_for(lambda: client.closed)

    def test_the_end_of_the_block_does_not_wait_for_more_than_the_drain_limit(self):
        server = self.echo_server()
        client = self.client(server.port, drain_timeout=0.3)
        client.connection_handler(self.block_handler)

        def block():
            with client:
                self.assertTrue(self.inside.wait(DEADLINE))

        self.assertIsNone(self.ends_at_once(block))

    def test_what_was_sent_in_the_block_arrives(self):
        seen = Seen()
        server = self.server()
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.start()
        client = self.client(server.port)
        opened = threading.Event()
        client.connection_handler(lambda address, connection: opened.set())

        def block():
            with client:
                self.assertTrue(opened.wait(DEADLINE))
                wait_for(lambda: client.connection is not None)
                client.connection.sendall(b"last words")

        self.assertIsNone(self.ends_at_once(block))
        self.assertEqual(seen.next(), b"last words")

    def test_server_and_client_in_one_block(self):
        for error in None, Left:
            server = self.server()
            client = Client("127.0.0.1", 1)

            def block():
                with server:
                    client = self.client(server.port)
                    client.connection_handler(lambda *unused: True)
                    with client:
                        wait_for(lambda: server.count == 1)
                        if error:
                            raise error

            raised = self.ends_at_once(block)
            self.assertEqual(type(raised), error or type(None))
            self.assertFalse(client.closed)
            self.assertTrue(server.closed)


class InterruptTest(ProgramCase):
    PROGRAM = """
import select, socket, sys
from sttcp.server import Server

with Server("127.0.0.1", 0) as one, Server("127.0.0.1", 0%s) as two:
    peers = [socket.create_connection(each.sock_name) for each in (one, two)]
    while not (one.count and two.count):
        pass
    print("ready", flush=True)
%s
"""

    def test_interrupt_in_the_block_stops_all_and_goes_on_as_an_exception(self):
        terminal = self.run_program(self.PROGRAM % ("", "    select.poll().poll()"))
        terminal.read_until(lambda output: "ready" in output)
        # Python does not see a signal that comes just before its main thread begins to wait.
        self.wait_until_it_polls(terminal.pid)
        os.kill(terminal.pid, signal.SIGINT)
        self.assertNotEqual(terminal.end(), 0)
        self.assertIn("KeyboardInterrupt", terminal.output)

    def test_interrupt_at_the_end_of_the_block_stops_waiting(self):
        text = self.PROGRAM % (", drain_timeout=None", '    two_is = two; print("end", flush=True)')
        terminal = self.run_program(text)
        terminal.read_until(lambda output: "end" in output)
        self.wait_until_it_polls(terminal.pid)
        os.kill(terminal.pid, signal.SIGINT)
        self.assertNotEqual(terminal.end(), 0)
        self.assertIn("KeyboardInterrupt", terminal.output)

    @staticmethod
    def wait_until_it_polls(pid):
        """Its main thread waits in poll(2), as for the pipe that signals are written to."""

        def polls():
            with open("/proc/%d/wchan" % pid, encoding="ascii") as file:
                return "poll" in file.read()

        wait_for(polls, "the wait")


if __name__ == "__main__":
    unittest.main()
