# SPDX-License-Identifier: MIT
"""What people see: a status redrawn in place, cut to the width of their terminal, and colours."""

import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import threading

from support import DEADLINE_S, STTCP, Case, listens, until


class Terminal:
    """A pseudo-terminal for standard error (or output), and all that was written to it."""

    def __init__(self, case: Case, words: list[object], columns: int, which: str = "stderr",
                 **env: str) -> None:
        self.main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, which: side}
        self.process = subprocess.Popen(
            [STTCP, *words], stdin=subprocess.DEVNULL, **streams,  # type: ignore[call-overload]
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", **env})
        os.close(side)
        self.bytes = b""
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        case.stack.callback(self.close)

    def read(self) -> None:
        try:
            while part := os.read(self.main, 65536):
                self.bytes += part
        except OSError:
            pass  # the end of a terminal

    def text(self) -> str:
        return self.bytes.decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        until(pattern, lambda: re.search(pattern, self.text()) or not self.thread.is_alive())
        match = re.search(pattern, self.text())
        assert match, f"no {pattern!r} in {self.text()!r}"
        return match

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join(DEADLINE_S)
        os.close(self.main)


class Status(Case):
    def test_stats_are_redrawn_in_place(self) -> None:
        for columns in (20, 80):
            terminal = Terminal(self, ["echo", "--stats", "127.0.0.1:0"], columns)
            port = int(terminal.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
            self.dial(port).sendall(b"x")
            terminal.wait_for("1 connections")
            terminal.wait_for("(?s)threads.*\033\\[A.*threads")  # up again, for the next one
            for line in re.split("\r?\n|\r", re.sub("\033\\[[0-9;]*[A-Za-z]", "", terminal.text())):
                if "listening" not in line:
                    self.assertLess(len(line), columns, line)

    def test_a_terminal_that_can_nothing_gets_lines(self) -> None:
        terminal = Terminal(self, ["echo", "--stats", "127.0.0.1:0"], 80, TERM="dumb")
        terminal.wait_for(r"0 connections, .*threads")
        self.assertNotIn("\033", terminal.text())

    def test_a_failure_is_red_unless_no_color_says_so(self) -> None:
        terminal = Terminal(self, ["connect", f"127.0.0.1:{self.closed_port()}"], 80)
        terminal.wait_for("\033\\[1;31msttcp connect:\033\\[0m cannot connect")
        terminal = Terminal(self, ["connect", f"127.0.0.1:{self.closed_port()}"], 80, NO_COLOR="1")
        terminal.wait_for("sttcp connect: cannot connect")
        self.assertNotIn("\033", terminal.text())

    def test_dump_has_a_colour_for_each_direction(self) -> None:
        listener = self.listen()
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        path = f"unix:{self.folder}/s"
        for no_color in ("", "1"):
            terminal = Terminal(self, ["dump", path, target], 80, "stdout", NO_COLOR=no_color)
            until("the socket", lambda: listens(path[5:]))
            client = subprocess.Popen([STTCP, "connect", path], stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.stack.enter_context(client)
            self.stack.callback(client.kill)
            assert client.stdin
            client.stdin.write(b"x\n")
            client.stdin.flush()
            peer = self.accept(listener)
            peer.sendall(b"y\n")
            terminal.wait_for(" > .*x")
            terminal.wait_for(" < .*y")
            self.assertEqual("\033[36m" in terminal.text(), not no_color)
            self.assertEqual("\033[33m" in terminal.text(), not no_color)
            terminal.process.kill()
            terminal.process.wait()
            os.unlink(path[5:])


class Progress(Case):
    def test_a_bar_with_rate_and_time_left(self) -> None:
        source = self.folder / "source"
        source.write_bytes(bytes(30_000_000))
        listener = self.listen()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for columns, pattern in ((80, r" *\d+% \[#*\.*\] [\d.]+ .?B, [\d.]+ .?B/s, .* left"),
                                 (20, r" *\d+% [\d.]+ .?B, ")):
            terminal = Terminal(self, ["send", "--plain", source,
                                       f"127.0.0.1:{listener.getsockname()[1]}"], columns)
            peer = self.accept(listener)
            terminal.wait_for(pattern)
            peer.close()
            for line in re.split("\r?\n|\r", re.sub("\033\\[[0-9;]*[A-Za-z]", "", terminal.text())):
                if "%" in line:
                    self.assertLess(len(line), columns, line)

    def test_a_live_line_of_bench(self) -> None:
        server = self.serve("echo")
        terminal = Terminal(self, ["bench", "-c", "1", "-t", "1h", f"127.0.0.1:{server.port}"], 80)
        terminal.wait_for(r"\d+ of 3600 s, \d+ requests/s, 50% [\d.]+ us, 99% [\d.]+ us")
