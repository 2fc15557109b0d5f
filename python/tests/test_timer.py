# SPDX-License-Identifier: MIT
"""Timers, every() of servers and clients, and run()."""

import gc
import random
import signal
import threading
import time
import unittest
import weakref

import sttcp
from asleep import once_main_waits
from support import DEADLINE, Case, Seen, forks_beside_threads, run_python, wait_for


class TimerCase(Case):
    def timer(self, *arguments, **options):
        timer = sttcp.Timer(*arguments, **options)
        self.addCleanup(timer.stop)
        return timer


class TimerTest(TimerCase):
    def test_it_calls_once_or_again_and_again_and_never_early(self):
        seen = Seen()
        timer = self.timer(lambda: seen.tell(time.monotonic()))
        begun = time.monotonic()
        timer.start(0.05)
        self.assertGreaterEqual(seen.next(), begun + 0.05)
        begun = time.monotonic() - 0.001  # they are counted from a whole millisecond
        timer.start(0, every=0.02)
        for number in range(10):
            self.assertGreaterEqual(seen.next(), begun + 0.02 * number)
        self.assertIs(timer.stop(), True)
        # What was stopped does not come again, and what was set once does not, either.
        seen.rest()
        timer.start(0.03)
        seen.next()
        self.assertIs(timer.stop(), True)
        self.assertEqual(seen.rest(), [])

    def test_the_function_gets_what_was_given_or_the_timer(self):
        seen = Seen()
        self.timer(seen.tell, 1, 2).start(0)
        self.assertEqual(seen.next(), (1, 2))
        self.timer(lambda a, *, b: seen.tell(a, b), 3, b=4).start(0)
        self.assertEqual(seen.next(), (3, 4))
        timer = self.timer(lambda it: seen.tell(it))
        timer.start(0)
        self.assertIs(seen.next(), timer)
        self.timer(lambda it=5: seen.tell(it)).start(0)
        self.assertEqual(seen.next(), 5)
        self.assertRegex(repr(timer), "^<sttcp.Timer of .*<lambda>>$")

    def test_what_the_function_raises_is_reported_and_the_timer_goes_on(self):
        timer = self.timer(lambda: 1 / 0)
        timer.start(0, every=0.001)
        for _ in range(3):
            self.assertIsInstance(self.raised.next(), ZeroDivisionError)

    def test_threads_are_the_librarys(self):
        seen = Seen()
        self.timer(lambda: seen.tell(threading.current_thread().name)).start(0)
        self.assertRegex(seen.next(), r"^sttcp-\d+$")

    def test_it_blocks_nobody_and_never_runs_beside_itself(self):
        seen, inside, go = Seen(), [], threading.Event()

        def block():
            inside.append(1)
            seen.tell(len(inside))
            go.wait(DEADLINE)
            inside.pop()

        for each in [self.timer(go.wait, DEADLINE) for _ in range(10)] + [self.timer(block)]:
            each.start(0, every=0.001)
        server = self.echo_server()
        peer = self.peer(server)
        for _ in range(20):
            peer.sendall(b"x")
            self.assertEqual(peer.read(1), b"x")
        self.assertEqual(seen.next(), 1)
        self.assertEqual(seen.rest(), [])
        go.set()
        for _ in range(20):
            self.assertEqual(seen.next(), 1)

    def test_bad_arguments_are_refused(self):
        async def wrong():
            pass

        for function in None, 3, wrong:
            self.assertRaises(TypeError, sttcp.Timer, function)
            self.assertRaises(TypeError, sttcp.run, function)
        self.assertRaises(TypeError, sttcp.Timer)
        timer = self.timer(print)
        for number in -1, -0.001, 2**31, float("nan"), float("inf"):
            self.assertRaises(ValueError, timer.start, number)
            self.assertRaises(ValueError, timer.start, 1, number)
        for thing in "1", True, None, b"":
            self.assertRaises(TypeError, timer.start, thing)
        self.assertRaises(TypeError, timer.start, 1, "1")
        self.assertRaises(TypeError, timer.start)
        timer.start(2147483, 2147483)
        self.assertTrue(timer.stop())
        server = self.server()
        for number in 0, -1, 2**31:
            self.assertRaises(ValueError, server.every, number, print)
        self.assertRaises(TypeError, server.every, None, print)
        self.assertRaises(TypeError, server.every, 1, None)

        class Half(sttcp.Timer):
            def __init__(self):
                self._let_go, self.function = None, print

        self.assertRaises(RuntimeError, Half().start, 1)
        self.assertRaises(RuntimeError, Half().stop)
        self.assertRaises(RuntimeError, timer.__init__, print)


