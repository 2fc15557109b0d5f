# SPDX-License-Identifier: MIT
"""Tasks of a connection: run, after, every, cancel."""

import errno
import gc
import threading
import time
import unittest
import weakref

import sttcp

from support import DEADLINE, Case, Seen, wait_for


class TasksTest(Case):
    def open(self, **options):
        """A peer of a server, and the connection between them."""
        server = self.server(start=True, **options)
        peer = self.peer(server)
        wait_for(lambda: server.count == 1)
        return peer, server.connections()[0]

    def test_run_calls_in_the_order_given(self):
        peer, connection = self.open()
        order = []
        seen = Seen()
        for number in range(500):
            connection.run(lambda number=number: order.append(number))
        connection.run(lambda: seen.tell("done"))
        self.assertEqual(seen.next(), "done")
        self.assertEqual(order, list(range(500)))

    def test_the_function_gets_the_connection_if_it_needs_something(self):
        peer, connection = self.open()
        seen = Seen()

        class Callable:
            def __call__(self, *args):
                seen.tell(args)

            def method(self, got):
                seen.tell((got,))

            def nothing(self):
                seen.tell(())

        for function, expected in ((lambda *args: seen.tell(args), ()),
                                   (Callable(), ()),
                                   (Callable().method, (connection,)),
                                   (Callable().nothing, ()),
                                   (lambda: seen.tell(()), ()),
                                   (lambda got=1: seen.tell((got,)), (1,)),
                                   (lambda got, other=1: seen.tell((got,)), (connection,))):
            connection.run(function)
            self.assertEqual(seen.next(), expected)

    def test_the_function_gets_the_arguments_that_are_given(self):
        peer, connection = self.open()
        seen = Seen()

        def tell(*args, **kwargs):
            seen.tell((args, kwargs))

        connection.run(tell, 1, two=2)
        connection.after(0, tell, connection)
        connection.every(3600, tell)
        self.assertEqual(seen.next(), ((1,), {"two": 2}))
        self.assertEqual(seen.next(), ((connection,), {}))
        connection.run(connection.sendall, b"said")
        self.assertEqual(peer.read(4), b"said")

    def test_after_comes_once_and_not_early(self):
        peer, connection = self.open()
        seen = Seen()
        for seconds in 0, 0.0004, 0.02, 0.1:
            begin = time.monotonic()
            number = connection.after(seconds, lambda: seen.tell(time.monotonic()))
            self.assertGreaterEqual(number, 1)
            self.assertGreaterEqual(seen.next() - begin, seconds)
            wait_for(lambda number=number: not connection.cancel(number))
        self.assertEqual(seen.rest(), [])

    def test_every_comes_until_it_is_cancelled(self):
        peer, connection = self.open()
        seen = Seen()
        number = connection.every(0.005, lambda got: seen.tell(got))
        for _ in range(5):
            self.assertIs(seen.next(), connection)
        self.assertTrue(connection.cancel(number))
        self.assertFalse(connection.cancel(number))

    def test_every_may_cancel_itself(self):
        peer, connection = self.open()
        seen = Seen()

        known, last = threading.Event(), threading.Event()

        def once(got):
            known.wait(DEADLINE)
            seen.tell(got.cancel(number))
            last.set()

        number = connection.every(0.5, once)
        known.set()
        self.assertIs(seen.next(), True)
        last.wait()
        self.assertFalse(connection.cancel(number))

    def test_a_method_of_the_connection_can_be_a_task(self):
        peer, connection = self.open()
        connection.after(0.01, connection.close)
        self.assertEqual(peer.read_all(), b"")

    def test_a_task_may_read_and_send(self):
        peer, connection = self.open()
        seen = Seen()

        def ask(got):
            got.sendall(b"name?")
            seen.tell(got.recv(100))

        connection.run(ask)
        self.assertEqual(peer.read(5), b"name?")
        peer.sendall(b"Ada")
        self.assertEqual(seen.next(), b"Ada")

    def test_what_a_task_raises_ends_the_connection(self):
        server = self.server()
        seen = Seen()
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.peer(server)
        wait_for(lambda: server.count == 1)
        error = ValueError("in a task")

        def fail():
            raise error

        server.connections()[0].run(fail)
        self.assertIs(seen.next(), error)
        self.assertIs(self.raised.next(), error)
        self.assertEqual(peer.read_all(), b"")

    def test_given_before_false_it_never_runs_and_is_let_go(self):
        server = self.server()
        seen = Seen()

        class Thing:
            pass

        def refuse(address, connection):
            thing = Thing()
            seen.tell(weakref.ref(thing))
            connection.run(lambda: seen.tell("ran", thing))
            connection.every(3600, lambda: seen.tell("ran", thing))
            return False

        server.connection_handler(refuse)
        server.start()
        peer = self.peer(server)
        self.assertEqual(peer.read_all(), b"")
        reference = seen.next()
        server.stop()
        wait_for(lambda: gc.collect() is not None and reference() is None)
        self.assertEqual(seen.rest(), [])

    def test_cancelled_it_is_let_go(self):
        peer, connection = self.open()

        class Thing:
            pass

        thing = Thing()
        reference = weakref.ref(thing)
        number = connection.after(3600, lambda thing=thing: None)
        del thing
        self.assertIsNotNone(reference())
        self.assertTrue(connection.cancel(number))
        self.assertIsNone(reference())

    def test_one_that_goes_may_cancel_another(self):
        peer, connection = self.open()
        numbers = []

        class Chain:
            def __del__(self):
                if numbers:
                    connection.cancel(numbers.pop())

        for _ in range(10):
            numbers.append(connection.every(3600, lambda chain=Chain(): None))
        connection.cancel(numbers.pop())
        wait_for(lambda: not numbers)

    def test_wait_of_a_coroutine_is_none(self):
        """It has a number, too, which nobody was given."""
        seen, woken = Seen(), Seen()
        server = self.server()

        @server.connection_handler
        async def begin(address, connection):
            seen.tell(connection)
            await sttcp.sleep(0.3)
            woken.tell(connection)

        server.start()
        self.peer(server)
        first = seen.next()
        # By now the first one sleeps, unless it was woken already.
        self.peer(server)
        second = seen.next()
        self.assertEqual([first.cancel(number) for number in range(5)], [False] * 5)
        self.assertEqual({woken.next(), woken.next()}, {first, second})

    def test_wrong_arguments_are_refused(self):
        peer, connection = self.open()
        async def wrong_kind():
            yield

        for wrong in None, 7, "text", wrong_kind:
            self.assertRaises(TypeError, connection.run, wrong)
            self.assertRaises(TypeError, connection.after, 1, wrong)
            self.assertRaises(TypeError, connection.every, 1, wrong)
        for wrong in None, "1", True:
            self.assertRaises(TypeError, connection.after, wrong, print)
        for wrong in -1, float("nan"), float("inf"), 2**31 / 1000, -1e-9:
            self.assertRaises(ValueError, connection.after, wrong, print)
            self.assertRaises(ValueError, connection.every, wrong, print)
        self.assertRaises(TypeError, connection.cancel, None)
        for stranger in 0, -1, 2**62:
            self.assertFalse(connection.cancel(stranger))
        self.assertGreater(connection.every(2147483.6, print), 0)

    def test_too_many_are_refused(self):
        peer, connection = self.open()
        for _ in range(16384):
            connection.every(3600, print)
        with self.assertRaises(BlockingIOError) as raised:
            connection.run(print)
        self.assertEqual(raised.exception.errno, errno.EAGAIN)

    def test_on_an_ended_connection_the_reason_is_raised(self):
        peer, connection = self.open()
        connection.close()
        for call in (lambda: connection.run(print), lambda: connection.after(1, print),
                     lambda: connection.every(1, print)):
            with self.assertRaises(sttcp.Error) as raised:
                call()
            self.assertEqual(raised.exception.name, "STTCP_ECLOSED")
        self.assertFalse(connection.cancel(1))


if __name__ == "__main__":
    unittest.main()
