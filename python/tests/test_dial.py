# SPDX-License-Identifier: MIT
"""sttcp.dial: a connection without handlers, for code that is one function."""

import errno
import gc
import os
import signal
import socket
import threading
import time
import unittest

import sttcp
from asleep import once_main_waits
from support import DEADLINE, Case, Seen, forks_beside_threads, free_port, run_python


class DialTest(Case):
    def setUp(self):
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]

    def pair(self, **options):
        connection = sttcp.dial("127.0.0.1", self.port, **options)
        self._made.callback(connection.close)
        peer = self.listener.accept()[0]
        self._made.callback(peer.close)
        peer.settimeout(DEADLINE)
        return connection, peer

    def test_connection_talks_in_messages(self):
        server = self.echo_server()
        with sttcp.dial("localhost", server.port, framing="line", timeout=DEADLINE) as connection:
            self.assertIsInstance(connection, sttcp.Connection)
            self.assertIsNone(connection.server)
            self.assertIsNone(connection.client)
            self.assertIsNone(connection.owner)
            self.assertEqual(connection.address, ("127.0.0.1", server.port))
            self.assertEqual(connection.gettimeout(), DEADLINE)
            self.assertIn(" to 127.0.0.1:", repr(connection))
            connection.send_message(b"hello")
            self.assertEqual(connection.recv_message(), b"hello")
            connection.sendall(b"one\n\nthree\n")
            self.assertEqual([connection.recv_message() for _ in range(3)], [b"one", b"", b"three"])
            self.assertEqual(connection.stats().messages_in, 4)
        self.assertFalse(connection.is_open)
        self.assertRaises(ConnectionAbortedError, connection.sendall, b"x")

    def test_messages_are_iterated_over_until_the_fin(self):
        connection, peer = self.pair(framing="length", prefix_size=1)
        peer.sendall(b"\1a\0\2bc")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(list(connection), [b"a", b"", b"bc"])
        self.assertEqual(list(connection), [])
        self.assertEqual(connection.recv(5), b"")
        connection.send_message(b"still")
        self.assertEqual(peer.recv(10), b"\5still")

    def test_all_ways_of_reading_work(self):
        connection, peer = self.pair()
        peer.sendall(b"abcdefgh")
        self.assertEqual(connection.recv_exactly(2), b"ab")
        self.assertEqual(connection.recv(1), b"c")
        buffer = bytearray(2)
        self.assertEqual(connection.recv_into(buffer), 2)
        self.assertEqual(buffer, b"de")
        self.assertEqual(connection.next_size(), 3)
        with connection.makefile("rb") as file:
            self.assertEqual(file.read(3), b"fgh")
        connection.settimeout(0.01)
        self.assertRaises(socket.timeout, connection.recv, 1)
        connection.settimeout(0)
        self.assertRaises(BlockingIOError, connection.recv, 1)
        connection.set_framing("line")
        peer.sendall(b"line\n")
        connection.settimeout(DEADLINE)
        self.assertEqual(connection.recv_message(), b"line")
        self.assertRaises(ValueError, connection.on_message, lambda *_: None)
        self.assertRaises(TypeError, connection.join, "red")

    def test_large_message_is_read(self):
        server = self.echo_server()
        connection = sttcp.dial("127.0.0.1", server.port, framing="length", timeout=DEADLINE)
        data = os.urandom(500000)
        connection.send_message(data)
        self.assertEqual(connection.recv_message(), data)
        connection.close()

    def test_frame_function_frames(self):
        def frame(connection, data):
            seen.tell(connection)
            return (0, 2, 2) if len(data) >= 2 else None

        seen = Seen()
        connection, peer = self.pair(framing=frame)
        peer.sendall(b"abcd")
        self.assertEqual(connection.recv_message(), b"ab")
        self.assertEqual(connection.recv_message(), b"cd")
        self.assertIs(seen.next(), connection)

    def test_frame_function_may_not_read(self):
        """The call that asks it reads by then, on the same thread."""
        def frame(connection, data):
            try:
                connection.recv(1)
            except OSError as error:
                seen.tell(error.errno, error.strerror)
            return 0, 1, 1

        seen = Seen()
        connection, peer = self.pair(framing=frame)
        peer.sendall(b"a")
        self.assertEqual(connection.recv_message(), b"a")
        self.assertEqual(seen.next(), (errno.EBUSY, "another call reads this connection"))

    def test_a_thread_that_has_called_a_frame_function_ends(self):
        # Its state is Python's, and gone by the time that the C library ends the thread.
        run_python("""
import socket, threading
import sttcp

listener = socket.create_server(("127.0.0.1", 0))
names = []

def frame(connection, data):
    names.append(threading.current_thread().name)
    return 0, len(data), len(data)

def read():
    with sttcp.dial(*listener.getsockname(), frame=frame) as connection:
        peer, _ = listener.accept()
        peer.sendall(b"x")
        assert connection.recv_message() == b"x"
        peer.close()

for _ in range(20):
    thread = threading.Thread(target=read, name="mine")
    thread.start()
    thread.join()
assert not [each for each in threading.enumerate() if each.name == "mine"]
read()
assert set(names) == {"mine", "MainThread"}, names
""")

    def test_second_reader_is_refused(self):
        connection, peer = self.pair()
        seen = Seen()

        def read():
            while True:
                try:
                    seen.tell(connection.recv(1))
                    return
                except OSError as error:  # the other one was here first
                    self.assertEqual(error.errno, errno.EBUSY)

        reader = threading.Thread(target=read)
        reader.start()
        end = time.monotonic() + DEADLINE
        while True:
            try:
                connection.next_size(0)
            except BlockingIOError:
                pass
            except OSError as error:
                self.assertEqual(error.errno, errno.EBUSY)
                break
            self.assertLess(time.monotonic(), end)
        peer.sendall(b"x")
        self.assertEqual(seen.next(), b"x")
        reader.join()

    def test_close_of_another_thread_ends_a_read(self):
        connection, _ = self.pair()
        once_main_waits(connection.close)
        self.assertRaises(ConnectionAbortedError, connection.recv, 1)

    def test_last_reference_closes_in_order(self):
        connection, peer = self.pair()
        connection.sendall(b"bye")
        self._made.pop_all()
        del connection
        gc.collect()
        self.assertEqual(peer.recv(10), b"bye")
        self.assertEqual(peer.recv(10), b"")

    def test_tasks_run_on_it(self):
        connection, peer = self.pair()
        seen = Seen()
        connection.run(lambda same: seen.tell(same.recv(1)))
        peer.sendall(b"x")
        self.assertEqual(seen.next(), b"x")
        connection.run(lambda: 1 / 0)
        self.assertIsInstance(self.raised.next(), ZeroDivisionError)
        self.assertRaises(OSError, connection.recv, 1)
        self.assertIsInstance(connection.reason, ZeroDivisionError)

    def test_handler_dials(self):
        back = self.echo_server()
        front = self.server()

        @front.receive_handler
        def ask(address, connection, data):
            with sttcp.dial("127.0.0.1", back.port, timeout=DEADLINE) as there:
                there.sendall(data)
                connection.sendall(there.recv(100))

        front.start()
        for word in b"one", b"two":
            peer = self.peer(front)
            peer.sendall(word)
            self.assertEqual(peer.read(3), word)
        self.assertEqual(self.raised.rest(), [])

    # ------------------------------------------------------------ no connection

    def test_failures_are_exceptions(self):
        port = free_port()
        with self.assertRaises(ConnectionRefusedError) as caught:
            sttcp.dial("127.0.0.1", port)
        self.assertIn("cannot connect to 127.0.0.1:%d" % port, str(caught.exception))
        self.assertRaises(socket.gaierror, sttcp.dial, "no such name", 1)
        self.assertRaises(ValueError, sttcp.dial, "127.0.0.1", 0)
        self.assertRaises(ValueError, sttcp.dial, "127.0.0.1", 65536)
        self.assertRaises(TypeError, sttcp.dial, "127.0.0.1", 1, backlog=5)
        self.assertRaises(TypeError, sttcp.dial, "127.0.0.1", 1, reconnect=5)
        self.assertRaises(ValueError, sttcp.dial, "127.0.0.1", 1, timeout=-1)
        self.assertRaises(ValueError, sttcp.dial, "127.0.0.1", 1, framing="none")
        with self.assertRaises(ValueError) as caught:
            sttcp.dial("127.0.0.1", 1, fixed_size=5, max_message=4)
        self.assertIn("cannot dial 127.0.0.1:1: fixed_size is 5", str(caught.exception))

    def test_dead_address_is_told_at_its_limit(self):
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        port = full.getsockname()[1]
        filling = [socket.socket() for _ in range(8)]
        for each in filling:
            self.addCleanup(each.close)
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with self.assertRaises(sttcp.TimeLimitError) as caught:
            sttcp.dial("127.0.0.1", port, timeout=0.1)
        self.assertEqual(caught.exception.limit, "connect")

    # ------------------------------------------------------------ the process

    def test_signal_interrupts_a_read(self):
        connection, peer = self.pair()

        def wake(number, frame):
            raise InterruptedError("woken")

        before = signal.signal(signal.SIGUSR1, wake)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        once_main_waits(os.kill, os.getpid(), signal.SIGUSR1)
        self.assertRaises(InterruptedError, connection.recv, 1)
        peer.sendall(b"x")
        self.assertEqual(connection.recv(1), b"x")

    def test_program_ends_with_a_connection_open(self):
        text = ("import sttcp, sys; connection = sttcp.dial('127.0.0.1', int(sys.argv[1])); "
                "connection.sendall(b'x'); print(connection.recv(1))")
        seen = Seen()

        def serve():
            peer = self.listener.accept()[0]
            peer.recv(1)
            peer.sendall(b"y")
            seen.tell(peer.recv(1))
            peer.close()

        threading.Thread(target=serve).start()
        self.assertEqual(run_python(text, self.port).stdout, "b'y'\n")
        self.assertEqual(seen.next(), b"")

    @forks_beside_threads
    def test_child_of_a_fork_may_dial(self):
        connection, peer = self.pair()
        pid = os.fork()
        if pid == 0:
            try:
                try:
                    connection.sendall(b"x")
                except RuntimeError:
                    own = sttcp.dial("127.0.0.1", self.port)
                    own.sendall(b"y")
                    own.shutdown()
                    os._exit(0)
            finally:
                os._exit(1)
        own = self.listener.accept()[0]
        own.settimeout(DEADLINE)
        self.assertEqual(own.recv(1), b"y")
        own.close()
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        connection.sendall(b"z")
        self.assertEqual(peer.recv(1), b"z")

    def test_many_are_dialled_at_a_time(self):
        server = self.echo_server()
        seen = Seen()

        def talk():
            for _ in range(20):
                with sttcp.dial("127.0.0.1", server.port, timeout=DEADLINE) as connection:
                    connection.sendall(b"word")
                    seen.tell(connection.recv_exactly(4))

        threads = [threading.Thread(target=talk) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(seen.rest(), [b"word"] * 120)


if __name__ == "__main__":
    unittest.main()
