# SPDX-License-Identifier: MIT
"""What the tests of TLS have in common: certificates, both sides' settings, and Python's ssl as the
peer."""

import contextlib
import os
import select
import socket
import ssl
import tempfile
import threading
import unittest

import sttcp
from certs import Certificates, need_openssl
from support import DEADLINE, Case, Peer, Seen


class ModuleCertificates(Certificates):
    """Those of the module whose tests run: none before its setUpModule."""

    def __init__(self):
        pass

    def make_in(self, folder):
        super().__init__(folder)
        self.make("good")
        self.make("other", "DNS:other.example,DNS:*.wild.example")
        self.make("expired", days=-1)
        self.make("me", "DNS:me.example")


certs = ModuleCertificates()


def setUpModule():
    global folder
    need_openssl()
    if not sttcp.HAS_TLS:
        if os.environ.get("CI"):
            raise AssertionError("built without TLS; on Debian: sudo apt-get install libssl-dev")
        raise unittest.SkipTest("built without TLS")
    folder = tempfile.TemporaryDirectory()
    certs.make_in(folder.name)


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
    data = bytearray()
    while len(data) < size:
        more = secure.recv(65536)
        if not more:
            break
        data += more
    return bytes(data)


def say_and_hear(secure, data):
    """Sends, and reads as many bytes meanwhile. In one thread: an SSLSocket that one thread reads
    while another one writes it may crash the process (python/cpython#143756)."""
    sent, back = 0, bytearray()
    secure.setblocking(False)
    while len(back) < len(data):
        if not any(select.select([secure], [secure] if sent < len(data) else [], [], DEADLINE)):
            raise TimeoutError("%d bytes sent, %d came back" % (sent, len(back)))
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if sent < len(data):
                sent += secure.send(data[sent:sent + 16384])
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            more = secure.recv(65536)
            if not more:
                break
            back += more
    secure.settimeout(DEADLINE)
    return back
