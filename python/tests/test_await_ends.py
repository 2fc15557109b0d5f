# SPDX-License-Identifier: MIT
"""Handlers that are coroutines: how they end, what they may not await, and that nothing is left."""

import asyncio
import contextlib
import errno
import gc
import socket
import threading
import time
import unittest
import warnings
import weakref

import sttcp
from sttcp.server import Server
from support import DEADLINE, SANITIZED, Peer, Seen, run_python, wait_for
from test_await import AwaitCase


class EndTest(AwaitCase):
    def waiting(self, wait, **options):
        """A server with a coroutine in that wait: (server, connection, peer). Tells what it gets, in
        order with what comes after it."""
        seen = Seen()

        async def handler(address, connection):
            try:
                seen.tell("waits", connection)
                seen.tell("got", await wait(connection))
            except BaseException as error:
                seen.tell("raised", error)
                raise
            finally:
                seen.tell("finally")

        server = self.server(**options)
        server.connection_handler(handler)
        server.disconnection_handler(lambda address, reason: seen.tell("end", reason))
        server.start()
        peer = self.peer(server)
        connection = seen.next()[1]
        return server, connection, peer, seen

    WAITS = {
        "recv": lambda connection: connection.recv(1),
        "recv_exactly": lambda connection: connection.recv_exactly(2),
        "recv_message": lambda connection: connection.recv_message(),
        "next_size": lambda connection: connection.next_size(),
        "sleep": lambda connection: sttcp.sleep(3600),
    }

    READS = (("recv", {}, b""), ("recv_exactly", {}, None), ("recv_message", {}, None),
             ("next_size", {}, None), ("recv", {"framing": "line"}, b""),
             ("recv_message", {"framing": "line"}, None), ("next_size", {"framing": "line"}, None))

    def test_a_coroutine_that_begins_after_the_fin_reads_the_end(self):
        for name, options, end in self.READS:
            with self.subTest(name, **options):
                seen = Seen()

                async def task(connection, name=name, seen=seen):
                    seen.tell(await self.WAITS[name](connection))
                    connection.close()

                server = self.server(half_close=True, **options)
                server.end_handler(lambda address, connection, task=task: connection.run(
                    task, connection))
                server.start()
                peer = self.peer(server)
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(seen.next(), end)
                self.assertEqual(peer.read_all(), b"")

    def test_it_ends_the_connection_after_a_coroutine_that_has_outlived_the_fin(self):
        seen = Seen()

        async def task(connection):
            seen.tell("task", await connection.recv_message())

        server = self.server()

        @server.connection_handler
        async def talk(address, connection):
            seen.tell("handler", await connection.recv_message())
            await sttcp.sleep(0.001)
            connection.run(task, connection)

        server.disconnection_handler(lambda address, reason: seen.tell("end", reason))
        server.start()
        peer = self.peer(server)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual([seen.next() for _ in range(3)],
                         [("handler", None), ("task", None), ("end", None)])

    def test_each_end_of_each_wait(self):
        def close(server, connection, peer):
            connection.close()

        def abort(server, connection, peer):
            connection.abort()

        def fail(server, connection, peer):
            connection.fail(ValueError("x"))

        def stop(server, connection, peer):
            server.stop(0)

        for end, kind, reasons in (
                (close, ConnectionAbortedError, [type(None)]),
                (abort, ConnectionAbortedError, [type(None)]),
                (fail, sttcp.HandlerError, [ValueError]),
                (stop, sttcp.StoppedError, [sttcp.StoppedError])):
            for name, wait in self.WAITS.items():
                with self.subTest(end=end.__name__, wait=name):
                    server, connection, peer, seen = self.waiting(wait)
                    end(server, connection, peer)
                    what, error = seen.next()
                    self.assertEqual(what, "raised")
                    self.assertIsInstance(error, kind)
                    self.assertEqual(seen.next(), "finally")
                    self.assertIn(type(seen.next()[1]), reasons)
        # What it is told is no news.
        self.assertEqual(self.raised.rest(), [])

    def test_fin_of_the_peer(self):
        for name, value in ("recv", b""), ("recv_exactly", None), ("recv_message", None), \
                ("next_size", None):
            with self.subTest(wait=name):
                _, _, peer, seen = self.waiting(self.WAITS[name])
                peer.close()
                self.assertEqual([seen.next() for _ in range(3)],
                                 [("got", value), "finally", ("end", None)])

    def test_sending_goes_on_after_fin_of_the_peer(self):
        async def talk(connection):
            seen.tell(await connection.recv(10))
            await sttcp.sleep(0.001)
            await connection.sendall(b"after")
            seen.tell(await connection.recv(10))
            await connection.sendall(b"more")

        async def on_connection(address, connection):
            await talk(connection)

        async def on_data(address, connection, data):
            await talk(connection)

        for name in "connection_handler", "receive_handler":
            with self.subTest(handler=name):
                seen = Seen()
                server = self.server()
                if name == "connection_handler":
                    server.connection_handler(on_connection)
                else:
                    server.receive_handler(on_data)
                server.end_handler(lambda address, connection: seen.tell("end"))
                server.disconnection_handler(
                    lambda address, reason: seen.tell("gone", reason))
                server.start()
                peer = self.peer(server)
                if name == "receive_handler":
                    peer.sendall(b"x")
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(peer.read_all(), b"aftermore")
                self.assertEqual([seen.next() for _ in range(3)], [b"", b"", ("gone", None)])

    def test_fin_ends_the_connection_when_the_coroutine_has_returned(self):
        seen = Seen()

        async def handler(address, connection):
            async for message in connection:
                seen.tell(message)

        server = self.server(framing="line")
        server.connection_handler(handler)
        server.receive_handler(lambda address, connection, data: seen.tell("data", data))
        server.disconnection_handler(lambda address, reason: seen.tell("gone", reason))
        server.start()
        peer = self.peer(server)
        peer.sendall(b"one\n")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"")
        self.assertEqual([seen.next(), seen.next()], [b"one", ("gone", None)])

    def test_reset_by_the_peer(self):
        for name, wait in self.WAITS.items():
            with self.subTest(wait=name):
                _, _, peer, seen = self.waiting(wait)
                peer.reset()
                self.assertIsInstance(seen.next()[1], ConnectionResetError)
                self.assertEqual(seen.next(), "finally")
                self.assertIsInstance(seen.next()[1], ConnectionResetError)

    def test_a_limit_ends_it(self):
        _, _, _, seen = self.waiting(self.WAITS["sleep"], lifetime=0.05)
        self.assertEqual(seen.next()[1].limit, "lifetime")
        self.assertEqual(seen.next(), "finally")
        self.assertEqual(seen.next()[1].limit, "lifetime")

    def test_graceful_stop_waits(self):
        server, connection, peer, seen = self.waiting(self.WAITS["recv"])
        thread = threading.Thread(target=server.stop)
        thread.start()
        wait_for(lambda: connection.stopping, "the stop")
        self.assertEqual(seen.rest(), [])
        peer.sendall(b"x")
        self.assertEqual([seen.next(), seen.next()], [("got", b"x"), "finally"])
        peer.close()
        thread.join(DEADLINE)
        self.assertFalse(thread.is_alive())

    def test_waits_in_its_last_words_end_at_once(self):
        seen = Seen()

        async def handler(address, connection):
            try:
                await connection.recv(1)
            finally:
                for wait in connection.recv, sttcp.sleep:
                    try:
                        await wait(3600)
                    except ConnectionAbortedError:
                        seen.tell("ended")

        server = self.talk(handler)
        self.peer(server)
        wait_for(lambda: server.count == 1, "the connection")
        server.connections()[0].abort()
        self.assertEqual([seen.next(), seen.next()], ["ended", "ended"])
        self.assertEqual(self.ends.next(), ("end", None))

    def test_what_it_raises_ends_the_connection(self):
        class Wrong(Exception):
            pass

        async def handler(address, connection):
            await connection.recv(1)
            raise Wrong("text")

        server = self.talk(handler)
        peer = self.peer(server)
        peer.sendall(b"x")
        self.assertEqual(peer.read_all(), b"")
        reason = self.ends.next()[1]
        self.assertIsInstance(reason, Wrong)
        self.assertIs(self.raised.next(), reason)
        self.assertIsNotNone(reason.__traceback__)

    def test_close_in_the_connection_handler_before_a_wait(self):
        seen = Seen()

        async def handler(address, connection):
            connection.close()
            try:
                await connection.recv(1)
            finally:
                seen.tell("finally")

        self.assertEqual(self.peer(self.talk(handler)).read_all(), b"")
        self.assertEqual(seen.next(), "finally")
        self.assertEqual(self.ends.rest(), [])

    def test_malformed_message(self):
        server, _, peer, seen = self.waiting(self.WAITS["recv_message"], framing="line",
                                             max_message=4)

        @server.malformed_handler
        async def malformed(address, connection, error):
            await sttcp.sleep(0.001)
            await connection.sendall(b"bad")
            seen.tell("malformed", type(error))

        peer.sendall(b"too long\n")
        self.assertEqual(peer.read_all(), b"bad")
        self.assertEqual(seen.next(), ("malformed", sttcp.LimitError))
        self.assertIsInstance(seen.next()[1], sttcp.LimitError)
        self.assertEqual(seen.next(), "finally")
        self.assertIsInstance(seen.next()[1], sttcp.LimitError)

    def test_last_handlers_may_be_coroutines(self):
        seen = Seen()

        async def gone(address, reason):
            await sttcp.sleep(0.001)
            seen.tell("gone")

        client = self.client(self.echo_server().port)

        @client.connection_handler
        async def begin(address, connection):
            await connection.sendall(b"x")
            return await connection.recv(1) != b"x"

        client.disconnection_handler(gone)
        client.start()
        self.assertTrue(client.wait(DEADLINE))
        self.assertEqual(seen.next(), "gone")

        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            client = self.client(closed.getsockname()[1])
            client.unconnected_handler(gone)
            client.start()
            self.assertTrue(client.wait(DEADLINE))
        self.assertEqual(seen.next(), "gone")

    def test_response_handler(self):
        client = self.client(self.echo_server().port)
        reasons = Seen()

        @client.connection_handler
        def begin(address, connection):
            connection.sendall(b"x")

        @client.response_handler
        async def response(address, connection, data):
            await sttcp.sleep(0.001)
            await connection.sendall(data * 2)
            return len(data) < 8

        client.disconnection_handler(lambda address, reason: reasons.tell((reason,)))
        client.start()
        self.assertTrue(client.wait(DEADLINE))
        self.assertEqual(reasons.next(), (None,))

    def test_detach_of_one_that_waits(self):
        _, connection, peer, seen = self.waiting(self.WAITS["recv"])
        with self.assertRaises(OSError) as caught:
            connection.detach()
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        peer.sendall(b"x")
        self.assertEqual(seen.next(), ("got", b"x"))


