# SPDX-License-Identifier: MIT
"""Signals: children of handlers, signal handlers of the program, and stopping from there."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import unittest.mock

import sttcp
from asleep import once_main_waits
from support import DEADLINE, SANITIZED, Case, Peer, forks_beside_threads, run_python

HEAD = """
import os, signal, socket, subprocess, sys, threading, time
import sttcp
from asleep import once_main_waits
from sttcp.server import Server

DEADLINE = %r
main = threading.main_thread()
server = Server("127.0.0.1", 0)
told = []

def ask(data=b"x"):
    with socket.create_connection(server.sock_name, DEADLINE) as peer:
        peer.settimeout(DEADLINE)
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            more = peer.recv(1000)
            if not more:
                return answer
            answer += more

def wait_for(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
""" % DEADLINE


def run(text, **options):
    return run_python(HEAD + text, **options)


class ChildTest(unittest.TestCase):
    def test_a_child_of_a_handler_ends_on_sigterm_and_on_ctrl_c(self):
        run("""
@server.receive_handler
def receive(address, connection, data):
    for end in subprocess.Popen.terminate, lambda child: child.send_signal(signal.SIGINT):
        child = subprocess.Popen(["sleep", "1000"])
        end(child)
        try:
            told.append(child.wait(timeout=DEADLINE / 2))
        except subprocess.TimeoutExpired:
            child.kill()
            told.append(child.wait())

with server:
    ask()
assert told == [-signal.SIGTERM, -signal.SIGINT], told
""")

    def test_a_child_has_the_mask_of_the_first_start(self):
        said = run("""
@server.receive_handler
def receive(address, connection, data):
    connection.sendall(subprocess.run(["grep", "^SigBlk", "/proc/self/status"],
                                      stdout=subprocess.PIPE).stdout)

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
with server:
    print(int(ask().split()[1], 16))
""").stdout
        self.assertEqual(int(said), 1 << (signal.SIGUSR1 - 1))

    def test_the_end_of_a_child_is_told_to_the_main_thread(self):
        # The kernel gives SIGCHLD to the thread that has made the child.
        run("""
signal.signal(signal.SIGCHLD, lambda *unused: told.append(threading.current_thread()))

@server.receive_handler
def receive(address, connection, data):
    subprocess.run(["true"])
    wait_for(lambda: told)
    server.stop()

server.start()
threading.Thread(target=ask).start()
server.keep_alive()
assert set(told) == {main}, told
""")


class ProgramTest(unittest.TestCase):
    def test_handlers_of_signals_run_on_the_main_thread_while_others_are_busy(self):
        run("""
signal.signal(signal.SIGUSR1, lambda *unused: told.append(threading.current_thread()))
go = threading.Event()
inside = threading.Semaphore(0)

@server.receive_handler
def receive(address, connection, data):
    inside.release()
    if data == b"sleep":
        go.wait(DEADLINE)
    else:
        while not go.is_set():
            pass

server.start()
peers = [threading.Thread(target=ask, args=(data,)) for data in [b"sleep"] * 8 + [b"work"] * 2]
for peer in peers:
    peer.start()
for peer in peers:
    assert inside.acquire(timeout=DEADLINE)
for count in range(1, 51):
    os.kill(os.getpid(), signal.SIGUSR1)
    wait_for(lambda: len(told) == count)
go.set()
for peer in peers:
    peer.join()
server.stop()
assert set(told) == {main}, told
""")

    def test_a_sleeping_main_thread_is_woken(self):
        run("""
class Woken(Exception):
    pass

def wake(*unused):
    raise Woken

signal.signal(signal.SIGUSR1, wake)

@server.receive_handler
def receive(address, connection, data):
    os.kill(os.getpid(), signal.SIGUSR1)
    connection.sendall(data)

server.start()
began = time.monotonic()
try:
    once_main_waits(ask)
    time.sleep(DEADLINE)
except Woken:
    pass
assert time.monotonic() - began < DEADLINE
server.stop()
""")

    @unittest.skipIf(SANITIZED, "the sanitizer has handlers of its own")
    def test_a_fault_in_a_handler_is_told_by_faulthandler(self):
        result = run("""
import ctypes
@server.receive_handler
def crash(address, connection, data):
    ctypes.string_at(0)
server.start()
ask()
""", options=("-X", "faulthandler"), check=False)
        self.assertEqual(result.returncode, -signal.SIGSEGV)
        self.assertIn("Segmentation fault", result.stderr)
        self.assertIn("in crash", result.stderr)

    def test_keep_alive_takes_signals_that_the_program_has_blocked(self):
        for number in signal.SIGINT, signal.SIGTERM:
            for wait in "server.keep_alive()", "sttcp.keep_alive()":
                for when in "before", "later":
                    run("""
number, when, blocked = %d, %r, {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
server.start()
if when == "before":
    os.kill(os.getpid(), number)
else:
    once_main_waits(os.kill, os.getpid(), number)
%s
assert server.closed
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
""" % (number, when, wait))


class RequestTest(Case):
    def test_it_stops_from_a_signal_handler(self):
        run("""
signal.signal(signal.SIGTERM, lambda *unused: server.request_stop())
server.receive_handler(lambda address, connection, data: connection.sendall(data))
for _ in range(3):
    server.start()
    assert ask() == b"x"
    os.kill(os.getpid(), signal.SIGTERM)
    server.keep_alive()
    assert server.closed and not server.is_listening
""")

    def test_it_may_interrupt_anything_of_the_package(self):
        # Signals as fast as they come, while the main thread starts and stops, sends and lists.
        run("""
signal.signal(signal.SIGUSR1, lambda *unused: [each.request_stop() for each in servers])
servers = [Server("127.0.0.1", 0) for _ in range(3)]
end = time.monotonic() + 2
over = threading.Event()

def shoot():
    while not over.is_set():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.0003)

threading.Thread(target=shoot, daemon=True).start()
while time.monotonic() < end:
    for each in servers:
        with each:
            each.connections()
            each.broadcast(b"x")
            sttcp.connections
            str(each), repr(each)
over.set()
for each in servers:
    each.stop()
    assert each.closed
""")

    def test_it_may_interrupt_a_start(self):
        run("""
signal.signal(signal.SIGUSR1, lambda *unused: told.append(server.request_stop()))
stop = threading.Event()

def shoot():
    while not stop.is_set():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.0001)

