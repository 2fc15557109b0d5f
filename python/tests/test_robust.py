# SPDX-License-Identifier: MIT
"""Wrong and odd use: an exception, never a crash."""

import copy
import gc
import os
import pickle
import threading
import time
import unittest
import weakref

import sttcp
from sttcp import _sttcp
from sttcp.client import Client
from sttcp.server import Server
from support import DEADLINE, Case, Seen, run_python, wait_for

FUZZ = """
import faulthandler, random, sys, threading
import sttcp
from sttcp import _sttcp
from sttcp.client import Client
from sttcp.server import Server

faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
choice = random.Random(int(sys.argv[1]))
ODD = [None, 0, 1, -1, 2**31, 2**63, -2**70, 1.5, float("nan"), "", "text", "\\udc80", "a\\0b", b"",
       b"bytes", bytearray(b"array"), memoryview(b"abcdef")[::2], [], [b"a", b"b"], ["a"], (1, 2),
       {}, {"framing": 3}, {"delimiter": 1}, {1: 1}, object(), Exception("x"), True, print,
       lambda *arguments: 1, range(3), sttcp.DEFAULT]
HANDLERS = ["connection_handler", "receive_handler", "response_handler", "end_handler",
            "disconnection_handler", "unconnected_handler", "universal_handler", "drained_handler",
            "malformed_handler"]
# These wait for what does not come, or end everything, or are what others keep account of.
NOT = {"_start", "_wait", "wait", "keep_alive", "mainloop", "_leave", "_lend", "each", "_stop", "stop",
       "close"}
C_NAMES = {*dir(_sttcp.GroupBase), *dir(_sttcp.ConnectionBase), *dir(_sttcp.TLSBase), *dir(_sttcp)}

def throw_at(target, times):
    names = [name for name in dir(target) if name not in NOT and name not in HANDLERS
             and (name[0] != "_" or name[1] != "_" and name in C_NAMES)]
    for _ in range(times):
        name = choice.choice(names)
        arguments = [choice.choice(ODD) for _ in range(choice.randrange(5))]
        try:
            value = getattr(target, name)
            if callable(value):
                value(*arguments)
            elif isinstance(target, sttcp.Connection):
                setattr(target, name, arguments[0] if arguments else None)
        except Exception:
            pass
        repr(target)

sys.stdout = open("/dev/null", "w")  # print may have become a handler
threading.excepthook = lambda arguments: None  # handlers that were odd
for round in range(20):
    server = Server("127.0.0.1", 0, framing=choice.choice(["raw", "line", "length"]))
    @server.receive_handler
    def receive(address, connection, data):
        throw_at(connection, 5)
    server.start()
    client = Client("127.0.0.1", server.port, framing="line")
    client.response_handler(lambda address, connection, data: True)
    client.start()
    for _ in range(1000):
        if client.connection is not None:
            break
    connection = client.connection
    for target in (connection, client, server, *server.connections()):
        if target is not None:
            throw_at(target, 50)
    for kind in (Server, Client):
        try:
            kind(*[choice.choice(ODD) for _ in range(3)],
                 **{choice.choice(["framing", "delimiter", "idle_timeout", "prefix_size",
                                   "max_message", "nagle", "drain_timeout", "tls", "tls_name",
                                   "tls_handshake_timeout"]): choice.choice(ODD)})
        except Exception:
            pass
    try:
        throw_at(sttcp.TLS(*[choice.choice(ODD) for _ in range(choice.randrange(3))]), 20)
    except Exception:
        pass
    if connection is not None:
        connection.abort()
    client.close()
    Server.stop(server, 0)
    for target in (connection, client, server):
        if target is not None:
            throw_at(target, 50)
throw_at(_sttcp, 300)
"""


class MadeByHandTest(Case):
    def test_a_connection_is_not_made_by_hand(self):
        for make in (sttcp.Connection, _sttcp.ConnectionBase,
                     lambda: object.__new__(sttcp.Connection),
                     lambda: type("Mine", (sttcp.Connection,), {})(),
                     lambda: sttcp.Connection.__new__(sttcp.Connection)):
            self.assertRaises(TypeError, make)

    def test_a_connection_is_not_copied(self):
        server = self.echo_server()
        peer = self.peer(server)
        wait_for(lambda: server.count == 1)
        connection = server.connections()[0]
        for how in (copy.copy, copy.deepcopy, pickle.dumps):
            self.assertRaises(TypeError, how, connection)
        peer.close()

    def test_without_init_it_says_so(self):
        for kind in (Server, Client):
            each = kind.__new__(kind)
            for call in (each._start, each._error, each._port, each._count, each._connections,
                         each._connection, each._current, each._stats, lambda: each._stop(0),
                         lambda: each._wait(0), lambda: each._find(1),
                         lambda: each._set_handler(0, None, 2),
                         lambda: each._count_in(b"red"), lambda: each._connections(b"red"),
                         lambda: each._broadcast(b"", None, False),
                         lambda: each._broadcast(b"", None, False, b"red")):
                self.assertRaises(RuntimeError, call)

    def test_init_twice_is_refused_and_changes_nothing(self):
        server = self.server(start=True)
        port = server.port
        self.assertRaises(RuntimeError, server.__init__, "127.0.0.1", 1)
        self.assertEqual(server.port, port)
        self.assertTrue(server.is_listening)

    def test_calls_of_the_other_kind_are_refused(self):
        client = Client("127.0.0.1", 1)
        server = Server("127.0.0.1", 0)
        for call in (client._stats, client._count, client._port, client._connections,
                     lambda: client._find(1), lambda: client._broadcast(b"", None, False),
                     lambda: client._count_in(b"red"), lambda: client._connections(b"red"),
                     lambda: client._broadcast(b"", None, True, b"red"), server._connection, server._current):
            self.assertRaises(TypeError, call)


