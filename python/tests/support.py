# SPDX-License-Identifier: MIT
"""What the tests have in common. Nothing here sleeps to wait for something: events are waited for,
with a deadline."""

import contextlib
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from sttcp.client import Client
from sttcp.server import Server

DEADLINE = float(os.environ.get("STTCP_TEST_DEADLINE_S", "20"))
# A build with the address sanitizer, which keeps freed memory.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
# For tests that fork beside threads of the library, and go on in Python in the child.
forks_beside_threads = unittest.skipIf(
    SANITIZED, "the sanitizer's allocator may stay locked in the child (gcc before 14)")
HERE = os.path.dirname(os.path.abspath(__file__))


# Whoever runs this may have it ignore Ctrl+C, as a shell does in the background, and the programs of
# the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition, what="the condition"):
    """For what tells of itself by no event: looks again, until the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("%s did not come about in %s s" % (what, DEADLINE))
        time.sleep(0.002)


def data_file(name):
    return os.path.join(HERE, "data", name)


_tried = itertools.count()


def free_port():
    """One that nobody has, below those that the kernel chooses from: another program might have
    taken one of these by the time that it is used. Processes that are born one after the other look
    far from each other."""
    for tried in itertools.islice(_tried, 20000):
        with socket.socket() as probe:
            try:
                port = 10000 + (os.getpid() * 7919 + tried) % 20000
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no port is free")


def run_python(text, *arguments, options=(), check=True, **environment):
    """Runs a program of its own; returns what subprocess.run does."""
    command = [sys.executable, *options, "-c", text, *map(str, arguments)]
    path = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, timeout=DEADLINE * 3,
                            env={**os.environ, "PYTHONPATH": path, **environment})
    if check and result.returncode:
        raise AssertionError("exit status %d\n%s\n%s" % (result.returncode, result.stdout,
                                                         result.stderr))
    return result


class Seen:
    """What handlers tell, in order."""

    def __init__(self):
        self._queue = queue.Queue()

    def tell(self, *what):
        self._queue.put(what[0] if len(what) == 1 else what)

    def next(self):
        return self._queue.get(timeout=DEADLINE)

    def rest(self):
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


class Peer(socket.socket):
    """A plain socket on the other side."""

    def __init__(self, port, host="127.0.0.1"):
        super().__init__()
        self.settimeout(DEADLINE)
        self.connect((host, port))

    @classmethod
    def of(cls, accepted):
        """What a listener has accepted."""
        peer = cls.__new__(cls)
        socket.socket.__init__(peer, fileno=accepted.detach())
        peer.settimeout(DEADLINE)
        return peer

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            more = self.recv(size - len(data))
            if not more:
                break
            data += more
        return bytes(data)

    def read_all(self):
        data = bytearray()
        while True:
            try:
                more = self.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            data += more
        return bytes(data)

    def reset(self):
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


class Case(unittest.TestCase):
    """Servers and clients that are made here are stopped at the end of the test."""

    def setUp(self):
        self._made = contextlib.ExitStack()
        self.addCleanup(self._made.close)
        hook = threading.excepthook
        self.raised = Seen()
        threading.excepthook = lambda args: self.raised.tell(args.exc_value)
        self.addCleanup(setattr, threading, "excepthook", hook)

    def server(self, *arguments, start=False, host="127.0.0.1", port=0, **options):
        server = Server(host, port, *arguments, **options)
        self._made.callback(lambda: server.stop(0))
        if start:
            server.start()
        return server

    def client(self, port, *arguments, host="127.0.0.1", **options):
        client = Client(host, port, *arguments, **options)
        self._made.callback(client.close)
        return client

    def peer(self, server):
        peer = Peer(server.port)
        self._made.callback(peer.close)
        return peer

    def peer_and_connection(self, **options):
        """A raw peer, and its connection on a server that has these options."""
        seen = Seen()
        server = self.server(**options)
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()
        return self.peer(server), seen.next()

    def echo_server(self, **options):
        server = self.server(**options)
        server.receive_handler(lambda address, connection, data: connection.sendall(data))
        server.start()
        return server
