# SPDX-License-Identifier: MIT
"""Exceptions of signal handlers that come at moments that luck alone does not find."""

import os
import signal
import socket
import threading
import time
import unittest
import unittest.mock

import sttcp
from asleep import once_main_waits
from support import DEADLINE, Case, forks_beside_threads, run_python


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
