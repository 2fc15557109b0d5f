# SPDX-License-Identifier: MIT
"""Servers and clients start, stop, close, wait, and start again."""

import socket
import threading
import unittest

import sttcp
from sttcp import _group, _wait
from sttcp.client import Client
from sttcp.server import Server
from support import Case, Peer, Seen, free_port, run_python, wait_for


class Held:
    """A server or client whose start returns when a handler has run."""

    def _start(self):
        code = super()._start()
        if code >= 0:
            assert self.handled.wait(20)
        return code


class HeldServer(Held, Server):
    pass


class HeldClient(Held, Client):
    pass


class EarlyTest(Case):
    """Handlers run before the start has returned."""

    def held(self, kind, *arguments, **options):
        made = kind(*arguments, **options)
        made.handled = threading.Event()
        self.addCleanup(made._stop, 0)
        return made

    def server_with_a_peer_in_its_queue(self, handler):
        listener = socket.create_server(("127.0.0.1", 0))
        server = self.held(HeldServer, None, None)
        server.connection_handler(handler)
        self.addCleanup(Peer(listener.getsockname()[1]).close)
        server.add_listener(listener)
        return server

    def test_close_in_a_handler_of_a_server_ends_each_run(self):
        def handler(address, connection):
            server.close()
            server.handled.set()
            return False

        server = self.server_with_a_peer_in_its_queue(handler)
        for _ in range(3):
            server.start()
            self.assertTrue(server.wait(20))
            server.handled.clear()
            # The listener is not the server's own, and listens on.
            self.addCleanup(Peer(server.sock_name[1]).close)

    def test_close_in_a_handler_of_a_client_ends_each_run(self):
        server = self.echo_server()
        for options in {}, {"reconnect": 20}:
            client = self.held(HeldClient, "127.0.0.1", server.port, **options)

            @client.connection_handler
            def handler(address, connection, client=client):
                client.close()
                client.handled.set()

            for _ in range(3):
                client.start()
                self.assertTrue(client.wait(20), options)
                client.handled.clear()

    def test_close_in_the_unconnected_handler_of_a_client_that_reconnects(self):
        client = self.held(HeldClient, "127.0.0.1", free_port(), reconnect=20)

        @client.unconnected_handler
        def handler(address, reason):
            client.close()
            client.handled.set()

        client.start()
        self.assertTrue(client.wait(20))

    def test_a_handler_sees_what_is_started(self):
        def handler(address, connection):
            seen.tell(server.sock_name, repr(server), server.is_listening)
            server.handled.set()

        seen = Seen()
        server = self.server_with_a_peer_in_its_queue(handler)
        server.start()
        name, text, is_listening = seen.next()
        self.assertEqual(name, server.sock_name)
        self.assertIn("%s:%d listening" % name, text)
        self.assertTrue(is_listening)
        client = self.held(HeldClient, "127.0.0.1", self.echo_server().port)
        client.connection_handler(lambda *unused: seen.tell(repr(client)) or client.handled.set())
        client.start()
        self.assertIn(" connected", seen.next())

    def test_another_thread_that_closes_waits_for_the_start(self):
        def handler(address, connection):
            inside.set()
            connection.close()

        inside = threading.Event()
        server = self.server_with_a_peer_in_its_queue(handler)
        starting = threading.Thread(target=server.start)
        starting.start()
        self.assertTrue(inside.wait(20))
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_for(lambda: _wait._pipes or not closing.is_alive())
        server.handled.set()
        closing.join(20)
        starting.join(20)
        self.assertTrue(server.closed)

    def test_a_start_that_fails_leaves_it_as_it_was(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = self.server(port=taken.getsockname()[1])
            self.assertRaises(OSError, server.start)
            self.assertIn("not started", repr(server))
            self.assertRaisesRegex(RuntimeError, "not started", server.wait, 0)
            self.assertFalse(server.closed)
        server.start()
        server.close()
        self.assertTrue(server.closed)


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
                    "import os, signal, sttcp.general\n"
                    "from asleep import once_main_waits\n"
                    "from sttcp.server import Server\n"
                    "server = Server('127.0.0.1', 0)\nserver.start()\n"
                    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                    "once_main_waits(os.kill, os.getpid(), signal.%s)\n"
                    "%s\nassert server.closed\nprint('swallowed')\n" % (number, wait))

    def test_keep_alive_is_woken_by_an_interrupt_of_another_thread(self):
        run_python("import _thread\nfrom asleep import once_main_waits\n"
                   "from sttcp.server import Server\n"
                   "server = Server('127.0.0.1', 0)\nserver.start()\n"
                   "once_main_waits(_thread.interrupt_main)\n"
                   "server.keep_alive()\nassert server.closed\n")


if __name__ == "__main__":
    unittest.main()