class LifeTest(TimerCase):
    def test_a_timer_that_is_set_needs_no_reference(self):
        seen = Seen()
        sttcp.Timer(seen.tell, "once").start(0.02)
        timer = sttcp.Timer(seen.tell, "often")
        timer.start(0, every=0.001)
        reference = weakref.ref(timer)
        del timer
        gc.collect()
        found = {seen.next() for _ in range(2000)}
        while "once" not in found:
            found.add(seen.next())
        self.assertEqual(found, {"once", "often"})
        reference().stop()
        wait_for(lambda: gc.collect() is not None and reference() is None, "the end of the timer")

    def test_one_that_is_set_anew_at_its_call_stays(self):
        def mark(calls):
            calls.append(time.monotonic())

        calls = [([], []) for _ in range(3000)]
        for marks, starts in calls:
            timer = sttcp.Timer(mark, marks)
            timer.start(0)
            # Until about the call: just before it, at it, or just after it.
            until = time.perf_counter() + random.random() * 0.0002
            while time.perf_counter() < until:
                pass
            starts.append(time.monotonic())
            timer.start(0.5)
            del timer
        wait_for(lambda: all(marks and marks[-1] >= start + 0.5 for marks, (start,) in calls),
                 "the last call of each")

    def test_one_that_has_called_for_the_last_time_goes(self):
        seen = Seen()
        references = []
        for number in range(50):
            timer = sttcp.Timer(seen.tell, number)
            references.append(weakref.ref(timer))
            timer.start(0)
            if number % 2:
                timer.start(0.001)
        del timer
        for _ in range(50):
            seen.next()
        wait_for(lambda: not any(each() for each in references), "the end of the timers")
        sttcp.engine_shutdown()

    def test_a_timer_in_a_circle_goes_when_it_is_not_set(self):
        timer = sttcp.Timer(lambda: timer)
        timer.start(100)
        reference = weakref.ref(timer)
        timer.stop()
        del timer
        gc.collect()
        self.assertIsNone(reference())

    def test_it_may_be_dropped_in_its_own_function(self):
        seen = Seen()

        def drop():
            holder.pop().stop()
            gc.collect()
            seen.tell("dropped")

        holder = [sttcp.Timer(drop)]
        holder[0].start(0, every=0.001)
        self.assertEqual(seen.next(), "dropped")
        sttcp.engine_shutdown()
        self.assertEqual(seen.rest(), [])

    def test_the_engine_stays_while_one_is_set(self):
        timer = self.timer(print)
        timer.start(1000)
        with self.assertRaisesRegex(RuntimeError, "while a timer is set"):
            sttcp.engine_shutdown()
        timer.stop()
        sttcp.engine_shutdown()

    def test_all_at_once(self):
        seed = random.randrange(2**32)
        print("seed", seed)
        failed = []

        def change(number):
            chance = random.Random(seed + number)
            shared = timers[number % 2]
            try:
                for _ in range(300):
                    what = chance.randrange(6)
                    if what < 2:
                        shared.start(chance.choice((0, 0.001)), chance.choice((0, 0.001)))
                    elif what == 2:
                        shared.stop()
                    else:
                        own = sttcp.Timer(len, ())
                        every = chance.choice((0, 0, 0.001))
                        own.start(chance.choice((0, 0.001)), every)
                        if chance.randrange(2):
                            own.stop()
                        elif every:
                            timers.append(own)
            except BaseException as error:
                failed.append(error)

        timers = [sttcp.Timer(gc.collect, 0), sttcp.Timer(lambda timer: timer.start(0.001))]
        threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(failed, [])
        for each in timers:
            each.stop()
        del timers[:]
        wait_for(lambda: gc.collect() is not None and not sttcp._sttcp._timers_set(),
                 "the end of the timers")
        sttcp.engine_shutdown()


