# SPDX-License-Identifier: MIT
"""Clients that speak TLS, with Python's ssl as the peer."""

import errno
import os
import socket
import tempfile
import unittest

import sttcp
from support import DEADLINE, Seen, wait_for
from tls_support import (TLSCase, certs, client_tls, server_tls, setUpModule, ssl_server,
                         tearDownModule)


class ClientTest(TLSCase):
    def test_it_speaks_with_pythons_ssl(self):
        seen = Seen()

        def serve(secure):
            secure.sendall(secure.recv(100))
            secure.unwrap()

        context = ssl_server()
        context.set_alpn_protocols(["h2"])
        names = Seen()
        context.sni_callback = lambda secure, name, context: names.tell(name)
        port = self.ssl_listener(serve, context)
        client = self.client(port, host="localhost", tls=client_tls(alpn=["h2"]))

        @client.connection_handler
        def begin(address, connection):
            seen.tell(connection.tls)
            connection.sendall(b"Meow!")

        client.response_handler(lambda address, connection, data: seen.tell(data))
        client.disconnection_handler(lambda address, reason: seen.tell(reason))
        client.start()
        info = seen.next()
        self.assertEqual((info.version, info.alpn, info.server_name, info.peer_subject,
                          info.peer_verified),
                         ("TLSv1.3", "h2", "localhost", "CN=good,O=Test", True))
        self.assertEqual(names.next(), "localhost")
        self.assertEqual([seen.next(), seen.next()], [b"Meow!", None])

    def test_it_tells_what_is_wrong_with_the_server(self):
        good = self.tls_echo().port
        error = self.failure(good, tls=True)
        self.assertIs(type(error), sttcp.TLSError)
        error = self.failure(good, tls_name="elsewhere.example")
        self.assertIs(type(error), sttcp.TLSError)
        self.assertIn("elsewhere.example", str(error))
        error = self.failure(self.tls_echo(server_tls("expired")).port)
        self.assertIs(type(error), sttcp.TLSError)
        self.assertIn("expired", str(error))
        self.assertEqual((error.name, error.errno), ("STTCP_ETLS", errno.EPROTO))
        error = self.failure(self.echo_server().port, tls_handshake_timeout=0.05)
        self.assertIsInstance(error, (sttcp.TLSError, sttcp.TimeLimitError))

    def test_it_need_not_know_to_whom(self):
        server = self.tls_echo(server_tls("expired"))
        self.assertEqual(self.failure(server.port, tls=sttcp.TLS(require_peer=False)), "connected")

    def test_its_handshake_takes_so_long_at_most(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(5)
            error = self.failure(listener.getsockname()[1], tls_handshake_timeout=0.05)
        self.assertIs(type(error), sttcp.TimeLimitError)
        self.assertEqual((error.limit, error.name), ("tls_handshake", "STTCP_ETIME_HANDSHAKE"))
        self.assertIn("tls_handshake_timeout", str(error))

    def test_a_name_takes_the_place_of_the_host(self):
        server = self.tls_echo(server_tls("other"))
        self.assertEqual(self.failure(server.port, tls_name="other.example"), "connected")
        with tempfile.TemporaryDirectory() as folder:
            path = "unix:" + os.path.join(folder, "socket")
            local = self.server(host=path, tls=server_tls("other"), start=True)
            self.assertEqual(self.failure(0, host=path, tls_name="x.wild.example"), "connected")
            local.stop(0)

    def test_no_name_is_the_host(self):
        server = self.tls_echo()
        for name in None, sttcp.DEFAULT:
            with sttcp.dial("localhost", server.port, tls=client_tls(), tls_name=name) as dialled:
                self.assertEqual(dialled.tls.server_name, "localhost")
            seen = Seen()
            client = self.client(server.port, host="localhost", tls=client_tls(), tls_name=name)
            client.connection_handler(
                lambda address, connection, seen=seen: seen.tell(connection.tls.server_name))
            client.start()
            self.assertEqual(seen.next(), "localhost")

    def test_it_shows_its_certificate_and_resumes(self):
        seen = Seen()
        server = self.tls_server(server_tls(trust=certs.path("ca.pem"), require_peer=True))

        @server.connection_handler
        def begin(address, connection):
            seen.tell(connection.tls)
            connection.sendall(b"x")

        server.start()
        tls = sttcp.TLS(certs.path("me.pem"), certs.path("me.key"), server_side=False,
                        trust=certs.path("ca.pem"))
        client = self.client(server.port, host="localhost", tls=tls)
        client.connection_handler(lambda address, connection: True)
        client.response_handler(lambda address, connection, data: False)
        resumed = []
        for _ in range(3):
            client.start()
            client.wait()
            info = seen.next()
            self.assertEqual((info.peer_subject, info.peer_verified), ("CN=me,O=Test", True))
            resumed.append(info.resumed)
        self.assertEqual(resumed, [False, True, True])

    def test_one_that_survives_shakes_hands_again(self):
        seen = Seen()
        server = self.tls_server(framing="line")
        server.receive_handler(lambda address, connection, line:
                               connection.fail_now("gone") if line == b"die" else seen.tell(line))
        server.start()
        client = self.client(server.port, host="localhost", tls=client_tls(), reconnect=0.01,
                             framing="line")
        client.start()
        client.send(b"one\n", timeout=DEADLINE)
        self.assertEqual(seen.next(), b"one")
        first = client.connection
        client.send(b"die\n", timeout=DEADLINE)
        wait_for(lambda: client.connection not in (None, first), "another connection")
        client.send(b"two\n", timeout=DEADLINE)
        self.assertEqual(seen.next(), b"two")


if __name__ == "__main__":
    unittest.main()
