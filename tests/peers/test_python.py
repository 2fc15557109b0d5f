# SPDX-License-Identifier: MIT
"""Python's ssl as a peer, in both roles."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import threading
import unittest
from collections.abc import Callable, Iterator

from peers import DEADLINE_S, Pair, PeerCase

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class Clients(PeerCase):
    """Python's clients with our server."""

    def context(self, version: str | None = None, pair: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.root)
        if version:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    @contextlib.contextmanager
    def dial(self, port: int, context: ssl.SSLContext | None = None, name: str = "localhost",
             session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
        context = context or self.context()
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as plain, \
                context.wrap_socket(plain, server_hostname=name, session=session) as conn:
            yield conn

    def receive(self, conn: ssl.SSLSocket, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            data = conn.recv(min(65536, size - len(got)))
            self.assertTrue(data, f"it ended after {len(got)} of {size} bytes")
            got += data
        return bytes(got)

    def echo(self, conn: ssl.SSLSocket, data: bytes) -> None:
        conn.sendall(data)
        self.assertEqual(self.receive(conn, len(data)), data)

    def test_each_version_is_spoken_and_ended_in_order(self) -> None:
        server, port = self.server()
        for version in VERSIONS:
            with self.subTest(version), self.dial(port, self.context(version)) as conn:
                self.assertEqual(conn.version(), version)
                self.echo(conn, b"hello")
                # It waits for our close_notify, and fails without one.
                conn.unwrap().close()
                server.expect("^end OK: ")
        self.stop(server)

    def test_any_number_of_bytes_comes_back(self) -> None:
        _, port = self.server()
        for version in VERSIONS:
            with self.subTest(version), self.dial(port, self.context(version)) as conn:
                for size in (1, 2, 16383, 16384, 16385, 65535, 65536, 65537, 300000):
                    self.echo(conn, random.randbytes(size))

    def test_both_directions_at_once(self) -> None:
        """Ten megabytes, in chunks of any size, while what comes back is read as it comes."""
        _, port = self.server()
        data = random.randbytes(10_000_000)
        with self.dial(port) as conn:
            # One thread: before Python 3.13 two in one SSL object break it.
            conn.setblocking(False)
            got, at, piece = bytearray(), 0, memoryview(b"")
            while len(got) < len(data):
                if not piece and at < len(data):
                    size = random.choice((1, 100, 5000, 16384, 100000))
                    piece = memoryview(data)[at:at + size]
                    at += len(piece)
                ready = select.select([conn], [conn] if piece else [], [], DEADLINE_S)
                self.assertTrue(ready[0] or ready[1], f"{len(got)} bytes have come back")
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    while more := conn.recv(65536):
                        got += more
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    piece = piece[conn.send(piece):] if piece else piece
            self.assertTrue(got == data, "it is not what was sent")

    def test_many_at_once(self) -> None:
        server, port = self.server()
        context = self.context()
        failures: list[BaseException] = []

        def visit() -> None:
            try:
                for _ in range(5):
                    with self.dial(port, context) as conn:
                        for _ in range(5):
                            self.echo(conn, random.randbytes(random.randrange(1, 20000)))
                        conn.unwrap().close()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=visit) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * DEADLINE_S)
        self.assertEqual(failures, [])
        self.stop(server)
        self.assertEqual(sum(line.startswith("end OK") for line in server.lines), 80)

    def test_a_hello_in_single_bytes(self) -> None:
        """The handshake is driven by hand, through memory."""
        _, port = self.server()
        to_us, from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
        shake = self.context().wrap_bio(to_us, from_us, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def pump() -> None:
                for byte in from_us.read():
                    conn.sendall(bytes([byte]))

            while True:
                try:
                    shake.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pump()
                    to_us.write(conn.recv(1))
            pump()
            shake.write(b"hello")
            pump()
            while True:
                try:
                    self.assertEqual(shake.read(5), b"hello")
                    break
                except ssl.SSLWantReadError:
                    to_us.write(conn.recv(1))

    def test_a_resumed_session(self) -> None:
        server, port = self.server()
        for version in VERSIONS:
            with self.subTest(version):
                context = self.context(version)
                session = None
                for resumed in (False, True, True):
                    with self.dial(port, context, session=session) as conn:
                        self.echo(conn, b"hello")
                        self.assertEqual(conn.session_reused, resumed)
                        server.expect(f"^open .* resumed={int(resumed)} ")
                        session = conn.session
                        conn.unwrap().close()

    def test_a_clients_certificate(self) -> None:
        server, port = self.server("-t", self.root, "-r", "required")
        ann = self.certificates.make("ann")
        for version in VERSIONS:
            with self.subTest(version):
                with self.dial(port, self.context(version, ann)) as conn:
                    self.echo(conn, b"hello")
                    server.expect(f"fingerprint={self.certificates.fingerprint(ann)} subject=CN=ann")
                # The alert has to come, and not be killed by a reset.
                with self.assertRaisesRegex(ssl.SSLError, "(?i)alert.*(required|handshake.failure)"):
                    with self.dial(port, self.context(version)) as conn:
                        self.receive(conn, 1)
        self.stop(server)

    def test_a_bad_name_is_refused_by_the_client(self) -> None:
        server, port = self.server()
        with self.assertRaises(ssl.SSLCertVerificationError):
            with self.dial(port, name="b.example"):
                pass
        server.expect("^log [23]: .*alert")
        with self.dial(port) as conn:
            self.echo(conn, b"hello")
        self.stop(server)

    def test_plain_text_is_told(self) -> None:
        server, port = self.server()
        for text, told in ((b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "speaks HTTP, without TLS"),
                           (b"EHLO localhost\r\nMAIL FROM:<ann@a.example>\r\n", "does not speak TLS"),
                           (b"\0" * 100, "does not speak TLS")):
            with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as conn:
                conn.sendall(text)
                with contextlib.suppress(ConnectionResetError):
                    while conn.recv(4096):
                        pass
                server.expect(f"^log [23]: .*{told}")
        with self.dial(port) as conn:
            self.echo(conn, b"hello")
        self.stop(server)


class Servers(PeerCase):
    """Python's server with our client."""

    def serve(self, behave: Callable[[ssl.SSLSocket], None], *, version: str | None = None,
              trusted: str | None = None, times: int = 1) -> int:
        """A server for so many connections: its port."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted)
        context.load_cert_chain(self.good.cert, self.good.key)
        if trusted:
            context.verify_mode = ssl.CERT_REQUIRED
        if version:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE_S)

        def accept() -> None:
            with listener:
                for _ in range(times):
                    plain, _ = listener.accept()
                    plain.settimeout(DEADLINE_S)
                    # What goes wrong here is told by the client.
                    with contextlib.suppress(OSError), plain, \
                            context.wrap_socket(plain, server_side=True) as conn:
                        behave(conn)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE_S)
        return int(listener.getsockname()[1])

    @staticmethod
    def echo(conn: ssl.SSLSocket) -> None:
        while data := conn.recv(65536):
            conn.sendall(data)
        conn.unwrap().close()

    def test_each_version_is_spoken(self) -> None:
        for version in VERSIONS:
            with self.subTest(version):
                client = self.client(self.serve(self.echo, version=version), "-s", "hello\\n", "-e",
                                     "hello")
                client.expect(f"^open version={version} .*verified=1")
                client.expect("^got hello")
                client.expect("^end OK: ")
                self.assertEqual(client.wait(), 0)

    def test_a_client_is_known_by_its_certificate(self) -> None:
        ann = self.certificates.make("ann")

        def tell(conn: ssl.SSLSocket) -> None:
            certificate = conn.getpeercert()
            assert certificate
            conn.sendall(str(certificate["subject"]).encode())
            conn.unwrap().close()

        client = self.client(self.serve(tell, trusted=self.root), "-c", ann.cert, "-k", ann.key)
        client.expect("^got .*'commonName', 'ann'")
        client.expect("^end OK: ")

    def test_a_server_that_asks_in_vain_is_told(self) -> None:
        client = self.client(self.serve(self.echo, trusted=self.root, version="TLSv1.2"))
        client.expect("^unconnected STTCP_ETLS: .*(requires a certificate|handshake failure)")
        client = self.client(self.serve(self.echo, trusted=self.root, version="TLSv1.3"))
        client.expect("^(unconnected|end) STTCP_ETLS: .*requires a certificate")

    def test_sessions_are_resumed(self) -> None:
        for version in VERSIONS:
            with self.subTest(version):
                port = self.serve(self.echo, version=version, times=3)
                client = self.client(port, "-s", "hello\\n", "-e", "hello", "-N", "3")
                for resumed in (0, 1, 1):
                    client.expect(f"^open .*resumed={resumed} ")
                self.assertEqual(client.wait(), 0)

    def test_bytes_and_a_close_notify_at_once(self) -> None:
        """What comes just before the end is delivered before it is told."""
        def say(conn: ssl.SSLSocket) -> None:
            conn.sendall(b"x" * 50000 + b"bye\n")
            conn.unwrap().close()

        client = self.client(self.serve(say))
        client.expect("^got x{50000}bye")
        client.expect("^end OK: ")

    def test_a_fin_without_close_notify_is_a_cut(self) -> None:
        def cut(conn: ssl.SSLSocket) -> None:
            conn.sendall(b"the first half\n")
            socket.socket.shutdown(conn, socket.SHUT_WR)
            with contextlib.suppress(OSError):
                conn.recv(1)

        for version in VERSIONS:
            with self.subTest(version):
                client = self.client(self.serve(cut, version=version))
                client.expect("^got the first half")
                client.expect("^end STTCP_ECUT: ")


if __name__ == "__main__":
    unittest.main()
