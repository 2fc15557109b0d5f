# SPDX-License-Identifier: MIT
"""Clients that connect again, and waiting for them."""

import os
import threading
import time
import unittest
import unittest.mock

import sttcp
from asleep import once_main_waits
from support import DEADLINE, Case, Seen, forks_beside_threads, free_port, wait_for

SOON = {"reconnect": 0.001, "reconnect_max": 0.02}
NEVER = {"reconnect": 1000000, "reconnect_max": 1000000}


class ReconnectTest(Case):
    def survivor(self, port, **options):
        """A client that tells what its handlers get."""
        client = self.client(port, **(options or SOON))
        client.seen = Seen()

        @client.connection_handler
        def connected(address, connection):
            client.seen.tell("open")

        @client.response_handler
        def response(address, connection, data):
            client.seen.tell(data)

        @client.disconnection_handler
        def lost(address, reason):
            client.seen.tell("lost", type(reason).__name__ if reason else None)

        @client.unconnected_handler
        def failed(address, reason):
            client.seen.tell("failed", type(reason).__name__)

        client.start()
        return client

    def test_it_comes_back_after_its_server(self):
        server = self.server(start=True)
        port = server.port
        client = self.survivor(port)
        self.assertEqual(client.seen.next(), "open")
        server.stop(0)
        self.assertEqual(client.seen.next(), ("lost", None))
        self.assertEqual(client.seen.next(), ("failed", "ConnectionRefusedError"))
        self.assertFalse(client.closed)
        self.assertFalse(client.wait(0.01))
        self.assertIn(client, sttcp.connections)
        self.server(port=port, start=True)
        self.assertTrue(client.wait_open(DEADLINE))
        client.close()
        self.assertTrue(client.closed)
        self.assertTrue(client.wait())
        self.assertNotIn(client, sttcp.connections)
        self.assertEqual(client.seen.rest()[-2:], ["open", ("lost", "DestructionException")])

    def test_what_was_asked_for_is_the_end(self):
        server = self.server(start=True)
        for end in (lambda connection: False,
                    lambda connection: connection.close(),
                    lambda connection: connection.abort(),
                    lambda connection: connection.fail(ValueError("enough")),
                    lambda connection: 1 / 0):
            client = self.client(server.port, **SOON)
            calls = []

            @client.connection_handler
            def connected(address, connection):
                calls.append(connection)
                return end(connection)

            client.start()
            self.assertTrue(client.wait(DEADLINE))
            self.assertTrue(client.closed)
            self.assertEqual(len(calls), 1)
            with self.assertRaises(OSError):
                client.wait_open()

    def test_tries_come_to_an_end(self):
        client = self.survivor(free_port(), reconnect_tries=2, **SOON)
        self.assertTrue(client.wait(DEADLINE))
        self.assertTrue(client.closed)
        self.assertEqual(client.seen.rest(), [("failed", "ConnectionRefusedError")] * 3)
        with self.assertRaises(ConnectionRefusedError):
            client.wait_open()
        with self.assertRaises(ConnectionRefusedError):
            client.send(b"x")
        # And it can be started again.
        client.start()
        self.assertTrue(client.wait(DEADLINE))
        self.assertEqual(len(client.seen.rest()), 3)

    def test_start_in_its_last_handler_does_not_wait(self):
        client = self.client(free_port(), **NEVER)
        seen = Seen()

        @client.unconnected_handler
        def failed(address, reason):
            seen.tell("failed")
            if threads == 3:
                return
            client.start()

        threads = 0
        client.start()
        for threads in range(3):
            seen.next()
        threads = 3
        wait_for(lambda: not client.wait(0) and not client.closed, "a client that goes on")
        # One thread waits for its end, however often it was started in there.
        waiting = [each for each in threading.enumerate() if each.name == "sttcp-wait"]
        self.assertEqual(len(waiting), 1)
        client.close()
        self.assertTrue(client.closed)

    def test_close_between_attempts_runs_no_handler(self):
        client = self.survivor(free_port(), **NEVER)
        self.assertEqual(client.seen.next(), ("failed", "ConnectionRefusedError"))
        self.assertFalse(client.closed)
        with self.assertRaises(RuntimeError):
            client.start()
        client.close()
        self.assertTrue(client.closed)
        self.assertEqual(client.seen.rest(), [])
        with self.assertRaises(client.DestructionException):
            client.wait_open()

    def test_close_in_a_handler_of_another(self):
        server = self.server()
        client = self.survivor(free_port(), **NEVER)
        self.assertEqual(client.seen.next(), ("failed", "ConnectionRefusedError"))

        @server.connection_handler
        def connected(address, connection):
            client.close()

        server.start()
        self.peer(server)
        self.assertTrue(client.wait(DEADLINE))
        self.assertTrue(client.closed)

    def test_start_without_a_thread_leaves_nothing_started(self):
        client = self.client(free_port(), **NEVER)
        start = threading.Thread.start

        def refuse(thread):
            if thread.name == "sttcp-wait":
                raise RuntimeError("can't start new thread")
            start(thread)

        with unittest.mock.patch.object(threading.Thread, "start", refuse):
            with self.assertRaisesRegex(RuntimeError, "new thread"):
                client.start()
        self.assertTrue(client.closed)
        self.assertNotIn(client, sttcp.connections)
        client.start()
        self.assertFalse(client.closed)

    def test_with_block(self):
        server = self.echo_server()
        with self.client(server.port, **SOON) as client:
            client.send(b"Meow!", timeout=DEADLINE)
        self.assertTrue(client.closed)

    def test_without_handlers_it_does_not_play_the_demonstration(self):
        server = self.server()
        seen = Seen()

        @server.receive_handler
        def received(address, connection, data):
            seen.tell(data)

        server.start()
        with self.client(server.port, **SOON) as client:
            client.send(b"mine", DEADLINE)
            self.assertEqual(seen.next(), b"mine")

    def test_options_are_checked(self):
        for options in ({"reconnect": 1, "reconnect_max": 0.5}, {"reconnect_max": 5},
                        {"reconnect_tries": 5}):
            client = self.client(1, **options)
            with self.assertRaisesRegex(ValueError, "reconnect"):
                client.start()
        for options in ({"reconnect": -1}, {"reconnect": 0}, {"reconnect_tries": 0},
                        {"reconnect_tries": -1}):
            with self.assertRaises(ValueError):
                sttcp.Client("localhost", 1, **options)
        with self.assertRaises(TypeError):
            sttcp.Server("localhost", 1, reconnect=1)
        client = self.client(free_port(), reconnect=None, reconnect_tries=None)
        client.unconnected_handler(lambda address, reason: None)
        client.start()
        self.assertTrue(client.wait(DEADLINE))


