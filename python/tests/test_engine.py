# SPDX-License-Identifier: MIT
"""The end of the engine on demand, and beginning anew."""

import unittest

from support import DEADLINE, run_python

HEAD = """
import os, socket, sys, threading, time
import sttcp
from sttcp.client import Client
from sttcp.server import Server

DEADLINE = %r

def tasks():
    return len(os.listdir("/proc/self/task"))

def files():
    return sorted(os.listdir("/proc/self/fd"))

def echo(address, connection, data):
    connection.sendall(data)

def wait_for_tasks(count):
    # The kernel shows a thread for a moment longer than a join waits for it.
    end = time.monotonic() + DEADLINE
    while tasks() != count:
        assert time.monotonic() < end, tasks()
        time.sleep(0.001)

def use(server):
    with socket.create_connection(server.sock_name, DEADLINE) as peer:
        peer.sendall(b"x")
        assert peer.recv(1) == b"x"

def is_refused(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("not refused")
""" % DEADLINE


def run(text):
    return run_python(HEAD + text)


class MaxThreadsTest(unittest.TestCase):
    def serve(self, handler):
        """Six silent peers, then one that speaks: what their reads ended in."""
        result = run(handler + """
sttcp.configure(max_threads=2)
server = Server("127.0.0.1", 0)
server.connection_handler(let_in)
server.receive_handler(echo)
server.start()
silent = [socket.create_connection(server.sock_name, DEADLINE) for _ in range(6)]

def is_served():
    with socket.create_connection(server.sock_name, DEADLINE) as peer:
        peer.sendall(b"joe")
        return peer.recv(7) == b"welcome"

end = time.monotonic() + DEADLINE
while not is_served():  # on a busy machine its own words may come too late
    assert time.monotonic() < end
print(*ends)
server.stop(0)
""")
        return set(result.stdout.split())

    def test_silent_peers_lose_their_threads_to_those_who_speak(self):
        self.assertEqual(self.serve("""
ends = []

def let_in(address, connection):
    try:
        connection.recv(3)
        connection.sendall(b"welcome")
    except sttcp.LimitError as error:
        assert "max_threads was reached" in str(error), error
        ends.append(type(error).__name__)
        return False
"""), {"LimitError"})

    def test_coroutines_have_none_to_lose(self):
        self.assertEqual(self.serve("""
ends = []

async def let_in(address, connection):
    try:
        await connection.recv(3)
        await connection.sendall(b"welcome")
    except sttcp.LimitError as error:
        ends.append(type(error).__name__)
        raise
"""), set())