threading.Thread(target=shoot, daemon=True).start()
for _ in range(300):
    server.start()
    server.keep_alive()
    assert server.closed
stop.set()
""")

    def test_connections_have_the_drain_limit_of_a_signal(self):
        for options, limit in ({}, 10.0), ({"drain_timeout": 0.2}, 0.2):
            server = self.echo_server(**options)
            peer = self.peer(server)
            peer.sendall(b"x")
            self.assertEqual(peer.read(1), b"x")
            server.request_stop()
            server.request_stop()
            if limit < 1:
                self.assertTrue(server.wait(DEADLINE))
            else:
                peer.sendall(b"y")
                self.assertEqual(peer.read(1), b"y")
                peer.close()
                self.assertTrue(server.wait(limit / 2))

    def test_it_is_nothing_where_nothing_is_started(self):
        server = self.server()
        server.request_stop()
        server.start()
        self.peer(server).close()
        server.stop()
        server.request_stop()
        server.start()
        self.assertTrue(server.is_listening)
        self.peer(server).close()
        self.assertFalse(server.wait(0))

    def test_many_requests_take_one_thread(self):
        server = self.echo_server()
        peer = self.peer(server)
        peer.sendall(b"x")
        self.assertEqual(peer.read(1), b"x")
        before = len(os.listdir("/proc/self/task"))
        for _ in range(50):
            server.request_stop()
        # Its own, and those that a busy machine makes the engine want.
        self.assertLess(len(os.listdir("/proc/self/task")) - before, 25)
        peer.close()
        self.assertTrue(server.wait(DEADLINE))

    def test_it_is_seen_at_once(self):
        server = self.server(start=True)
        self.peer(server)
        server.request_stop()
        self.assertFalse(server.is_listening)


class InterruptTest(Case):
    """Ctrl+C in a call that waits for the peer, on the main thread: it comes out of it at once, and what
    the call was about goes on."""

    SIZE = 300000
    OPTIONS = {"send_queue_max": 65536, "framing": "length"}

    def interrupted(self, call, *arguments):
        """Calls it until it waits, and is interrupted; returns how many calls that were."""
        once_main_waits(os.kill, os.getpid(), signal.SIGINT)
        began = time.monotonic()
        count = 0
        with self.assertRaises(KeyboardInterrupt):
            while True:
                count += 1
                call(*arguments)
        self.assertLess(time.monotonic() - began, DEADLINE / 2)
        return count

    def check_sends(self, peer, connection, calls):
        for name, call in calls.items():
            for size in 2000, self.SIZE:
                with self.subTest(name, size=size):
                    data = bytearray(b"data") * (size // 4)
                    count = self.interrupted(call, data)
                    data[:] = b"?" * size  # it is ours again, in its size, too
                    del data[10:]
                    head = b"" if name in ("sendall", "send", "sendmsg") else size.to_bytes(4, "big")
                    for _ in range(count):
                        self.assertEqual(peer.read(len(head)), head)
                        self.assertEqual(peer.read(size), b"data" * (size // 4))
                    self.assertTrue(connection.try_send(b"next"))
                    self.assertEqual(peer.read(4), b"next")

    def test_sends_of_a_connection(self):
        peer, connection = self.peer_and_connection(**self.OPTIONS)
        self.check_sends(peer, connection, {
            "sendall": connection.sendall, "send": connection.send,
            "send_message": connection.send_message,
            "sendmsg": lambda data: connection.sendmsg([data[:1], data[1:]]),
            "sendv_message": lambda data: connection.sendv_message([data[:1], data[1:]])})

    def test_sends_of_a_client(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        client = self.client(listener.getsockname()[1], **self.OPTIONS)
        client.connection_handler(lambda address, connection: True)
        client.start()
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        peer = Peer.of(peer)
        self.assertTrue(client.wait_open(DEADLINE))
        self.check_sends(peer, client.connection, {"send_message": client.send_message})

    def test_sends_of_what_was_dialled(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        with sttcp.dial(*listener.getsockname(), **self.OPTIONS) as connection:
            peer, _ = listener.accept()
            self.addCleanup(peer.close)
            self.check_sends(Peer.of(peer), connection, {"sendall": connection.sendall})

    def test_a_send_in_line_keeps_its_place(self):
        peer, connection = self.peer_and_connection(**self.OPTIONS)
        filled = 0
        while connection.try_send(b"f" * 10000):
            filled += 10000
        counts = [self.interrupted(connection.sendall, b"%d" % number * self.SIZE)
                  for number in range(3)]
        self.assertEqual(counts[1:], [1, 1])
        self.assertEqual(peer.read(filled), b"f" * filled)
        for number, count in enumerate(counts):
            self.assertEqual(peer.read(count * self.SIZE), b"%d" % number * count * self.SIZE)

    def test_a_send_whose_thread_is_late_keeps_its_place(self):
        peer, connection = self.peer_and_connection(**self.OPTIONS)
        filled = 0
        while connection.try_send(b"f" * 10000):
            filled += 10000
        held, go_on = threading.Event(), threading.Event()
        run = threading.Thread.run

        def run_late(thread):
            if thread.name == "sttcp-wait" and not held.is_set():
                held.set()
                go_on.wait(DEADLINE)
            run(thread)

        with unittest.mock.patch.object(threading.Thread, "run", run_late):
            counts = [self.interrupted(connection.sendall, b"%d" % number * self.SIZE)
                      for number in range(2)]
        self.assertEqual(counts, [1, 1])
        go_on.set()
        self.assertEqual(peer.read(filled), b"f" * filled)
        for number in range(2):
            self.assertEqual(peer.read(self.SIZE), b"%d" % number * self.SIZE)

    def test_the_end_of_the_connection_is_told(self):
        peer, connection = self.peer_and_connection(**self.OPTIONS)
        once_main_waits(peer.reset)
        with self.assertRaises(ConnectionResetError):
            while True:
                connection.sendall(b"x" * self.SIZE)

    @unittest.skipUnless(sttcp.HAS_TLS, "built without TLS")
    def test_start_tls(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        with sttcp.dial(*listener.getsockname()) as connection:
            peer, _ = listener.accept()
            self.addCleanup(peer.close)
            self.interrupted(connection.start_tls, sttcp.TLS(), "good.example")

    @forks_beside_threads
    def test_sleep_of_a_coroutine_in_a_child(self):
        run('''
def wake(*unused):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, wake)

@server.connection_handler
async def handler(address, connection):
    child = os.fork()
    if child:
        await connection.sendall(b"%d" % (os.waitpid(child, 0)[1] >> 8))
        return False
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await sttcp.sleep(DEADLINE)
    except KeyboardInterrupt:
        os._exit(7)
    finally:
        os._exit(1)

server.start()
assert ask() == b"7"
server.stop(0)
''')


RESOLVER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");
	char byte = 0;

	if (node && strcmp(node, "hangs.example") == 0 &&
	    !(hints && hints->ai_flags & AI_NUMERICHOST)) {
		if (write(atoi(getenv("ASKED")), &byte, 1) != 1)
			abort();
		while (read(atoi(getenv("HANGS")), &byte, 1) != 1)
			;
		node = "127.0.0.1";
	}
	return real(node, service, hints, res);
}
"""


