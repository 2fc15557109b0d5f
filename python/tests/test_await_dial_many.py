# SPDX-License-Identifier: MIT
"""Many coroutines that wait for what they have dialled: threads, and memory."""

import unittest

from support import SANITIZED, run_python
from test_await_dial import DialCase


class ManyTest(DialCase):
    def test_five_hundred_wait_for_a_silent_back_end(self):
        """With few threads, and others are served meanwhile. Then all go on."""
        program = """
import resource, socket, sys, threading
import sttcp
from sttcp.server import Server

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
MANY = 500
sttcp.configure(max_threads=4)
tls = sttcp.TLS(require_peer=False) if sttcp.HAS_TLS else None
listener = socket.create_server(("127.0.0.1", 0), backlog=MANY)
outcomes = []
lock = threading.Lock()

async def front(address, connection):
    what = await connection.recv(1)
    if what == b"e":
        await connection.sendall(b"echo")
        return
    try:
        if tls:
            await sttcp.dial(*listener.getsockname(), tls=tls, tls_handshake_timeout=None)
        else:
            async with sttcp.dial(*listener.getsockname()) as dialled:
                await dialled.recv(1)
    except sttcp.Error as error:
        with lock:
            outcomes.append(type(error).__name__)
    await connection.sendall(b"done")

server = Server("127.0.0.1", 0)
server.connection_handler(front)
server.start()
peers = []
for _ in range(MANY):
    peer = socket.create_connection(("127.0.0.1", server.port))
    peer.sendall(b"x")
    peers.append(peer)
backs = [listener.accept()[0] for _ in range(MANY)]
print(server.stats().threads <= 8, server.stats().threads)
other = socket.create_connection(("127.0.0.1", server.port))
other.settimeout(20)
other.sendall(b"e")
print(other.recv(4))
for back in backs:
    back.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    back.close()
for peer in peers:
    peer.settimeout(20)
    assert peer.recv(4) == b"done"
print(len(outcomes), len(set(outcomes)))
server.stop(0)
"""
        lines = run_python(program).stdout.split("\n")
        self.assertEqual(lines[0].split()[0], "True", lines)
        self.assertEqual(lines[1:3], ["b'echo'", "500 1"])


    @unittest.skipIf(SANITIZED, "its memory is another")
    def test_memory_of_one_that_waits(self):
        program = """
import contextlib, os, resource, socket, threading
import sttcp
from sttcp.server import Server

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
MANY = 1000
sttcp.configure(max_threads=4)  # their memory is not what is measured
listener = socket.create_server(("127.0.0.1", 0), backlog=MANY)
full = socket.socket()  # its queue is, and takes no more
full.bind(("127.0.0.1", 0))
full.listen(0)
clients = [socket.socket() for _ in range(3)]
for client in clients:
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.connect(full.getsockname())
waiting = threading.Semaphore(0)

async def handler(address, connection):
    kind = await connection.recv(1)
    waiting.release()
    if kind == b"d":
        await sttcp.dial(*full.getsockname(), timeout=None)
    elif kind == b"r":
        async with sttcp.dial(*listener.getsockname()) as dialled:
            await dialled.recv(1)
    await connection.recv(1)

def memory():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss_Anon")) * 1024

server = Server("127.0.0.1", 0)
server.connection_handler(handler)
server.start()
peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MANY)]
for peer in peers[:200]:
    peer.sendall(b"x")
for _ in range(200):
    waiting.acquire()
for kind, some in (b"d", peers[200:600]), (b"r", peers[600:]):
    before = memory()
    for peer in some:
        peer.sendall(kind)
    for _ in some:
        waiting.acquire()
    if kind == b"r":
        backs = [listener.accept() for _ in some]
    print((memory() - before) // len(some), flush=True)
os._exit(0)
"""
        dials, reads = map(int, run_python(program).stdout.split())
        # 4.4 to 5.2 KB were measured.
        self.assertLess(dials, 8000)
        self.assertLess(reads, 8000)


if __name__ == "__main__":
    unittest.main()
