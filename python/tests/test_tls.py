# SPDX-License-Identifier: MIT
"""TLS: objects and what is wrong with them, and connections, with Python's ssl as the peer."""

import contextlib
import copy
import errno
import gc
import os
import pathlib
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import weakref

import sttcp
from certs import Certificates, need_openssl, openssl
from sttcp import _sttcp, errors
from sttcp.client import Client
from sttcp.server import Server
from support import DEADLINE, SANITIZED, Case, Peer, Seen, run_python, wait_for


def setUpModule():
    global certs, folder
    need_openssl()
    if not sttcp.HAS_TLS:
        if os.environ.get("CI"):
            raise AssertionError("built without TLS; on Debian: sudo apt-get install libssl-dev")
        raise unittest.SkipTest("built without TLS")
    folder = tempfile.TemporaryDirectory()
    certs = Certificates(folder.name)
    certs.make("good")
    certs.make("other", "DNS:other.example,DNS:*.wild.example")
    certs.make("expired", days=-1)
    certs.make("me", "DNS:me.example")


def tearDownModule():
    folder.cleanup()


def server_tls(name="good", **settings):
    return sttcp.TLS(certs.path(name + ".pem"), certs.path(name + ".key"), **settings)


def client_tls(**settings):
    return sttcp.TLS(trust=certs.path("ca.pem"), **settings)


def ssl_client(**settings):
    context = ssl.create_default_context(cafile=certs.path("ca.pem"))
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def ssl_server(name="good"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs.path(name + ".pem"), certs.path(name + ".key"))
    return context


