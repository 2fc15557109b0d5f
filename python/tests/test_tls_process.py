# SPDX-License-Identifier: MIT
"""TLS and the process: an interpreter that ends, Python's ssl beside it, many threads at once."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import unittest

import sttcp
from support import DEADLINE, Seen
from tls_support import TLSCase, certs, server_tls, setUpModule, ssl_client, tearDownModule


# An interpreter that ends while its connections are busy, and others shake hands, which needs no
# Python. The argument says who uses OpenSSL first.
EXIT = """
import sys
first, pem, key, ca = sys.argv[1:5]
if first == "ssl":
    import ssl
    ssl.create_default_context()
if first == "hashlib":
    import hashlib
    hashlib.sha256(b"x").hexdigest()
import sttcp
from sttcp.client import Client
from sttcp.server import Server
if first == "sttcp":
    sttcp.TLS(pem, key)
    import ssl
    ssl.create_default_context()
server = Server("127.0.0.1", 0, tls=sttcp.TLS(pem, key))
server.receive_handler(lambda address, connection, data: connection.sendall(data))
server.start()
trusted = sttcp.TLS(trust=ca)
clients = []
for number in range(4):
    client = Client("127.0.0.1", server.port, tls=trusted)
    client.connection_handler(lambda address, connection: connection.sendall(b"x" * 20000))
    client.response_handler(lambda address, connection, data: connection.sendall(data))
    client.start()
    clients.append(client)
print(server.port, flush=True)
sys.stdin.readline()
"""


class ProcessTest(TLSCase):
    def exit_amid_traffic(self, first):
        """What the program printed to stderr, and its exit status."""
        context = ssl_client()
        shaken = Seen()

        def shake_hands(port):
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), DEADLINE) as plain:
                        with context.wrap_socket(plain, server_hostname="localhost"):
                            shaken.tell(port)
                except ConnectionRefusedError:
                    return  # it is gone
                except OSError:
                    pass

        command = [sys.executable, "-c", EXIT, first, certs.path("good.pem"), certs.path("good.key"),
                   certs.path("ca.pem")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True) as program:
            self._made.callback(program.kill)
            port = int(program.stdout.readline())
            threads = [threading.Thread(target=shake_hands, args=(port,)) for _ in range(3)]
            for each in threads:
                each.start()
            for _ in range(20):
                shaken.next()
            said = program.communicate("end\n", timeout=DEADLINE)[1]
            for each in threads:
                each.join()
        return said, program.returncode

    def test_exit_amid_traffic_does_not_crash(self):
        for first in "nobody", "ssl", "hashlib", "sttcp":
            for _ in range(4):
                self.assertEqual(self.exit_amid_traffic(first), ("", 0), first)

    def test_pythons_ssl_in_the_same_process_is_not_disturbed(self):
        """Nor by errors that are left in OpenSSL's queue on either side."""
        seen = Seen()
        server = self.tls_server()

        @server.receive_handler
        def receive(address, connection, data):
            # Fails inside OpenSSL, on this thread.
            with contextlib.suppress(ssl.SSLError):
                ssl.create_default_context().load_cert_chain(certs.path("good.pem"),
                                                             certs.path("other.key"))
            with contextlib.suppress(sttcp.TLSError):
                server_tls("good").add_certificate(certs.path("good.pem"), certs.path("other.key"))
            left, right = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = ssl_client().wrap_bio(left, right, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                secure.do_handshake()
            connection.sendall(data)

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.connect(server)
        for _ in range(20):
            peer.sendall(b"Meow!")
            self.assertEqual(peer.recv(100), b"Meow!")
        peer.unwrap()
        self.assertIsNone(seen.next())
        self.assertEqual(self.raised.rest(), [])

    def test_many_reload_and_connect_at_once(self):
        tls = server_tls()
        server = self.tls_echo(tls)
        failed = Seen()
        stop = threading.Event()

        def reload():
            while not stop.is_set():
                tls.reload()

        def talk():
            try:
                for _ in range(20):
                    peer = self.connect(server)
                    peer.sendall(b"Meow!")
                    if peer.recv(100) != b"Meow!":
                        failed.tell("no answer")
                    peer.close()
            except OSError as error:
                failed.tell(error)

        reloader = threading.Thread(target=reload)
        reloader.start()
        talkers = [threading.Thread(target=talk) for _ in range(4)]
        for each in talkers:
            each.start()
        for each in talkers:
            each.join()
        stop.set()
        reloader.join()
        self.assertEqual(failed.rest(), [])
        self.assertEqual(server.stats().tls_failed, 0)


if __name__ == "__main__":
    unittest.main()
