# SPDX-License-Identifier: MIT
"""Exceptions of signal handlers that come at moments that luck alone does not find."""

import itertools
import os
import signal
import socket
import sys
import threading
import time
import unittest
import unittest.mock

import sttcp
from asleep import once_main_waits
from support import DEADLINE, Case, Seen, forks_beside_threads, run_python


class Ring(Exception):
    pass


def ring(*unused):
    raise Ring


class RingCase(Case):
    """SIGUSR1 raises Ring."""

    def setUp(self):
        super().setUp()
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, ring))

    def dialled(self, **options):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        connection = sttcp.dial(*listener.getsockname(), **options)
        self.addCleanup(connection.abort)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        return peer, connection


class PipeTest(RingCase):
    """What signals wake a wait of the main thread by."""

    def test_an_exception_behind_any_call_leaves_no_descriptor(self):
        server = self.server(start=True)
        self.assertFalse(server.wait(0.001))
        count = len(os.listdir("/proc/self/fd"))
        failed = 0
        for at in itertools.count():
            left = at

            def profile(frame, event, argument):
                nonlocal left
                # What comes behind an exception is left alone.
                if event not in ("call", "c_return") or left < 0:
                    return
                left -= 1
                if left < 0:
                    raise Ring

            # Where the interpreter looks for signals.
            try:
                sys.setprofile(profile)
                server.wait(0)
            except Ring:
                failed += 1
            finally:
                sys.setprofile(None)
            self.assertEqual(signal.set_wakeup_fd(-1), -1, at)
            if left >= 0:
                break
        self.assertGreater(failed, 5)
        self.assertEqual(len(os.listdir("/proc/self/fd")), count)
        self.assertFalse(server.wait(0.001))

    def test_waits_inside_waits_are_woken_each(self):
        outer, inner = self.server(start=True), self.server(start=True)
        told = []

        def wait_inside(*unused):
            once_main_waits(lambda: (outer.stop(0), inner.stop(0)))
            told.append(inner.wait(DEADLINE))

        signal.signal(signal.SIGUSR1, wait_inside)
        once_main_waits(os.kill, os.getpid(), signal.SIGUSR1)
        began = time.monotonic()
        self.assertTrue(outer.wait(DEADLINE))
        self.assertEqual(told, [True])
        self.assertLess(time.monotonic() - began, DEADLINE / 2)
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def test_waits_without_a_descriptor(self):
        run_python("""
import os, resource, signal, socket, threading
from sttcp.server import Server
from support import DEADLINE, wait_for

server = Server("127.0.0.1", 0)
server.start()
peer = socket.create_connection(server.sock_name)
wait_for(lambda: server.count)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    while True:
        os.dup(0)
except OSError:
    pass
assert not server.wait(0.01)
told = []
thread = threading.Thread(target=lambda: told.append(server.wait(0.01)))
thread.start()
thread.join()
assert told == [False], told
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Thread(target=lambda: (wait_for(lambda: server._stopping), peer.close())).start()
server.keep_alive()
assert server.closed
""")


class StopTest(Case):
    def test_a_stop_may_interrupt_a_stop(self):
        """As its lock is held; in a process of its own, which else would stand still."""
        run_python("""
import faulthandler, signal
from sttcp.server import Server
from support import DEADLINE

class Lock:
    def __init__(self, lock):
        self.lock = lock
        self.enter = lambda: signal.raise_signal(signal.SIGUSR1)

    def __enter__(self):
        self.lock.acquire()
        enter, self.enter = self.enter, lambda: None
        enter()

    def __exit__(self, *unused):
        self.lock.release()

faulthandler.dump_traceback_later(DEADLINE, exit=True)
server = Server("127.0.0.1", 0)
lock = server._state_lock
signal.signal(signal.SIGUSR1, lambda *unused: server.stop())
for _ in range(2):
    server.start()
    server._state_lock = Lock(lock)
    server.stop()
    assert server.closed
""")

    def test_a_stop_in_a_handler_where_no_thread_can_be_had(self):
        def start(thread):
            raise RuntimeError("can't start new thread")

        def receive(address, connection, data):
            with unittest.mock.patch.object(threading.Thread, "start", start):
                try:
                    server.stop(0)
                except RuntimeError as error:
                    seen.tell(str(error))

        seen = Seen()
        server = self.server()
        server.receive_handler(receive)
        for _ in range(2):
            server.start()
            self.peer(server).sendall(b"x")
            self.assertEqual(seen.next(), "can't start new thread")
            self.assertTrue(server.wait(DEADLINE))



class KeepAliveTest(Case):
    def test_ctrl_c_while_the_first_one_is_told_of(self):
        for keep_alive in lambda server: server.keep_alive(), lambda server: sttcp.keep_alive():
            server = self.server(start=True)
            self.peer(server)
            once_main_waits(os.kill, os.getpid(), signal.SIGINT)
            with unittest.mock.patch.object(type(server), "_tell_stopping",
                                            side_effect=KeyboardInterrupt):
                keep_alive(server)
            self.assertTrue(server.closed)


class FrameTest(Case):
    """The function is called by the read, on the main thread."""

    def dialled(self, error):
        def frame(connection, data):
            raise error

        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        connection = sttcp.dial(*listener.getsockname(), framing=frame, timeout=DEADLINE)
        self.addCleanup(connection.abort)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        peer.sendall(b"ab")
        return connection

    def test_what_ends_the_program_comes_out_of_the_read(self):
        for name in "recv_message", "next_size":
            for error in KeyboardInterrupt("^C"), SystemExit(3):
                connection = self.dialled(error)
                with self.assertRaises(type(error)) as caught:
                    getattr(connection, name)()
                self.assertIs(caught.exception, error)
                # What it would have told is not known.
                with self.assertRaises(sttcp.FrameError):
                    connection.recv_message()
        self.assertEqual(self.raised.rest(), [])

    def test_any_other_exception_is_the_functions(self):
        error = ValueError("of the function")
        connection = self.dialled(error)
        with self.assertRaises(sttcp.FrameError):
            connection.recv_message()
        self.assertIs(self.raised.next(), error)


class MainThreadTest(RingCase):
    """How a wait finds out that it is on the main thread."""

    def test_it_asks_nothing_that_a_handler_interrupts(self):
        _, connection = self.dialled(timeout=DEADLINE)
        once_main_waits(os.kill, os.getpid(), signal.SIGUSR1)
        began = time.monotonic()
        with unittest.mock.patch.object(threading, "main_thread", ring):
            with self.assertRaises(Ring):
                connection.recv(1)
        self.assertLess(time.monotonic() - began, DEADLINE / 2)

    @forks_beside_threads
    def test_the_thread_that_forks_is_the_childs(self):
        run_python("""
import os, signal, socket, threading
import sttcp
from support import DEADLINE

class Ring(Exception):
    pass

def ring(*unused):
    raise Ring

signal.signal(signal.SIGALRM, ring)
listener = socket.create_server(("127.0.0.1", 0))
sttcp.dial(*listener.getsockname()).abort()
statuses = []

def fork():
    child = os.fork()
    if child:
        statuses.append(os.waitpid(child, 0)[1])
        return
    try:
        connection = sttcp.dial(*listener.getsockname(), timeout=DEADLINE)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        connection.recv(1)
    except Ring:
        os._exit(0)
    finally:
        os._exit(1)

fork()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert statuses == [0, 0], statuses
""")


if __name__ == "__main__":
    unittest.main()
