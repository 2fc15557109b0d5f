# SPDX-License-Identifier: MIT
"""The facts of the old package: names, arguments, order, defaults."""

import contextlib
import enum
import functools
import io
import logging
import socket
import threading
import unittest
import warnings

import sttcp
import sttcp.general
from sttcp import Connection, print_sync
from sttcp.client import Client
from sttcp.server import Server
from support import Case, Peer, Seen, free_port, wait_for


class NamesTest(Case):
    def test_handler_types_have_their_numbers(self):
        self.assertEqual({each.name: each.value for each in Server.HandlerType},
                         {"connection": 1, "receive": 2, "disconnection": 3})
        self.assertEqual({each.name: each.value for each in Client.HandlerType},
                         {"connection": 1, "response": 2, "disconnection": 3, "unconnected": 4})
        self.assertTrue(issubclass(Server.HandlerType, enum.Enum))
        self.assertEqual(str(Server.HandlerType.receive), "HandlerType.receive")

    def test_destruction_exception_is_a_connection_aborted_error(self):
        self.assertTrue(issubclass(Client.DestructionException, ConnectionAbortedError))
        self.assertEqual(Client.DestructionException.__qualname__, "Client.DestructionException")

    def test_address_is_a_string_and_sock_name_a_tuple(self):
        for kind in Server, Client:
            each = kind("localhost", 62134)
            self.assertEqual(each.address, "localhost:62134")
            self.assertEqual(each.sock_name, ("localhost", 62134))
            self.assertEqual((each.host, each.port), ("localhost", 62134))
            self.assertFalse(each.closed)

    def test_port_may_be_a_string(self):
        self.assertEqual(Server("localhost", "62134").address, "localhost:62134")
        self.assertEqual(Server("localhost", "62134").port, 62134)
        server = self.echo_server()
        client = self.client(str(server.port))
        seen = Seen()
        client.connection_handler(lambda address, connection: seen.tell("there") or False)
        client.start()
        self.assertEqual(seen.next(), "there")

    def test_port_is_checked(self):
        for port in "http", -1, 65536, "-1":
            self.assertRaises(ValueError, Server, "localhost", port)
        for port in None, 1.5, b"80", True:
            self.assertRaises(TypeError, Server, "localhost", port)

    def test_sock_name_is_the_real_one_after_start(self):
        server = self.server(host="localhost", start=True)
        self.assertEqual(server.sock_name, ("127.0.0.1", server.port))
        self.assertNotEqual(server.port, 0)
        self.assertEqual(server.address, "localhost:%d" % server.port)
        seen = Seen()
        client = self.client(server.port, host="localhost")
        client.connection_handler(lambda address, connection: seen.tell(connection.getsockname()))
        client.start()
        self.assertEqual(seen.next(), client.sock_name)
        self.assertEqual(client.sock_name[0], "127.0.0.1")
        self.assertNotEqual(client.sock_name[1], server.port)

    def test_states_are_told(self):
        server = self.server()
        client = self.client(1)
        self.assertFalse(server.is_listening)
        self.assertFalse(client.is_connected)
        server.start()
        self.assertTrue(server.is_listening)
        self.assertFalse(server.closed)
        seen = Seen()
        client = self.client(server.port)
        client.connection_handler(lambda *unused: seen.tell(client.is_connected))
        client.start()
        self.assertTrue(seen.next())
        client.close()
        self.assertTrue(client.closed)
        self.assertFalse(client.is_connected)
        server.close()
        self.assertTrue(server.closed)
        self.assertFalse(server.is_listening)

    def test_what_is_public_is_what_is_meant_to_be(self):
        common = {
            "HandlerType", "address", "close", "closed", "connection_handler",
            "disconnection_handler", "drained_handler", "end_handler", "every", "handler",
            "host", "keep_alive", "malformed_handler", "port", "set_handler", "sock_name", "start", "stop",
            "tls", "universal_handler", "wait"}
        server = {
            "add_address", "add_listener", "addresses", "broadcast", "broadcast_message",
            "connections", "count", "count_in", "each", "find", "is_listening", "mainloop",
            "receive_handler", "request_stop", "stats"}
        client = {
            "DestructionException", "connection", "is_connected", "response_handler", "send",
            "send_message", "unconnected_handler", "wait_open"}
        for kind, own in (Server, server), (Client, client):
            names = {name for name in dir(kind("localhost", 0)) if not name.startswith("_")}
            self.assertEqual(names, common | own)

    def test_connections_lists_what_is_started(self):
        server = self.server()
        self.assertNotIn(server, sttcp.connections)
        server.start()
        self.assertIn(server, sttcp.connections)
        server.stop()
        self.assertNotIn(server, sttcp.connections)

    def test_general_keep_alive_is_there(self):
        self.assertTrue(callable(sttcp.general.keep_alive))
        sttcp.general.keep_alive()  # nothing is started: nothing to wait for

    def test_everything_has_a_sensible_repr(self):
        server = self.echo_server()
        self.assertRegex(repr(server), r"^<sttcp.Server 127.0.0.1:\d+ listening, 0 connections>$")
        client = self.client(server.port)
        self.assertRegex(repr(client), "not started")
        seen = Seen()
        client.connection_handler(lambda address, connection: seen.tell(connection))
        client.start()
        connection = seen.next()
        self.assertRegex(repr(connection), r"^<sttcp.Connection \d+ to 127.0.0.1:\d+ open>$")
        self.assertRegex(repr(client), "connected>$")
        client.close()
        self.assertRegex(repr(connection), "STTCP_EDESTROYED>$")
        self.assertRegex(repr(client), "closed>$")
        server.stop()
        self.assertRegex(repr(server), "closed>$")


