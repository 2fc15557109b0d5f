# SPDX-License-Identifier: MIT
"""The seed's own program, as it stands in its README, and that of version 1.1."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import sys
import tempfile
import time
import unittest

from support import DEADLINE, data_file, free_port, wait_for

SEED_PORT = 62134


def program_of_seed():
    with open(data_file("seed_README.md"), encoding="utf-8") as file:
        return re.search(r"^```py\n(.*?)^```$", file.read(), re.M | re.S).group(1)


def take_seed_port(case):
    """The one that the seed's program names is this test's until it ends. Others of the package wait
    for a lock; one in C uses it, too."""
    lock = open(__file__, "rb")
    case.addCleanup(lock.close)
    fcntl.flock(lock, fcntl.LOCK_EX)

    def is_free():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", SEED_PORT))
            except OSError:
                return False
            return True

    wait_for(is_free, "port %d free" % SEED_PORT)


class Terminal:
    """A program under a pseudo-terminal."""

    def __init__(self, path, python=sys.executable, environment=os.environ):
        self.output = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.execve(python, [python, "-W", "default", path], environment)

    def read_until(self, done):
        end = time.monotonic() + DEADLINE
        while not done(self.output):
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError("it has printed only:\n" + self.output)
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                more = os.read(self.fd, 4096)
            except OSError:  # the other side is closed
                return
            if not more:
                return
            self.output += more.decode("utf-8").replace("\r\n", "\n")

    def waits_in_keep_alive(self):
        """keep_alive catches SIGTERM, too."""
        with open("/proc/%d/status" % self.pid, encoding="ascii") as file:
            caught = int(re.search(r"^SigCgt:\s*(\w+)", file.read(), re.M).group(1), 16)
        return caught >> (signal.SIGTERM - 1) & 1

    def interrupt(self):
        wait_for(self.waits_in_keep_alive, "keep_alive")
        os.write(self.fd, b"\x03")

    def end(self):
        """The exit status, once it has ended."""
        self.read_until(lambda output: False)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        self.pid = 0
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)


class ProgramCase(unittest.TestCase):
    def run_program(self, text):
        # In a folder of its own: what else is there it could import.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        name = os.path.join(folder.name, "program.py")
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        terminal = Terminal(name)
        self.addCleanup(terminal.kill)
        return terminal


class SeedTest(ProgramCase):
    def test_seed_program_prints_what_the_seed_demands(self):
        take_seed_port(self)
        terminal = self.run_program(program_of_seed())
        terminal.read_until(lambda output: "Disconnected by " in output
                            and "Disconnected from " in output and output.endswith("\n"))
        terminal.interrupt()
        status = terminal.end()
        lines = [line for line in terminal.output.replace("^C", "").split("\n") if line]
        peer = re.search(r"^Connected by (127\.0\.0\.1:\d+)$", terminal.output, re.M).group(1)
        server = ["- Server: HandlerType.connection", "Connected by " + peer,
                  "- Server: HandlerType.receive", "- Server: HandlerType.receive",
                  "- Server: HandlerType.disconnection", "Disconnected by " + peer]
        client = ["- Client: HandlerType.connection", "Connected to 127.0.0.1:62134",
                  "- Client: HandlerType.response", 'Received string "Meow!"',
                  "- Client: HandlerType.response", 'Received string "Really?!"',
                  "- Client: HandlerType.disconnection", "Disconnected from 127.0.0.1:62134"]
        # Both sides print, each in its own order, and nothing else is printed.
        self.assertEqual(sorted(lines), sorted(server + client))
        self.assertEqual([line for line in lines if line in server], server)
        self.assertEqual([line for line in lines if line in client], client)
        self.assertEqual(status, 0)

    def test_seed_program_without_a_server_tells_that_it_could_not_connect(self):
        port = free_port()
        text = program_of_seed().replace("62134", str(port))
        text = text.replace("server.start()", "", 1).replace("server.keep_alive()", "", 1)
        terminal = self.run_program(text + "\nclient.keep_alive()\n")
        self.assertEqual(terminal.end(), 0)
        self.assertIn("- Client: HandlerType.unconnected\n", terminal.output)
        self.assertIn("Could not connect to localhost:%d\n" % port, terminal.output)
        # "raise exception" in the handler: its traceback, as that of a thread.
        self.assertIn("Traceback (most recent call last)", terminal.output)
        self.assertIn("ConnectionRefusedError", terminal.output)

    def program_of_version_1_1(self):
        with open(data_file("program_1_1.py"), encoding="utf-8") as file:
            return file.read().replace("PORT", str(free_port()))

    def test_program_of_version_1_1_runs_without_a_start(self):
        terminal = self.run_program(self.program_of_version_1_1())
        terminal.read_until(lambda output: 'Recieved "Meow"' in output)
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(terminal.output.count("DeprecationWarning: set_handler"), 2)
        self.assertEqual(terminal.output.count("DeprecationWarning: mainloop"), 1)
        self.assertNotIn("Traceback", terminal.output)

    def test_program_of_version_1_1_runs_with_starts_too(self):
        text = self.program_of_version_1_1().replace(
            "server.mainloop()", "server.start()\nclient.start()\nserver.mainloop()")
        terminal = self.run_program(text)
        terminal.read_until(lambda output: 'Recieved "Meow"' in output)
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)

    def test_client_of_version_1_1_works_at_the_end_of_its_program(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(DEADLINE)
            text = self.program_of_version_1_1().split("# Creating a TCP threaded client")[1]
            text = re.sub(r"'localhost', \d+", "'localhost', %d" % listener.getsockname()[1], text)
            text = "import socket\nfrom sttcp.client import Client\n" + text
            terminal = self.run_program(text.replace("server.mainloop()", ""))
            connection = listener.accept()[0]
            with connection:
                connection.settimeout(DEADLINE)
                self.assertEqual(connection.recv(100), b"Meow")
                connection.sendall(b"Purr")
                self.assertEqual(terminal.end(), 0)
        self.assertIn('Recieved "Purr"', terminal.output)


if __name__ == "__main__":
    unittest.main()
