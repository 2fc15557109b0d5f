# SPDX-License-Identifier: MIT
"""Servers that speak TLS, with Python's ssl as the peer."""

import errno
import os
import pathlib
import shutil
import socket
import ssl
import tempfile
import unittest

import sttcp
from support import Seen, forks_beside_threads, run_python, wait_for
from tls_support import (TLSCase, certs, read_to_end, say_and_hear, server_tls, setUpModule,
                         ssl_client, tearDownModule)


class ServerTest(TLSCase):
    def test_it_speaks_with_pythons_ssl(self):
        seen = Seen()
        server = self.tls_server()
        server.connection_handler(lambda address, connection: seen.tell(connection.tls))
        server.receive_handler(lambda address, connection, data: connection.sendall(data))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = ssl_client(minimum_version=version, maximum_version=version)
            peer = self.connect(server, context)
            peer.sendall(b"Meow!")
            self.assertEqual(peer.recv(100), b"Meow!")
            info = seen.next()
            self.assertIsInstance(info, sttcp.TLSInfo)
            self.assertEqual((info.version, info.cipher), (peer.version(), peer.cipher()[0]))
            self.assertEqual(info[2:], ("", "localhost", "", "", None, False, False))
            peer.unwrap()
            self.assertIsNone(seen.next())
        self.assertEqual(server.stats().tls_failed, 0)

    def test_much_goes_both_ways(self):
        server = self.tls_echo()
        peer = self.connect(server)
        data = os.urandom(1 << 16) * 64
        back = say_and_hear(peer, data)
        self.assertTrue(back == data, (len(back), len(data)))

    def test_handlers_read_and_send_in_all_ways(self):
        server = self.tls_server(framing="line")

        @server.connection_handler
        def talk(address, connection):
            connection.send_message(b"who?")
            name = connection.recv_message()
            size = connection.next_size()
            connection.sendmsg([b"hello ", name, b"%d\n" % size])
            with connection.makefile("rwb") as file:
                file.write(file.readline())
            connection.join("room")
            connection.try_send(b"tried\n")

        server.receive_handler(lambda address, connection, line: server.broadcast_message(
            line + b"!", room="room"))
        server.start()
        peer = self.connect(server)
        lines = peer.makefile("rwb", 0)
        self.assertEqual(lines.readline(), b"who?\n")
        lines.write(b"Tom\n123\n")
        self.assertEqual([lines.readline() for _ in range(3)], [b"hello Tom3\n", b"123\n", b"tried\n"])
        lines.write(b"all\n")
        self.assertEqual(lines.readline(), b"all!\n")

    def test_certificate_is_that_of_the_name(self):
        server = self.tls_echo(server_tls(certificates=[
            (certs.path("other.pem"), certs.path("other.key"))]))
        for name in "localhost", "other.example", "a.wild.example":
            peer = self.connect(server, name=name)
            names = dict(part[0] for part in peer.getpeercert()["subject"])
            self.assertEqual(names["commonName"], "good" if name == "localhost" else "other")

    def test_protocols_are_agreed_upon(self):
        seen = Seen()
        server = self.tls_server(server_tls(alpn=["h2", "http/1.1"]))
        server.connection_handler(lambda address, connection: seen.tell(connection.tls.alpn))
        server.start()
        for offered, chosen in ((["http/1.1", "h2"], "h2"), (["x", "http/1.1"], "http/1.1"), ([], "")):
            context = ssl_client()
            if offered:
                context.set_alpn_protocols(offered)
            peer = self.connect(server, context)
            self.assertEqual(peer.selected_alpn_protocol() or "", chosen)
            self.assertEqual(seen.next(), chosen)
        context = ssl_client()
        context.set_alpn_protocols(["nothing"])
        self.assertRaises(ssl.SSLError, self.connect, server, context)

    def test_clients_show_certificates(self):
        seen = Seen()
        server = self.tls_server(server_tls(trust=certs.path("ca.pem"), require_peer=True))
        server.connection_handler(lambda address, connection: seen.tell(connection.tls))
        server.start()
        context = ssl_client()
        context.load_cert_chain(certs.path("me.pem"), certs.path("me.key"))
        peer = self.connect(server, context)
        info = seen.next()
        self.assertEqual((info.peer_subject, info.peer_verified), ("CN=me,O=Test", True))
        der = ssl.PEM_cert_to_DER_cert(pathlib.Path(certs.path("me.pem")).read_text())
        self.assertEqual(info.peer_certificate, der)
        import hashlib
        self.assertEqual(info.peer_fingerprint, hashlib.sha256(der).hexdigest())
        peer.close()
        context = ssl_client(maximum_version=ssl.TLSVersion.TLSv1_2)
        with self.assertRaises(OSError):
            self.connect(server, context)
        wait_for(lambda: server.stats().tls_failed == 1, "a failed handshake")

    def test_what_is_no_tls_runs_no_handler(self):
        seen = Seen()
        server = self.tls_server()
        server.universal_handler(lambda kind, *rest: seen.tell(kind))
        server.start()
        for sent in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\0" * 100:
            peer = self.peer(server)
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            peer.read_all()
        wait_for(lambda: server.stats().tls_failed == 3, "three failed handshakes")
        self.assertEqual(seen.rest(), [])
        self.assertEqual(server.count, 0)

    def test_a_handshake_takes_so_long_at_most(self):
        server = self.tls_server(tls_handshake_timeout=0.05)
        server.start()
        peer = self.peer(server)
        self.assertEqual(peer.read_all(), b"")
        wait_for(lambda: server.stats().tls_failed == 1, "a failed handshake")

    def test_one_that_was_cut_is_told_from_an_end(self):
        seen = Seen()
        server = self.tls_server()
        server.connection_handler(lambda address, connection: seen.tell("connected"))
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.connect(server)
        peer.sendall(b"Meow!")
        self.assertEqual([seen.next(), seen.next()], ["connected", b"Meow!"])
        peer.shutdown(socket.SHUT_RDWR)
        reason = seen.next()
        self.assertIs(type(reason), sttcp.CutError)
        self.assertEqual(reason.name, "STTCP_ECUT")
        self.assertNotIsInstance(reason, sttcp.TLSError)

    def test_recv_tells_a_cut(self):
        seen = Seen()
        server = self.tls_server()

        @server.connection_handler
        def read(address, connection):
            try:
                while True:
                    seen.tell(connection.recv(100))
            except sttcp.Error as error:
                seen.tell(error)

        server.start()
        peer = self.connect(server)
        peer.sendall(b"Meow!")
        self.assertEqual(seen.next(), b"Meow!")
        peer.shutdown(socket.SHUT_RDWR)
        self.assertIs(type(seen.next()), sttcp.CutError)

    def test_what_is_no_record_is_told(self):
        seen = Seen()
        server = self.tls_server()
        server.connection_handler(lambda address, connection: seen.tell("connected"))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.connect(server)
        self.assertEqual(seen.next(), "connected")
        with socket.socket(fileno=os.dup(peer.fileno())) as plain:
            plain.sendall(b"Meow! " * 100)
            reason = seen.next()
        self.assertIs(type(reason), sttcp.TLSError)
        self.assertEqual((reason.name, reason.errno), ("STTCP_ETLS", errno.EPROTO))

    def test_it_cannot_be_detached(self):
        seen = Seen()
        server = self.tls_server()

        @server.connection_handler
        def detach(address, connection):
            with self.assertRaises(OSError) as caught:
                connection.detach()
            seen.tell(caught.exception.errno)

        server.start()
        self.connect(server)
        self.assertEqual(seen.next(), errno.EOPNOTSUPP)

    def test_reload_is_for_handshakes_to_come(self):
        with tempfile.TemporaryDirectory() as folder:
            pem, key = (os.path.join(folder, "now" + end) for end in (".pem", ".key"))

            def install(name):
                shutil.copy(certs.path(name + ".pem"), pem)
                shutil.copy(certs.path(name + ".key"), key)

            install("good")
            tls = sttcp.TLS(pem, key)
            server = self.tls_echo(tls)
            first = self.connect(server)
            install("other")
            tls.reload()
            second = self.connect(server, name="other.example")
            shutil.copy(certs.path("good.key"), key)
            with self.assertRaises(sttcp.TLSError) as caught:
                server.tls.reload()
            self.assertIn(key, str(caught.exception))
            os.unlink(pem)
            with self.assertRaises(FileNotFoundError) as caught:
                tls.reload()
            self.assertEqual(caught.exception.filename, pem)
            third = self.connect(server, name="other.example")
            for peer in first, second, third:
                peer.sendall(b"Meow!")
                self.assertEqual(peer.recv(100), b"Meow!")

    def test_a_stop_ends_in_order(self):
        seen = Seen()
        server = self.tls_server()
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()
        peer = self.connect(server)
        seen.next().sendall(b"bye")
        server.stop(0)
        # With suppress_ragged_eofs off an end without close_notify would raise.
        self.assertEqual(read_to_end(peer, 100), b"bye")

    @forks_beside_threads
    def test_its_calls_fail_in_a_forked_child(self):
        said = run_python("""
import os, sys, sttcp
from sttcp.server import Server
tls = sttcp.TLS(sys.argv[1], sys.argv[2])
server = Server("127.0.0.1", 0, tls=tls)
server.start()
child = os.fork()
if child == 0:
    try:
        tls.reload()
    except sttcp.Error as error:
        print(error.name, isinstance(error, RuntimeError), flush=True)
    del tls
    os._exit(0)
os.waitpid(child, 0)
tls.reload()
server.stop(0)
""", certs.path("good.pem"), certs.path("good.key")).stdout
        self.assertEqual(said, "STTCP_EFORK True\n")


if __name__ == "__main__":
    unittest.main()
