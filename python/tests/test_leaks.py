# SPDX-License-Identifier: MIT
"""Connections and objects that have gone leave nothing."""

import gc
import unittest

from sttcp.server import Server
from support import SANITIZED, run_python

PROGRAM = '''
import gc, os, socket, sys, threading
import sttcp
from sttcp.client import Client
from sttcp.server import Server

server = Server("127.0.0.1", 0, lambda address, connection, data: None)
ends = threading.Semaphore(0)

HANDLERS
@server.disconnection_handler
def disconnection(address, reason):
    ends.release()

threading.excepthook = lambda args: None
server.start()

def round_of(count):
    for number in range(count):
        if number % 50 == 1:
            client = Client("127.0.0.1", server.port)
            begin(client)
            client.start()
            client.wait(20)
        else:
            with socket.create_connection(server.sock_name, 20) as peer:
                peer.sendall(b"raise" if number % 50 == 2 else b"hello")
                peer.recv(5)
        ends.acquire(timeout=20)

def figures():
    while server.count:
        pass
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(gc.get_objects()), sys.getallocatedblocks(), pages * 4

round_of(2000)
before = figures()
round_of(10000)
after = figures()
print(before, after)
assert after[0] - before[0] < 50, "objects"
assert after[1] - before[1] < 500, "blocks"
assert after[2] - before[2] < 1024, "KiB"
server.stop()
'''

PLAIN = '''
@server.connection_handler
def connection(address, connection):
    connection.data = [connection]  # a cycle

@server.receive_handler
def receive(address, connection, data):
    connection.sendall(data)
    if data == b"raise":
        raise ValueError(data)

def begin(client):
    client.connection_handler(lambda address, connection: connection.sendall(b"x"))
    client.response_handler(lambda address, connection, data: False)
'''

COROUTINES = '''
@server.connection_handler
async def connection(address, connection):
    connection.data = [connection]
    connection.run(lambda: None)
    while True:
        data = await connection.recv(100)
        if not data:
            break
        await sttcp.sleep(0)
        await connection.sendall(data)
        if data == b"raise":
            raise ValueError(data)

def begin(client):
    @client.connection_handler
    async def connection(address, connection):
        await connection.sendall(b"x")
        await connection.recv_exactly(1, timeout=20)
        connection.close()
'''


class LeakTest(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "memory grows with the sanitizer")
    def test_ten_thousand_connections_leave_nothing(self):
        self.leave_nothing(PLAIN)

    @unittest.skipIf(SANITIZED, "memory grows with the sanitizer")
    def test_ten_thousand_coroutines_leave_nothing(self):
        self.leave_nothing(COROUTINES)

    def leave_nothing(self, handlers):
        result = run_python(PROGRAM.replace("HANDLERS", handlers))
        self.assertTrue(result.stdout)

    def test_server_that_is_gone_leaves_nothing(self):
        import weakref
        for started in False, True:
            server = Server("127.0.0.1", 0)
            server.receive_handler(lambda address, connection, data: server.count)
            if started:
                server.start()
                server.stop()
            gone = weakref.ref(server)
            del server
            gc.collect()
            self.assertIsNone(gone())


if __name__ == "__main__":
    unittest.main()