class TextTest(Case):
    def ended_with(self, fail):
        seen = Seen()
        server = self.server()
        server.receive_handler(lambda address, connection, data: fail(connection))
        server.disconnection_handler(
            lambda address, reason, connection: seen.tell(reason, connection))
        server.start()
        self.peer(server).sendall(b"x")
        return seen.next()

    def test_a_text_that_is_cut_stays_a_text(self):
        # Each of these letters takes two bytes.
        reason, connection = self.ended_with(lambda connection: connection.fail("x" + "é" * 300))
        self.assertRegex(str(reason), "xé{50}")
        self.assertIsInstance(connection.reason, sttcp.HandlerError)
        self.assertEqual(self.raised.rest(), [])

    def test_an_exception_without_a_text_is_the_reason_all_the_same(self):
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no text")

        odd = Odd()

        def fail(connection):
            raise odd

        self.assertIs(self.ended_with(fail)[0], odd)
        self.assertIs(self.raised.next(), odd)


class GoingTest(Case):
    def test_one_that_was_not_started_goes_with_its_handlers(self):
        def make(kind):
            each = kind("127.0.0.1", 0)
            each.connection_handler(lambda address, connection: each)
            return weakref.ref(each)

        for kind in (Server, Client):
            known = make(kind)
            gc.collect()
            self.assertIsNone(known())

    def test_a_client_that_nobody_holds_goes_after_its_last_handler(self):
        server = self.echo_server()
        seen = Seen()

        def run():
            client = Client("127.0.0.1", server.port)
            client.connection_handler(lambda address, connection: connection.sendall(b"x"))
            client.response_handler(lambda address, connection, data: False)
            client.disconnection_handler(lambda address, reason: seen.tell(reason))
            client.start()
            return weakref.ref(client)

        known = [run() for _ in range(50)]
        for _ in known:
            self.assertIsNone(seen.next())

        def are_gone():
            gc.collect()
            return not any(each() for each in known)

        wait_for(are_gone, "the end of all clients")

    def test_connections_that_end_while_they_are_listed_go(self):
        # Without a disconnection handler the end of one needs no GIL, and may come at any moment.
        server = self.server(start=True)
        end = time.monotonic() + 1

        def come_and_go():
            while time.monotonic() < end:
                self.peer(server).reset()

        threads = [threading.Thread(target=come_and_go) for _ in range(2)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            server.connections()
        for thread in threads:
            thread.join()
        wait_for(lambda: server.count == 0, "the end of all connections")

        def are_gone():
            return not any(type(each) is sttcp.Connection and each.owner is server
                           for each in gc.get_objects())

        wait_for(are_gone, "the end of all objects")

    def test_a_handler_may_be_replaced_while_it_runs(self):
        server = self.server()
        seen = Seen()

        def handler(number):
            def receive(address, connection, data):
                server.receive_handler(handler(number + 1))
                gc.collect()
                connection.sendall(b"%d" % number)
                seen.tell(number)
            return receive

        server.receive_handler(handler(0))
        server.start()
        peer = self.peer(server)
        for number in range(10):
            peer.sendall(b"x")
            self.assertEqual(peer.read(1), b"%d" % number)


class FuzzTest(unittest.TestCase):
    def test_odd_arguments_never_crash(self):
        seed = int(os.environ.get("STTCP_TEST_SEED") or time.time_ns() % 2**32)
        print("seed", seed)
        try:
            run_python(FUZZ, seed, DEADLINE * 2, options=("-X", "faulthandler"))
        except AssertionError as error:
            raise AssertionError("STTCP_TEST_SEED=%d: %s" % (seed, error)) from None


SUBINTERPRETERS = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        print("refused")
        sys.exit()
if "first" in sys.argv:
    import sttcp
# Whether it has a lock of its own.
for is_isolated in True, False:
    if sys.version_info >= (3, 13):
        other = interpreters.create("isolated" if is_isolated else "legacy")
    elif sys.version_info >= (3, 9):
        other = interpreters.create(isolated=is_isolated)
    else:
        other = interpreters.create()
    raised = interpreters.run_string(other, '''
try:
    import sttcp
except ImportError as error:
    assert "main interpreter only" in str(error), error
    print("refused", flush=True)
''')
    assert raised is None, raised
    interpreters.destroy(other)
import sttcp
from sttcp.server import Server
with Server("127.0.0.1", 0) as server:
    try:
        Server("127.0.0.1", server.port).start()
    except sttcp.Error as error:
        assert isinstance(error, OSError)
"""


class InterpreterTest(unittest.TestCase):
    def test_a_subinterpreter_is_told_that_there_is_one_package(self):
        for when in "first", "later":
            said = run_python(SUBINTERPRETERS, when).stdout
            self.assertIn(said.split(), (["refused"] * 2, ["refused"]))


if __name__ == "__main__":
    unittest.main()