class MistakesTest(AwaitCase):
    def reason_of(self, handler, **options):
        server = self.talk(handler, **options)
        self.peer(server)
        reason = self.ends.next()[1]
        self.raised.next()
        return reason

    def test_awaiting_anything_else(self):
        class Other:
            def __await__(self):
                yield "other"

        for each in (lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.01), Other,
                     lambda: asyncio.Event().wait()):
            async def handler(address, connection):
                await each()

            reason = self.reason_of(handler)
            self.assertIsInstance(reason, TypeError)
            self.assertIn("may await", str(reason))

    def test_a_handler_may_go_on_behind_it(self):
        async def handler(address, connection):
            try:
                await asyncio.sleep(0)
            except TypeError:
                await connection.sendall(await connection.recv(1))

        peer = self.peer(self.talk(handler))
        peer.sendall(b"x")
        self.assertEqual(peer.read(1), b"x")

    def test_nested_coroutines(self):
        async def inner(connection):
            return await connection.recv(1)

        async def handler(address, connection):
            await connection.sendall(await inner(connection) + await inner(connection))

        peer = self.peer(self.talk(handler))
        peer.sendall(b"ab")
        self.assertEqual(peer.read(2), b"ab")

    def test_what_is_not_awaited_warns(self):
        async def handler(address, connection):
            connection.recv(1)
            connection.close()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.peer(self.talk(handler)).read_all()
            wait_for(lambda: caught, "a warning")
        self.assertIn("recv was never awaited", str(caught[0].message))

    def test_twice_and_elsewhere(self):
        seen = Seen()

        async def handler(address, connection):
            wait = connection.recv(0)
            await wait
            try:
                await wait
            except RuntimeError as error:
                seen.tell(str(error))
            seen.tell(connection.recv(1))
            await sttcp.sleep(3600)

        server = self.talk(handler)
        self.peer(server)
        self.assertEqual(seen.next(), "it was awaited already")
        wait_for(lambda: server.count == 1, "its wait")
        connection, = server.connections()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.assertRaises(TypeError, next, seen.next())
            self.assertRaises(TypeError, next, connection.__anext__())

    def test_read_of_another_connection(self):
        seen = Seen()

        async def handler(address, connection):
            if len(server.connections()) == 1 and server.connections()[0] is not connection:
                try:
                    await server.connections()[0].recv(1)
                except OSError as error:
                    seen.tell(error.errno)
            await connection.recv(1)

        server = self.talk(handler)
        self.peer(server)
        wait_for(lambda: server.count == 1, "the first")
        self.peer(server)
        self.assertEqual(seen.next(), errno.EDEADLK)

    def test_generators_are_refused(self):
        def handler(address, connection):
            yield

        async def other(address, connection):
            yield

        for each in handler, other:
            self.assertRaisesRegex(TypeError, "generator", Server("localhost", 0).connection_handler,
                                   each)

    def test_sleep_outside_coroutines(self):
        began = time.monotonic()
        sttcp.sleep(0.02)
        self.assertGreaterEqual(time.monotonic() - began, 0.02)
        self.assertRaises(ValueError, sttcp.sleep, -1)
        self.assertRaises(TypeError, sttcp.sleep, "1")

    def test_plain_handlers_still_block(self):
        seen = Seen()

        async def parks(connection):
            seen.tell("parks", await connection.recv(1))

        @contextlib.contextmanager
        def plain(connection):
            seen.tell("plain", connection.recv(1))
            yield

        server = self.server()

        @server.connection_handler
        def handler(address, connection):
            with plain(connection):
                connection.run(parks)

        server.start()
        self.peer(server).sendall(b"ab")
        self.assertEqual([seen.next(), seen.next()], [("plain", b"a"), ("parks", b"b")])


