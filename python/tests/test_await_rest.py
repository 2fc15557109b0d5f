# SPDX-License-Identifier: MIT
"""What has come, and a coroutine has not taken: whoever reads next finds it first."""

import os
import subprocess
import tempfile
import unittest

from support import SANITIZED, run_python


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
from support import Peer, Seen
from sttcp.server import Server

seen = Seen()
library = ctypes.CDLL(None)
least, most = (ctypes.c_size_t.in_dll(library, "refused_" + end) for end in ("least", "most"))

def refuse(size):
    # With the object's head, and what a debugging allocator adds.
    least.value, most.value = size, size + 150

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
    await connection.next_size()
    refuse(23456)
    try:
        await connection.recv_exactly(40000, timeout=0.2)
    except TimeoutError:
        seen.tell("timed out")
    await connection.recv(1)

def talk(peer):
    peer.sendall(b"a" * 23456)
    assert seen.next() == "timed out"
    found = seen.next()
    assert found == ("end", OSError, errno.ENOMEM), found
""")


if __name__ == "__main__":
    unittest.main()