class ArgumentsTest(Case):
    def test_handlers_get_what_the_seed_says(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def on_connection(address, connection):
            seen.tell("connection", address, connection)

        @server.receive_handler
        def on_receive(address, connection, data):
            seen.tell("receive", address, connection, data)

        @server.disconnection_handler
        def on_disconnection(address, reason):
            seen.tell("disconnection", address, reason)

        server.start()
        peer = self.peer(server)
        address = peer.getsockname()
        _, told, connection = seen.next()
        self.assertEqual(told, address)
        self.assertIsInstance(told, tuple)
        self.assertIsInstance(connection, Connection)
        peer.sendall(b"hello")
        self.assertEqual(seen.next(), ("receive", address, connection, b"hello"))
        peer.close()
        self.assertEqual(seen.next(), ("disconnection", address, None))

    def test_decorators_return_the_handler(self):
        def function(*arguments):
            """A handler."""

        for kind in Server, Client:
            each = kind("localhost", 1)
            for name in dir(kind):
                if name.endswith("_handler") and name != "set_handler" and name[0] != "_":
                    self.assertIs(getattr(each, name)(function), function, name)

    def test_what_is_no_handler_is_refused(self):
        self.assertRaises(TypeError, Server("localhost", 1).receive_handler, "handler")
        self.assertRaises(TypeError, Server, "localhost", 1, "handler")

    def test_whatever_makes_a_coroutine_is_a_handler(self):
        async def handler(address, connection, data):
            await connection.sendall(data)

        class Callable:
            async def __call__(self, address, connection, data):
                await connection.sendall(data)

        for each in handler, functools.partial(handler), Callable(), lambda *args: handler(*args):
            server = self.server(each, start=True)
            with self.peer(server) as peer:
                peer.sendall(b"x")
                self.assertEqual(peer.read(1), b"x")

    def test_universal_handler_runs_first_in_every_phase(self):
        seen = Seen()
        server = self.server()
        server.universal_handler(lambda kind, address, connection, data:
                                 seen.tell("universal", kind, address, data))
        server.connection_handler(lambda *unused: seen.tell("connection"))
        server.receive_handler(lambda *unused: seen.tell("receive"))
        server.disconnection_handler(lambda *unused: seen.tell("disconnection"))
        server.start()
        peer = self.peer(server)
        address = peer.getsockname()
        peer.sendall(b"x")
        kinds = Server.HandlerType
        # Data that is not there is None, never b"".
        self.assertEqual(seen.next(), ("universal", kinds.connection, address, None))
        self.assertEqual(seen.next(), "connection")
        self.assertEqual(seen.next(), ("universal", kinds.receive, address, b"x"))
        self.assertEqual(seen.next(), "receive")
        peer.close()
        self.assertEqual(seen.next(), ("universal", kinds.disconnection, address, None))
        self.assertEqual(seen.next(), "disconnection")

    def test_universal_handler_of_a_client_sees_every_phase(self):
        seen = Seen()
        server = self.echo_server()
        client = self.client(server.port)
        kinds = Client.HandlerType

        @client.universal_handler
        def universal(kind, address, connection, data):
            seen.tell(kind, address, data)
            if kind is kinds.connection:
                connection.sendall(b"x")
            return kind is not kinds.response

        client.start()
        address = ("127.0.0.1", server.port)
        self.assertEqual(seen.next(), (kinds.connection, address, None))
        self.assertEqual(seen.next(), (kinds.response, address, b"x"))
        self.assertEqual(seen.next(), (kinds.disconnection, address, None))
        nobody = self.client(free_port(), host="localhost")
        nobody.universal_handler(universal)
        nobody.start()
        self.assertEqual(seen.next(), (kinds.unconnected, ("localhost", nobody.port), None))

    def test_plain_handler_runs_after_the_specific_one_and_its_result_is_ignored(self):
        seen = Seen()

        def plain(address, connection, data):
            seen.tell("plain", address, data)
            return False

        server = self.server(plain)
        server.receive_handler(lambda address, connection, data: seen.tell("receive"))
        server.disconnection_handler(lambda address, reason: seen.tell("disconnection", reason))
        server.start()
        peer = self.peer(server)
        address = peer.getsockname()
        for data in b"a", b"b":  # not on connection, on a server
            peer.sendall(data)
            self.assertEqual(seen.next(), "receive")
            self.assertEqual(seen.next(), ("plain", address, data))
        peer.close()
        self.assertEqual(seen.next(), ("disconnection", None))

    def test_plain_handler_of_a_client_runs_on_connection_too(self):
        seen = Seen()
        server = self.echo_server()

        def plain(address, connection, data):
            seen.tell("plain", data)
            connection.sendall(b"x" if data is None else b"y")
            if data == b"y":
                connection.close()
            return False

        client = self.client(server.port, plain)
        client.connection_handler(lambda address, connection: seen.tell("connection"))
        client.start()
        self.assertEqual(seen.next(), "connection")
        self.assertEqual(seen.next(), ("plain", None))
        self.assertEqual(seen.next(), ("plain", b"x"))
        self.assertEqual(seen.next(), ("plain", b"y"))
        self.assertTrue(client.wait(20))

    def test_set_handler_sets_it_and_warns(self):
        for kind in Server, Client:
            each = kind("localhost", 1)
            with self.assertWarns(DeprecationWarning) as caught:
                def function(address, connection, data):
                    """A handler."""
                self.assertIs(each.set_handler(function), function)
            self.assertEqual(caught.filename, __file__)
            self.assertIs(each.handler, function)

    def test_mainloop_is_the_servers_only_and_warns(self):
        self.assertFalse(hasattr(Client, "mainloop"))
        server = self.server(start=True)
        threading.Timer(0.05, server.stop).start()
        with self.assertWarns(DeprecationWarning):
            server.mainloop()
        self.assertTrue(server.closed)

    def test_disconnection_handlers_of_one_two_and_three_parameters_work(self):
        seen = Seen()

        class Method:
            def one(self, address):
                seen.tell(1, address)

        handlers = {
            1: [lambda address: seen.tell(1, address), Method().one],
            2: [lambda address, reason: seen.tell(2, address, reason),
                lambda address, reason=5: seen.tell(2, address, reason),
                lambda *arguments: seen.tell(2, *arguments)],
            3: [lambda address, reason, connection: seen.tell(3, address, reason, connection)],
        }
        for count, functions in handlers.items():
            for function in functions:
                server = self.server()
                server.disconnection_handler(function)
                server.start()
                peer = self.peer(server)
                address = peer.getsockname()
                peer.close()
                told = seen.next()
                self.assertEqual(told[:2], (count, address))
                if count > 1:
                    self.assertIsNone(told[2])
                if count > 2:
                    self.assertEqual(told[3].address, address)


class VerdictTest(Case):
    def declined(self, **handlers):
        """Whether a connection is declined, and what the disconnection handler got."""
        seen = Seen()
        server = self.server()
        for name, function in handlers.items():
            getattr(server, name + "_handler")(function)
        server.disconnection_handler(lambda address, reason: seen.tell("disconnection"))
        server.start()
        with Peer(server.port) as peer:
            peer.sendall(b"x")
            peer.shutdown(socket.SHUT_WR)
            answer = peer.read_all()
        server.stop()
        return answer == b"" and seen.rest() == []

    @staticmethod
    def answer(address, connection, data):
        connection.sendall(b"accepted")

    def test_connection_handler_declines(self):
        for verdict in False, 0, "":
            self.assertTrue(self.declined(connection=lambda *a, v=verdict: v, receive=self.answer))
        for verdict in True, 1, "yes", None:
            self.assertFalse(self.declined(connection=lambda *a, v=verdict: v, receive=self.answer))

    def test_close_in_the_connection_handler_declines(self):
        def close(address, connection):
            connection.close()
            return True

        self.assertTrue(self.declined(connection=close, receive=self.answer))

    def test_universal_handler_can_decline(self):
        def universal(kind, address, connection, data):
            return kind is not Server.HandlerType.connection

        self.assertTrue(self.declined(universal=universal, receive=self.answer))
        # None of the connection handler leaves it to the universal one, a verdict does not.
        self.assertTrue(self.declined(universal=universal, connection=lambda *a: None,
                                      receive=self.answer))
        self.assertFalse(self.declined(universal=universal, connection=lambda *a: True,
                                       receive=self.answer))

    def test_receive_handler_has_no_verdict(self):
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            connection.sendall(data)
            return False

        server.start()
        peer = self.peer(server)
        for _ in range(2):
            peer.sendall(b"x")
            self.assertEqual(peer.read(1), b"x")

    def test_universal_handler_alone_ends_a_connection_at_data(self):
        seen = Seen()
        server = self.server()
        server.universal_handler(lambda kind, *unused: kind is not Server.HandlerType.receive)
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.peer(server)
        peer.sendall(b"x")
        self.assertEqual(peer.read_all(), b"")
        self.assertIsNone(seen.next())

    def response(self, verdict, universal=None):
        """Whether the client goes on after a response with this verdict."""
        server = self.echo_server()
        client = self.client(server.port)
        seen = Seen()
        client.connection_handler(lambda address, connection: connection.sendall(b"1"))
        if universal is not None:
            client.universal_handler(lambda *unused: universal)

        @client.response_handler
        def response(address, connection, data):
            seen.tell(data)
            if data == b"1":
                connection.sendall(b"2")
                return verdict
            return False

        client.start()
        self.assertTrue(client.wait(20))
        return seen.rest() == [b"1", b"2"]

    def test_response_handler_ends_the_connection(self):
        self.assertTrue(self.response(True))
        self.assertTrue(self.response(None))
        self.assertFalse(self.response(False))

    def test_response_handler_falls_back_to_the_universal_verdict(self):
        self.assertTrue(self.response(True, universal=True))
        self.assertTrue(self.response(None, universal=True))


class DefaultsTest(Case):
    def test_client_without_handlers_sends_ok_prints_the_answer_and_ends(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            seen.tell(data)
            connection.sendall("мяу".encode())

        server.start()
        client = self.client(server.port)
        with contextlib.redirect_stdout(io.StringIO()) as screen:
            client.start()
            self.assertTrue(client.wait(20))
        self.assertEqual(seen.next(), b"ok")
        self.assertEqual(screen.getvalue(), 'Received "мяу"\n')

    def test_client_without_handlers_tells_that_it_could_not_connect(self):
        client = self.client(free_port())
        with contextlib.redirect_stdout(io.StringIO()) as screen:
            client.start()
            self.assertTrue(client.wait(20))
        self.assertEqual(screen.getvalue(), "Couldn't connect to %s\n" % client.address)
        self.assertIsInstance(self.raised.next(), ConnectionRefusedError)

    def test_client_with_any_handler_sends_and_prints_nothing_of_its_own(self):
        names = ["connection", "response", "disconnection", "unconnected", "universal"]
        for name in names:
            seen = Seen()
            server = self.server()
            server.receive_handler(lambda address, connection, data: seen.tell(data))
            server.disconnection_handler(lambda address, reason: seen.tell("end"))
            there = threading.Event()
            server.connection_handler(lambda *unused: there.set())
            server.start()
            client = self.client(server.port)
            getattr(client, name + "_handler")(lambda *arguments: None)
            with contextlib.redirect_stdout(io.StringIO()) as screen:
                client.start()
                self.assertTrue(there.wait(20))
                client.close()
                self.assertEqual(seen.next(), "end", name)
            self.assertEqual(screen.getvalue(), "", name)

    def test_status_lines_go_to_logging(self):
        with contextlib.redirect_stdout(io.StringIO()) as screen, \
                self.assertLogs("sttcp", logging.INFO) as logs:
            server = self.server(start=True)
            peer = self.peer(server)
            address = "%s:%d" % peer.getsockname()
            peer.close()
            wait_for(lambda: server.stats().total == 1 and server.count == 0, "the end")
            server.stop()
        self.assertEqual(screen.getvalue(), "")
        # Its last handler may still be on the way out when the stop begins, which says so then.
        texts = [text for text in (record.getMessage() for record in logs.records)
                 if "stopping, waits for 1 connection" not in text]
        self.assertEqual(texts, ["Listening to 127.0.0.1:%d" % server.port,
                                 "Connected by " + address, "Disconnected by " + address,
                                 "Stopped server 127.0.0.1:%d" % server.port])


class PrintSyncTest(Case):
    def test_print_sync_prints_as_print_does(self):
        with contextlib.redirect_stdout(io.StringIO()) as screen:
            print_sync("a", 1, sep="-", end="!\n", flush=True)
            print_sync()
        self.assertEqual(screen.getvalue(), "a-1!\n\n")
        other = io.StringIO()
        print_sync("x", file=other)
        self.assertEqual(other.getvalue(), "x\n")

    def test_print_sync_prints_whole_lines(self):
        class Slow(io.StringIO):
            """Lets others in between two writes."""

            def write(self, text):
                for part in text:
                    super().write(part)
                return len(text)

        screen = Slow()
        lines = ["%d " % i * 20 for i in range(8)]
        with contextlib.redirect_stdout(screen):
            threads = [threading.Thread(target=lambda line=line: [print_sync(line) for _ in
                                                                  range(50)]) for line in lines]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(screen.getvalue().splitlines()), sorted(lines * 50))


if __name__ == "__main__":
    warnings.simplefilter("error", ResourceWarning)
    unittest.main()
