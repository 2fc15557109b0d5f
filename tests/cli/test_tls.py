# SPDX-License-Identifier: MIT
"""TLS of the sttcp command, with openssl as the peer, and with itself."""

import signal
import ssl
import subprocess
import unittest

from support import Case, has_tls


@unittest.skipUnless(has_tls(), "built without TLS")
class Tls(Case):
    def setUp(self) -> None:
        super().setUp()
        self.cert, self.key = self.certificate()
        self.pair = f"{self.cert},{self.key}"

    def test_openssl_talks_to_echo(self) -> None:
        server = self.serve("echo", "--tls", self.pair)
        client = self.run_program("openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile",
                                  self.cert, "-connect", f"localhost:{server.port}",
                                  stdin=subprocess.PIPE)
        client.type("over TLS\n")
        client.out.wait_for("over TLS")

    def test_connect_talks_to_echo(self) -> None:
        echo = self.serve("echo", "--tls", self.pair)
        client = self.sttcp("connect", "--tls", "--ca", self.cert, f"127.0.0.1:{echo.port}",
                            stdin=subprocess.PIPE)
        client.type("with itself\n")
        client.out.wait_for("with itself")
        client.err.wait_for(r"connected to 127\.0\.0\.1:\d+, TLSv1\.3, TLS_")
        client.end_input()
        client.ends_with(0)

    def test_connect_talks_to_another_server(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        listener = self.listen()
        client = self.sttcp("connect", "--tls", "--ca", self.cert,
                            f"localhost:{listener.getsockname()[1]}", stdin=subprocess.PIPE)
        client.type("hello\n")
        with context.wrap_socket(self.accept(listener), server_side=True) as peer:
            self.assertEqual(peer.recv(6), b"hello\n")
            client.end_input()
            self.assertEqual(peer.recv(1), b"")
        client.wait()

    def test_an_unknown_certificate_is_refused_with_advice(self) -> None:
        server = self.serve("echo", "--tls", self.pair)
        self.fails(3, "not trusted; --ca FILE .*--insecure", "connect", "--tls",
                   f"localhost:{server.port}")
        self.fails(3, "not for other; --tls-name NAME", "connect", "--tls", "--ca", self.cert,
                   "--tls-name", "other", f"localhost:{server.port}")
        client = self.sttcp("connect", "--tls", "--insecure", f"localhost:{server.port}",
                            stdin=subprocess.DEVNULL)
        client.ends_with(0)

    def test_the_advice_is_not_the_peer_s(self) -> None:
        self.cert, self.key = self.certificate("DNS:trusted,DNS:not trusted")
        server = self.serve("echo", "--tls", f"{self.cert},{self.key}")
        self.fails(3, r"the certificate is for trusted, not trusted, not for localhost; --tls-name NAME expects another name, and "
                   r"--insecure any$", "connect", "--tls", "--ca", self.cert, f"localhost:{server.port}")

    def test_a_name_that_is_none_is_told_once(self) -> None:
        for words in (["connect"], ["bench"], ["send", self.cert]):
            program = self.sttcp(*words, "--tls", "--tls-name", "no name", "localhost:1")
            program.ends_with(3)
            self.assertEqual(program.err.text().count("no name"), 1, program.err.text())
            self.assertIn("--tls-name is a DNS name or an address", program.err.text())

    def test_a_name_that_is_missing_is_asked_for_by_its_option(self) -> None:
        for words in (["connect"], ["bench"], ["send", self.cert]):
            self.fails(3, "unix:@nobody: --tls needs --tls-name with a Unix socket", *words, "--tls", "unix:@nobody")

    def test_a_client_s_certificate_is_asked_for(self) -> None:
        server = self.serve("echo", "--tls", self.pair, "--client-ca", self.cert)
        client = self.sttcp("connect", "--tls", "--ca", self.cert, "--cert", self.pair,
                            f"localhost:{server.port}", stdin=subprocess.PIPE)
        client.type("known\n")
        client.out.wait_for("known")
        stranger = self.sttcp("connect", "--tls", "--ca", self.cert, f"localhost:{server.port}",
                              stdin=subprocess.PIPE)
        self.assertIn(stranger.wait(), (1, 3))

    def test_sighup_reads_the_certificate_again(self) -> None:
        server = self.serve("echo", "--tls", self.pair)
        server.signal(signal.SIGHUP)
        server.err.wait_for("the certificate was read again")
        self.cert.write_text("nonsense")
        server.signal(signal.SIGHUP)
        server.err.wait_for(f"the certificate stays as it was: .*{self.cert.name}")
        server.signal()
        server.ends_with(0)

    def test_proxy_ends_tls_and_begins_it(self) -> None:
        echo = self.serve("echo", "--tls", self.pair)
        begins = self.serve("proxy", "--target-tls", "--target-ca", self.cert, f"127.0.0.1:{echo.port}")
        ends = self.serve("proxy", "--tls", self.pair, f"127.0.0.1:{begins.port}")
        context = ssl.create_default_context(cafile=str(self.cert))
        with context.wrap_socket(self.dial(ends.port), server_hostname="localhost") as peer:
            peer.sendall(b"through both")
            self.assertEqual(peer.recv(12), b"through both")

    def test_dump_sees_what_is_encrypted(self) -> None:
        echo = self.serve("echo", "--tls", self.pair)
        dump = self.serve("dump", "--tls", self.pair, "--target-tls", "--target-ca", self.cert,
                          f"127.0.0.1:{echo.port}")
        context = ssl.create_default_context(cafile=str(self.cert))
        with context.wrap_socket(self.dial(dump.port), server_hostname="localhost") as peer:
            peer.sendall(b"secret\n")
            self.assertEqual(peer.recv(7), b"secret\n")
        dump.out.wait_for(r"#1 > secret\\n")
        dump.out.wait_for(r"#1 < secret\\n")

    def test_exec_and_transfer_over_tls(self) -> None:
        server = self.serve("exec", "--tls", self.pair, "--", "tr", "a-z", "A-Z")
        client = self.sttcp("connect", "--tls", "--ca", self.cert, f"localhost:{server.port}",
                            stdin=subprocess.PIPE)
        client.type("shout\n")
        client.end_input()
        client.ends_with(0)
        self.assertEqual(client.out.text(), "SHOUT\n")
        source, target = self.folder / "source", self.folder / "target"
        source.write_bytes(bytes(range(256)) * 10_000)
        receiver = self.serve("receive", "--tls", self.pair, target)
        sender = self.sttcp("send", "--wait", "1m", "--tls", "--ca", self.cert, source,
                            f"localhost:{receiver.port}")
        sender.ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(target.read_bytes(), source.read_bytes())

    def test_bench_over_tls(self) -> None:
        server = self.serve("echo", "--tls", self.pair)
        bench = self.sttcp("bench", "-c", "2", "-t", "1", "--tls", "--ca", self.cert,
                           f"localhost:{server.port}")
        bench.ends_with(0)
