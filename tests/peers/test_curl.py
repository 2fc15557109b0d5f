# SPDX-License-Identifier: MIT
"""curl as a client of our server."""

from __future__ import annotations

import subprocess
import unittest

from peers import DEADLINE_S, PeerCase, need

BAD_CERTIFICATE = 60
ERROR_IN_TLS = (35, 56)  # in the handshake; with TLS 1.3 the server says no behind it


class Curl(PeerCase):
    @classmethod
    def setUpClass(cls) -> None:
        need("curl")
        super().setUpClass()

    def curl(self, port: int, *arguments: str, name: str = "localhost") -> tuple[int, str]:
        """Its status and what it has printed."""
        done = subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", str(int(DEADLINE_S)),
                               "--resolve", f"{name}:{port}:127.0.0.1", "--cacert", self.root, *arguments,
                               f"https://{name}:{port}/"], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def expect_answer(self, answer: tuple[int, str], text: str) -> None:
        self.assertEqual(answer[0], 0, answer[1])
        self.assertIn(text, answer[1])

    def test_each_version_is_spoken(self) -> None:
        server, port = self.server("-H", "-a", "http/1.1")
        for arguments, version in ((("--tlsv1.3",), "TLSv1.3"),
                                   (("--tlsv1.2", "--tls-max", "1.2"), "TLSv1.2")):
            with self.subTest(version):
                self.expect_answer(self.curl(port, *arguments), f"version={version} name=localhost")
                server.expect("^open .*alpn=http/1.1 ")
                server.expect("^end STTCP_ECLOSED: ")
        self.stop(server)

    def test_a_protocol_that_is_not_spoken(self) -> None:
        server, port = self.server("-H", "-a", "smtp")
        status, text = self.curl(port)
        self.assertIn(status, ERROR_IN_TLS)
        self.assertIn("no application protocol", text)
        self.stop(server)

    def test_bad_certificates_are_refused(self) -> None:
        make = self.certificates.make
        for pair in (make("expired", end="20210131000000Z"), make("future", start="20980101000000Z"),
                     make("wrong", "DNS:b.example"), make("own", issuer="")):
            with self.subTest(pair.cert):
                server, port = self.server("-H", pair=pair)
                status, text = self.curl(port)
                self.assertEqual(status, BAD_CERTIFICATE, text)
                # In the handshake, or, where the name is wrong, by an orderly end behind it.
                server.expect("^(log 2: .*alert|end OK)")
                self.expect_answer(self.curl(port, "-k"), "version=TLSv1.3")
                self.stop(server)

    def test_certificates_of_several_kinds(self) -> None:
        make = self.certificates.make
        make("between", authority=True)
        wild = make("wild", "DNS:*.a.example")
        rsa = make("rsa", "DNS:b.example", key="rsa")
        leaf = make("leaf", "DNS:c.example", issuer="between")
        server, port = self.server("-H", "-c", wild.cert, "-k", wild.key, "-c", rsa.cert, "-k", rsa.key,
                                   "-c", leaf.cert, "-k", leaf.key)
        for name in ("localhost", "x.a.example", "b.example", "c.example"):
            with self.subTest(name):
                self.expect_answer(self.curl(port, name=name), f"name={name} ")
        self.expect_answer(self.curl(port, name="127.0.0.1"), "name= ")
        self.stop(server)

    def test_a_clients_certificate(self) -> None:
        ann = self.certificates.make("ann")
        server, port = self.server("-H", "-t", self.root, "-r", "required")
        for version in ("1.2", "1.3"):
            with self.subTest(version):
                limit = (f"--tlsv{version}", "--tls-max", version)
                self.expect_answer(self.curl(port, "--cert", ann.cert, "--key", ann.key, *limit),
                                   "subject=CN=ann")
                status, text = self.curl(port, *limit)
                self.assertIn(status, ERROR_IN_TLS)
                self.assertRegex(text, "alert (certificate required|handshake failure)")
        self.stop(server)

    def test_plain_http_is_told(self) -> None:
        server, port = self.server("-H")
        done = subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", str(int(DEADLINE_S)),
                               f"http://127.0.0.1:{port}/"], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        server.expect("^log [23]: .*speaks HTTP, without TLS")
        self.expect_answer(self.curl(port), "version=TLSv1.3")
        self.stop(server)


if __name__ == "__main__":
    unittest.main()