class StopTest(TimerCase):
    def test_stop_waits_for_the_function(self):
        seen, go = Seen(), threading.Event()

        def block():
            seen.tell("in")
            go.wait(DEADLINE)
            seen.tell("out")

        timer = self.timer(block)
        timer.start(0, every=0.001)
        seen.next()
        once_main_waits(go.set)
        seen.tell(timer.stop())
        self.assertEqual(seen.rest(), ["out", True])

    def test_inside_functions_it_does_not(self):
        seen, go = Seen(), threading.Event()
        timer = self.timer(lambda it: seen.tell(it.stop()))
        timer.start(0, every=0.001)
        self.assertIs(seen.next(), False)
        self.assertIs(timer.stop(), True)
        self.assertEqual(seen.rest(), [])

        def block():
            seen.tell("in")
            go.wait(DEADLINE)

        blocked = self.timer(block)
        blocked.start(0, every=0.001)
        self.assertEqual(seen.next(), "in")
        self.timer(lambda: seen.tell(blocked.stop())).start(0)
        self.assertIs(seen.next(), False)
        sttcp.run(lambda: seen.tell(blocked.stop()))
        self.assertIs(seen.next(), False)
        go.set()
        self.assertIs(blocked.stop(), True)
        self.assertEqual(seen.rest(), [])

    def test_a_signal_interrupts_the_wait(self):
        run_python("""
import signal, threading, sttcp
from asleep import once_main_waits
inside, go = threading.Event(), threading.Event()
def block():
    inside.set()
    go.wait()
timer = sttcp.Timer(block)
timer.start(0, every=0.001)
assert inside.wait(20)
try:
    once_main_waits(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
    timer.stop()
except KeyboardInterrupt:
    print("interrupted")
else:
    raise AssertionError
go.set()
assert timer.stop() is True
""")


