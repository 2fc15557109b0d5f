# SPDX-License-Identifier: MIT
"""What is told to the logger, and what is printed."""

import logging
import re
import unittest

import sttcp
from sttcp import _engine
from support import run_python


class LogTest(unittest.TestCase):
    PROGRAM = """
import resource, socket, sys
import sttcp, sttcp._engine
%s
sttcp._engine.log(1, "an error")
sttcp._engine.log(2, "a warning")
server = sttcp.Server("127.0.0.1", 0)
@server.receive_handler
def receive(address, connection, data):
    raise KeyError("of the handler")
with server:
    with socket.create_connection(server.sock_name, 20) as peer:
        peer.sendall(b"x")
        while peer.recv(1):
            pass
"""

    def test_nothing_is_printed_where_logging_is_not_configured_but_what_a_handler_raised(self):
        said = run_python(self.PROGRAM % "").stderr
        self.assertIn("KeyError: 'of the handler'", said)
        self.assertTrue(said.startswith("Exception in thread sttcp-"), said)
        self.assertNotIn("an error", said)
        self.assertNotIn("a warning", said)

    def test_where_it_is_configured_it_is_told(self):
        said = run_python(self.PROGRAM % "import logging; logging.basicConfig()").stderr
        self.assertIn("ERROR:sttcp:an error\n", said)
        self.assertIn("WARNING:sttcp:a warning\n", said)
        self.assertIn("KeyError: 'of the handler'", said)

    def test_the_handler_that_does_nothing_is_there_once(self):
        found = [each for each in logging.getLogger("sttcp").handlers
                 if isinstance(each, logging.NullHandler)]
        self.assertEqual(len(found), 1)


