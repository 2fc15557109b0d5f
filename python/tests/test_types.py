# SPDX-License-Identifier: MIT
"""The type hints, as mypy sees them: of the package itself, and where programs use it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import sttcp
from support import DEADLINE, data_file
from test_seed import program_of_seed

PACKAGE = os.path.dirname(os.path.abspath(sttcp.__file__))

# What a program may write, under --strict.
RIGHT = """
    import socket
    import ssl
    from pathlib import Path
    from typing import Optional, Tuple, Type, Union

    import sttcp
    from sttcp import Address, Connection
    from sttcp.client import Client
    from sttcp.general import keep_alive
    from sttcp.server import Server

    server = Server("localhost", "62134", framing="line", idle_timeout=30, max_connections=None)
    counts = server.stats()
    number: int = counts.bytes_in + server.port + server.count
    server.add_address("unix:/tmp/socket", 0)
    server.add_listener(socket.socket())
    server.add_listener(3)
    texts: Tuple[str, ...] = server.addresses
    added = Server(None, None)

    @server.connection_handler
    def begin(address: Address, connection: Connection) -> bool:
        connection.data = {"name": address[0]}
        connection.settimeout(5)
        with connection as same:
            first: bytes = same.recv(100)
        message: Optional[bytes] = connection.recv_message()
        size: int = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        connection.join("red")
        connection.leave(b"red")
        connection.fail(ValueError("x"))
        connection.fail_now("text")
        sent: bool = connection.try_sendv([b"a", memoryview(b"b")])
        connection.sendv_message((b"a", bytearray(b"b")))
        exact: Optional[bytes] = connection.recv_exactly(4, timeout=None)
        next_size: Optional[int] = connection.next_size(0.5)
        connection.on_message(receive)
        connection.on_message(None)
        _ = sent or exact or next_size
        text: str = connection.fail_text
        return bool(first and message and size and text)

    async def talk(address: Address, connection: sttcp.AsyncConnection) -> bool:
        connection.settimeout(5)
        async with connection as same:
            async for chunk in same:
                await same.sendall(chunk)
        data: bytes = await connection.recv(100)
        line: Optional[bytes] = await connection.recv_message()
        four: Optional[bytes] = await connection.recv_exactly(4, timeout=None)
        length: Optional[int] = await connection.next_size()
        await connection.send_message(data)
        await connection.start_tls(sttcp.TLS(), "localhost")
        await sttcp.sleep(0.5)
        back = await sttcp.dial("localhost", 7, framing="line", timeout=None)
        reply: Optional[bytes] = await back.recv_message()
        async with sttcp.dial("localhost", 7) as other:
            await other.sendall(reply or b"")
            reply = await other.recv(1)
        async with back:
            async for reply in back:
                await back.send_message(reply)
        server.broadcast(data, exclude=connection)
        return bool(line and four and length)

    server.connection_handler(talk)

    async def task(connection: Connection) -> None:
        await sttcp.sleep(1)

    @server.receive_handler
    def receive(address: Tuple[str, int], connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)

    @server.disconnection_handler
    def one(address: Address) -> None: ...
    @server.disconnection_handler
    def two(address: Address, reason: Optional[BaseException]) -> None: ...
    @server.disconnection_handler
    def three(address: Address, reason: Optional[BaseException], connection: Connection) -> None: ...

    @server.malformed_handler
    def malformed(address: Address, connection: Connection, error: OSError) -> None:
        connection.sendall(str(error).encode())
        if isinstance(error, sttcp.Error):
            which: Tuple[int, str] = error.code, error.name
        if isinstance(error, sttcp.TimeLimitError):
            limit: Tuple[str, Optional[int], str] = error.name, error.errno, error.limit

    @server.universal_handler
    def every(kind: Server.HandlerType, address: Address, connection: Optional[Connection],
              data: Optional[bytes]) -> Optional[bool]:
        return None

    def cut(connection: Connection, data: bytes) -> Optional[Tuple[int, int, int]]:
        return (0, 4, 4) if len(data) >= 4 else None

    client = Client("localhost", 62134, frame=cut, connect_timeout=5, idle_timeout=sttcp.DEFAULT)

    with sttcp.dial("localhost", "62134", timeout=5, framing=cut, tls=True) as dialled:
        dialled.send_message(b"ab")
        for each_message in dialled:
            sttcp.print_sync(each_message.decode())

    def make(limit: Union[int, None, sttcp.Default] = sttcp.DEFAULT) -> Server:
        if limit is sttcp.DEFAULT:
            limit = 7
        reveal_type(limit)
        return Server("localhost", 62134, max_connections=limit, nagle=True)

    @client.response_handler
    def response(address: Address, connection: Connection, data: bytes) -> bool:
        reveal_type(connection)
        return data != b"bye"

    @client.unconnected_handler
    def unconnected(address: Address, error: BaseException) -> None:
        if isinstance(error, Client.DestructionException):
            raise error

    try:
        client.wait(5)
    except sttcp.Error as failure:
        sttcp.print_sync(failure.name.lower(), failure.code + 1)

    with server:
        client.start()
        found: Optional[Connection] = server.find(1)
        ports = [each.port for each in server.connections()]
        server.request_stop()
        report = server.stop(timeout=None)
        sttcp.print_sync(report.forced, ports, found, flush=True)
    def tick(number: int, *, name: str = "") -> None: ...

    timer: sttcp.Timer = server.every(5, tick, 3, name="x")
    client.every(0.5, tick, 4)
    stopped: bool = timer.stop()
    timer.start(0, every=2.5)
    sttcp.Timer(tick, number=5).start(1)
    sttcp.run(tick, 6)
    keep_alive()
    sttcp.engine_shutdown()
    sttcp.log_level(4)
    sttcp.log_to_stderr()
    sttcp.log_to_stderr(level=2)

    tls = sttcp.TLS("cert.pem", b"key.pem", certificates=["both.pem", (Path("a.pem"), "a.key")],
                    trust=Path("ca.pem"), require_peer="optional", alpn=["h2", b"http/1.1"],
                    minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=13, ciphers="ALL")
    mine = sttcp.TLS(require_peer=ssl.CERT_REQUIRED)
    mine.set_certificate("me.pem")
    mine.set_versions(12)
    tls.reload()
    Server("", 8443, tls=tls, tls_handshake_timeout=5)
    Server("", 8443, tls=None)
    Client("example.org", 443, tls=True)
    Client("example.org", 443, tls=mine, tls_name="db.example")
    failures: int = counts.tls_failed
    waiting: int = counts.fibers + counts.fibers_waiting

    def go_over(connection: Connection) -> Optional[str]:
        connection.start_tls(tls)
        connection.start_tls(mine, name="db.example")
        reveal_type(connection.tls)
        return connection.tls.alpn if connection.tls else None

    kinds: Tuple[Type[sttcp.Error], ...] = (sttcp.TLSError, sttcp.CutError)
    built_in: bool = sttcp.HAS_TLS
    reveal_type(response)
    reveal_type(report)
