# SPDX-License-Identifier: MIT
"""The interpreter's end, and that of a child, with servers running."""

import unittest

from support import forks_beside_threads, run_python


class ExitTest(unittest.TestCase):
    PROGRAM = '''
import socket, sys, threading, time
from sttcp.client import Client
from sttcp.server import Server
server = Server("127.0.0.1", 0)
entered = threading.Event()
@server.receive_handler
def receive(address, connection, data):
    entered.set()
    %s
@server.disconnection_handler
def disconnection(address, reason):
    time.sleep(0)
server.start()
peers = [socket.create_connection(server.sock_name, 20) for _ in range(8)]
for peer in peers:
    peer.sendall(b"x")
entered.wait(20)
'''

    def test_interpreter_ends_with_servers_running(self):
        for handler in ("connection.sendall(data)", "time.sleep(1000)", "while True: time.sleep(0)",
                        "while True: connection.sendall(data)", "raise SystemExit"):
            for end in "", "\nsys.exit(0)", "\nserver.stop(0)":
                if end.endswith("stop(0)") and "True" in handler:
                    continue
                result = run_python(self.PROGRAM % handler + end)
                self.assertEqual(result.stderr, "", handler + end)

    def test_interpreter_ends_under_load(self):
        for _ in range(5):
            run_python(self.PROGRAM % "connection.sendall(data)" + '''
def load(peer):
    try:
        while True:
            peer.sendall(b"y" * 64)
            peer.recv(4096)
    except OSError:
        pass
for peer in peers:
    threading.Thread(target=load, args=(peer,), daemon=True).start()
time.sleep(0.1)
''')

    def test_what_is_stopped_when_the_interpreter_is_gone_does_not_hold_up_its_end(self):
        for end in ("self.client.close()", "self.server.stop(0)", "self.server.request_stop()",
                    "self.client.__exit__(ValueError, None, None)",
                    "[each.close() for each in (self.client, self.server)]",
                    "refused()"):
            result = run_python('''
import sttcp
def block():
    with sttcp.Server("127.0.0.1", 0) as server:
        yield server
def refused():
    try:
        sttcp.dial("127.0.0.1", 1)
    except OSError:
        pass
class Program:
    def __init__(self):
        self.server = sttcp.Server("127.0.0.1", 0)
        self.server.start()
        self.client = sttcp.Client("127.0.0.1", self.server.port)
        self.client.start()
        assert self.client.wait_open(20)
    def __del__(self):
        %s
        print("to its end")
server = block()
next(server)
program = Program()
''' % end)
            self.assertEqual((result.stdout, result.stderr), ("to its end\n", ""), end)

    @forks_beside_threads
    def test_forked_child_refuses_and_ends(self):
        run_python('''
import os, sys
from sttcp.server import Server
server = Server("127.0.0.1", 0)
server.start()
child = os.fork()
if child == 0:
    try:
        server.broadcast(b"x")
    except RuntimeError:
        pass
    else:
        sys.exit(1)
    for call in (server.start, server.wait, server.keep_alive, server.connections, server.stats,
                 lambda: server.count):
        try:
            call()
        except RuntimeError:
            continue
        sys.exit(2)
    assert server.closed and not server.is_listening, server
    assert server.stop() == (0, 0, 0)
    own = Server("127.0.0.1", 0)
    own.start()
    own.stop()
    sys.exit(7)
assert os.waitpid(child, 0)[1] >> 8 == 7
server.stop()
''')


if __name__ == "__main__":
    unittest.main()