class EveryTest(TimerCase):
    def test_it_runs_while_the_server_is_started(self):
        seen = Seen()
        server = self.server()
        timer = server.every(0.002, seen.tell, "now")
        self.assertIsInstance(timer, sttcp.Timer)
        self.assertEqual(sttcp._sttcp._timers_set(), 0)
        for _ in range(3):
            begun = time.monotonic()
            server.start()
            for _ in range(5):
                self.assertEqual(seen.next(), "now")
            self.assertGreaterEqual(time.monotonic(), begun + 0.01)
            server.stop()
            seen.rest()
            self.assertEqual(sttcp._sttcp._timers_set(), 0)
            sttcp.engine_shutdown()
            self.assertEqual(seen.rest(), [])
        timer.stop()
        with server:
            self.assertEqual(sttcp._sttcp._timers_set(), 0)

    def test_it_may_be_set_while_the_server_runs_and_taken_over(self):
        seen = Seen()
        with self.server() as server:
            timer = server.every(100, lambda it: seen.tell(it))
            timer.start(0)  # the program's own from now on
            self.assertIs(seen.next(), timer)
            timer.start(0, every=0.001)
        seen.next()
        timer.stop()
        with server:
            self.assertEqual(sttcp._sttcp._timers_set(), 0)

    def test_stop_waits_for_the_function_within_its_limit(self):
        seen, go = Seen(), threading.Event()

        def block():
            seen.tell("in")
            go.wait(DEADLINE)
            seen.tell("out")

        server = self.server()
        server.every(0.001, block)
        for limit in 0, 0.05:
            go.clear()
            server.start()
            self.assertEqual(seen.next(), "in")
            begun = time.monotonic()
            server.stop(limit)
            self.assertGreaterEqual(time.monotonic(), begun + limit)
            self.assertEqual(seen.rest(), [])
            # Started again beside the call that still runs: it comes to its end first.
            server.start()
            go.set()
            self.assertEqual([seen.next(), seen.next()], ["out", "in"])
            server.stop()
            seen.rest()
        go.clear()
        server.start()
        self.assertEqual(seen.next(), "in")
        thread = threading.Thread(target=lambda: (server.stop(), seen.tell("stopped")))
        thread.start()
        wait_for(lambda: not server.is_listening, "the stop")
        go.set()
        # It may have been called once more before the stop came to it, but not left in a call.
        told = [seen.next()]
        while told[-1] != "stopped":
            told.append(seen.next())
        self.assertEqual(told, ["out"] + ["in", "out"] * (len(told) // 2 - 1) + ["stopped"])
        thread.join()
        self.assertEqual(seen.rest(), [])
        self.assertEqual(seen.rest(), [])

    def test_the_function_may_stop_the_server(self):
        seen = Seen()
        server = self.server()

        def stop():
            server.stop()
            seen.tell("stopped")

        server.every(0.001, stop)
        server.start()
        self.assertEqual(seen.next(), "stopped")
        self.assertTrue(server.wait(DEADLINE))
        wait_for(lambda: not sttcp._sttcp._timers_set(), "the end of the timer")

    def test_it_may_stop_itself(self):
        seen = Seen()
        server = self.server(start=True)
        server.every(0.001, lambda timer: seen.tell(timer.stop()))
        self.assertIs(seen.next(), False)
        server.stop()
        self.assertEqual(seen.rest(), [])

    def test_it_runs_while_the_client_is_started(self):
        seen = Seen()
        server = self.echo_server()
        client = self.client(server.port)
        client.connection_handler(lambda address, connection: None)
        client.response_handler(lambda address, connection, data: seen.tell(data))

        def ping():
            connection = client.connection
            if connection:
                connection.sendall(b"ping")

        client.every(0.002, ping)
        for _ in range(2):
            client.start()
            self.assertTrue(seen.next().startswith(b"ping"))
            client.close()
            self.assertEqual(sttcp._sttcp._timers_set(), 0)
        # It also ends with the connection.
        client.start()
        seen.next()
        server.stop(0)
        self.assertTrue(client.wait(DEADLINE))
        wait_for(lambda: not sttcp._sttcp._timers_set(), "the end of the timer")

    def test_a_start_that_fails_sets_nothing(self):
        first = self.server(start=True)
        second = self.server(port=first.port)
        second.every(0.001, print)
        self.assertRaises(OSError, second.start)
        self.assertEqual(sttcp._sttcp._timers_set(), 0)

    def test_a_server_with_timers_goes(self):
        server = self.server()
        server.every(0.001, lambda: server)
        with server:
            pass
        reference = weakref.ref(server)
        self._made.pop_all()
        del server
        wait_for(lambda: gc.collect() is not None and reference() is None, "the end of the server")


class RunTest(TimerCase):
    def test_each_piece_of_work_is_done_once(self):
        seen = Seen()
        for number in range(200):
            sttcp.run(seen.tell, number)
        self.assertEqual(sorted(seen.next() for _ in range(200)), list(range(200)))
        sttcp.run(lambda *, a: seen.tell(a), a=5)
        self.assertEqual(seen.next(), 5)
        sttcp.engine_shutdown()
        self.assertEqual(seen.rest(), [])

    def test_work_may_block(self):
        barrier = threading.Barrier(20)
        seen = Seen()
        for _ in range(20):
            sttcp.run(lambda: seen.tell(barrier.wait(DEADLINE)))
        self.assertEqual(sorted(seen.next() for _ in range(20)), list(range(20)))

    def test_what_it_raises_is_reported(self):
        sttcp.run(lambda: 1 / 0)
        self.assertIsInstance(self.raised.next(), ZeroDivisionError)

    def test_what_it_holds_goes(self):
        class Thing:
            pass

        thing = Thing()
        reference = weakref.ref(thing)
        sttcp.run(lambda it: None, thing)
        del thing
        wait_for(lambda: reference() is None, "the end of the thing")


class ProcessTest(unittest.TestCase):
    def test_the_interpreter_ends_with_timers_and_work_that_run(self):
        for end in "", "import os; os.kill(os.getpid(), 15)", "sys.exit(3)", "raise KeyError":
            result = run_python("""
import sys, threading, time, sttcp
inside = threading.Semaphore(0)
def block():
    inside.release()
    time.sleep(1000)
def spin():
    inside.release()
for function in block, spin, lambda: sttcp.run(spin):
    sttcp.Timer(function).start(0, every=0.001)
sttcp.run(block)
kept = sttcp.Timer(block)
kept.start(0)
server = sttcp.Server("127.0.0.1", 0)
server.every(0.001, spin)
server.start()
for _ in range(30):
    assert inside.acquire(timeout=20)
""" + end, check=False)
            self.assertEqual(result.returncode, {"": 0, "raise KeyError": 1, "sys.exit(3)": 3}.get(
                end, -signal.SIGTERM), result.stderr)
            self.assertEqual(result.stderr if end != "raise KeyError" else "", "")

    @forks_beside_threads
    def test_after_a_fork_they_are_the_parents(self):
        run_python("""
import os, threading, sttcp
seen = threading.Semaphore(0)

def check(timer, server):
    for call in (lambda: timer.start(0)), timer.stop:
        try:
            call()
        except RuntimeError as error:
            assert error.code == sttcp._sttcp.EFORK
        else:
            raise AssertionError
    del timer, server
    own = sttcp.Timer(seen.release)
    own.start(0, every=0.001)
    sttcp.run(seen.release)
    for _ in range(10):
        assert seen.acquire(timeout=20)
    own.stop()
    with sttcp.Server("127.0.0.1", 0) as server:
        server.every(0.001, seen.release)
        for _ in range(10):
            assert seen.acquire(timeout=20)
    sttcp.engine_shutdown()
    os._exit(7)

def fork():
    child = os.fork()
    if child == 0:
        check(timer, server)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    done.release()

done = threading.Semaphore(0)
timer = sttcp.Timer(fork)
with sttcp.Server("127.0.0.1", 0) as server:
    server.every(0.001, len, ())
    timer.start(0)
    assert done.acquire(timeout=20)
    timer.start(100)
    fork()
    timer.stop()
""")


if __name__ == "__main__":
    unittest.main()