class ObjectTest(unittest.TestCase):
    def fails(self, kind, *arguments, **settings):
        with self.assertRaises(kind) as caught:
            sttcp.TLS(*arguments, **settings)
        return caught.exception

    def test_with_a_certificate_it_is_a_servers(self):
        self.assertTrue(server_tls().server_side)
        self.assertFalse(sttcp.TLS().server_side)
        self.assertFalse(server_tls("me", server_side=False).server_side)
        self.fails(TypeError, server_side=True)
        self.fails(TypeError, key=certs.path("good.key"))

    def test_it_is_shown_with_its_certificate(self):
        self.assertEqual(repr(sttcp.TLS()), "<sttcp.TLS client>")
        self.assertEqual(repr(server_tls()), "<sttcp.TLS server %s>" % certs.path("good.pem"))
        tls = client_tls()
        tls.set_certificate(certs.path("me.pem"), certs.path("me.key"))
        self.assertEqual(repr(tls), "<sttcp.TLS client %s>" % certs.path("me.pem"))

    def test_paths_are_str_bytes_or_path(self):
        for kind in str, os.fsencode, pathlib.Path:
            paths = [kind(certs.path(name)) for name in ("good.pem", "good.key", "ca.pem")]
            tls = sttcp.TLS(paths[0], paths[1], certificates=[(paths[0], paths[1])],
                            trust=paths[2])
            tls.add_certificate(paths[0], paths[1])
            tls.trust(paths[2])
            sttcp.TLS(trust=kind(certs.folder))
        self.fails(TypeError, 7)
        self.fails(TypeError, certs.path("good.pem"), 7)
        self.fails(TypeError, trust=7)
        self.fails(ValueError, "a\0b", "c")

    def test_key_may_be_in_the_file_of_the_certificate(self):
        both = certs.write("both.pem", "".join(
            pathlib.Path(certs.path(name)).read_text() for name in ("good.pem", "good.key")))
        sttcp.TLS(both)
        sttcp.TLS(both, certificates=[both, (both, None)])

    def test_a_missing_file_is_named(self):
        missing = certs.path("missing.pem")
        good, key = certs.path("good.pem"), certs.path("good.key")
        for call in (lambda: sttcp.TLS(missing, key), lambda: sttcp.TLS(good, missing),
                     lambda: sttcp.TLS(trust=missing),
                     lambda: sttcp.TLS(good, key, certificates=[(missing, key)]),
                     lambda: sttcp.TLS(good, key).add_certificate(good, missing),
                     lambda: sttcp.TLS().set_certificate(missing),
                     lambda: sttcp.TLS(os.fsencode(missing), key)):
            with self.assertRaises(FileNotFoundError) as caught:
                call()
            error = caught.exception
            self.assertIsInstance(error, sttcp.Error)
            self.assertEqual((error.filename, error.errno, error.name),
                             (missing, errno.ENOENT, "ENOENT"))
            self.assertEqual(str(error), "[Errno 2] No such file or directory: %r" % missing)
            for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
                self.assertEqual((str(again), again.filename), (str(error), missing))

    def test_a_directory_is_no_file(self):
        error = self.fails(IsADirectoryError, certs.folder, certs.path("good.key"))
        self.assertEqual(error.filename, certs.folder)

    def test_a_file_that_may_not_be_read_is_named(self):
        hidden = certs.write("hidden.key", "")
        os.chmod(hidden, 0)
        said = run_python("""
import os, sys, sttcp
if os.geteuid() == 0:  # who may read everything
    os.setuid(65534)
try:
    sttcp.TLS(sys.argv[1])
except PermissionError as error:
    print(error.name, error.filename)
""", hidden).stdout
        self.assertEqual(said, "EACCES %s\n" % hidden)

    def test_a_name_that_is_no_text_is_named_all_the_same(self):
        missing = os.path.join(os.fsencode(certs.folder), b"\xff\xfe.pem")
        error = self.fails(FileNotFoundError, missing)
        self.assertEqual(os.fsencode(error.filename), missing)

    def test_what_a_file_holds_is_told(self):
        good, key = certs.path("good.pem"), certs.path("good.key")
        openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out",
                certs.path("locked.key"))
        empty = certs.write("empty.pem", "")
        for arguments, words in (((good, certs.path("other.key")), "does not fit"),
                                 ((good, good), "contains no private key"),
                                 ((key, key), "contains no certificate"),
                                 ((empty, key), "contains no certificate"),
                                 ((good, certs.path("locked.key")), "is encrypted")):
            error = self.fails(sttcp.TLSError, *arguments)
            self.assertIsInstance(error, OSError)
            self.assertIn(words, str(error))
            self.assertTrue(any(each in str(error) for each in arguments), str(error))
        self.assertIn(empty, str(self.fails(sttcp.TLSError, trust=empty)))

    def test_settings_that_are_wrong_are_refused(self):
        for settings in ({"require_peer": 3}, {"require_peer": "yes"}, {"require_peer": -1},
                         {"minimum_version": 11}, {"maximum_version": 1.3},
                         {"minimum_version": True}, {"minimum_version": ssl.TLSVersion.TLSv1_1},
                         {"minimum_version": 13, "maximum_version": 12},
                         {"alpn": [""]}, {"alpn": ["a,b"]}, {"alpn": [b"a\0"]}, {"alpn": "h2,"},
                         {"alpn": ["\xe9"]}, {"require_peer": "optional"},
                         {"require_peer": ssl.CERT_OPTIONAL}):
            self.fails(ValueError, **settings)
        for settings in {"alpn": [7]}, {"no_such": 1}, {"alpn": 7}:
            self.fails(TypeError, **settings)
        self.assertIn("NO_SUCH", str(self.fails(sttcp.TLSError, ciphers="NO_SUCH")))
        self.fails(sttcp.TLSError, alpn=["a" * 300])

    def test_words_and_numbers_of_ssl_are_known(self):
        for who in (True, False, "none", "required", ssl.CERT_NONE, ssl.CERT_REQUIRED):
            sttcp.TLS(require_peer=who)
        for who in True, "optional", ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED:
            server_tls(require_peer=who)
        for version in 12, "TLSv1.2", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MINIMUM_SUPPORTED:
            sttcp.TLS(minimum_version=version, maximum_version=version)
        for version in 13, "TLSv1.3", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED:
            sttcp.TLS(minimum_version=version)

    def test_methods_of_ssl_are_known(self):
        tls = server_tls()
        tls.load_cert_chain(certs.path("other.pem"), certs.path("other.key"))
        tls.load_verify_locations(certs.path("ca.pem"))
        tls.load_verify_locations(capath=certs.folder)
        self.assertRaises(TypeError, tls.load_verify_locations)
        tls.set_alpn_protocols(["h2", b"http/1.1"])
        tls.set_ciphers("ECDHE+AESGCM:TLS_AES_128_GCM_SHA256")
        client = sttcp.TLS()
        client.load_cert_chain(certs.path("me.pem"), keyfile=certs.path("me.key"))

    def test_a_server_has_no_certificate_to_set_and_a_client_none_to_add(self):
        pair = certs.path("good.pem"), certs.path("good.key")
        for call in server_tls().set_certificate, sttcp.TLS().add_certificate:
            with self.assertRaises(sttcp.TLSError) as caught:
                call(*pair)
            self.assertNotIn("sttcp_", str(caught.exception))

    def test_one_that_was_not_made_is_refused(self):
        tls = sttcp.TLS.__new__(sttcp.TLS)
        for call in (tls.reload, lambda: tls.trust("x"), lambda: tls.set_versions(12),
                     lambda: tls._require_peer(1), lambda: tls._error(),
                     lambda: tls._add_certificate(b"x", None)):
            self.assertRaises(RuntimeError, call)
        with self.assertRaises(RuntimeError):
            server_tls().__init__(certs.path("good.pem"), certs.path("good.key"))

    def test_it_is_freed(self):
        tls = server_tls()
        gone = weakref.ref(tls)
        server = Server("127.0.0.1", 0, tls=tls)
        self.assertIs(server.tls, tls)
        del tls, server
        gc.collect()
        self.assertIsNone(gone())

    def test_errors_are_where_those_of_ssl_are(self):
        self.assertTrue(issubclass(sttcp.TLSError, (sttcp.Error)))
        self.assertTrue(issubclass(sttcp.TLSError, OSError))
        self.assertTrue(issubclass(ssl.SSLError, OSError))
        self.assertFalse(issubclass(sttcp.CutError, sttcp.TLSError))
        error = errors.make_exception(_sttcp.ETIME_HANDSHAKE, None)
        self.assertIs(type(error), sttcp.TimeLimitError)
        self.assertEqual(error.limit, "tls_handshake")

    def test_ssl_need_not_be_imported(self):
        said = run_python("import sys, sttcp.server, sttcp.client\n"
                          "print(sorted({'ssl', '_ssl'} & set(sys.modules)))").stdout
        self.assertEqual(said, "[]\n")


