# SPDX-License-Identifier: MIT
"""What has come, and a coroutine has not taken: whoever reads next finds it first."""

import os
import subprocess
import tempfile
import unittest

import sttcp
from support import SANITIZED, Seen, run_python
from test_await import AwaitCase


def read_parts(read):
    data = b""
    while len(data) < 8:
        data += read()
    return data


def recv_into(connection):
    room = bytearray(3)
    return bytes(room[:connection.recv_into(room)])


def recv_sized(connection):
    size = connection.next_size()
    data = connection.recv_message()
    assert size == len(data), (size, data)
    return data


def iterate(connection):
    messages = iter(connection)
    return read_parts(lambda: next(messages))


# Each reads eight bytes outside coroutines.
READERS = {
    "recv": lambda connection: read_parts(lambda: connection.recv(100)),
    "recv of a part": lambda connection: read_parts(lambda: connection.recv(3)),
    "recv_exactly of what is there": lambda connection: read_parts(
        lambda: connection.recv_exactly(4)),
    "recv_exactly of more": lambda connection: connection.recv_exactly(8),
    "recv_into": lambda connection: read_parts(lambda: recv_into(connection)),
    "recv_message": lambda connection: read_parts(connection.recv_message),
    "next_size": lambda connection: read_parts(lambda: recv_sized(connection)),
    "makefile": lambda connection: connection.makefile("rb").read(8),
    "iteration": iterate,
}


async def time_out(connection, seen):
    try:
        await connection.recv_exactly(10, timeout=0.1)
    except TimeoutError:
        seen.tell("timed out")


class WholeTest(AwaitCase):
    def test_reads_that_do_not_wait_are_not_cut_as_the_last_one_was(self):
        seen = Seen()

        async def handler(address, connection):
            found = [await connection.recv(3), await connection.recv(3),
                     await connection.next_size(0)]
            connection.settimeout(0)
            seen.tell(found + [len(await connection.recv_message())])

        self.peer(self.talk(handler)).sendall(b"x" * 100)
        self.assertEqual(seen.next(), [b"xxx", b"xxx", 94, 94])


class RestCase(AwaitCase):
    def start(self, handler, receive=True, **options):
        self.seen = Seen()
        server = self.talk(handler, **options)
        if receive:
            server.receive_handler(
                lambda address, connection, data: self.seen.tell("handler", data))
        return server

    def expect(self, *what):
        self.assertEqual([self.seen.next() for _ in what], list(what))


