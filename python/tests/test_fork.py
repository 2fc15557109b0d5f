# SPDX-License-Identifier: MIT
"""Forked children: what the parent has started stays the parent's."""

import unittest

from support import forks_beside_threads, run_python


@forks_beside_threads
class ForkTest(unittest.TestCase):
    PROGRAM = """
import os, socket, sys
import sttcp
from sttcp.server import Server

server = Server("127.0.0.1", 0)
server.receive_handler(lambda address, connection, data: connection.sendall(data))
child = 0
try:
    with server:
        peer = socket.create_connection(server.sock_name, 20)
        peer.settimeout(20)
        peer.sendall(b"x")
        assert peer.recv(1) == b"x"
        child = os.fork()
        if child == 0:
            sttcp.keep_alive()  # nothing is started here
            assert sttcp.connections == []
            %s
        assert os.waitpid(child, 0)[1] >> 8 == 7
        peer.sendall(b"y")
        assert peer.recv(1) == b"y"
        assert server.is_listening and server.count == 1
        server.stop(0)
except KeyError:
    assert child == 0
    sys.exit(7)
if child == 0:
    with Server("127.0.0.1", 0) as own:
        socket.create_connection(own.sock_name, 20).close()
    sys.exit(7)
"""

    def test_a_child_that_leaves_the_block_leaves_the_parents_server_alone(self):
        for end in "raise KeyError", "sys.exit(7)", "pass":
            text = self.PROGRAM % end
            if end == "pass":
                text = text.replace("        assert os.waitpid", "        if child: assert os.waitpid")
                text = text.replace("        peer.sendall(b\"y\")\n", "")
                text = text.replace("        assert peer.recv(1) == b\"y\"\n", "")
                text = text.replace("        assert server.is_listening and server.count == 1\n", "")
                text = text.replace("        server.stop(0)\n", "        if child: server.stop(0)\n")
            run_python(text)

    def test_signals_of_a_handlers_child_are_written_nowhere(self):
        """Main waits, for its signals, too: the descriptor that they come by is the parent's."""
        run_python("""
import os, signal, socket, tempfile, threading
from asleep import once_main_waits
from sttcp.server import Server

server = Server("127.0.0.1", 0)
place = tempfile.TemporaryDirectory()
codes = []

@server.receive_handler
def receive(address, connection, data):
    child = os.fork()
    if child == 0:
        path = os.path.join(place.name, "file")
        os.closerange(3, 100)
        for _ in range(97):
            os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        signal.signal(signal.SIGUSR1, lambda *told: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(7 if os.stat(path).st_size == 0 else 1)
    codes.append(os.waitpid(child, 0)[1] >> 8)
    connection.close()
    server.request_stop()

def ask():
    with socket.create_connection(server.sock_name, 20) as peer:
        peer.sendall(b"x")
        peer.recv(1)

server.start()
once_main_waits(ask)
server.keep_alive()
place.cleanup()
assert codes == [7], codes
""")

    def test_a_child_of_a_coroutine_goes_on_with_it_by_itself(self):
        run_python('''
import os, socket
import sttcp
from sttcp.server import Server

server = Server("127.0.0.1", 0)
other = socket.create_server(("127.0.0.1", 0))

@server.connection_handler
async def handler(address, connection):
    await connection.recv(1)
    child = os.fork()
    if child:
        await connection.sendall(b"%d\\n" % (os.waitpid(child, 0)[1] >> 8))
        return
    try:
        await sttcp.sleep(0.01)
        try:
            await connection.recv(1)
        except RuntimeError:  # it is the parent's
            async with sttcp.dial(*other.getsockname()) as dialled:
                await dialled.sendall(b"child")
                other.accept()[0].sendall(b"x")
                assert await dialled.recv(1) == b"x"
                os._exit(7)
    finally:
        os._exit(1)

server.start()
peer = socket.create_connection(server.sock_name, 20)
peer.settimeout(20)
peer.sendall(b"x")
assert peer.recv(10) == b"7\\n"
server.stop(0)
''')

    def test_a_child_has_the_parents_files(self):
        # Also under numbers that descriptors had when the package was imported.
        run_python('''
import os, sttcp, tempfile
os.closerange(3, 64)
files = [tempfile.TemporaryFile() for _ in range(8)]
before = [os.fstat(each.fileno()).st_ino for each in files]
child = os.fork()
if child == 0:
    os._exit([os.fstat(each.fileno()).st_ino for each in files] != before)
assert os.waitpid(child, 0)[1] == 0
''')

    def test_what_a_child_is_told_of_the_parents_objects(self):
        # What is known stays true, what is not is refused, and no code of the library is a value.
        run_python('''
import os, socket
import sttcp
from sttcp.client import Client
from sttcp.server import Server

server = Server("127.0.0.1", 0)
stopped = Server("127.0.0.1", 0)
stopped.start()
stopped.stop()
server.start()
client = Client("127.0.0.1", server.port)
client.connection_handler(lambda address, connection: True)
client.start()
assert client.wait_open(20)
dialled = sttcp.dial("127.0.0.1", server.port)
connections = [*server.connections(), client.connection, dialled]
ids = [each.id for each in connections]
names = [server.port, server.sock_name, server.address, stopped.port, client.sock_name,
         *[(each.address, each.family, each.host, each.port) for each in connections]]

def refused(call, *arguments):
    try:
        value = call(*arguments)
    except RuntimeError as error:
        return "parent process" in str(error)
    raise AssertionError("%r gave %r" % (call, value))

child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    server.stop(0)
else:
    status = 1
    try:
        assert names == [
            server.port, server.sock_name, server.address, stopped.port, client.sock_name,
            *[(each.address, each.family, each.host, each.port) for each in connections]]
        assert not server.is_listening and not client.is_connected and client.connection is None
        assert str(server) == "127.0.0.1:%d" % server.port
        repr([server, stopped, client])
        assert refused(lambda: server.count)
        assert ids == [each.id for each in connections]
        for each, number in zip(connections, ids):
            assert not each.is_open and each.fileno() == -1 and str(number) in repr(each)
            assert isinstance(each.reason, RuntimeError)
            assert refused(each.getsockname)
            assert refused(each.getsockopt, socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert refused(each.setsockopt, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert refused(each.setsockopt, socket.SOL_SOCKET, socket.SO_KEEPALIVE, b"1")
            assert refused(lambda: each.tls)
            for call in each.stats, each.detach, each.flush, each.pause, each.resume, each.shutdown:
                assert refused(call)
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(status)
''')


if __name__ == "__main__":
    unittest.main()
