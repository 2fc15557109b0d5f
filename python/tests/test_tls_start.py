# SPDX-License-Identifier: MIT
"""start_tls: a connection goes over to TLS."""

import errno
import socket
import ssl
import unittest

import sttcp
from support import DEADLINE, Seen
from tls_support import TLSCase, client_tls, server_tls, setUpModule, ssl_client, tearDownModule


class StartTLSTest(TLSCase):
    def plain_server(self, tls, seen):
        server = self.server(framing="line")

        @server.receive_handler
        def receive(address, connection, line):
            if line != b"STARTTLS":
                seen.tell(connection.tls is not None, line)
                connection.send_message(line.upper())
                return
            connection.send_message(b"go")
            try:
                connection.start_tls(tls)
            except sttcp.Error as error:
                seen.tell(error)

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        return server

    def test_a_server_goes_over_to_it(self):
        seen = Seen()
        server = self.plain_server(server_tls(), seen)
        peer = self.peer(server)
        peer.sendall(b"plain\n")
        self.assertEqual(peer.read(6), b"PLAIN\n")
        # What stands behind the command is never taken for one.
        peer.sendall(b"STARTTLS\n")
        self.assertEqual(peer.read(3), b"go\n")
        secure = ssl_client().wrap_socket(peer, server_hostname="localhost")
        self._made.callback(secure.close)
        secure.sendall(b"secret\n")
        self.assertEqual(secure.recv(100), b"SECRET\n")
        self.assertEqual([seen.next(), seen.next()], [(False, b"plain"), (True, b"secret")])

    def test_commands_in_front_of_it_are_not_injected(self):
        seen = Seen()
        server = self.plain_server(server_tls(), seen)
        peer = self.peer(server)
        peer.sendall(b"STARTTLS\nRSET\n")
        peer.read_all()
        error = seen.next()
        self.assertIs(type(error), sttcp.TLSError)
        self.assertIs(type(seen.next()), sttcp.TLSError)
        self.assertEqual(seen.rest(), [])

    def test_one_that_is_being_read_has_no_tls_yet(self):
        refused = []

        def frame(connection, data):
            try:
                connection.start_tls(client_tls())
            except OSError as error:
                refused.append(error)
            return 0, 1, 1

        with socket.create_server(("127.0.0.1", 0)) as listener:
            with sttcp.dial(*listener.getsockname(), frame=frame, timeout=DEADLINE) as connection:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(b"x")
                    self.assertEqual(connection.recv_message(), b"x")
        self.assertEqual([error.errno for error in refused], [errno.EBUSY])
        self.assertIn("reads", refused[0].strerror)

    def test_a_client_goes_over_to_it(self):
        seen = Seen()
        server = self.plain_server(server_tls(), Seen())
        client = self.client(server.port, framing="line")

        @client.connection_handler
        def begin(address, connection):
            connection.send_message(b"STARTTLS")
            seen.tell(connection.recv_message())
            self.assertIsNone(connection.tls)
            connection.start_tls(client_tls(), "localhost")
            seen.tell(connection.tls.server_name)
            with self.assertRaises(RuntimeError):
                connection.start_tls(client_tls(), "localhost")
            connection.send_message(b"secret")
            return True

        client.response_handler(lambda address, connection, line: seen.tell(line))
        client.start()
        self.assertEqual([seen.next() for _ in range(3)], [b"go", "localhost", b"SECRET"])

    def test_what_fails_is_told(self):
        seen = Seen()
        server = self.plain_server(server_tls("expired"), Seen())
        client = self.client(server.port)

        @client.connection_handler
        def begin(address, connection):
            connection.sendall(b"STARTTLS\n")
            connection.recv(100)
            for tls in True, None, ssl.create_default_context():
                self.assertRaises(TypeError, connection.start_tls, tls)
            self.assertRaises(TypeError, connection.start_tls, client_tls(), 7)
            try:
                connection.start_tls(client_tls(), "localhost")
            except sttcp.Error as error:
                seen.tell(error)
                raise

        client.disconnection_handler(lambda address, reason: seen.tell(reason))
        client.start()
        error = seen.next()
        self.assertIs(type(error), sttcp.TLSError)
        self.assertIn("expired", str(error))
        self.assertIs(type(seen.next()), sttcp.TLSError)

    def test_it_is_for_handlers(self):
        seen = Seen()
        server = self.server()
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()
        self.peer(server)
        with self.assertRaises(sttcp.Error) as caught:
            seen.next().start_tls(server_tls())
        self.assertEqual(caught.exception.name, "EDEADLK")
        self.assertIn("handlers", str(caught.exception))

    def test_a_name_that_is_missing_or_none(self):
        seen = Seen()
        server = self.server()
        tls = client_tls()

        @server.receive_handler
        def receive(address, connection, data):
            for name in None, "db.example:5432":
                with self.assertRaises(ValueError) as caught:
                    connection.start_tls(tls, name)
                seen.tell(str(caught.exception))
            connection.sendall(data)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"Meow!")
        self.assertIn("start_tls needs the name", seen.next())
        text = seen.next()
        self.assertIn("no certificate can be for", text)
        self.assertIn("without a port", text)
        self.assertNotIn("sttcp_conn", text)
        self.assertEqual(peer.read(5), b"Meow!")

    def test_what_is_wrong_with_the_object_changes_nothing(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            try:
                connection.start_tls(server_tls(require_peer=True))
            except sttcp.TLSError as error:
                seen.tell(str(error))
            connection.sendall(data)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"Meow!")
        self.assertEqual(peer.read(5), b"Meow!")
        self.assertIn("TLS.trust", seen.next())


if __name__ == "__main__":
    unittest.main()