class OrderTest(RestCase):
    def check_readers(self, handler, *before):
        """`handler` is called as a coroutine's with a plain reader, which is to get all in order."""
        for name, read in READERS.items():
            with self.subTest(reader=name):
                async def begin(address, connection, read=read):
                    connection.settimeout(5)
                    await handler(connection, lambda k: self.seen.tell(read(k)))

                server = self.start(begin)
                peer = self.peer(server)
                peer.sendall(b"ABCD")
                self.expect(*before)
                peer.sendall(b"EFGH")
                self.expect(b"ABCDEFGH")
                peer.sendall(b"I")
                self.expect(("handler", b"I"))

    def test_a_task_that_waited_for_the_coroutine(self):
        async def handler(connection, read):
            connection.after(0.01, read)
            await time_out(connection, self.seen)

        self.check_readers(handler, "timed out")

    def test_a_task_of_a_connection_that_is_paused(self):
        async def handler(connection, read):
            connection.pause()
            self.seen.tell(await connection.next_size())
            connection.run(lambda k: (read(k), k.resume()))

        self.check_readers(handler, 4)

    def test_a_plain_handler_of_the_same_phase(self):
        for name, read in READERS.items():
            with self.subTest(reader=name):
                async def first(event, address, connection, data):
                    if event.name == "connection":
                        self.seen.tell(await connection.next_size())

                def second(address, connection, read=read):
                    connection.settimeout(5)
                    self.seen.tell(read(connection))

                server = self.start(second)
                server.universal_handler(first)
                peer = self.peer(server)
                peer.sendall(b"ABCD")
                self.expect(4)
                peer.sendall(b"EFGH")
                self.expect(b"ABCDEFGH")
                peer.sendall(b"I")
                self.expect(("handler", b"I"))

    def test_a_later_coroutine(self):
        async def handler(address, connection):
            connection.run(later)
            await time_out(connection, self.seen)

        async def later(connection):
            self.seen.tell(await connection.recv(2))
            self.seen.tell(await connection.recv_exactly(4))
            connection.run(plain)
            await connection.next_size()
            await sttcp.sleep(0.05)

        def plain(connection):
            self.seen.tell(connection.recv_exactly(2))

        peer = self.peer(self.start(handler))
        peer.sendall(b"ABCD")
        self.expect("timed out", b"AB")
        peer.sendall(b"EFGHI")
        self.expect(b"CDEF", b"GH", ("handler", b"I"))

    def test_a_message_of_a_framing(self):
        def read(connection):
            for _ in range(2):
                self.seen.tell(connection.next_size())
                self.seen.tell(connection.recv_message())

        async def first(event, address, connection, data):
            if event.name == "connection":
                connection.settimeout(5)
                self.seen.tell(await connection.next_size())

        server = self.start(lambda address, connection: read(connection), framing="line")
        server.universal_handler(first)
        peer = self.peer(server)
        peer.sendall(b"one\n")
        self.expect(3, 3, b"one")
        peer.sendall(b"three\nfour\n")
        self.expect(5, b"three", ("handler", b"four"))

    def test_other_threads_are_refused_as_ever(self):
        begun = Seen()

        async def handler(address, connection):
            await connection.next_size()
            connection.pause()
            begun.tell(connection)

        peer = self.peer(self.start(handler))
        peer.sendall(b"ABCD")
        connection = begun.next()
        for read in READERS.values():
            with self.assertRaises(OSError):
                read(connection)
        connection.resume()
        self.expect(("handler", b"ABCD"))

    def test_bytes_before_the_end_of_the_peer(self):
        for half_close in False, True:
            with self.subTest(half_close=half_close):
                async def handler(address, connection):
                    connection.run(plain)
                    self.seen.tell(await connection.recv_exactly(10))

                def plain(connection):
                    self.seen.tell(connection.recv(3))
                    connection.run(later)

                async def later(connection):
                    self.seen.tell(await connection.recv(1))
                    self.seen.tell(await connection.recv(100))
                    self.seen.tell(await connection.recv(100))
                    connection.close()

                server = self.start(handler, half_close=half_close)
                peer = self.peer(server)
                peer.sendall(b"ABCDEF")
                peer.shutdown(1)
                self.expect(None, b"ABC", b"D", b"EF", b"")
                self.assertEqual(self.ends.next(), ("end", None))


class FramingTest(RestCase):
    def test_messages_are_found_in_what_is_left(self):
        async def handler(address, connection):
            await time_out(connection, self.seen)
            connection.set_framing("line")
            for _ in range(3):
                self.seen.tell(await connection.recv_message())

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\r\ntw")
        self.expect("timed out", b"one")
        peer.sendall(b"o\nthree\nfour\n")
        self.expect(b"two", b"three", ("handler", b"four"))

    def test_each_wait(self):
        async def handler(address, connection):
            await time_out(connection, self.seen)
            connection.set_framing("line")
            self.seen.tell(await connection.next_size())
            self.seen.tell(await connection.recv_message())
            async for message in connection:
                self.seen.tell(message)
                break
            self.seen.tell(await connection.recv(1))
            self.seen.tell(await connection.recv_exactly(2))
            self.seen.tell(await connection.recv_message())

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\nt\n?a")
        self.expect("timed out", 3, b"one", b"t", b"?")
        peer.sendall(b"bc\nd\n")
        self.expect(b"ab", b"c", ("handler", b"d"))

    def test_handlers_get_messages(self):
        async def handler(address, connection):
            await time_out(connection, self.seen)
            connection.set_framing("line")

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\ntwo\nt")
        self.expect("timed out", ("handler", b"one"), ("handler", b"two"))
        peer.sendall(b"hree\n")
        self.expect(("handler", b"three"))

    def test_a_task_sets_it(self):
        async def handler(address, connection):
            connection.after(0.01, task)
            await time_out(connection, self.seen)

        def task(connection):
            connection.settimeout(5)
            connection.set_framing("line")
            self.seen.tell(connection.recv_message())

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\ntw")
        self.expect("timed out", b"one")
        peer.sendall(b"o\n")
        self.expect(("handler", b"two"))

    def test_another_thread_sets_it(self):
        begun = Seen()

        async def handler(address, connection):
            await connection.next_size()
            connection.pause()
            begun.tell(connection)

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\ntwo\n")
        connection = begun.next()
        connection.set_framing("line")
        connection.resume()
        self.expect(("handler", b"one"), ("handler", b"two"))

    def test_behind_the_end_of_the_peer(self):
        for half_close in False, True:
            with self.subTest(half_close=half_close):
                async def handler(address, connection):
                    self.seen.tell(await connection.recv_exactly(100))
                    connection.set_framing("line")
                    self.seen.tell(await connection.recv_message())
                    self.seen.tell(await connection.next_size())
                    self.seen.tell(await connection.recv_message())
                    self.seen.tell(await connection.recv_message())
                    connection.close()

                peer = self.peer(self.start(handler, half_close=half_close))
                peer.sendall(b"one\nthree\n")
                peer.shutdown(1)
                self.expect(None, b"one", 5, b"three", None)
                self.assertEqual(self.ends.next(), ("end", None))

    def test_handlers_behind_the_end_of_the_peer(self):
        async def handler(address, connection):
            self.seen.tell(await connection.recv_exactly(100))
            connection.set_framing("line")

        peer = self.peer(self.start(handler))
        peer.sendall(b"one\ntwo\n")
        peer.shutdown(1)
        self.expect(None, ("handler", b"one"), ("handler", b"two"))
        self.assertEqual(self.ends.next(), ("end", None))