class ResolverTest(unittest.TestCase):
    """Ctrl+C while the resolver does not answer."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        source, cls.library = (os.path.join(directory.name, name) for name in ("r.c", "r.so"))
        with open(source, "w", encoding="ascii") as file:
            file.write(RESOLVER)
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", cls.library, source, "-ldl"], check=True)
        except FileNotFoundError:
            raise unittest.SkipTest("NOT TESTED: there is no cc") from None

    def run_hanging(self, text):
        preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), self.library]))
        run("""
from sttcp.client import Client
reader, writer = os.pipe()
asked, tells_asked = os.pipe()
os.environ.update(HANGS=str(reader), ASKED=str(tells_asked))

def interrupted(call):
    once_main_waits(os.kill, os.getpid(), signal.SIGINT)
    began = time.monotonic()
    try:
        call()
    except KeyboardInterrupt:
        assert time.monotonic() - began < DEADLINE / 2
    else:
        raise AssertionError("it was not interrupted")

def check_idle(server):
    assert server not in sttcp.connections
    assert server.stop() == (0, 0, 0)
    assert not server.is_listening
""" + text, LD_PRELOAD=preload)

    def test_a_start_of_a_server(self):
        self.run_hanging("""
server = Server("hangs.example", 0)
for _ in range(3):
    interrupted(server.start)  # the second one waits for the end of the first
    check_idle(server)
    assert "not started" in repr(server), server
