# SPDX-License-Identifier: MIT
"""What the tests with other programs as peers share: certificates, programs, what is missing.

Certificates are made by the openssl command. Nothing is waited for by sleeping: a program's output
is read until a line has come, or a deadline is over.
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
from typing import NamedTuple

PROGRAMS = Path(os.environ["STTCP_BUILD_DIR"]) / "tests" / "peers"
DEADLINE_S = float(os.environ.get("STTCP_TEST_DEADLINE_S", "20"))
# Set where all peers have to be there: what is missing is an error then.
ALL_PEERS = os.environ.get("STTCP_ALL_PEERS") == "1"
# nginx and HAProxy are in /usr/sbin, which not every PATH has.
PATH = os.environ["PATH"] + ":/usr/sbin"


def need(*programs: str) -> None:
    """Leaves a test out, in words, where a program is not there."""
    for program in programs:
        if shutil.which(program, path=PATH):
            continue
        if ALL_PEERS:
            raise AssertionError(f"{program} is not there")
        print(f"NOT TESTED: {program} is not there", file=sys.__stderr__)
        raise unittest.SkipTest(f"{program} is not there")


# ------------------------------------------------------------------ certificates


class Pair(NamedTuple):
    """The files of a certificate (with its chain) and of its key."""

    cert: str
    key: str


CONFIG = """
[ca]
default_ca = authority
[authority]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = anything
unique_subject = no
x509_extensions = extensions
[anything]
commonName = supplied
[extensions]
{extensions}
"""


class Certificates:
    """A root, and what it signs, in a temporary folder."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="sttcp-peers-")
        self.folder = Path(self._temporary.name)
        (self.folder / "index.txt").touch()
        self.root = self.make("root", issuer="", authority=True)

    def close(self) -> None:
        self._temporary.cleanup()

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return self.path(name)

    def make(self, name: str, names: str = "DNS:localhost", *, issuer: str = "root", key: str = "ec",
             start: str = "20200101000000Z", end: str = "20990101000000Z",
             authority: bool = False) -> Pair:
        """`names` is the subjectAltName. An empty issuer: it signs itself."""
        kind = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}[key]
        extensions = [
            f"basicConstraints = critical,CA:{'TRUE' if authority else 'FALSE'}",
            "subjectKeyIdentifier = hash",
            f"keyUsage = critical,{'keyCertSign,cRLSign' if authority else 'digitalSignature,keyEncipherment'}",
            "crlDistributionPoints = URI:http://crl.example/root.crl",
        ]
        if not authority:
            extensions.append(f"subjectAltName = {names}")
        config = self.write(f"{name}.cnf", CONFIG.format(folder=self.folder,
                                                        extensions="\n".join(extensions)))
        self._openssl("req", "-new", "-nodes", "-newkey", *kind, "-subj", f"/CN={name}", "-keyout",
                      self.path(f"{name}.key"), "-out", self.path(f"{name}.csr"))
        signer = (["-cert", self.path(f"{issuer}.one"), "-keyfile", self.path(f"{issuer}.key")]
                  if issuer else ["-selfsign", "-keyfile", self.path(f"{name}.key")])
        self._openssl("ca", "-batch", "-notext", "-config", config, *signer, "-startdate", start,
                      "-enddate", end, "-in", self.path(f"{name}.csr"), "-out",
                      self.path(f"{name}.one"))
        chain = Path(self.path(f"{name}.one")).read_text()
        if issuer not in ("", "root"):
            chain += Path(self.path(f"{issuer}.pem")).read_text()
        return Pair(self.write(f"{name}.pem", chain), self.path(f"{name}.key"))

    def fingerprint(self, pair: Pair) -> str:
        text = self._openssl("x509", "-in", pair.cert, "-noout", "-fingerprint", "-sha256")
        return text.split("=")[1].strip().replace(":", "").lower()

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, check=False, timeout=10 * DEADLINE_S)
        if done.returncode != 0:
            raise AssertionError(f"openssl {arguments[0]}: {done.stderr}")
        return done.stdout


# ---------------------------------------------------------------------- programs