ALLOCATOR = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

/* From when on, and how large, what is asked for is not there. */
size_t refused_least, refused_most;

#define REFUSES(size) ((size) >= refused_least && (size) <= refused_most)

void *malloc(size_t size)
{
	static void *(*next)(size_t);

	if (!next)
		next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	return REFUSES(size) ? NULL : next(size);
}

void *realloc(void *old, size_t size)
{
	static void *(*next)(void *, size_t);

	if (!next)
		next = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	return REFUSES(size) ? NULL : next(old, size);
}
"""

PROGRAM = """
import ctypes
import errno
import threading
import sttcp
from support import Peer, Seen
from sttcp.server import Server

seen = Seen()
library = ctypes.CDLL(None)
least, most = (ctypes.c_size_t.in_dll(library, "refused_" + end) for end in ("least", "most"))

def refuse(size):
    # With the object's head, and what a debugging allocator adds.
    least.value, most.value = size, size + 150

sent = threading.Event()

async def all_has_come(connection):
    while not sent.is_set():
        await sttcp.sleep(0.001)
    await connection.next_size()

server = Server("127.0.0.1", 0)

@server.connection_handler
async def begin(address, connection):
    await test(connection)

@server.receive_handler
def receive(address, connection, data):
    seen.tell("handler", data)

@server.disconnection_handler
def gone(address, reason):
    most.value = 0
    seen.tell("end", type(reason).__base__, getattr(reason, "errno", None))
"""


@unittest.skipIf(SANITIZED, "the sanitizer has an allocator of its own")
class MemoryTest(unittest.TestCase):
    """Where there is no memory for what has come, the connection ends: none of it is left out."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        source, cls.library = (os.path.join(directory.name, name) for name in ("m.c", "m.so"))
        with open(source, "w", encoding="ascii") as file:
            file.write(ALLOCATOR)
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", cls.library, source, "-ldl"], check=True)
        except FileNotFoundError:
            raise unittest.SkipTest("NOT TESTED: there is no cc") from None

    def run_refused(self, text):
        preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), self.library]))
        run_python(PROGRAM + text + """
server.start()
peer = Peer(server.port)
talk(peer)
server.stop(0)
""", options=["-X", "dev"], LD_PRELOAD=preload)

    def test_what_had_come_of_an_exact_read(self):
        self.run_refused("""
async def test(connection):
    await all_has_come(connection)
    refuse(23456)
    try:
        await connection.recv_exactly(40000, timeout=0.2)
    except TimeoutError:
        seen.tell("timed out")
    await connection.recv(1)

def talk(peer):
    peer.sendall(b"a" * 23456)
    sent.set()
    assert seen.next() == "timed out"
    found = seen.next()
    assert found == ("end", OSError, errno.ENOMEM), found
""")

    def test_what_goes_back_for_a_plain_reader(self):
        self.run_refused("""
async def test(connection):
    await all_has_come(connection)
    connection.pause()
    connection.run(plain)

def plain(connection):
    refuse(23456)
    try:
        connection.recv(3)
    except MemoryError:
        seen.tell("no memory")

def talk(peer):
    peer.sendall(b"a" * 23456)
    sent.set()
    assert seen.next() == "no memory"
    found = seen.next()
    assert found == ("end", OSError, errno.ENOMEM), found
""")


if __name__ == "__main__":
    unittest.main()