class SendTest(Case):
    def test_it_waits_for_the_connection(self):
        port = free_port()
        client = self.client(port, **SOON)
        client.start()
        with self.assertRaises(TimeoutError):
            client.send(b"x", timeout=0.02)
        with self.assertRaises(TimeoutError):
            client.send(b"x", timeout=0)
        self.assertFalse(client.wait_open(0.02))
        self.assertFalse(client.wait_open(0))
        sender = threading.Thread(target=client.send, args=(b"late",), daemon=True)
        sender.start()
        server = self.server(port=port)
        seen = Seen()

        @server.receive_handler
        def received(address, connection, data):
            seen.tell(data)

        server.start()
        sender.join(DEADLINE)
        self.assertEqual(seen.next(), b"late")
        self.assertTrue(client.wait_open())

    def test_messages_are_framed(self):
        server = self.server(framing="line")
        seen = Seen()

        @server.receive_handler
        def received(address, connection, data):
            seen.tell(data)

        server.start()
        client = self.client(server.port, framing="line")
        client.connection_handler(lambda address, connection: None)
        client.start()
        client.send_message(b"one", DEADLINE)
        client.send(bytearray(b"two\n"), timeout=DEADLINE)
        self.assertEqual([seen.next(), seen.next()], [b"one", b"two"])
        with self.assertRaises(ValueError):
            client.send_message(b"1\n2")
        for timeout in (-1, float("nan"), "soon"):
            with self.assertRaises((ValueError, TypeError)):
                client.send(b"x", timeout)
            with self.assertRaises((ValueError, TypeError)):
                client.wait_open(timeout)
        with self.assertRaises(TypeError):
            client.send("text")

    def test_one_that_was_not_started(self):
        client = self.client(1)
        for call in (client.wait_open, client.wait, lambda: client.send(b"x"),
                     lambda: client.send_message(b"x")):
            with self.assertRaises(RuntimeError):
                call()

    def test_own_handlers_do_not_wait(self):
        server = self.server(start=True)
        client = self.client(server.port, **SOON)
        seen = Seen()

        @client.connection_handler
        def connected(address, connection):
            for call in (client.wait_open, client.wait, client.keep_alive,
                         lambda: client.send(b"x"), lambda: client.send_message(b"x")):
                try:
                    seen.tell(call())
                except RuntimeError as error:
                    seen.tell("own handlers" in str(error))

        client.start()
        self.assertEqual([seen.next() for _ in range(5)], [True] * 5)

    def test_handlers_of_others_do(self):
        behind = self.server()
        seen = Seen()

        @behind.receive_handler
        def received(address, connection, data):
            seen.tell(data)

        port = free_port()
        client = self.client(port, **SOON)
        client.start()
        front = self.server()

        @front.receive_handler
        def relay(address, connection, data):
            client.send(data, timeout=DEADLINE)
            seen.tell(client.wait_open(DEADLINE))
            seen.tell(client.wait(0.001))

        front.start()
        self.peer(front).sendall(b"through")
        again = self.server(port=port)
        again.receive_handler(received)
        again.start()
        self.assertEqual({seen.next(), seen.next(), seen.next()}, {b"through", True, False})

    @forks_beside_threads
    def test_child_of_a_fork_has_none(self):
        client = self.client(free_port(), **NEVER)
        client.start()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                client.send(b"x")
            except RuntimeError:
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_ctrl_c_interrupts_a_send(self):
        client = self.client(free_port(), **NEVER)
        client.start()
        began = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            once_main_waits(os.kill, os.getpid(), 2)
            client.send(b"x", timeout=DEADLINE)
        self.assertLess(time.monotonic() - began, DEADLINE / 2)
        client.close()


if __name__ == "__main__":
    unittest.main()