"""
TLS_INFO = ("Union[Tuple[%sUnion[builtins.bytes, None], builtins.bool, builtins.bool, "
            "fallback=sttcp._tls.TLSInfo], None]" % ("builtins.str, " * 6))
REVEALED = ["Union[builtins.int, None]", "sttcp._connection.Connection", TLS_INFO,
            "def (address: Tuple[builtins.str, builtins.int], connection: "
            "sttcp._connection.Connection, data: builtins.bytes) -> builtins.bool",
            "Tuple[builtins.int, builtins.int, builtins.int, fallback=sttcp._group.StopReport]"]

# What is wrong, line by line.
WRONG = [
    "Server('localhost', 1.5)",
    "Server('localhost', 1, idle_timeout='30')",
    "Server('localhost', 1, no_such_option=1)",
    "Server('localhost', 1, connect_timeout=1)",
    "Client('localhost', 1, max_connections=1)",
    "Client('localhost', 1, framing=1)",
    "Client('localhost', 1, frame=4)",
    "server.receive_handler(lambda address, connection: None)",
    "server.connection_handler(7)",
    "server.response_handler(print)",
    "client.mainloop()",
    "client.request_stop()",
    "server.malformed_handler(lambda address, connection: None)",
    "connection.sendall('text')",
    "connection.recv()",
    "connection.address = ('', 1)",
    "server.stop('soon')",
    "server.broadcast(b'all', exclude=server)",
    "connection.join(7)",
    "server.broadcast(b'all', room=7)",
    "server.count_in(None)",
    "server.every('5', print)",
    "sttcp.Timer(7)",
    "sttcp.run()",
    "sttcp.Timer(print).start()",
    "connection.set_framing(fixed_size='4')",
    "sttcp.log_level('debug')",
    "connection.fail_now(7)",
    "connection.on_message(lambda address, connection: None)",
    "connection.on_message()",
    "connection.try_sendv([1])",
    "connection.recv_exactly('4')",
    "connection.recv_exactly(4)[0]",
    "connection.next_size(timeout='1')",
    "sttcp.Error().code.lower()",
    "size: int = sttcp.DEFAULT",
    "Server('', 1, nagle=None)",
    "Server('', 1, delimiter='x')",
    "Client('', 1, half_open=True)",
    "connection.set_framing('line', idle_timeout=3)",
    "sttcp.Error().nam",
    "sttcp.TLS(7)",
    "sttcp.TLS('c', 'k', verify=True)",
    "sttcp.TLS(alpn=[7])",
    "sttcp.TLS(minimum_version=1.2)",
    "sttcp.TLS().trust(None)",
    "Server('', 1, tls=True)",
    "Server('', 1, tls_name='x')",
    "Client('', 1, tls='cert.pem')",
    "connection.start_tls()",
    "connection.start_tls(True)",
    "connection.tls.version",
    "connection.tls = None",
    "sttcp.sleep('1')",
    "server.connection_handler(talk).lower()",
    "size_of: bytes = waiting.recv(1)",
    "next_line: int = waiting.recv_message()",
    "waiting.start_tls(True)",
    "sttcp.dial('localhost', tls=7)",
    "dialled: int = sttcp.dial('localhost', 7)",
]


@contextlib.contextmanager
def written(text):
    """In a folder of its own: mypy takes for modules what else is there."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "program.py")
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        yield name


class TypesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mypy_path = shutil.which("mypy")
        if cls.mypy_path is None:
            if os.environ.get("CI"):
                raise AssertionError("mypy is not there; on Debian: sudo apt-get install mypy")
            print("NOT TESTED: type hints, as mypy is not there", file=sys.__stderr__)
            raise unittest.SkipTest("mypy is not there")
        work = contextlib.ExitStack()
        cls.addClassCleanup(work.close)
        # The package alone, as it stands in site-packages, and mypy's cache.
        cls.work = work.enter_context(tempfile.TemporaryDirectory())
        shutil.copytree(PACKAGE, os.path.join(cls.work, "sttcp"),
                        ignore=shutil.ignore_patterns("__pycache__"))

    def run_tool(self, *command, **environment):
        """What it printed."""
        plain = {name: value for name, value in os.environ.items()
                 if not name.startswith("PYTHON")}
        plain["MYPYPATH"] = self.work
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=self.work, universal_newlines=True, timeout=DEADLINE * 6,
                              env={**plain, **environment}).stdout

    def mypy(self, *arguments):
        return self.run_tool(self.mypy_path, "--no-error-summary", "--cache-dir",
                             os.path.join(self.work, "cache"), *arguments)

    def test_package_passes_strict(self):
        self.assertEqual(self.mypy("--strict", "-p", "sttcp"), "")

    def test_programs_of_the_seed_and_of_version_1_1_pass(self):
        with open(data_file("program_1_1.py"), encoding="utf-8") as file:
            old = file.read().replace("PORT", "62134")
        for text in (program_of_seed(), old):
            with written(text) as program:
                self.assertEqual(self.mypy("--check-untyped-defs", program), "")

    def test_typed_program_passes_strict(self):
        with written(textwrap.dedent(RIGHT)) as program:
            said = self.mypy("--strict", program)
        revealed = re.findall(r'note: Revealed type is "(.*)"', said)
        self.assertEqual([each.replace("tuple[", "Tuple[") for each in revealed], REVEALED, said)
        self.assertEqual([line for line in said.split("\n") if line and ": note:" not in line], [])

    def test_mistakes_are_found(self):
        head = ("import sttcp\nfrom sttcp import Connection\nfrom sttcp.client import Client\n"
                "from sttcp.server import Server\n"
                "server = Server('', 0)\nclient = Client('', 1)\n"
                "async def talk(address: sttcp.Address, connection: sttcp.AsyncConnection) -> None: ...\n"
                "def mistakes(connection: Connection, waiting: sttcp.AsyncConnection) -> None:\n")
        with written(head + "".join("    %s\n" % line for line in WRONG)) as program:
            said = self.mypy("--strict", program)
        lines = [int(line) for line in re.findall(r":(\d+): error: ", said)]
        first = head.count("\n") + 1
        self.assertEqual(lines, list(range(first, first + len(WRONG))), said)

    def test_stub_and_extension_agree(self):
        stubtest = shutil.which("stubtest")
        if stubtest is None:
            self.skipTest("stubtest is not there")
        # It loads the extension, so it has to run with the Python that this one was built for.
        with open(stubtest, encoding="utf-8") as file:
            interpreter = file.readline()[2:].strip()
        version = subprocess.run([interpreter, "-c", "import sys; print(sys.version_info[:2])"],
                                 stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
        if version != str(sys.version_info[:2]):
            self.skipTest("mypy runs with Python %s" % version)
        self.assertEqual(self.run_tool(stubtest, "--concise", "sttcp._sttcp", PYTHONPATH=self.work), "")


if __name__ == "__main__":
    unittest.main()