class OptionTest(Case):
    def test_what_is_no_tls_is_refused(self):
        for value in True, False, 1, "cert.pem", ssl.create_default_context():
            self.assertRaises(TypeError, Server, "127.0.0.1", 0, tls=value)
        for value in 1, "cert.pem", ssl.create_default_context():
            self.assertRaises(TypeError, Client, "127.0.0.1", 1, tls=value)
        self.assertRaises(ValueError, Server, "127.0.0.1", 0, tls=sttcp.TLS())
        self.assertRaises(ValueError, Client, "127.0.0.1", 1, tls=server_tls())
        self.assertRaises(TypeError, Server, "127.0.0.1", 0, tls_name="x")
        self.assertRaises(TypeError, Client, "127.0.0.1", 0, tls_name=7)

    def test_true_is_a_clients_own(self):
        self.assertIsInstance(Client("127.0.0.1", 1, tls=True).tls, sttcp.TLS)
        for value in False, None, sttcp.DEFAULT:
            self.assertIsNone(Client("127.0.0.1", 1, tls=value).tls)
        self.assertIsNone(Server("127.0.0.1", 1, tls=None).tls)

    def test_start_tells_what_is_wrong(self):
        with self.assertRaises(sttcp.TLSError) as caught:
            self.server(tls=server_tls(require_peer=True)).start()
        self.assertIn("TLS.trust", str(caught.exception))

        with tempfile.TemporaryDirectory() as folder:
            for end in ".pem", ".key":
                shutil.copy(certs.path("good" + end), folder)
            pem, key = (os.path.join(folder, "good" + end) for end in (".pem", ".key"))
            server = self.server(tls=sttcp.TLS(pem, key))
            os.unlink(key)
            with self.assertRaises(FileNotFoundError) as caught:
                server.start()
            self.assertEqual(caught.exception.filename, key)
            shutil.copy(certs.path("good.key"), folder)
            server.start()

    def test_a_client_of_a_unix_socket_needs_the_name(self):
        with self.assertRaises(ValueError) as caught:
            self.client(0, host="unix:@no-such", tls=client_tls()).start()
        self.assertIn("tls_name", str(caught.exception))

    def test_settings_come_before_the_start(self):
        tls = server_tls()
        self.server(tls=tls, start=True)
        for call in (lambda: tls.trust(certs.path("ca.pem")), lambda: tls.set_versions(13),
                     lambda: tls.set_alpn("h2"), tls.require_peer,
                     lambda: tls.set_ciphers("ALL"),
                     lambda: tls.add_certificate(certs.path("good.pem"), certs.path("good.key"))):
            with self.assertRaises(RuntimeError) as caught:
                call()
            self.assertEqual(caught.exception.name, "EBUSY")
        tls.reload()
        # An open server does not mind: it is for handshakes to come.
        self.server(tls=tls, start=True)


class TLSCase(Case):
    """Servers and clients that speak TLS."""

    def tls_server(self, tls=None, **options):
        return self.server(tls=tls or server_tls(), **options)

    def tls_echo(self, tls=None, **options):
        return self.echo_server(tls=tls or server_tls(), **options)

    def connect(self, server, context=None, name="localhost"):
        """Python's ssl as the client."""
        plain = Peer(server.port)
        self._made.callback(plain.close)
        secure = (context or ssl_client()).wrap_socket(plain, server_hostname=name)
        self._made.callback(secure.close)
        return secure

    def ssl_listener(self, serve, context=None):
        """Python's ssl as the server of one connection; the port."""
        listener = socket.socket()
        self._made.callback(listener.close)
        listener.settimeout(DEADLINE)
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)

        def run():
            with listener.accept()[0] as plain:
                plain.settimeout(DEADLINE)
                with (context or ssl_server()).wrap_socket(plain, server_side=True) as secure:
                    serve(secure)

        def run_quietly():
            with contextlib.suppress(OSError):
                run()

        thread = threading.Thread(target=run_quietly)
        thread.start()
        self._made.callback(thread.join)
        return listener.getsockname()[1]

    def failure(self, port, host="localhost", **options):
        """Why a client does not connect."""
        seen = Seen()
        client = self.client(port, host=host, **{"tls": client_tls(), **options})
        client.connection_handler(lambda address, connection: seen.tell("connected"))
        client.unconnected_handler(lambda address, error: seen.tell(error))
        client.start()
        return seen.next()


def read_to_end(secure, size):
    data = b""
    while len(data) < size:
        more = secure.recv(65536)
        if not more:
            break
        data += more
    return data


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
        writer = threading.Thread(target=peer.sendall, args=(data,))
        writer.start()
        back = read_to_end(peer, len(data))
        writer.join()
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

    @unittest.skipIf(SANITIZED, "the sanitizer does not know threads that are ended")
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
