# SPDX-License-Identifier: MIT
"""Handlers that are coroutines: what they may await, and that they are like plain ones otherwise."""

import contextlib
import errno
import socket
import time
import unittest

import sttcp
from support import DEADLINE, Case, Seen, wait_for


class AwaitCase(Case):
    def talk(self, handler, **options):
        """A server whose connection handler is that coroutine; tells what comes last."""
        self.ends = Seen()
        server = self.server(**options)
        server.connection_handler(handler)
        server.disconnection_handler(lambda address, reason: self.ends.tell("end", reason))
        server.start()
        return server


class ReadingTest(AwaitCase):
    def test_dialogue_in_the_connection_handler(self):
        async def handler(address, connection):
            self.assertEqual(address, connection.address)
            while True:
                data = await connection.recv(100)
                if not data:
                    return
                await connection.sendall(data.upper())

        server = self.talk(handler)
        peer = self.peer(server)
        for text in b"one", b"two", b"three" * 100:
            peer.sendall(text)
            self.assertEqual(peer.read(len(text)), text.upper())
        peer.close()
        self.assertEqual(self.ends.next(), ("end", None))

    def test_no_thread_waits(self):
        async def handler(address, connection):
            await connection.sendall(await connection.recv(1))

        server = self.talk(handler)
        peers = [self.peer(server) for _ in range(200)]
        wait_for(lambda: server.count == 200, "200 connections")
        self.assertLess(server.stats().threads, 20)
        self.assertEqual((server.stats().fibers, server.stats().fibers_waiting), (0, 0))
        for peer in peers:
            peer.sendall(b"x")
        for peer in peers:
            self.assertEqual(peer.read(1), b"x")

    def test_a_plain_loop_over_the_messages_is_refused(self):
        seen = Seen()

        async def handler(address, connection):
            async with sttcp.dial(*other.sock_name) as dialled:
                for each in connection, dialled, plain:
                    try:
                        for message in each:
                            seen.tell(message)
                            break
                    except TypeError as error:
                        seen.tell(str(error))
            async for message in connection:
                seen.tell(message)

        other = self.server(start=True)
        plain = sttcp.dial(*other.sock_name)
        self.addCleanup(plain.close)
        peer = self.peer(self.talk(handler, framing="line"))
        peer.sendall(b"x\n")
        for _ in range(3):
            self.assertIn("`async for`", seen.next())
        self.assertEqual(seen.next(), b"x")

    def test_recv_leaves_what_it_does_not_take(self):
        seen = Seen()

        async def handler(address, connection):
            for size in 2, 3, 1:
                seen.tell(await connection.recv(size))

        server = self.talk(handler)
        server.receive_handler(lambda address, connection, data: seen.tell("handler", data))
        peer = self.peer(server)
        peer.sendall(b"abcdefgh")
        self.assertEqual([seen.next() for _ in range(4)],
                         [b"ab", b"cde", b"f", ("handler", b"gh")])
        peer.sendall(b"more")
        self.assertEqual(seen.next(), ("handler", b"more"))

    def test_recv_of_nothing_does_not_wait(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(await connection.recv(0))
            seen.tell(await connection.recv_exactly(0))

        self.peer(self.talk(handler))
        self.assertEqual((seen.next(), seen.next()), (b"", b""))

    def test_recv_exactly(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(await connection.recv_exactly(4))
            seen.tell(await connection.recv_exactly(2))
            try:
                await connection.recv_exactly(4, timeout=0.01)
            except socket.timeout:
                seen.tell("late")
            seen.tell(await connection.recv(10))
            try:
                await connection.recv_exactly(2 << 20)
            except OSError as error:
                seen.tell(error.errno)
            seen.tell(await connection.recv_exactly(3))
            seen.tell(await connection.recv(10))
            seen.tell(await connection.recv(10))

        peer = self.peer(self.talk(handler))
        for part in b"a", b"bc", b"defg":
            peer.sendall(part)
            time.sleep(0.01)
        self.assertEqual([seen.next() for _ in range(5)],
                         [b"abcd", b"ef", "late", b"g", errno.EMSGSIZE])
        peer.sendall(b"hi")
        peer.shutdown(socket.SHUT_WR)
        # Then nothing was taken.
        self.assertEqual([seen.next() for _ in range(3)], [None, b"hi", b""])

    def test_messages(self):
        async def handler(address, connection):
            while True:
                size = await connection.next_size()
                message = await connection.recv_message()
                if message is None:
                    break
                self.assertEqual(size, len(message))
                await connection.send_message(message[::-1])
            self.assertIsNone(size)

        peer = self.peer(self.talk(handler, framing="line"))
        peer.sendall(b"abc\n\nde")
        self.assertEqual(peer.read(5), b"cba\n\n")
        peer.sendall(b"f\n")
        self.assertEqual(peer.read(4), b"fed\n")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"")
        self.assertEqual(self.ends.next(), ("end", None))
        self.assertEqual(self.raised.rest(), [])

    def test_next_size_leaves_the_message_to_the_handler(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(await connection.next_size())

        server = self.talk(handler, framing="line")
        server.receive_handler(lambda address, connection, data: seen.tell(data))
        self.peer(server).sendall(b"abc\n\n")
        self.assertEqual([seen.next() for _ in range(3)], [3, b"abc", b""])

    def test_bytes_of_a_connection_with_messages(self):
        """A head of lines, then a body."""
        async def handler(address, connection):
            while True:
                line = await connection.recv_message()
                if line is None:
                    return
                size = int(line)
                await connection.sendall(await connection.recv_exactly(size) or b"cut")

        peer = self.peer(self.talk(handler, framing="line"))
        peer.sendall(b"4\na\nb\n2\ncd3\n")
        self.assertEqual(peer.read(6), b"a\nb\ncd")
        peer.sendall(b"efg")
        self.assertEqual(peer.read(3), b"efg")

    def test_a_change_of_framing_finds_messages_in_what_was_left(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(await connection.recv_exactly(2))
            seen.tell(await connection.recv(1))
            connection.set_framing("line")
            seen.tell(await connection.recv_message())
            connection.set_framing("raw")
            seen.tell(await connection.recv(2))

        server = self.talk(handler)
        server.receive_handler(lambda address, connection, data: seen.tell("handler", data))
        self.peer(server).sendall(b"abcline\nd\xffrest")
        self.assertEqual([seen.next() for _ in range(5)],
                         [b"ab", b"c", b"line", b"d\xff", ("handler", b"rest")])

    def test_recv_into_blocks_as_ever(self):
        seen = Seen()

        async def handler(address, connection):
            await connection.recv(1)
            room = bytearray(2)
            seen.tell(connection.recv_into(room))
            seen.tell(bytes(room))

        self.peer(self.talk(handler)).sendall(b"abc")
        self.assertEqual((seen.next(), seen.next()), (2, b"bc"))

    def test_iteration(self):
        seen = Seen()

        async def handler(address, connection):
            async with connection as same:
                self.assertIs(same, connection)
                async for line in connection:
                    if line == b"enough":
                        break
                    await connection.send_message(line)
            seen.tell(connection.is_open)

        server = self.talk(handler, framing="line")
        peer = self.peer(server)
        peer.sendall(b"a\nb\nenough\nc\n")
        self.assertEqual(peer.read_all(), b"a\nb\n")
        self.assertIs(seen.next(), False)
        peer = self.peer(server)
        peer.sendall(b"a\n")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"a\n")
        seen.next()

    def test_iteration_over_chunks(self):
        seen = Seen()

        async def handler(address, connection):
            async for chunk in connection:
                seen.tell(chunk)
            seen.tell(None)

        peer = self.peer(self.talk(handler))
        peer.sendall(b"ab")
        self.assertEqual(seen.next(), b"ab")
        peer.close()
        self.assertIsNone(seen.next())

    def test_timeouts(self):
        seen = Seen()

        async def handler(address, connection):
            connection.settimeout(0.02)
            for wait in connection.recv, connection.recv_exactly:
                began = time.monotonic()
                with contextlib.suppress(socket.timeout):
                    await wait(1)
                    seen.tell("no")
                seen.tell(time.monotonic() - began >= 0.02)
            connection.settimeout(0)
            for wait in connection.recv, connection.recv_exactly:
                try:
                    await wait(1)
                except BlockingIOError:
                    seen.tell("would")
            try:
                await connection.next_size(timeout=0.001)
            except socket.timeout as error:
                seen.tell(isinstance(error, sttcp.Error))
            connection.settimeout(None)
            seen.tell(await connection.recv(1))

        peer = self.peer(self.talk(handler))
        self.assertEqual([seen.next() for _ in range(5)], [True, True, "would", "would", True])
        peer.sendall(b"x")
        self.assertEqual(seen.next(), b"x")

    def test_a_timer_is_not_early_for_a_later_wait(self):
        """The timer of a read that has come to something stands until it rings."""
        seen = Seen()

        async def handler(address, connection):
            while True:
                with contextlib.suppress(socket.timeout):  # its byte may be late
                    await connection.recv_exactly(1, timeout=0.1)
                    break
            began = time.monotonic()
            with contextlib.suppress(socket.timeout):
                await connection.recv_exactly(1, timeout=0.2)
            seen.tell(time.monotonic() - began)
            await connection.recv_exactly(1, timeout=DEADLINE * 2)
            await sttcp.sleep(0.01)  # nor is it late for one that is shorter
            seen.tell("slept")

        peer = self.peer(self.talk(handler))
        peer.sendall(b"x")
        self.assertGreaterEqual(seen.next(), 0.2)
        peer.sendall(b"y")
        self.assertEqual(seen.next(), "slept")


class OrderTest(AwaitCase):
    def test_data_waits_for_a_coroutine_that_sleeps(self):
        seen = Seen()

        async def handler(address, connection, data):
            seen.tell("begin", data)
            await sttcp.sleep(0.01)
            seen.tell("end", data)

        server = self.server(framing="line")
        server.receive_handler(handler)
        server.start()
        self.peer(server).sendall(b"a\nb\nc\n")
        self.assertEqual([seen.next() for _ in range(6)],
                         [(word, name) for name in (b"a", b"b", b"c") for word in ("begin", "end")])

    def test_no_other_handler_runs_meanwhile(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell("waits", connection)
            await connection.recv(1)
            await sttcp.sleep(0.02)
            seen.tell("returns")

        server = self.talk(handler)
        server.receive_handler(lambda address, connection, data: seen.tell("data", data))
        peer = self.peer(server)
        connection = seen.next()[1]
        connection.run(seen.tell, "task")
        number = connection.after(0.001, seen.tell, "never")
        every = connection.every(0.001, seen.tell, "every")
        time.sleep(0.02)
        self.assertEqual(seen.rest(), [])
        self.assertTrue(connection.cancel(number))
        self.assertFalse(connection.cancel(number))
        peer.sendall(b"abc")
        self.assertEqual([seen.next() for _ in range(3)], ["returns", "task", "every"])
        found = seen.next()
        while found == "every":
            found = seen.next()
        self.assertEqual(found, ("data", b"bc"))
        self.assertTrue(connection.cancel(every))

    def test_phase_goes_on_behind_a_coroutine(self):
        seen = Seen()
        server = self.server(lambda address, connection, data: seen.tell("plain", data))

        @server.universal_handler
        async def universal(kind, address, connection, data):
            if data is not None:
                await sttcp.sleep(0.001)
                seen.tell("universal", data)
                return data != b"end"

        @server.receive_handler
        async def receive(address, connection, data):
            await sttcp.sleep(0.001)
            seen.tell("receive", data)

        server.disconnection_handler(lambda address, reason: seen.tell("gone", reason))
        server.start()
        peer = self.peer(server)
        peer.sendall(b"x")
        self.assertEqual([seen.next() for _ in range(3)],
                         [("universal", b"x"), ("receive", b"x"), ("plain", b"x")])
        server.receive_handler(None)
        peer.sendall(b"end")
        self.assertEqual([seen.next() for _ in range(3)],
                         [("universal", b"end"), ("plain", b"end"), ("gone", None)])

    def test_own_handler_and_tasks_may_be_coroutines(self):
        seen = Seen()

        async def own(address, connection, data):
            await sttcp.sleep(0.001)
            seen.tell("own", data + await connection.recv(10))

        async def task(connection):
            await sttcp.sleep(0.001)
            seen.tell("task", await connection.recv(10))

        server = self.server()
        server.connection_handler(lambda address, connection: connection.on_message(own) and None)
        server.start()
        peer = self.peer(server)
        peer.sendall(b"a")
        wait_for(lambda: server.connections(), "the connection")
        connection, = server.connections()
        wait_for(lambda: connection.stats().bytes_in, "a")
        time.sleep(0.02)
        peer.sendall(b"b")
        self.assertEqual(seen.next(), ("own", b"ab"))
        connection.run(task)
        time.sleep(0.02)
        peer.sendall(b"c")
        self.assertEqual(seen.next(), ("task", b"c"))

    def test_pause_counts_when_the_coroutine_has_returned(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell(connection)
            connection.pause()
            seen.tell(await connection.recv(1))
            seen.tell("returns")

        server = self.talk(handler)
        server.receive_handler(lambda address, connection, data: seen.tell("data", data))
        peer = self.peer(server)
        connection = seen.next()
        peer.sendall(b"ab")
        self.assertEqual((seen.next(), seen.next()), (b"a", "returns"))
        peer.sendall(b"c")
        time.sleep(0.02)
        self.assertEqual(seen.rest(), [])
        connection.resume()
        found = b""
        while found != b"bc":
            found += seen.next()[1]

    def test_verdicts(self):
        async def decline(address, connection):
            await sttcp.sleep(0.001)
            return False

        server = self.talk(decline)
        self.assertEqual(self.peer(server).read_all(), b"")
        self.assertEqual(self.ends.next(), ("end", None))

        async def decline_at_once(address, connection):
            return False

        server = self.talk(decline_at_once)
        self.assertEqual(self.peer(server).read_all(), b"")
        wait_for(lambda: server.stats().declined == 1, "the refusal")
        self.assertEqual(self.ends.rest(), [])

    def test_end_handler_comes_after_the_coroutine(self):
        seen = Seen()
        server = self.server(half_close=True)

        @server.connection_handler
        async def handler(address, connection):
            seen.tell(await connection.recv(10))
            await sttcp.sleep(0.01)
            await connection.sendall(b"after")
            seen.tell("returns")

        @server.end_handler
        async def end(address, connection):
            await sttcp.sleep(0.001)
            seen.tell("end")
            try:
                await connection.recv(1)
            except RuntimeError as error:
                seen.tell(str(error))
            except OSError as error:
                seen.tell(error.errno)
            connection.close()

        server.start()
        peer = self.peer(server)
        wait_for(lambda: server.count == 1, "the connection")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"after")
        self.assertEqual([seen.next() for _ in range(3)], [b"", "returns", "end"])
        self.assertEqual(seen.next(), errno.EDEADLK)


class SendingTest(AwaitCase):
    SIZE = 200000

    def fill(self, handler, **options):
        """A peer that reads nothing until it is told to."""
        server = self.server(send_queue_max=300000, **options)
        server.connection_handler(handler)
        server.start()
        return server, self.small_peer(server)

    def small_peer(self, server):
        peer = socket.socket()
        self._made.callback(peer.close)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(DEADLINE)
        peer.connect(("127.0.0.1", server.port))
        return peer

    def test_sends_wait_at_the_cap(self):
        seen = Seen()

        async def handler(address, connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for number in range(10):
                await connection.sendall(bytearray(b"%d" % number * self.SIZE))
                seen.tell(number)
            connection.close()

        server, peer = self.fill(handler)
        wait_for(lambda: server.count and server.connections()[0].stats().queued > 100000,
                 "a full queue")
        time.sleep(0.05)
        self.assertLess(len(seen.rest()), 9)
        got = b""
        while len(got) < self.SIZE * 10:
            more = peer.recv(65536)
            self.assertTrue(more)
            got += more
        self.assertEqual(got, b"".join(b"%d" % number * self.SIZE for number in range(10)))
        self.assertEqual(peer.recv(1), b"")

    def test_sends_that_wait_take_no_threads(self):
        async def handler(address, connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            while True:
                await connection.sendall(b"x" * self.SIZE)

        before = self.server(start=True).stats().threads  # there may be some of other tests
        server, _ = self.fill(handler)
        for _ in range(49):
            self.small_peer(server)
        wait_for(lambda: sum(each.stats().queued > 100000 for each in server.connections()) == 50,
                 "full queues")
        time.sleep(0.05)
        # A busy machine makes the engine want some.
        self.assertLess(server.stats().threads, before + 25)

    def test_what_does_not_fit_the_queue_is_sent_as_a_whole(self):
        async def handler(address, connection):
            await connection.sendall(b"x" * 1000000)
            connection.close()

        _, peer = self.fill(handler)
        got = 0
        while True:
            more = len(peer.recv(65536))
            if not more:
                break
            got += more
        self.assertEqual(got, 1000000)

    def test_what_is_not_awaited_is_sent(self):
        async def handler(address, connection):
            connection.sendall(b"abc")
            connection.send_message(b"def")
            connection.send(b"ghi")
            await sttcp.sleep(0)
            connection.close()

        self.assertEqual(self.peer(self.talk(handler)).read_all(), b"abcdefghi")

    def test_to_another_connection(self):
        first = []

        async def handler(address, connection):
            first.append(connection)
            async for chunk in connection:
                await first[0].sendall(chunk)

        server = self.talk(handler)
        one = self.peer(server)
        wait_for(lambda: first, "the first")
        self.peer(server).sendall(b"abc")
        self.assertEqual(one.read(3), b"abc")

    def test_write_timeout_ends_a_send_that_waits(self):
        seen = Seen()

        async def handler(address, connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            try:
                while True:
                    await connection.sendall(b"x" * self.SIZE)
            except sttcp.TimeLimitError as error:
                seen.tell(error.limit)

        self.fill(handler, write_timeout=0.1)
        self.assertEqual(seen.next(), "write")

if __name__ == "__main__":
    unittest.main()
