# SPDX-License-Identifier: MIT
"""HAProxy on the other end: as a client of our server, and in front of our client."""

from __future__ import annotations

import os
import socket
import unittest
from pathlib import Path

from peers import DEADLINE_S, EchoServer, Pair, PeerCase, Program, need

CONFIG = """
global
    maxconn 200
defaults
    mode tcp
    log stdout format raw local0
    timeout connect 20s
    timeout client 20s
    timeout server 20s
    option tcplog
listen front
    bind fd@{descriptor} {bind}
    server back {server}
"""


class Haproxy(PeerCase):
    ann: Pair

    @classmethod
    def setUpClass(cls) -> None:
        need("haproxy")
        super().setUpClass()
        cls.ann = cls.certificates.make("ann")

    def bundle(self, name: str, cert: str, key: str) -> str:
        """HAProxy wants both in one file."""
        return self.certificates.write(name, Path(cert).read_text() + Path(key).read_text())

    def haproxy(self, *, bind: str = "", server: str) -> tuple[Program, int]:
        """It inherits its listening socket, so that nobody else can have the port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            config = self.certificates.write("haproxy.cfg", CONFIG.format(
                descriptor=listener.fileno(), bind=bind,
                server=server))
            return self.start("haproxy", "-db", "-f", config, descriptors=(listener.fileno(),)), port

    def test_it_goes_on_to_our_server(self) -> None:
        server, port = self.server("-t", self.root, "-r", "required", "-a", "irc")
        ann = self.bundle("ann.both", self.ann.cert, self.ann.key)
        for version in ("TLSv1.2", "TLSv1.3"):
            with self.subTest(version):
                _, front = self.haproxy(server=f"127.0.0.1:{port} ssl verify required ca-file {self.root} "
                                        f"sni str(localhost) verifyhost localhost crt {ann} alpn irc "
                                        f"ssl-min-ver {version} ssl-max-ver {version}")
                for data in (b"hello", os.urandom(1_000_000), b"again"):
                    self.echo(front, data)
                server.expect(f"^open version={version} .*alpn=irc name=localhost verified=1 resumed=0 .*"
                              "subject=CN=ann$")
                server.expect("^open .*resumed=1 ")
        self.stop(server)

    def test_its_checks_with_tls(self) -> None:
        server, port = self.server()
        # A check may take as long as the time between two.
        haproxy, _ = self.haproxy(server=f"127.0.0.1:{port} ssl verify required ca-file {self.root} "
                                  f"check check-ssl check-sni localhost inter 1s fall 1")
        for _ in range(3):
            server.expect("^open .*name=localhost ")
        self.assertFalse(haproxy.says("is DOWN"), str(haproxy))
        self.stop(server)

    def test_it_refuses_a_name_that_is_not_ours(self) -> None:
        server, port = self.server()
        _, front = self.haproxy(server=f"127.0.0.1:{port} ssl verify required ca-file {self.root} "
                                "sni str(b.example) verifyhost b.example")
        with socket.create_connection(("127.0.0.1", front), DEADLINE_S) as conn:
            conn.sendall(b"hello")
            try:
                self.assertEqual(conn.recv(1), b"")
            except ConnectionResetError:
                pass
        server.expect("^log [23]: .*alert")
        self.stop(server)

    def test_it_terminates_in_front_of_our_client(self) -> None:
        echo = EchoServer()
        self.addCleanup(echo.close)
        good = self.bundle("good.both", self.good.cert, self.good.key)
        for version in ("TLSv1.2", "TLSv1.3"):
            with self.subTest(version):
                _, front = self.haproxy(server=f"127.0.0.1:{echo.port}",
                                        bind=f"ssl crt {good} ca-file {self.root} verify required alpn irc "
                                        f"ssl-min-ver {version} ssl-max-ver {version}")
                client = self.client(front, "-c", self.ann.cert, "-k", self.ann.key, "-s", "hello\\n",
                                     "-e", "hello", "-N", "3", "-a", "irc")
                for resumed in (0, 1, 1):
                    client.expect(f"^open version={version} .*alpn=irc .*verified=1 resumed={resumed} ")
                    client.expect("^got hello")
                    client.expect("^end OK: ")
                self.assertEqual(client.wait(), 0)


if __name__ == "__main__":
    unittest.main()