class MemoryTest(AwaitCase):
    def test_nothing_is_left(self):
        objects = []

        class Held:
            pass

        async def handler(address, connection):
            held = Held()
            connection.data = connection, held
            objects.append(weakref.ref(held))
            connection.run(lambda: None)
            await connection.recv_exactly(5, timeout=60)
            await sttcp.sleep(3600)

        server = self.talk(handler)
        for number in range(40):
            peer = self.peer(server)
            wait_for(lambda: len(objects) > number, "the handler")
            if number % 4 == 1:
                peer.sendall(b"hello")
            elif number % 4 == 2:
                peer.sendall(b"he")
            elif number % 4 == 3:
                peer.reset()
        server.stop(0)
        self.assertEqual(len(objects), 40)

        def all_gone():
            gc.collect()
            return not any(each() for each in objects)

        wait_for(all_gone, "the end of all coroutines")

    def test_memory_is_flat(self):
        async def handler(address, connection):
            connection.settimeout(60)
            while True:
                data = await connection.recv(100)
                if not data:
                    break
                await sttcp.sleep(0)
                await connection.sendall(data)

        server = self.talk(handler)

        def round_of(count):
            for _ in range(count):
                with Peer(server.port) as peer:
                    peer.sendall(b"x")
                    self.assertEqual(peer.read(1), b"x")
            wait_for(lambda: server.count == 0, "the end of all")
            self.ends.rest()
            gc.collect()
            return len(gc.get_objects()), resident_kib()

        round_of(300)
        objects, before = round_of(300)
        more, after = round_of(900)
        self.assertLess(more, objects + 50)
        if not SANITIZED:
            self.assertLess(after, before + 1024)

    def test_program_ends_while_coroutines_wait(self):
        result = run_python("""if True:
            import socket, sttcp
            from sttcp.server import Server

            server = Server("127.0.0.1", 0)

            @server.connection_handler
            async def handler(address, connection):
                await connection.sendall(b"x")
                if address[1] % 2:
                    await sttcp.sleep(3600)
                await connection.recv(1)

            server.start()
            peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
            for peer in peers:
                peer.recv(1)
            print("all wait")
        """)
        self.assertEqual(result.stdout, "all wait\n")
        self.assertEqual(result.stderr, "")


def resident_kib():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4


if __name__ == "__main__":
    unittest.main()
