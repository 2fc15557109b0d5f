# SPDX-License-Identifier: MIT
"""Servers and clients start, stop, close, wait, and start again."""

import threading
import unittest

import sttcp
from sttcp import _group
from support import Case, Seen, free_port, run_python, wait_for


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
