# SPDX-License-Identifier: MIT
"""TLS objects, what is wrong with them, and the options that take them."""

import copy
import errno
import gc
import os
import pathlib
import pickle
import shutil
import ssl
import tempfile
import unittest
import weakref

import sttcp
from certs import openssl
from sttcp import _sttcp, errors
from sttcp.client import Client
from sttcp.server import Server
from support import Case, run_python
from tls_support import certs, client_tls, server_tls, setUpModule, tearDownModule


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
        self.addCleanup(os.unlink, hidden)  # other tests trust the whole folder
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


if __name__ == "__main__":
    unittest.main()