os.write(writer, b"123")  # for the one that goes on, and two lookups of the next
server.start()
assert server.sock_name == ("127.0.0.1", server.port), server.sock_name
assert ask() == b""
server.stop()
os.write(writer, b"1")
interrupted(server.start)  # in the second one of its lookups
check_idle(server)
assert server.closed
os.write(writer, b"123")
with server:
    assert ask() == b""
""")

    def test_an_added_address(self):
        self.run_hanging("""
server.add_address("hangs.example", 0)
interrupted(server.start)
check_idle(server)
os.write(writer, b"123")
with server:
    assert len(server.addresses) == 2
""")

    def test_a_server_that_is_dropped_meanwhile(self):
        self.run_hanging("""
import gc, weakref
other = Server("hangs.example", 0)
interrupted(other.start)
gone = weakref.ref(other)
del other
os.write(writer, b"1")
wait_for(lambda: gc.collect() is not None and gone() is None)
sttcp.engine_shutdown()
""")

    def test_the_end_of_the_engine(self):
        self.run_hanging("""
client = Client("hangs.example", 1)
client.unconnected_handler(lambda *unused: None)
client.start()
os.read(asked, 1)  # one that is closed before has asked nobody
client.close()
for call in (sttcp.engine_shutdown, sttcp.engine_shutdown, server.start,
             lambda: sttcp.Timer(print).start(1), lambda: sttcp.dial("127.0.0.1", 1)):
    interrupted(call)
check_idle(server)
os.write(writer, b"1")
with server:
    assert ask() == b""
sttcp.engine_shutdown()
# A thread of Python's that was waited for is still on its way out.
wait_for(lambda: len(os.listdir("/proc/self/task")) == 1)
""")


if __name__ == "__main__":
    unittest.main()
