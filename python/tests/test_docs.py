# SPDX-License-Identifier: MIT
"""The programs in the README, as they stand there but for the port; docstrings."""

import contextlib
import inspect
import os
import re
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import unittest

import sttcp
from certs import Certificates, need_openssl
from support import DEADLINE, HERE, Peer, free_port, wait_for
from test_seed import ProgramCase

README = os.path.join(os.path.dirname(HERE), "README.md")
# Of the C project; a source distribution is without them.
RUNNER = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "docs", "run.py")
README_OF_CORE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "README.md")


class ReadmeTest(ProgramCase):
    @classmethod
    def setUpClass(cls):
        with open(README, encoding="utf-8") as file:
            cls.programs = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)

    def run_block(self, number):
        port = free_port()
        text = self.programs[number]
        self.assertIn("62134", text)
        return self.run_program(text.replace("62134", str(port))), port

    def test_there_are_six_programs(self):
        self.assertEqual(len(self.programs), 6)

    def test_first_program_echoes(self):
        terminal, _ = self.run_block(0)
        terminal.read_until(lambda output: "Received b'Meow!'\n" in output)
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(terminal.output.replace("^C", ""), "Received b'Meow!'\n")

    def test_second_program_is_a_dialogue(self):
        terminal, port = self.run_block(1)
        wait_for(terminal.waits_in_keep_alive, "keep_alive")
        with Peer(port) as peer:
            self.assertEqual(peer.read(13), b"Who are you?\n")
            peer.sendall(b"Tom\nMeow!\nPurr\n")
            self.assertEqual(peer.read(21), b"Tom: Meow!\nTom: Purr\n")
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.read_all(), b"")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)
        self.assertNotIn("Traceback", terminal.output)

    def test_third_program_is_a_chat(self):
        terminal, port = self.run_block(2)
        wait_for(terminal.waits_in_keep_alive, "keep_alive")
        with Peer(port) as one, Peer(port) as two:
            for peer, name in ((one, b"Tom\n"), (two, b"Tim\n")):
                self.assertEqual(peer.read(13), b"Who are you?\n")
                peer.sendall(name)

            def tom_hears_tim():
                two.sendall(b"Meow!\n")
                return select.select([one], [], [], 0.05)[0]

            # Each is a member when its connection handler has returned: Tim at the latest when a
            # line of his has come to Tom, and before that Tom.
            wait_for(tom_hears_tim, "a line of Tim's")
            self.assertEqual(one.read(11), b"Tim: Meow!\n")
            one.sendall(b"Really?!\n")
            self.assertEqual(two.read(14), b"Tom: Really?!\n")
        terminal.read_until(lambda output: "b'Tom' has left: None\n" in output
                            and "b'Tim' has left: None\n" in output)
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)
        self.assertNotIn("Traceback", terminal.output)

    def test_fourth_program_waits_for_its_server(self):
        terminal, port = self.run_block(3)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.settimeout(DEADLINE)
            listener.bind(("127.0.0.1", port))
            listener.listen(5)
            with listener.accept()[0] as peer, peer.makefile("rb") as lines:
                for number in range(100):
                    self.assertEqual(lines.readline(), b"%d\n" % number)
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(terminal.output, "")

    def test_fifth_program_tells_why_it_could_not_connect(self):
        terminal, port = self.run_block(4)
        self.assertEqual(terminal.end(), 0)
        self.assertRegex(terminal.output, r"^Could not connect to localhost:%d: .*refused" % port)

    def pytest(self, text, *arguments):
        try:
            import pytest  # noqa: F401
        except ImportError:
            if os.environ.get("CI"):
                raise AssertionError("on Debian: sudo apt-get install python3-pytest")
            print("NOT TESTED: the recipe for pytest, which is not there", file=sys.__stderr__)
            self.skipTest("pytest is not there")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "test_recipe.py"), "w", encoding="utf-8") as file:
                file.write(text)
            return subprocess.run(
                [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                universal_newlines=True, timeout=DEADLINE * 3)

    def test_recipe_for_pytest_works(self):
        result = self.pytest(self.programs[5], "-W", "error")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stdout, r"\b1 passed\b")

    def test_recipe_for_pytest_ends_where_a_connection_is_left_open(self):
        # The fixture stops its server between the two, and a stop that waits takes 10 s.
        text = self.programs[5] + """
import time

def test_leaves_it_open(server):
    global left, ended
    left = socket.create_connection(server.sock_name, timeout=5)
    left.sendall(b'Meow!')
    assert left.recv(100) == b'MEOW!'
    ended = time.monotonic()

def test_has_not_waited():
    assert time.monotonic() - ended < 9
"""
        result = self.pytest(text, "-W", "error")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stdout, r"\b3 passed\b")

    def test_recipe_for_pytest_fails_where_a_handler_raises(self):
        text = self.programs[5].replace("data.upper()", "data.no_such_thing()")
        self.assertNotEqual(text, self.programs[5])
        text = text.replace("assert peer.recv(100) == b'MEOW!'", "assert peer.recv(100) == b''")
        result = self.pytest(text, "-W", "error")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("no attribute 'no_such_thing'", result.stdout)
        result = self.pytest(text)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("PytestUnhandledThreadExceptionWarning", result.stdout)

    @unittest.skipUnless(os.path.exists(README_OF_CORE), "not in a checkout")
    def test_program_in_the_readme_of_the_core_echoes(self):
        with open(README_OF_CORE, encoding="utf-8") as file:
            text = re.search(r"^```python\n(.*?)^```$", file.read(), re.M | re.S).group(1)
        port = free_port()
        terminal = self.run_program(text.replace("7000", str(port)))
        wait_for(terminal.waits_in_keep_alive, "keep_alive")
        with Peer(port) as peer:
            peer.sendall(b"Meow!")
            self.assertEqual(peer.read(5), b"Meow!")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)

    @unittest.skipUnless(os.path.exists(RUNNER), "not in a checkout")
    def test_guide_shows_what_happens(self):
        result = subprocess.run(
            [sys.executable, "-B", RUNNER, "--python", "docs/guide.md"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, universal_newlines=True, timeout=DEADLINE * 6,
            env=dict(os.environ, STTCP_PREFIX="/nonexistent",
                     PYTHONPATH=os.path.dirname(os.path.dirname(sttcp.__file__))))
        for line in result.stdout.splitlines():
            if line.startswith("NOT TESTED"):
                print(line, file=sys.__stderr__)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_program_with_tls_echoes(self):
        need_openssl()
        with open(README, encoding="utf-8") as file:
            section = file.read().split("\n## TLS\n")[1].split("\n## ")[0]
        text = textwrap.dedent(re.match(r"\n((?: .*\n|\n)+)", section).group(1))
        work = contextlib.ExitStack()
        self.addCleanup(work.close)
        certs = Certificates(work.enter_context(tempfile.TemporaryDirectory()))
        for name, path in zip(("'cert.pem'", "'key.pem'"), certs.make("localhost")):
            self.assertIn(name, text)
            text = text.replace(name, repr(path))
        port = free_port()
        terminal = self.run_program(text.replace("62134", str(port)))
        wait_for(terminal.waits_in_keep_alive, "keep_alive")
        context = ssl.create_default_context(cafile=certs.path("ca.pem"))
        with context.wrap_socket(Peer(port), server_hostname="localhost") as peer:
            peer.sendall(b"Meow!")
            self.assertEqual(peer.recv(5), b"Meow!")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)

    def test_settings_of_tls_that_it_names_are_there(self):
        with open(README, encoding="utf-8") as file:
            rows = re.findall(r"^\| (`.*?) \| (`\w+`) \| (.*?) \|", file.read().split("\n## TLS\n")[1],
                              re.M)
        self.assertEqual(len(rows), 7)
        keywords = inspect.signature(sttcp.TLS).parameters
        for names, method, theirs in rows:
            for name in re.findall(r"`(\w+)`", names):
                self.assertIn(name, keywords)
            self.assertTrue(hasattr(sttcp.TLS, method.strip("`")), method)
            for name in re.findall(r"`(\w+)`", theirs):
                self.assertTrue(hasattr(ssl.SSLContext, name), name)

    def test_what_it_names_is_there(self):
        with open(README, encoding="utf-8") as file:
            text = file.read()
        handlers = re.findall(r"^\| `(\w+_handler)` \| (\w+) \|", text, re.M)
        self.assertEqual(len(handlers), 9)
        for name, of in handlers:
            self.assertEqual(hasattr(sttcp.Server, name), of != "client", name)
            self.assertEqual(hasattr(sttcp.Client, name), of != "server", name)
        methods = text.split("## Connections")[1].split("## Coroutines")[0]
        for name in re.findall(r"`(\w+)`", methods):
            self.assertTrue(hasattr(sttcp.Connection, name), name)


class DocstringTest(unittest.TestCase):
    def test_everything_public_has_one(self):
        for name in sttcp.__all__:
            each = getattr(sttcp, name)
            if not inspect.isclass(each):
                continue
            self.assertTrue(each.__doc__, name)
            for member, value in inspect.getmembers(each):
                if not member.startswith("_") and not issubclass(each, BaseException):
                    self.assertTrue(inspect.getdoc(value), "%s.%s" % (name, member))

    def test_signatures_are_told(self):
        self.assertEqual(str(inspect.signature(sttcp.Connection.recv)), "(self, size, flags=0, /)")

    def test_version_is_that_of_the_project(self):
        with open(os.path.join(os.path.dirname(HERE), "pyproject.toml"), encoding="utf-8") as file:
            self.assertIn('\nversion = "%s"\n' % sttcp.__version__, file.read())


if __name__ == "__main__":
    unittest.main()