class Program:
    """A program whose output is collected in lines while it runs."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None,
                 descriptors: tuple[int, ...] = ()) -> None:
        self.arguments = arguments
        self.lines: list[str] = []
        self._next = 0
        self._ended = False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": PATH, **(environment or {})}, pass_fds=descriptors,
            start_new_session=True, preexec_fn=default_signals)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def expect(self, pattern: str) -> re.Match[str]:
        """The first line behind the one that was expected last that has the pattern in it."""
        found = None

        def look() -> bool:
            nonlocal found
            while self._next < len(self.lines):
                found = re.search(pattern, self.lines[self._next])
                self._next += 1
                if found:
                    return True
            return self._ended

        with self._changed:
            self._changed.wait_for(look, DEADLINE_S)
        if not found:
            raise AssertionError(f"no line with {pattern!r} from {self}")
        return found

    def says(self, pattern: str) -> bool:
        with self._changed:
            return any(re.search(pattern, line) for line in self.lines)

    def say(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def end_input(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def catches(self, number: int) -> bool:
        """Whether it has a handler for the signal, or has ended."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
        return self._ended or bool(caught and int(caught[1], 16) >> (number - 1) & 1)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        try:
            status = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self}") from None
        self._reader.join(DEADLINE_S)
        return status

    def kill(self) -> None:
        """With the processes that it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(DEADLINE_S)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()

    def __str__(self) -> str:
        return "\n".join([" ".join(self.arguments), *(f"    {line}" for line in self.lines)])


def default_signals() -> None:
    """Whoever runs the tests may have them ignored, and that is inherited."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class PeerCase(unittest.TestCase):
    """Programs that are started here are ended with the test, and shown where it fails."""

    certificates: Certificates
    good: Pair
    root: str

    @classmethod
    def setUpClass(cls) -> None:
        need("openssl")
        cls.certificates = Certificates()
        cls.addClassCleanup(cls.certificates.close)
        cls.good = cls.certificates.make("good", "DNS:localhost,IP:127.0.0.1")
        cls.root = cls.certificates.root.cert

    def start(self, *arguments: str, environment: dict[str, str] | None = None,
              descriptors: tuple[int, ...] = ()) -> Program:
        program = Program(*arguments, environment=environment, descriptors=descriptors)
        self.addCleanup(program.kill)
        self.programs.append(program)
        return program

    def setUp(self) -> None:
        self.programs: list[Program] = []
        # Cleanups run backwards: all that was started is killed before it is shown.
        self.addCleanup(self._show)

    def _show(self) -> None:
        result = self._outcome.result  # type: ignore[attr-defined]
        failed = [test for test, _ in result.failures + result.errors]
        if any(getattr(test, "test_case", test) is self for test in failed):
            for program in self.programs:
                print(program, file=sys.stderr)

    def server(self, *arguments: str, pair: Pair | None = None) -> tuple[Program, int]:
        """Our server, and its port."""
        pair = pair or self.good
        program = self.start(str(PROGRAMS / "tls_server"), "-c", pair.cert, "-k", pair.key, *arguments)
        return program, int(program.expect(r"^listening on (\d+)$")[1])

    def client(self, port: int, *arguments: str, host: str = "localhost") -> Program:
        """Our client; it trusts the root of the certificates."""
        return self.start(str(PROGRAMS / "tls_client"), "-t", self.root, *arguments, host, str(port))

    def echo(self, port: int, data: bytes) -> None:
        """Says `data` to an echo behind this port, and expects it back."""
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as conn:
            conn.sendall(data)
            got = bytearray()
            while len(got) < len(data):
                more = conn.recv(65536)
                self.assertTrue(more, f"it ended after {len(got)} bytes")
                got += more
            self.assertEqual(bytes(got), data)

    def stop(self, server: Program) -> None:
        """A server of ours has to end in order, whatever was done to it."""
        # keep_alive may come a moment after the line that tells the port.
        until = time.monotonic() + DEADLINE_S
        while not server.catches(signal.SIGINT) and time.monotonic() < until:
            time.sleep(0.01)
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0, str(server))


# ----------------------------------------------------------------------- sockets


class EchoServer:
    """A plain server: what is behind a proxy that speaks TLS."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(conn,), daemon=True).start()

    @staticmethod
    def _echo(conn: socket.socket) -> None:
        with conn:
            with contextlib.suppress(OSError):
                while data := conn.recv(65536):
                    conn.sendall(data)

    def close(self) -> None:
        # A thread in accept holds the socket open; this wakes it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
