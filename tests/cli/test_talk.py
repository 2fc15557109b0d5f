# SPDX-License-Identifier: MIT
"""sttcp listen and sttcp connect, with each other, nc and sockets."""

import os
import pty
import socket
import select
import struct
import subprocess
from pathlib import Path
from typing import Any

from support import DEADLINE_S, STTCP, Case, has_tls, listens, need, read_all, until


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class Talk(Case):
    def start(self, words: list[str | Path], **more: Any) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = subprocess.Popen(words, **more)
        self.stack.enter_context(process)
        self.stack.callback(process.kill)
        return process

    def test_both_ways_and_half_close(self) -> None:
        server = self.serve("listen", stdin=subprocess.PIPE)
        client = self.sttcp("connect", f"127.0.0.1:{server.port}", stdin=subprocess.PIPE)
        client.type("from the client\n")
        server.out.wait_for("from the client")
        client.end_input()
        server.type("after the end\n")  # the other direction is still open
        client.out.wait_for("after the end")
        server.end_input()
        client.ends_with(0)
        server.ends_with(0)
        self.assertEqual(server.out.text(), "from the client\n")

    def test_listen_hears_nc(self) -> None:
        need("nc")
        data = os.urandom(3_000_000)
        (self.folder / "data").write_bytes(data)
        server = self.serve("listen")
        with (self.folder / "data").open("rb") as file:
            nc = self.run_program("nc", "-N", "127.0.0.1", server.port, stdin=file.fileno())
            server.ends_with(0)
            nc.wait()
        self.assertEqual(server.out.bytes, data)

    def test_connect_talks_to_nc(self) -> None:
        need("nc")
        listener = self.run_program("nc", "-v", "-N", "-l", "127.0.0.1", "0")
        port = int(listener.err.wait_for(r"[Ll]istening on \S+ (\d+)")[1])
        client = self.sttcp("connect", f"127.0.0.1:{port}", stdin=subprocess.PIPE)
        client.type("to nc\n")
        listener.out.wait_for("to nc")
        client.end_input()
        client.ends_with(0)

    def test_listen_takes_one_alone(self) -> None:
        server = self.serve("listen")
        self.dial(server.port).close()
        server.ends_with(0)
        with self.assertRaises(ConnectionRefusedError):
            self.dial(server.port)

    def test_listen_keeps_on(self) -> None:
        server = self.serve("listen", "--keep")
        for word in (b"one", b"two"):
            with self.dial(server.port) as peer:
                peer.sendall(word)
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(peer), b"")
        server.out.wait_for("onetwo")
        server.signal()
        server.ends_with(0)

    def test_lines_become_messages(self) -> None:
        listener = self.listen()
        client = self.sttcp("connect", "--framing", "length:1", "--max-message", "9",
                            f"127.0.0.1:{listener.getsockname()[1]}", stdin=subprocess.PIPE)
        peer = self.accept(listener)
        client.type("abc\nlonger than nine\n\nde")
        client.err.wait_for("a line of 16 bytes is no message of this framing")
        client.end_input()
        self.assertEqual(read_all(peer), b"\3abc\0\2de")
        peer.sendall(b"\2hi\0")
        peer.close()
        client.ends_with(1)  # a line was left out
        self.assertEqual(client.out.text(), "hi\n\n")

    def test_input_that_does_not_block_is_waited_for(self) -> None:
        listener = self.listen()
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        verbs: list[list[object]] = [["connect", to], ["connect", "--framing", "line", to],
                                     ["send", "--plain", "-", to]]
        for words in verbs:
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            program = self.sttcp(*words, stdin=reader)
            os.close(reader)
            peer = self.accept(listener)
            self.assertFalse(select.select([peer], [], [], 0.2)[0])  # an end would come at once
            os.write(writer, b"hello\n")
            self.assertEqual(peer.recv(6, socket.MSG_WAITALL), b"hello\n")
            os.close(writer)
            self.assertEqual(read_all(peer), b"")
            peer.close()
            program.ends_with(0)

    def test_input_that_cannot_be_read_is_no_end(self) -> None:
        listener = self.listen()
        options: list[list[str]] = [[], ["--framing", "line"]]
        for framing in options:
            folder = os.open(self.folder, os.O_RDONLY)
            client = self.sttcp("connect", *framing, f"127.0.0.1:{listener.getsockname()[1]}", stdin=folder)
            os.close(folder)
            client.ends_with(1)
            self.assertIn("standard input: Is a directory", client.err.text())
        with open(self.folder / "empty", "wb") as empty:  # only to be written to
            server = self.serve("listen", stdin=empty.fileno())
            server.ends_with(1)
        self.assertIn("standard input: Bad file descriptor", server.err.text())

    def test_closed_standard_files_stay_nothing(self) -> None:
        listener = self.listen()
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        for closed, status, file in (("<&-", 0, 0), (">&-", 1, 1), ("<&- >&- 2>&-", 1, 2)):
            client = self.run_program("sh", "-c", f'exec "$0" connect {to} {closed}', STTCP)
            peer = self.accept(listener)
            self.assertEqual(os.readlink(f"/proc/{client.process.pid}/fd/{file}"), "/dev/null")
            self.assertEqual(read_all(peer), b"")
            peer.sendall(b"x")
            peer.close()
            client.ends_with(status)

    def test_nobody_there_is_told(self) -> None:
        self.fails(3, "cannot connect to 127.0.0.1:.*refused", "connect",
                   f"127.0.0.1:{self.closed_port()}")

    def test_a_reset_is_a_loss(self) -> None:
        server = self.serve("listen", stdin=subprocess.PIPE)
        peer = self.dial(server.port)
        server.err.wait_for("connected by")
        reset(peer)
        server.ends_with(1)
        self.assertIn("the connection was lost: ", server.err.text())

    def test_ctrl_c_ends_connect(self) -> None:
        listener = self.listen()
        client = self.sttcp("connect", f"127.0.0.1:{listener.getsockname()[1]}", stdin=subprocess.PIPE)
        peer = self.accept(listener)
        client.err.wait_for("connected to")
        client.signal()
        client.ends_with(130)
        self.assertEqual(read_all(peer), b"")

    def test_ctrl_c_ends_connect_before_it_is_connected(self) -> None:
        listener = socket.socket()
        self.stack.callback(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # the kernel answers one, and leaves the others alone
        port = listener.getsockname()[1]
        self.dial(port)
        client = self.sttcp("connect", "--connect-timeout", "1h", f"127.0.0.1:{port}", stdin=subprocess.PIPE)
        # SYN-SENT, in the fourth field.
        until("its attempt", lambda: any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02"
                                         for line in Path("/proc/net/tcp").read_text().splitlines()[1:]))
        client.signal()
        client.ends_with(130)
        self.assertEqual(client.err.text(), "")

    def test_ctrl_c_ends_connect_in_its_handshake(self) -> None:
        if not has_tls():
            self.skipTest("built without TLS")
        listener = self.listen()
        client = self.sttcp("connect", "--tls", f"127.0.0.1:{listener.getsockname()[1]}", stdin=subprocess.PIPE)
        self.accept(listener).recv(1)
        client.signal()
        client.ends_with(130)
        self.assertEqual(client.err.text(), "")

    def test_a_limit_has_the_name_of_its_option(self) -> None:
        listener = self.listen()
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        self.fails(1, "no byte for 100 ms, the limit of --idle$", "connect", "--idle", "100ms", to, stdin=subprocess.PIPE)
        client = self.sttcp("connect", "--framing", "line", "--max-message", "3", to, stdin=subprocess.PIPE)
        self.accept(listener)
        peer = self.accept(listener)
        client.type("abcde\n")
        client.err.wait_for("a line of 5 bytes is no message of this framing: it is larger than --max-message")
        peer.sendall(b"abcde\n")
        client.ends_with(1)
        self.assertRegex(client.err.text(), "bytes, --max-message is 3$")

    def test_ctrl_c_ends_listen(self) -> None:
        cases: list[tuple[list[str], int]] = [([], 130), (["--keep"], 0)]
        for keep, status in cases:
            server = self.serve("listen", *keep, stdin=subprocess.PIPE)
            peer = self.dial(server.port)
            server.err.wait_for("connected by")
            server.signal()
            self.assertEqual(read_all(peer), b"")
            peer.close()
            server.ends_with(status)

    def test_a_closed_standard_output_ends_it(self) -> None:
        listener = self.listen()
        reader, writer = os.pipe()
        client = self.start([STTCP, "connect", f"127.0.0.1:{listener.getsockname()[1]}"],
                                  stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        os.close(reader)
        self.accept(listener).sendall(b"x")
        err = client.stderr.read() if client.stderr else b""
        self.assertEqual(client.wait(DEADLINE_S), 1)
        self.assertIn(b"standard output: its reader is gone", err)

    def test_a_slow_reader_holds_the_peer_back(self) -> None:
        server_end, reader = socket.socketpair()
        self.stack.callback(reader.close)
        listener = self.listen()
        client = self.start([STTCP, "connect", f"127.0.0.1:{listener.getsockname()[1]}"],
                                  stdin=subprocess.DEVNULL, stdout=server_end, stderr=subprocess.DEVNULL)
        server_end.close()
        peer = self.accept(listener)
        peer.setblocking(False)
        sent = 0
        # Until nothing goes any more; what is between is bounded.
        for _ in range(20):
            try:
                while True:
                    sent += peer.send(bytes(1 << 16))
                    self.assertLess(sent, 100 << 20)
            except BlockingIOError:
                if not select.select([], [peer], [], 0.2)[1]:
                    break
        peer.setblocking(True)
        peer.close()
        reader.settimeout(DEADLINE_S)
        self.assertEqual(len(read_all(reader)), sent)

    def test_a_terminal_gets_no_control_characters(self) -> None:
        listener = self.listen()
        options: list[list[str]] = [[], ["--raw"]]
        for raw in options:
            main, side = pty.openpty()
            client = self.start([STTCP, "connect", *raw,
                                       f"127.0.0.1:{listener.getsockname()[1]}"],
                                      stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.DEVNULL)
            os.close(side)
            peer = self.accept(listener)
            peer.sendall(b"\x1b[31mred\n")
            peer.close()
            self.assertEqual(client.wait(DEADLINE_S), 0)
            shown = b""
            try:
                while part := os.read(main, 1000):
                    shown += part
            except OSError:
                pass  # the end of a terminal
            os.close(main)
            self.assertEqual(shown, b"\x1b[31mred\r\n" if raw else b"\\x1b[31mred\r\n")

    def test_a_character_that_is_cut_between_two_reads_is_shown_whole(self) -> None:
        listener = self.listen()
        main, side = pty.openpty()
        self.stack.callback(os.close, main)
        client = self.start([STTCP, "connect", f"127.0.0.1:{listener.getsockname()[1]}"],
                            stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.DEVNULL)
        os.close(side)
        peer = self.accept(listener)
        shown = b""
        # Each part is seen before the next one is sent.
        for part, text in ((b"1\xc3", b"1"), (b"\xa42\xe2\x82", "\u00e42".encode()),
                           (b"\xac3\xf0\x9f\x98", "\u20ac3".encode()), (b"\x804\xc3", "\U0001f6004".encode()),
                           (b"5\xe2\x80", rb"\xc35"), (b"\xae6\xc2", rb"\xe2\x80\xae6"),
                           (b"\x9b7\xff", rb"\xc2\x9b7\xff"), (b"8\xf0\x9f", b"8")):
            peer.sendall(part)
            want = shown + text
            while len(shown) < len(want):
                self.assertTrue(select.select([main], [], [], DEADLINE_S)[0], shown)
                shown += os.read(main, 1000)
            self.assertEqual(shown, want)
        # Nothing more comes behind the end, while the other direction goes on.
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(os.read(main, 1000), rb"\xf0\x9f")
        peer.close()
        self.assertEqual(client.wait(DEADLINE_S), 0)

    def test_what_is_left_of_a_character_is_shown_when_its_peer_is_lost(self) -> None:
        main, side = pty.openpty()
        self.stack.callback(os.close, main)
        server = self.start([STTCP, "listen", "--keep", f"unix:{self.folder}/s"], stdin=subprocess.DEVNULL,
                            stdout=side, stderr=subprocess.DEVNULL)
        os.close(side)
        until("the socket", lambda: listens(self.folder / "s"))
        shown = b""
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(DEADLINE_S)
                peer.connect(f"{self.folder}/s")
                peer.sendall(b"x\xc3")
                while not shown.endswith(b"x"):
                    self.assertTrue(select.select([main], [], [], DEADLINE_S)[0], shown)
                    shown += os.read(main, 1)
        while not shown.endswith(rb"\xc3x\xc3"):
            self.assertTrue(select.select([main], [], [], DEADLINE_S)[0], shown)
            shown += os.read(main, 1)
        self.assertEqual(shown, rb"x\xc3x\xc3")
        self.assertIsNone(server.poll())

    def test_at_a_terminal_the_peer_s_end_is_the_end(self) -> None:
        listener = self.listen()
        main, side = pty.openpty()
        self.stack.callback(os.close, main)
        client = self.start([STTCP, "connect", f"127.0.0.1:{listener.getsockname()[1]}"],
                                  stdin=side, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.close(side)
        peer = self.accept(listener)
        os.write(main, b"typed\n")
        self.assertEqual(peer.recv(6, socket.MSG_WAITALL), b"typed\n")
        peer.close()
        err = client.stderr.read() if client.stderr else b""
        self.assertIn(b"the peer has closed the connection", err)
        self.assertEqual(client.wait(DEADLINE_S), 0)
        until("its end", lambda: client.poll() is not None)