class LibraryTest(unittest.TestCase):
    """What the library itself has to say: that a start has failed is an error."""

    PROGRAM = """
import logging, socket, sys
import sttcp
%s
def fail():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        try:
            sttcp.Server(*taken.getsockname()).start()
        except OSError:
            pass
fail()
"""
    FAILED = r"cannot (start|listen)\b.*in use"

    def said(self, text="", end="", **environment):
        return run_python(self.PROGRAM % text + end, **environment).stderr

    def test_the_logger_gets_it_and_nobody_else(self):
        self.assertRegex(self.said("logging.basicConfig()"), "^ERROR:sttcp:.*" + self.FAILED)
        self.assertEqual(self.said(), "")

    def test_standard_error_gets_it_where_that_is_wished_for(self):
        for wish in "sttcp.log_to_stderr()", "sttcp.log_to_stderr(1)":
            said = self.said("logging.basicConfig(); " + wish)
            self.assertRegex(said, self.FAILED)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertNotIn("ERROR:sttcp", said)

    def test_standard_error_gets_it_where_the_environment_says_so(self):
        said = self.said("logging.basicConfig()", STTCP_LOG="2")
        self.assertRegex(said, self.FAILED)
        self.assertNotIn("ERROR:sttcp", said)
        self.assertEqual(self.said("logging.basicConfig()", STTCP_LOG="0"), "")
        # No level: it says nothing.
        self.assertRegex(self.said("logging.basicConfig()", STTCP_LOG="x"), "^ERROR:sttcp")
        # The program counts.
        self.assertEqual(self.said("sttcp.log_to_stderr(0)", STTCP_LOG="2"), "")

    def test_level_0_gives_it_to_the_logger_again(self):
        said = self.said("logging.basicConfig(); sttcp.log_to_stderr()",
                         "sttcp.log_to_stderr(0); fail()")
        self.assertRegex(said, "(?s)%s.*ERROR:sttcp:.*%s" % (self.FAILED, self.FAILED))

    def test_a_level_keeps_it_from_the_logger(self):
        for level, count in (0, 0), (1, 1), (4, 1):
            said = self.said("logging.basicConfig(); sttcp.log_level(%d)" % level)
            self.assertEqual(said.count("ERROR:sttcp"), count, said)

    def test_an_import_opens_no_descriptor(self):
        run_python("""
import logging, os, socket
before = os.listdir("/dev/fd")
import sttcp
assert os.listdir("/dev/fd") == before
""")

    # Closes the descriptors that it does not know, as a daemon does.
    DAEMON = """
import logging, os, socket, tempfile, time
import sttcp
os.closerange(3, 64)
"""

    def test_a_file_that_came_since_the_import_is_left_alone(self):
        run_python(self.DAEMON + """
files = [tempfile.TemporaryFile() for _ in range(8)]
fetched = []
fetch = sttcp._sttcp._fetch_log
def count():
    fetched.append(1)
    fetch()
sttcp._sttcp._fetch_log = count
told = []
class Noted(logging.Handler):
    def emit(self, record):
        told.append(record)
logging.basicConfig(handlers=[Noted()])
sttcp.log_to_stderr(0)  # the thread begins
taken = socket.create_server(("127.0.0.1", 0))
for count in range(1, 20):
    code = sttcp.Server(*taken.getsockname())._start()
    end = time.monotonic() + 20
    while len(told) < count:
        assert code < 0 and time.monotonic() < end, (code, told)
        time.sleep(0.001)
assert not any(os.fstat(each.fileno()).st_size for each in files)
# It waits, where a file is always ready.
assert len(fetched) < 100, len(fetched)
""")

    def test_timers_whose_descriptor_came_since_the_import_ring(self):
        # One of the numbers that the loop's descriptors get was that of the import.
        for others in range(2, 6):
            run_python("""
import os, sys
others = [os.open("/dev/null", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
""" + self.DAEMON + """
import threading
rang = threading.Semaphore(0)
server = sttcp.Server("127.0.0.1", 0)
@server.connection_handler
def begin(address, connection):
    connection.every(0.001, rang.release)
sttcp.log_level(4)
with server:
    peer = socket.create_connection(server.sock_name, 20)
    for _ in range(20):
        assert rang.acquire(timeout=20)
        socket.create_connection(server.sock_name, 20).close()  # something to log
    server.stop(0)
""", others)

    def test_levels_are_those_of_logging(self):
        with self.assertLogs("sttcp", logging.DEBUG) as caught:
            for level in 1, 2, 3, 4:
                _engine.log(level, "so")
        self.assertEqual([each.levelno for each in caught.records],
                         [logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG])

    def test_the_life_of_a_connection_is_told_to_whom_it_is_of_interest(self):
        life = """
import time
server = sttcp.Server("127.0.0.1", 0, idle_timeout=0.02)
server.receive_handler(lambda address, connection, data: connection.pause())
with server:
    with socket.create_connection(server.sock_name, 20) as peer:
        peer.settimeout(20)
        while peer.recv(1):
            pass
    server.stop()
"""
        for text, lowest in (("logging.basicConfig(level=logging.DEBUG)", 4),
                             ("logging.basicConfig(level=logging.INFO)", 3),
                             ("logging.basicConfig(level=logging.DEBUG); sttcp.log_level(3)", 3),
                             ("logging.basicConfig()", 2)):
            said = self.said(text, life)
            self.assertEqual(bool(re.search(r"INFO:sttcp:127\.0\.0\.1:\d+ .*idle_timeout_ms is 20",
                                            said)), lowest >= 3, said)
            for word in "accept", "open":
                self.assertEqual(bool(re.search(r"DEBUG:sttcp:127\.0\.0\.1:\d+ .*%s" % word, said)),
                                 lowest == 4, said)
        said = self.said("sttcp.log_to_stderr(4)", life)
        for word in "accept", "open", "idle_timeout_ms is 20":
            self.assertIn(word, said)

    def test_it_is_told_while_the_main_thread_waits(self):
        # No handler in Python runs, and nobody else comes by.
        said = self.said("logging.basicConfig(level=logging.INFO)", """
import os, time
class Told(logging.Handler):
    def emit(self, record):
        if "idle_timeout_ms" in record.getMessage():
            server.request_stop()
server = sttcp.Server("127.0.0.1", 0, idle_timeout=0.02)
server.start()
# The handlers that tell of connections at this level would fetch it.
server.connection_handler(None)
server.disconnection_handler(None)
peer = socket.create_connection(server.sock_name, 20)
logging.getLogger("sttcp").addHandler(Told())
server.keep_alive()
""")
        self.assertIn("idle_timeout_ms is 20", said)

    def test_ctrl_c_tells_what_is_waited_for_and_what_a_second_one_does(self):
        for count, text in ((0, r"Stopping server 127.0.0.1:\d+\.\.\."),
                            (1, "waits for 1 connection, Ctrl.C again ends it"),
                            (2, "waits for 2 connections, Ctrl.C again ends them")):
            for wait in "server.keep_alive()", "sttcp.keep_alive()":
                said = self.said("logging.basicConfig(level=logging.INFO)", """
import os, signal
from asleep import once_main_waits
def interrupt():
    once_main_waits(os.kill, os.getpid(), signal.SIGINT)
server = sttcp.Server("127.0.0.1", 0)
server.start()
peers = [socket.create_connection(server.sock_name, 20) for _ in range(%d)]
while server.count < len(peers):
    pass
class Again(logging.Handler):
    def emit(self, record):
        if peers and record.getMessage().startswith("Stopping"):
            interrupt()
logging.getLogger("sttcp").addHandler(Again())
interrupt()
%s
assert server.closed
""" % (count, wait))
                self.assertRegex(said, text)

    def test_what_is_no_level_is_refused(self):
        for call in sttcp.log_level, sttcp.log_to_stderr:
            self.assertRaises(ValueError, call, 5)
            self.assertRaises(ValueError, call, -1)
            self.assertRaises(TypeError, call, "4")
            self.assertRaises(TypeError, call, True)

    def test_what_does_not_fit_is_counted(self):
        # Whoever passes the first line on waits for the last meanwhile.
        said = self.said("logging.basicConfig(level=logging.WARNING)", """
import threading
class Held(logging.Handler):
    def emit(self, record):
        told.wait(20)
told = threading.Event()
logging.getLogger("sttcp").addHandler(Held())
def fail_often():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = sttcp.Server(*taken.getsockname())
        for _ in range(3000):
            server._start()
sttcp.log_to_stderr(0)
fail_often()
told.set()
fail()
""")
        dropped = re.findall(r"WARNING:sttcp:(\d+) lines of the log were dropped\n", said)
        self.assertTrue(dropped, said[-500:])
        self.assertEqual(said.count("ERROR:sttcp") + sum(map(int, dropped)), 1 + 3000 + 1)

    def test_it_is_not_passed_on_in_the_midst_of_the_main_thread(self):
        # That holds a lock of the program's, which a handler of the log wants.
        self.said("", """
import threading, time
class Locked(logging.Handler):
    def emit(self, record):
        told.append(threading.current_thread())
        assert lock.acquire(timeout=5)
        lock.release()
lock = threading.Lock()
told = []
logging.basicConfig(handlers=[Locked()])
sttcp.log_to_stderr(0)
taken = socket.create_server(("127.0.0.1", 0))
thread = threading.Thread(target=sttcp.Server(*taken.getsockname())._start)
with lock:
    thread.start()
    while thread.is_alive():
        pass
end = time.monotonic() + 20
while not told:
    assert time.monotonic() < end
assert threading.main_thread() not in told, told
""")

    def test_a_signal_that_comes_while_a_line_is_passed_on_is_not_lost(self):
        self.said("", """
import os, signal
class Interrupted(logging.Handler):
    def emit(self, record):
        if not told:
            told.append(record)
            os.kill(os.getpid(), signal.SIGINT)
told = []
logging.basicConfig(handlers=[Interrupted()])
signal.signal(signal.SIGINT, signal.default_int_handler)
sttcp._engine.begin_passing = lambda: None  # the failed start passes it on
try:
    fail()
    raise AssertionError("lost")
except KeyboardInterrupt:
    assert told
""")


if __name__ == "__main__":
    unittest.main()
