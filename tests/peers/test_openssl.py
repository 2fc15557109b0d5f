# SPDX-License-Identifier: MIT
"""The openssl command as a peer: s_client with our server, s_server with our client."""

from __future__ import annotations

import signal
import socket
import struct
import unittest

from peers import PROGRAMS, Pair, PeerCase, Program

WEAK = "ALL:@SECLEVEL=0"  # OpenSSL 3 speaks nothing below TLS 1.2 at a higher level


class Clients(PeerCase):
    """s_client with our server."""

    def s_client(self, port: int, *arguments: str) -> Program:
        return self.start("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.root,
                          "-verify_return_error", *arguments)

    def talk(self, program: Program, text: str = "hello") -> None:
        program.say(f"{text}\n")
        program.expect(f"{text}$")  # what s_client says of itself may stand in front

    def end(self, client: Program, server: Program) -> None:
        """The end of its input is the end of the connection, in order."""
        client.end_input()
        self.assertEqual(client.wait(), 0)
        server.expect(r"^end OK: ")

    def test_each_version_is_spoken(self) -> None:
        server, port = self.server()
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            with self.subTest(version):
                client = self.s_client(port, option, "-brief", "-verify_hostname", "localhost")
                client.expect(f"Protocol version: {version}")
                client.expect("Verification: OK")
                server.expect(f"^open version={version} cipher=\\S+ alpn= name= ")
                self.talk(client)
                self.end(client, server)
        self.stop(server)

    def test_versions_that_are_not_allowed_are_refused(self) -> None:
        server, port = self.server("-v", "13-13")
        client = self.s_client(port, "-tls1_2")
        client.expect("alert protocol version")
        self.assertEqual(client.wait(), 1)
        server.expect("^log [23]: .*speaks no version of TLS that is allowed here")
        old = self.s_client(port, "-tls1_1", "-cipher", WEAK)
        old.expect("alert protocol version")
        server.expect("^log [23]: .*speaks no version of TLS that is allowed here")
        newest = self.s_client(port, "-brief")
        self.talk(newest)
        self.end(newest, server)
        self.stop(server)

    def test_no_common_cipher_is_told(self) -> None:
        server, port = self.server("-C", "ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256")
        for arguments in (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
                          ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384")):
            with self.subTest(arguments[0]):
                client = self.s_client(port, *arguments)
                client.expect("alert handshake failure")
                self.assertEqual(client.wait(), 1)
                server.expect("^log [23]: .*no cipher that both sides allow")
        client = self.s_client(port, "-brief")
        client.expect("Ciphersuite: TLS_AES_128_GCM_SHA256")
        self.stop(server)

    def test_the_name_chooses_the_certificate(self) -> None:
        other = self.certificates.make("other", "DNS:b.example")
        wild = self.certificates.make("wild", "DNS:*.c.example", key="rsa")
        server, port = self.server("-c", other.cert, "-k", other.key, "-c", wild.cert, "-k", wild.key)
        for name, subject in (("b.example", "other"), ("x.c.example", "wild"), ("localhost", "good"),
                              ("unknown.example", "good")):
            with self.subTest(name):
                verify = () if name == "unknown.example" else ("-verify_hostname", name)
                client = self.s_client(port, "-servername", name, "-brief", *verify)
                client.expect(f"Peer certificate: CN = {subject}")
                client.expect("Verification: OK")
                server.expect(f"^open .* name={name} ")
                self.talk(client)
                self.end(client, server)
        client = self.s_client(port, "-noservername", "-brief")
        client.expect("Peer certificate: CN = good")
        server.expect("^open .* name= ")
        self.stop(server)

    def test_of_two_keys_the_one_that_the_client_can_use(self) -> None:
        rsa = self.certificates.make("rsa", key="rsa")
        server, port = self.server("-c", rsa.cert, "-k", rsa.key)
        for subject, version, *arguments in (
                ("good", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"),
                ("rsa", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
                ("good", "-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"),
                ("rsa", "-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256")):
            with self.subTest(subject + version):
                client = self.s_client(port, version, "-brief", "-servername", "localhost", *arguments)
                client.expect(f"Peer certificate: CN = {subject}")
                self.talk(client)
        self.stop(server)

    def test_the_servers_order_of_protocols_decides(self) -> None:
        server, port = self.server("-a", "h2,irc")
        client = self.s_client(port, "-alpn", "irc,h2")
        client.expect("ALPN protocol: h2")
        server.expect("^open .* alpn=h2 ")
        client = self.s_client(port)
        client.expect("No ALPN negotiated")
        server.expect("^open .* alpn= ")
        client = self.s_client(port, "-alpn", "smtp")
        client.expect("alert no application protocol")
        server.expect("^log [23]: .*no ALPN protocol that is spoken here")
        self.stop(server)

    def test_clients_are_known_by_their_certificates(self) -> None:
        ann = self.certificates.make("ann", "email:ann@a.example")
        between = self.certificates.make("between", authority=True)
        bob = self.certificates.make("bob", "email:bob@b.example", issuer="between")
        del between
        server, port = self.server("-t", self.root, "-r", "required")
        for version in ("-tls1_2", "-tls1_3"):
            for pair, name in ((ann, "ann"), (bob, "bob")):
                with self.subTest(version + name):
                    client = self.s_client(port, version, "-brief", "-cert", pair.cert, "-cert_chain",
                                           pair.cert, "-key", pair.key)
                    server.expect(f"^open .* verified=1 .*fingerprint={self.certificates.fingerprint(pair)} "
                                  f"subject=CN={name}$")
                    self.talk(client)
                    self.end(client, server)
        self.stop(server)

    def test_clients_with_a_bad_certificate_are_refused(self) -> None:
        stranger = self.certificates.make("stranger", issuer="")
        expired = self.certificates.make("expired", end="20210131000000Z")
        server, port = self.server("-t", self.root, "-r", "required")
        none = Pair("", "")
        for version, pair, alert, text in (
                ("-tls1_3", none, "alert certificate required", "has shown no certificate"),
                ("-tls1_2", none, "alert handshake failure", "has shown no certificate"),
                ("-tls1_3", stranger, "alert unknown ca", "is self-signed and not trusted"),
                ("-tls1_2", stranger, "alert unknown ca", "is self-signed and not trusted"),
                ("-tls1_3", expired, "alert certificate expired", "has expired on 2021-01-31"),
                ("-tls1_2", expired, "alert certificate expired", "has expired on 2021-01-31")):
            with self.subTest(version + text):
                own = ("-cert", pair.cert, "-key", pair.key) if pair.cert else ()
                client = self.s_client(port, version, *own)
                client.expect(alert)
                self.assertEqual(client.wait(), 1)
                server.expect(f"^log [23]: .*{text}")
        self.assertFalse(server.says("^open "), str(server))
        self.stop(server)

    def test_who_is_asked_may_have_none(self) -> None:
        server, port = self.server("-t", self.root, "-r", "asked")
        client = self.s_client(port, "-brief")
        server.expect("^open .* verified=0 .* fingerprint= subject=$")
        self.talk(client)
        self.end(client, server)
        self.stop(server)

    def test_sessions_are_resumed(self) -> None:
        server, port = self.server()
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                session = self.certificates.path(f"session{version}")
                client = self.s_client(port, version, "-sess_out", session)
                server.expect("^open .* resumed=0 ")
                self.talk(client)  # with TLS 1.3 the tickets come before that
                self.end(client, server)
                client = self.s_client(port, version, "-sess_in", session)
                client.expect("^Reused, ")
                server.expect("^open .* resumed=1 ")
                self.talk(client)
                self.end(client, server)
        self.stop(server)

    def test_who_shows_a_certificate_resumes_with_it(self) -> None:
        ann = self.certificates.make("ann")
        server, port = self.server("-t", self.root, "-r", "required")
        session = self.certificates.path("session-of-ann")
        for option, resumed in (("-sess_out", 0), ("-sess_in", 1)):
            client = self.s_client(port, option, session, "-cert", ann.cert, "-key", ann.key)
            server.expect(f"^open .* verified=1 resumed={resumed} .* subject=CN=ann$")
            self.talk(client)
            self.end(client, server)
        self.stop(server)

    def test_reconnecting_resumes_each_time(self) -> None:
        server, port = self.server()
        client = self.s_client(port, "-tls1_2", "-reconnect")
        server.expect("^open .* resumed=0 ")
        for _ in range(5):
            server.expect("^open .* resumed=1 ")
        self.talk(client)
        self.stop(server)

    def test_keys_are_updated_by_either_side(self) -> None:
        server, port = self.server()
        client = self.s_client(port, "-tls1_3")
        server.expect("^open ")
        for command in ("k", "K", "K", "k"):  # K asks for an answer
            client.say(f"{command}\n")
            client.expect("KEYUPDATE$")
            self.talk(client, f"after{command}")
        self.end(client, server)
        self.stop(server)

    def test_nobody_renegotiates(self) -> None:
        server, port = self.server()
        client = self.s_client(port, "-tls1_2")
        server.expect("^open ")
        client.say("R\n")
        client.expect("RENEGOTIATING$")
        client.expect("no renegotiation")
        other = self.s_client(port, "-brief")
        self.talk(other)
        self.stop(server)

    def test_an_end_without_close_notify_is_a_cut(self) -> None:
        server, port = self.server()
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                client = self.s_client(port, version)
                server.expect("^open ")
                self.talk(client)
                client.kill()
                server.expect("^end STTCP_ECUT: .*without TLS's close_notify")
        self.stop(server)

    def test_a_stop_sends_close_notify(self) -> None:
        server, port = self.server()
        client = self.s_client(port, "-msg")
        server.expect("^open ")
        self.talk(client)
        self.stop(server)
        client.expect("<<< TLS 1.3, Alert .* close_notify")

    def test_a_handshake_that_is_left_is_no_connection(self) -> None:
        server, port = self.server()
        # Who sends nothing has only looked whether somebody listens: an information, no warning.
        with socket.create_connection(("127.0.0.1", port)):
            pass
        server.expect("^log 3: .*ended the connection during the TLS handshake")
        with socket.create_connection(("127.0.0.1", port)) as conn:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
        server.expect("^log 3: .*ended: ECONNRESET")
        with socket.create_connection(("127.0.0.1", port)) as conn:
            conn.sendall(b"\x16\x03\x01\x02\x00\x01")
        server.expect("^log 2: .*ended the connection during the TLS handshake")
        client = self.s_client(port, "-brief")
        self.talk(client)
        self.end(client, server)
        self.stop(server)
        self.assertEqual(sum(line.startswith("open ") for line in server.lines), 1, str(server))

    def test_a_chain_is_sent_whole(self) -> None:
        self.certificates.make("between", authority=True)
        self.certificates.make("below", authority=True, issuer="between")
        server, port = self.server(pair=self.certificates.make("leaf", issuer="below"))
        client = self.s_client(port, "-brief", "-verify_hostname", "localhost")
        client.expect("Verification: OK")
        self.talk(client)
        self.stop(server)

    def test_a_reload_counts_for_later_handshakes(self) -> None:
        turn = self.certificates.make("turn")
        server, port = self.server(pair=turn)
        before = self.s_client(port, "-brief", "-servername", "localhost")
        before.expect("Peer certificate: CN = turn")
        server.expect("^open ")
        with open(turn.cert, "w") as cert, open(self.good.cert) as other:
            cert.write(other.read())
        server.signal(signal.SIGHUP)  # the key is still the old one
        server.expect(f"^reload -22: .*{turn.key}")
        same = self.s_client(port, "-brief", "-servername", "localhost")
        same.expect("Peer certificate: CN = turn")
        with open(turn.key, "w") as key, open(self.good.key) as other:
            key.write(other.read())
        server.signal(signal.SIGHUP)
        server.expect("^reload 0: $")
        after = self.s_client(port, "-brief", "-servername", "localhost")
        after.expect("Peer certificate: CN = good")
        for client in (before, same, after):
            self.talk(client)
        self.stop(server)

    def test_files_that_are_no_use_are_told_at_the_start(self) -> None:
        other = self.certificates.make("other")
        for pair, text in ((Pair(self.good.cert, other.key), "does not fit"),
                           (Pair(self.good.key, self.good.key), "contains no certificate"),
                           (Pair(self.good.cert, "/nowhere"), "/nowhere cannot be read: No such file")):
            server = self.start(str(PROGRAMS / "tls_server"), "-c", pair.cert, "-k", pair.key)
            server.expect(f"^not started: .*{text}")
            self.assertEqual(server.wait(), 1)


class Servers(PeerCase):
    """s_server with our client."""

    def s_server(self, pair: Pair, *arguments: str, chain: bool = True) -> tuple[Program, int]:
        """It sends each line back, in reverse, where -rev is among the arguments."""
        chained = ("-cert_chain", pair.cert) if chain else ()
        server = self.start("stdbuf", "-oL", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pair.cert, "-key",
                            pair.key, *chained, *arguments)
        return server, int(server.expect(r"^ACCEPT 127\.0\.0\.1:(\d+)$")[1])

    def expect_talk(self, port: int, *arguments: str, host: str = "localhost",
                    facts: str = "verified=1") -> Program:
        client = self.client(port, "-s", "hello\\n", "-e", "olleh", *arguments, host=host)
        client.expect(f"^open .*{facts}")
        client.expect("^got olleh$")
        client.expect("^end OK: ")
        self.assertEqual(client.wait(), 0)
        return client

    def expect_refusal(self, port: int, text: str, *arguments: str, host: str = "localhost") -> None:
        client = self.client(port, *arguments, host=host)
        client.expect(f"^unconnected STTCP_ETLS: .*{text}")
        self.assertEqual(client.wait(), 1)

    def test_each_version_is_spoken(self) -> None:
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            with self.subTest(version):
                _, port = self.s_server(self.good, option, "-rev")
                self.expect_talk(port, facts=f"version={version} .*verified=1")

    def test_versions_that_are_not_allowed_are_refused(self) -> None:
        _, port = self.s_server(self.good, "-tls1_1", "-cipher", WEAK)
        self.expect_refusal(port, "allows no version of TLS that is spoken here")
        _, port = self.s_server(self.good, "-tls1_2")
        self.expect_refusal(port, "allows no version of TLS that is spoken here", "-v", "13-13")

    def test_good_certificates_are_accepted(self) -> None:
        make = self.certificates.make
        make("between", authority=True)
        for pair, host, name in (
                (self.good, "localhost", "localhost"),
                (self.good, "127.0.0.1", "127.0.0.1"),
                (make("rsa", key="rsa"), "localhost", "localhost"),
                (make("leaf", issuer="between"), "localhost", "localhost"),
                (make("wild", "DNS:*.a.example"), "localhost", "x.a.example"),
                (make("several", "DNS:b.example,DNS:c.example"), "localhost", "c.example")):
            with self.subTest(pair.cert):
                _, port = self.s_server(pair, "-rev")
                self.expect_talk(port, "-n", name, host=host)

    def test_bad_certificates_are_refused_and_say_why(self) -> None:
        make = self.certificates.make
        make("between", authority=True)
        make("elsewhere", issuer="", authority=True)
        for pair, name, chain, text in (
                (make("expired", end="20210131000000Z"), "localhost", True, "has expired on 2021-01-31"),
                (make("future", start="20980101000000Z"), "localhost", True,
                 "is not valid before 2098-01-01"),
                (make("wrong", "DNS:b.example"), "localhost", True,
                 "is for b.example, not for localhost"),
                (make("address", "IP:127.0.0.2"), "127.0.0.1", True,
                 r"is for 127\.0\.0\.2, not for 127\.0\.0\.1"),
                (make("wild", "DNS:*.a.example"), "x.y.a.example", True,
                 r"is for \*\.a\.example, not for x\.y\.a\.example"),
                (make("wilder", "DNS:*.a.example"), "a.example", True, "not for a.example"),
                (make("mail", "email:root@localhost"), "localhost", True,
                 "is for no host name, not for localhost"),
                (make("own", issuer=""), "localhost", True, "is self-signed and not trusted"),
                (make("foreign", issuer="elsewhere"), "localhost", True, "which is not trusted"),
                (make("cut", issuer="between"), "localhost", False,
                 "was issued by CN=between, which is not trusted")):
            with self.subTest(pair.cert + name):
                server, port = self.s_server(pair, "-rev", chain=chain)
                self.expect_refusal(port, text, "-n", name)
                server.expect("alert")

    def test_who_does_not_verify_takes_any(self) -> None:
        _, port = self.s_server(self.certificates.make("own", "DNS:b.example", issuer="",
                                                       end="20210131000000Z"), "-rev")
        self.expect_talk(port, "-r", "none", facts="verified=0 .* subject=CN=own")

    def test_the_name_that_is_asked_for_is_the_hosts(self) -> None:
        other = self.certificates.make("other", "DNS:b.example")
        _, port = self.s_server(self.good, "-rev", "-servername", "b.example", "-cert2", other.cert,
                                "-key2", other.key)
        self.expect_talk(port, facts="subject=CN=good")
        self.expect_talk(port, "-n", "b.example", facts="subject=CN=other")

    def test_an_address_is_not_asked_for_by_name(self) -> None:
        _, port = self.s_server(self.good, "-rev")
        self.expect_talk(port, host="127.0.0.1", facts="name= verified=1")

    def test_alpn_is_agreed_on(self) -> None:
        _, port = self.s_server(self.good, "-rev", "-alpn", "irc,h2")
        self.expect_talk(port, "-a", "h2,irc", facts="alpn=irc ")
        self.expect_talk(port, facts="alpn= ")
        self.expect_refusal(port, "speaks none of the ALPN protocols", "-a", "smtp")

    def test_a_client_shows_its_certificate(self) -> None:
        ann = self.certificates.make("ann")
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                server, port = self.s_server(self.good, "-rev", version, "-Verify", "3",
                                             "-verify_return_error", "-CAfile", self.root)
                self.expect_talk(port, "-c", ann.cert, "-k", ann.key)
                server.expect("Peer certificate: CN = ann")
                # With TLS 1.3 the handshake is over before the server says no.
                client = self.client(port)
                client.expect("^(unconnected|end) STTCP_ETLS: .*requires a certificate")

    def test_sessions_are_resumed(self) -> None:
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                _, port = self.s_server(self.good, "-rev", version)
                client = self.client(port, "-s", "hello\\n", "-e", "olleh", "-N", "3")
                for resumed in (0, 1, 1):
                    client.expect(f"^open .*verified=1 resumed={resumed} ")
                    client.expect("^got olleh$")
                self.assertEqual(client.wait(), 0)

    def test_keys_are_updated_by_the_server(self) -> None:
        server, port = self.s_server(self.good, "-tls1_3")
        client = self.client(port, "-s", "hello\\n", "-e", "last")
        server.expect("^hello$")
        for command in ("K", "k", "K"):
            server.say(f"{command}\n")
            server.expect("SSL_do_handshake -> 1")
            server.say("more\n")
            client.expect("^got more$")
        server.say("last\n")
        client.expect("^got last$")
        client.expect("^end OK: ")

    def test_a_close_notify_is_an_orderly_end(self) -> None:
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                _, port = self.s_server(self.good, "-rev", version)
                client = self.client(port, "-s", "CLOSE\\n")
                client.expect("^end OK: ")
                self.assertEqual(client.wait(), 0)

    def test_an_end_without_close_notify_is_a_cut(self) -> None:
        server, port = self.s_server(self.good)
        client = self.client(port, "-s", "hello\\n")
        server.expect("^hello$")
        server.say("P\n")  # bytes without TLS
        client.expect("^end STTCP_ETLS: ")
        client = self.client(port, "-s", "again\\n")
        server.expect("^again$")
        server.kill()
        client.expect("^end STTCP_ECUT: .*without TLS's close_notify")

    def test_a_plain_server_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = self.client(listener.getsockname()[1])
            conn, _ = listener.accept()
            with conn:
                conn.sendall(b"220 mail.example ESMTP\r\n")
                client.expect("^unconnected STTCP_ETLS: .*does not speak TLS")


if __name__ == "__main__":
    unittest.main()
