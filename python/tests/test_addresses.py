# SPDX-License-Identifier: MIT
"""Servers on several addresses, and on sockets that listen already."""

import errno
import gc
import os
import socket
import stat
import tempfile
import unittest
import weakref

import sttcp
from sttcp.client import Client
from sttcp.server import Server
from support import DEADLINE, Case, Peer, Seen, free_port, wait_for


def listening():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made, made.getsockname()[1]


class AddressesCase(Case):
    def echo_server(self, host="127.0.0.1", port=0, **options):
        server = self.server(host=host, port=port, **options)
        server.receive_handler(lambda address, connection, data: connection.sendall(data))
        return server

    def answers(self, port):
        with Peer(port) as peer:
            peer.sendall(b"hello")
            return peer.read(5) == b"hello"


class AddressesTest(AddressesCase):
    def test_all_are_listened_on(self):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = self.echo_server()
            server.add_address("127.0.0.1", str(port))
            server.add_address("unix:" + path, 0)
            server.add_address("localhost", 0)
            self.assertEqual(server.addresses, ())
            server.start()
            addresses = server.addresses
            self.assertIsInstance(addresses, tuple)
            self.assertEqual(addresses[:3],
                             (f"127.0.0.1:{server.port}", f"127.0.0.1:{port}", "unix:" + path))
            self.assertEqual(len(addresses), 4)
            self.assertEqual(server.address, addresses[0])
            self.assertEqual(server.sock_name, ("127.0.0.1", server.port))
            for each in addresses[0], addresses[1], addresses[3]:
                self.assertTrue(self.answers(int(each.rsplit(":", 1)[1])))
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(path)
                peer.sendall(b"hello")
                self.assertEqual(peer.recv(5, socket.MSG_WAITALL), b"hello")
            server.stop()
            self.assertFalse(os.path.exists(path))

    def test_all_or_none(self):
        taken, port = listening()
        with taken, tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = self.echo_server("unix:" + path)
            server.add_address("127.0.0.1", port)
            with self.assertRaisesRegex(OSError, f"127.0.0.1:{port}") as caught:
                server.start()
            self.assertEqual(caught.exception.errno, errno.EADDRINUSE)
            self.assertEqual(server.addresses, ())
            self.assertFalse(os.path.exists(path))
            taken.close()
            server.start()
            self.assertTrue(self.answers(port))

    def test_without_an_address_of_its_own(self):
        for host, port in ("", None), (None, -1), ("", -1):
            with self.assertRaises(ValueError):
                self.server(host=host, port=port).start()
        server = self.echo_server(None, None)
        with self.assertRaises(ValueError):
            server.start()
        self.assertEqual((server.port, server.address, str(server)), (0, "", ""))
        server.add_address("127.0.0.1", 0)
        server.start()
        (address,) = server.addresses
        self.assertEqual((server.port, server.address), (0, address))
        self.assertEqual(server.sock_name, ("127.0.0.1", int(address.rsplit(":", 1)[1])))
        self.assertIn(address, repr(server))
        self.assertTrue(self.answers(server.sock_name[1]))
        for kind in Client, Server:
            with self.assertRaises(TypeError):
                kind("127.0.0.1", None)
            with self.assertRaises(ValueError):
                kind("127.0.0.1", -1)
        with self.assertRaises(TypeError):
            Client(None, None)

    def test_what_cannot_be_added(self):
        server = self.echo_server()
        for host, port, kind in (("127.0.0.1", -1, ValueError), ("127.0.0.1", 65536, ValueError),
                                 ("127.0.0.1", None, TypeError), ("127.0.0.1", True, TypeError),
                                 ("unix:", 0, ValueError), ("unix:@", 0, ValueError),
                                 ("unix:/" + "p" * 200, 0, OSError)):
            with self.assertRaises(kind, msg=(host, port)):
                server.add_address(host, port)
        with socket.socket() as plain:
            for listener, kind in ((-1, OSError), (plain, ValueError), (plain.fileno(), ValueError),
                                   ("3", TypeError), (None, TypeError), (True, TypeError),
                                   (3.0, TypeError)):
                with self.assertRaises(kind, msg=listener):
                    server.add_listener(listener)
            self.assertNotEqual(plain.fileno(), -1)  # it is still the caller's
            self.assertTrue(plain.getblocking())
        server.start()
        made, _ = listening()
        with made:
            with self.assertRaises(RuntimeError):
                server.add_address("127.0.0.1", 0)
            with self.assertRaises(RuntimeError):
                server.add_listener(made)
            self.assertNotEqual(made.fileno(), -1)
        self.assertEqual(len(server.addresses), 1)

    def test_abstract_names(self):
        name = f"unix:@sttcp-python-{os.getpid()}"
        server = self.echo_server(name)
        server.start()
        self.assertEqual(server.addresses, (name,))
        client = self.client(0, host=name)
        seen = Seen()
        client.connection_handler(lambda address, connection: connection.sendall(b"x"))
        client.response_handler(lambda address, connection, data:
                                seen.tell(address, data) or False)
        client.start()
        self.assertEqual(seen.next(), ((name, 0), b"x"))

    @unittest.skipUnless(socket.has_ipv6, "no IPv6")
    def test_brackets(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            self.skipTest("no ::1")
        server = self.echo_server("[::1]")
        server.start()
        self.assertEqual(server.addresses, (f"[::1]:{server.port}",))
        self.assertEqual(server.sock_name, ("::1", server.port))
        self.assertEqual(server.address, server.addresses[0])


class SocketFileTest(AddressesCase):
    def test_mode(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = self.echo_server("unix:" + path, unix_mode=0o606)
            server.start()
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o606)

    def test_mode_that_cannot_be(self):
        for mode, kind in (0, ValueError), (-1, ValueError), ("0660", TypeError):
            with self.assertRaises(kind, msg=mode):
                Server("unix:/tmp/socket", 0, unix_mode=mode)
        for host, mode in (("unix:/tmp/socket", 0o1000), ("unix:@name", 0o600),
                           ("127.0.0.1", 0o600)):
            with self.assertRaisesRegex(ValueError, "unix_mode", msg=(host, mode)):
                self.server(host=host, unix_mode=mode).start()


class LocalEndTest(AddressesCase):
    def test_client_comes_from_there(self):
        port = free_port()
        server = self.server()
        seen = Seen()
        server.connection_handler(lambda address, connection: seen.tell(address))
        server.start()
        client = self.client(server.port, local_host="127.0.0.5", local_port=port)
        client.connection_handler(lambda address, connection: None)
        client.start()
        self.assertEqual(seen.next(), ("127.0.0.5", port))
        wait_for(lambda: client.sock_name == ("127.0.0.5", port))

    def test_end_that_is_not_ours(self):
        client = self.client(free_port(), local_host="192.0.2.1")
        seen = Seen()
        client.unconnected_handler(lambda address, reason: seen.tell(reason))
        client.start()
        error = seen.next()
        self.assertEqual(error.errno, errno.EADDRNOTAVAIL)
        self.assertIn("from 192.0.2.1", str(error))

    def test_end_that_cannot_be(self):
        for options, kind in (({"local_host": 5}, TypeError), ({"local_host": ""}, ValueError),
                              ({"local_host": "a\0b"}, ValueError),
                              ({"local_port": 0}, ValueError), ({"local_port": "1"}, TypeError)):
            with self.assertRaises(kind, msg=options):
                Client("127.0.0.1", 1, **options)
        Client("127.0.0.1", 1, local_host=None, local_port=None)
        for host, options in (("127.0.0.1", {"local_port": 65536}),
                              ("unix:/tmp/socket", {"local_host": "127.0.0.1"}),
                              ("unix:@name", {"local_port": 7000})):
            with self.assertRaisesRegex(ValueError, next(iter(options)), msg=host):
                self.client(1, host=host, **options).start()
        with self.assertRaises(TypeError):
            Server("127.0.0.1", 0, local_host="127.0.0.1")


class ListenerTest(AddressesCase):
    def test_socket_becomes_the_servers(self):
        made, port = listening()
        server = self.echo_server(None, None)
        server.add_listener(made)
        self.assertEqual(made.fileno(), -1)
        server.start()
        self.assertEqual(server.addresses, (f"127.0.0.1:{port}",))
        self.assertTrue(self.answers(port))

    def test_descriptor_becomes_the_servers(self):
        made, port = listening()
        fd = made.detach()
        server = self.echo_server(None, None)
        server.add_listener(fd)
        self.assertFalse(os.get_inheritable(fd))
        self.assertFalse(os.get_blocking(fd))
        with self.assertRaises(FileExistsError):
            server.add_listener(fd)
        server.start()
        self.assertTrue(self.answers(port))

    def test_stop_leaves_it_listening(self):
        made, port = listening()
        server = self.echo_server(None, None)
        server.add_listener(made)
        for _ in range(3):
            server.start()
            self.assertTrue(self.answers(port))
            server.stop()
            with Peer(port) as waiting:
                waiting.sendall(b"hello")
                server.start()
                self.assertEqual(waiting.read(5), b"hello")
            server.stop()

    def test_it_is_closed_with_the_server(self):
        made, port = listening()
        server = Server(None, None)
        server.add_listener(made)
        gone = weakref.ref(server)
        del server
        gc.collect()
        self.assertIsNone(gone())

        def is_refused():
            with socket.socket() as peer:
                return peer.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

        wait_for(is_refused, "the end of the listener")


class NameTest(AddressesCase):
    # Letters of their own in Unicode, of which IDNA makes those of ASCII.
    LOCALHOST = "\uff2c\uff2f\uff23\uff21\uff2c\uff28\uff2f\uff33\uff34"
    ADDRESS = "\uff11\uff12\uff17.0.0.1"

    def test_a_name_beyond_ascii_is_what_socket_makes_of_it(self):
        for host in self.LOCALHOST, self.ADDRESS:
            server = self.echo_server(host)
            server.add_address(host, 0)
            server.start()
            self.assertEqual({each.rpartition(":")[0] for each in server.addresses}, {"127.0.0.1"})
            with sttcp.dial(host, server.port, timeout=DEADLINE, local_host=self.ADDRESS) as dialled:
                self.assertEqual(dialled.host, "127.0.0.1")
            seen = Seen()
            client = self.client(server.port, host=host)
            client.connection_handler(lambda address, connection: seen.tell(address))
            client.start()
            self.assertEqual(seen.next()[0], "127.0.0.1")
            self.assertEqual(client.host, host)
            server.stop(0)
        with self.assertRaisesRegex(OSError, "xn--bcher-kva"):
            sttcp.dial("b\xfccher.invalid", 1, timeout=DEADLINE)

    def test_what_is_no_name_is_refused_with_a_sentence(self):
        server = self.server()
        for call in (Server, Client, server.add_address, sttcp.dial,
                     lambda host, port: sttcp.dial("127.0.0.1", 1, local_host=host),
                     lambda host, port: sttcp.dial("127.0.0.1", 1, tls_name=host)):
            for host in "\xfc" * 70, "a..\xfc", "\udc80":
                with self.assertRaisesRegex(UnicodeError, r"must be a name that can be .*ASCII"):
                    call(host, 1)
            with self.assertRaisesRegex(ValueError, "NUL"):
                call("a\0\xfc", 1)
            with self.assertRaisesRegex(TypeError, "must be a str or None, not b'x'"):
                call(b"x", 1)

    def test_the_file_of_a_unix_socket_may_have_any_name(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in b"caf\xc3\xa9", b"caf\xe9":
                path = "unix:" + os.path.join(folder, os.fsdecode(name))
                server = self.echo_server(path)
                server.start()
                self.assertIn(name, os.listdir(os.fsencode(folder)))
                self.assertEqual(server.addresses, (path,))
                with sttcp.dial(path, timeout=DEADLINE) as dialled:
                    self.assertEqual(dialled.host, path)
                    dialled.sendall(b"x")
                    self.assertEqual(dialled.recv(1), b"x")
                server.stop(0)
                with self.assertRaises(FileNotFoundError):
                    sttcp.dial(path)
        with self.assertRaises(ValueError):
            Server("unix:a\0b", 0)
