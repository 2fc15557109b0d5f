# SPDX-License-Identifier: MIT
"""A shell on a terminal of its own, in a network namespace of its own, that types what a block shows."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time

PROMPT = "@@ready@@"
# Compilers, valgrind and gdb take their time on a machine that is busy, and several sections run at once.
DEADLINE = 3 * float(os.environ.get("STTCP_TEST_DEADLINE_S", "20"))
# For what a command prints that has ended: shorter where it is known that it does not come.
OUTPUT_DEADLINE = float(os.environ.get("STTCP_TEST_OUTPUT_S", DEADLINE))
# Takes the terminal, sets the loopback interface up (with no program of iproute2), and becomes the shell.
# Whoever runs this in the background may have had SIGINT ignored, which a shell cannot undo.
UP = """
import fcntl, os, signal, socket, struct, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
"""


class Mismatch(Exception):
    pass


def can_isolate():
    """Whether the kernel lets this user make a network namespace."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-rn", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def pattern(line, figures):
    """The expression for a line that is expected. Three dots stand for anything; where the block
    has figures, so does each number, with its unit and the spaces in front of it."""
    parts = []
    for part in re.split(r"(\.\.\.|\s+|#+|0x[0-9A-Fa-f]+|\d+(?:\.\d+)?(?: ?(?:[mun]?s\b|[kMG]?B/s))?)", line):
        if part == "...":
            parts.append(".*")
        elif figures and re.fullmatch(r"\s+", part):
            parts.append(r"\s+")
        elif figures and re.match(r"#", part):
            parts.append("#*")
        elif figures and part.startswith("0x"):
            parts.append("0x[0-9A-Fa-f]+")
        elif figures and re.match(r"\d", part):
            parts.append(r"\d+(?:\.\d+)?(?: ?(?:[mun]?s\b|[kMG]?B/s))?")
        else:
            parts.append(re.escape(part))
    return "".join(parts)


def matches(expected, lines, in_order, figures):
    """Whether these are the lines. With programs in the background they may come in any order."""
    if in_order:
        whole = "".join(r"(?:.*\n)*" if each == "..." else pattern(each, figures) + "\n" for each in expected)
        return re.fullmatch(whole, "".join(line + "\n" for line in lines)) is not None
    left = list(lines)
    for each in sorted(expected, key=lambda each: each.count("...")):
        if each != "...":
            found = next((line for line in left if re.fullmatch(pattern(each, figures), line)), None)
            if found is None:
                return False
            left.remove(found)
    return not left or "..." in expected


class Terminal:
    def __init__(self, folder, env):
        self.fd, slave = os.openpty()
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.shell = subprocess.Popen(["unshare", "-rn", sys.executable, "-c", UP], stdin=slave, stdout=slave,
                                      stderr=slave, cwd=folder, start_new_session=True,
                                      env={**env, "PS1": PROMPT, "PS2": "", "TERM": "dumb", "NO_COLOR": "1"})
        os.close(slave)
        self.text = ""
        self.jobs = 0
        self.wait(lambda: PROMPT in self.text, "the shell")

    def read(self, seconds):
        """What comes within this time; false at the end of the shell."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.text += os.read(self.fd, 65536).decode("utf-8", "replace").replace("\r", "")
            except OSError:
                return False
        return True

    def wait(self, condition, what, seconds=DEADLINE):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or not self.read(0.05):
                raise Mismatch(f"waited for {what}")

    def lines(self):
        """What was printed, without prompts and without what the shell tells of its jobs."""
        lines = self.text.replace(PROMPT, "").split("\n")
        lines = [line for line in lines if not re.match(r"\[\d+\]([ +-]|$)", line)]
        return lines[:-1] if lines and not lines[-1] else lines

    def sockets(self):
        """Those that listen or are connected, in the shell's network namespace."""
        found = set()
        for name in ("tcp", "tcp6"):
            with open(f"/proc/{self.shell.pid}/net/{name}", encoding="ascii") as file:
                found |= {tuple(line.split()[1:4]) for line in file if line.split()[3] in ("0A", "01")}
        return found

    def type(self, command, expected, figures, any_order):
        """Types a command, and waits for what is expected of it. One in the background of which nothing is
        expected is waited for until it has a socket."""
        before = self.sockets()
        self.text = ""
        background = command.rstrip().endswith("&")
        in_order = self.jobs == 0 and not any_order
        self.jobs += background
        os.write(self.fd, (command + "\n").encode())
        self.wait(lambda: PROMPT in self.text, f"the end of: {command}")
        try:
            self.wait(lambda: matches(expected, self.lines(), in_order, figures), f"the output of: {command}",
                      OUTPUT_DEADLINE)
            if background and not expected:
                self.wait(lambda: self.sockets() - before, f"a socket that listens or is connected, of: {command}")
            self.read(0.02)
            if not matches(expected, self.lines(), in_order, figures):
                raise Mismatch(f"more than expected came from: {command}")
        except Mismatch as mismatch:
            told = "".join(f"    expected: {line}\n" for line in expected)
            told += "".join(f"    came:     {line}\n" for line in self.lines())
            raise Mismatch(f"{mismatch}\n{told}") from None

    def close(self):
        """Ends the shell and what it has started: all of them, and nobody else, are in its session."""
        session = self.shell.pid
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if os.getsid(int(entry)) == session and int(entry) != session:
                        os.kill(int(entry), signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
        self.shell.kill()
        self.shell.wait()
        os.close(self.fd)