class ShutdownTest(unittest.TestCase):
    def test_threads_and_descriptors_are_gone_and_a_start_begins_anew(self):
        run("""
before = tasks(), files()
sttcp.engine_shutdown()  # nothing was started
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
for _ in range(20):
    with server:
        use(server)
    sttcp.engine_shutdown()
    assert files() == before[1], (files(), before)
    wait_for_tasks(before[0])
assert threading.active_count() == 1, threading.enumerate()
""")

    def test_the_pipe_for_signals_stays_for_other_threads_and_for_waits(self):
        run("""
import signal
from sttcp._wait import wait_until
before = files()
server = Server("127.0.0.1", 0)
with server:
    pass
go = threading.Event()
other = threading.Thread(target=go.wait, args=(DEADLINE,))
other.start()
sttcp.engine_shutdown()
assert len(files()) == len(before) + 2, (files(), before)
go.set()
other.join()
sttcp.engine_shutdown()
assert files() == before, (files(), before)

def shut_down_twice(*unused):
    for _ in range(2):
        with server:
            pass
        sttcp.engine_shutdown()
        counts.append(len(files()))

counts = []
looks = iter([lambda: False, lambda: signal.raise_signal(signal.SIGUSR1), lambda: True])
signal.signal(signal.SIGUSR1, shut_down_twice)
assert wait_until(lambda: next(looks)(), DEADLINE) is True
assert counts == [len(before) + 2] * 2, (counts, before)
assert signal.set_wakeup_fd(-1) == -1
sttcp.engine_shutdown()
assert files() == before, (files(), before)
""")

    def test_threads_of_handlers_give_back_what_they_had_in_python(self):
        run("""
import weakref
class Thing:
    pass

server = Server("127.0.0.1", 0)
local = threading.local()
things = []
inside = threading.Semaphore(0)
go = threading.Event()

@server.receive_handler
def receive(address, connection, data):
    local.thing = Thing()
    things.append(weakref.ref(local.thing))
    inside.release()
    go.wait(DEADLINE)
    connection.sendall(data)

with server:
    peers = [socket.create_connection(server.sock_name, DEADLINE) for _ in range(30)]
    for peer in peers:
        peer.sendall(b"x")
    for peer in peers:
        assert inside.acquire(timeout=DEADLINE)
    go.set()
    for peer in peers:
        assert peer.recv(1) == b"x"
        peer.close()
sttcp.engine_shutdown()
assert not any(thing() for thing in things)
assert threading.active_count() == 1, threading.enumerate()
""")

    def test_it_is_refused_while_something_is_started(self):
        run("""
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
with server:
    assert "started" in is_refused(sttcp.engine_shutdown)
    use(server)
    client = Client(*server.sock_name)
    client.connection_handler(lambda *unused: True)
    with client:
        is_refused(sttcp.engine_shutdown)
sttcp.engine_shutdown()
""")

    def test_it_is_refused_inside_a_handler(self):
        run("""
server = Server("127.0.0.1", 0)

@server.receive_handler
def receive(address, connection, data):
    connection.sendall(is_refused(sttcp.engine_shutdown).encode())

with server, socket.create_connection(server.sock_name, DEADLINE) as peer:
    peer.sendall(b"x")
    assert b"handler" in peer.recv(100)
sttcp.engine_shutdown()
""")

    def test_a_client_that_has_just_ended_does_not_hold_it_up(self):
        run("""
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
for _ in range(50):
    with server:
        client = Client(*server.sock_name)
        client.connection_handler(lambda address, connection: connection.sendall(b"x"))
        client.response_handler(lambda *unused: False)
        client.start()
        assert client.wait(DEADLINE)
    sttcp.engine_shutdown()
""")

    def test_it_can_be_configured_anew(self):
        run("""
sttcp.configure(loops=3)
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
with server:
    use(server)
    three = tasks()
    is_refused(lambda: sttcp.configure(loops=1))
sttcp.engine_shutdown()
sttcp.configure(loops=1)
with server:
    use(server)
    assert tasks() < three, (tasks(), three)
""")

    def test_the_first_start_configures_it_where_nobody_has(self):
        for early, expected in ("", [(1, 512, 0)]), ("sttcp.configure(loops=2)", [(2, 512, 0)]):
            run("""
from sttcp import _sttcp

asked = []
configure = _sttcp._configure
_sttcp._configure = lambda *what: asked.append(what) or configure(*what)
%s
server = Server("127.0.0.1", 0)
for _ in range(2):
    with server:
        pass
assert asked == %r, asked
""" % (early, expected))

    def test_first_starts_of_many_threads_agree(self):
        run("""
servers = [Server("127.0.0.1", 0) for _ in range(16)]
threads = [threading.Thread(target=server.start) for server in servers]
failures = []
threading.excepthook = failures.append
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
for server in servers:
    assert server.is_listening
    server.stop(0)
""")

    def test_a_fork_finds_a_process_without_threads(self):
        run("""
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
with server:
    use(server)
sttcp.engine_shutdown()
wait_for_tasks(1)
child = os.fork()
if child == 0:
    own = Server("127.0.0.1", 0)
    own.receive_handler(echo)
    with own:
        use(own)
    sttcp.engine_shutdown()
    wait_for_tasks(1)
    os._exit(7)
assert os.waitpid(child, 0)[1] >> 8 == 7
with server:
    use(server)
""")

    def test_it_may_be_called_at_the_end_of_the_interpreter(self):
        for early in "import atexit; atexit.register(lambda: sttcp.engine_shutdown())", "":
            result = run_python(early + HEAD + """
import atexit
server = Server("127.0.0.1", 0)
server.receive_handler(echo)
with server:
    use(server)
if %r:
    atexit.register(sttcp.engine_shutdown)
""" % (not early))
            self.assertEqual(result.stderr, "")


if __name__ == "__main__":
    unittest.main()
