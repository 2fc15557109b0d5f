# SPDX-License-Identifier: MIT
"""What the tests of the sttcp command share: the program, driven as people and programs drive it.

Nothing is waited for by sleeping: a program's output is read until a line has come, a socket until
bytes have, or a deadline is over.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import IO, Callable

STTCP = Path(os.environ["STTCP_BUILD_DIR"]) / "cli" / "sttcp"
SOURCE = Path(os.environ["STTCP_SOURCE_DIR"])
DEADLINE_S = float(os.environ.get("STTCP_TEST_DEADLINE_S", "20"))
ALL_PEERS = os.environ.get("STTCP_ALL_PEERS") == "1"


def need(*programs: str) -> None:
    """Leaves a test out, in words, where a program is not there."""
    for program in programs:
        if shutil.which(program):
            continue
        if ALL_PEERS:
            raise AssertionError(f"{program} is not there")
        print(f"NOT TESTED: {program} is not there", file=sys.__stderr__)
        raise unittest.SkipTest(f"{program} is not there")


def until(what: str, condition: Callable[[], object]) -> None:
    """Waits for something that tells nobody when it happens."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {DEADLINE_S} s for: {what}")
        time.sleep(0.01)


def listens(path: str | Path) -> bool:
    """Whether somebody accepts at that Unix path: its file is there a moment before."""
    accepts = 0x10000  # __SO_ACCEPTCON of linux/net.h, in the fourth field
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        lines = [line.split() for line in file]
    return any(line[-1] == str(path) and int(line[3], 16) & accepts for line in lines[1:])


class Stream:
    """What a program writes to one of its outputs."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.data = bytearray()
        self.ended = False
        self.changed = threading.Condition()
        self.stream = stream
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        while True:
            try:
                if not self.stream:
                    return  # it is somebody else's
                data = os.read(self.stream.fileno(), 65536)
            except (OSError, ValueError):
                data = b""
            with self.changed:
                self.data += data
                self.ended = not data
                self.changed.notify_all()
            if not data:
                return

    @property
    def bytes(self) -> bytes:
        return bytes(self.data)

    def text(self) -> str:
        return self.data.decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until the pattern stands somewhere in it."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.text(), re.MULTILINE)
            found.extend([match] if match else [])
            return bool(match) or self.ended

        with self.changed:
            self.changed.wait_for(look, DEADLINE_S)
        if not found:
            raise AssertionError(f"waited for {pattern!r} in:\n{self.text()}")
        return found[0]


def _default_signals() -> None:
    # Whoever runs the tests may have them ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Program:
    """A program that runs; `out` and `err` are what it writes."""

    def __init__(self, *words: object, stdin: int = subprocess.DEVNULL,
                 stdout: int = subprocess.PIPE, env: dict[str, str] | None = None,
                 prepare: Callable[[], object] = lambda: None) -> None:
        self.words = [str(word) for word in words]
        self.process = subprocess.Popen(
            self.words, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, bufsize=0,
            preexec_fn=lambda: (_default_signals(), prepare()),
            env={**os.environ, "NO_COLOR": "", "STTCP_LOG": "", **(env or {})})
        assert self.process.stderr
        self.out = Stream(self.process.stdout)
        self.err = Stream(self.process.stderr)

    def type(self, text: str | bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode() if isinstance(text, str) else text)

    def end_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        try:
            status = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.words} does not end; {self.err.text()}") from None
        self.out.thread.join(DEADLINE_S)
        self.err.thread.join(DEADLINE_S)
        return status

    def ends_with(self, status: int) -> None:
        got = self.wait()
        assert got == status, f"{self.words}: status {got}, not {status}:\n{self.err.text()}"

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def wait_until_it_waits(self) -> None:
        """Until its main thread stands in a system call."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        until("its sleep", lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")

    @property
    def port(self) -> int:
        return int(self.err.wait_for(r"listening on .*?:(\d+)( .*)?$")[1])


class Case(unittest.TestCase):
    """A test in a folder of its own, whose programs end with it."""

    def setUp(self) -> None:
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="sttcp-cli.")))

    def run_program(self, *words: object, **more: object) -> Program:
        program = Program(*words, **more)  # type: ignore[arg-type]
        self.stack.callback(program.kill)
        return program

    def sttcp(self, *words: object, **more: object) -> Program:
        return self.run_program(STTCP, *words, **more)

    def serve(self, verb: str, *words: object, **more: object) -> Program:
        """A verb that listens on a port that is free, and does so already."""
        program = self.sttcp(verb, "127.0.0.1:0", *words, **more)
        self.assertGreater(program.port, 0)
        return program

    def fails(self, status: int, pattern: str, *words: object, **more: object) -> None:
        """It ends with this status, and a sentence."""
        program = self.sttcp(*words, **more)
        program.ends_with(status)
        self.assertRegex(program.err.text(), pattern)

    def dial(self, port: int) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.stack.callback(peer.close)
        return peer

    def listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE_S)
        self.stack.callback(listener.close)
        return listener

    def accept(self, listener: socket.socket) -> socket.socket:
        peer, _ = listener.accept()
        peer.settimeout(DEADLINE_S)
        self.stack.callback(peer.close)
        return peer

    def closed_port(self) -> int:
        """A port on which nobody listens: it is bound, and stays so."""
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        self.stack.callback(bound.close)
        return int(bound.getsockname()[1])

    def certificate(self, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
        """It is its own authority."""
        need("openssl")
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
             "-addext", f"subjectAltName={names}"],
            check=True, capture_output=True)
        return cert, key


def read_all(peer: socket.socket) -> bytes:
    """Up to the FIN."""
    data = b""
    while part := peer.recv(65536):
        data += part
    return data


def read_until(peer: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        part = peer.recv(1)
        if not part:
            raise AssertionError(f"the connection ended after {data!r}, wanted {end!r}")
        data += part
    return data


def has_tls() -> bool:
    """Whether the library was built with OpenSSL."""
    done = subprocess.run([STTCP, "echo", "--tls", "/nothing", "127.0.0.1:0"], capture_output=True,
                          timeout=DEADLINE_S, check=False)
    return b"built without TLS" not in done.stderr
