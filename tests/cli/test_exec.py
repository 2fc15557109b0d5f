# SPDX-License-Identifier: MIT
"""sttcp exec: a process for each connection."""

import contextlib
import ctypes
import json
import errno
import os
import resource
import select
import signal
import socket
import struct
import time
from pathlib import Path

from support import DEADLINE_S, STTCP, Case, Program, need, read_all, read_until, until


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def adopt_orphans() -> None:
    """As process 1 of a container does, and a descendant of this program's, too."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER


class Crowd:
    """Many clients that come at once, from several addresses, say one byte and wait for it to come back."""

    def __init__(self, port: int, count: int, addresses: int) -> None:
        self.poll = select.epoll()
        self.waiting: dict[int, socket.socket] = {}
        self.answered: list[socket.socket] = []
        self.lost: list[OSError | None] = []
        for number in range(count):
            peer = socket.socket()
            peer.setblocking(False)
            # The kernel chooses the port when it knows the other end: addresses have ports for all.
            peer.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            peer.bind((f"127.0.1.{1 + number % addresses}", 0))
            assert peer.connect_ex(("127.0.0.1", port)) in (0, errno.EINPROGRESS)
            self.waiting[peer.fileno()] = peer
            self.poll.register(peer, select.EPOLLOUT)

    def step(self, seconds: float) -> None:
        for fd, events in self.poll.poll(seconds):
            peer = self.waiting[fd]
            try:
                if events & select.EPOLLIN and peer.recv(1) == b"x":
                    self.answered.append(peer)
                elif not events & select.EPOLLIN and events & select.EPOLLOUT:
                    peer.send(b"x")
                    self.poll.modify(peer, select.EPOLLIN)
                    continue
                else:
                    self.lost.append(None)
            except OSError as error:
                self.lost.append(error)
            del self.waiting[fd]
            self.poll.unregister(peer)

    def wait_for_answers(self, count: int) -> None:
        end = time.monotonic() + DEADLINE_S
        while len(self.answered) < count and time.monotonic() < end and not self.lost:
            self.step(0.1)

    def close(self) -> None:
        self.poll.close()
        for peer in [*self.waiting.values(), *self.answered]:
            peer.close()


class Exec(Case):
    def test_a_command_is_the_connection(self) -> None:
        server = self.serve("exec", "--", "cat")
        data = os.urandom(2_000_000)
        peers = [self.dial(server.port) for _ in range(3)]
        need("nc")
        (self.folder / "data").write_bytes(data)
        with (self.folder / "data").open("rb") as file:
            nc = self.run_program("nc", "-N", "127.0.0.1", server.port, stdin=file.fileno())
            nc.ends_with(0)
        self.assertEqual(nc.out.bytes, data)
        for i, peer in enumerate(peers):
            peer.sendall(b"%d" % i)
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(peer), b"%d" % i)

    def test_options_of_the_command_are_its_own(self) -> None:
        for words in (["--", "printf", "%s ", "--max", "-x", "--"], ["printf", "%s ", "--max", "-x", "--"]):
            server = self.serve("exec", *words)
            self.assertEqual(read_all(self.dial(server.port)), b"--max -x -- ")

    def test_it_knows_who_calls(self) -> None:
        server = self.serve("exec", "--", "sh", "-c",
                            "echo $PROTO $TCPREMOTEIP:$TCPREMOTEPORT $TCPLOCALIP:$TCPLOCALPORT")
        peer = self.dial(server.port)
        host, port = peer.getsockname()
        self.assertEqual(read_all(peer).decode(), f"TCP {host}:{port} 127.0.0.1:{server.port}\n")

    show_variables = ("--", "sh", "-c", "env | grep -E '^(PROTO|TCP|UNIX)' | sort")

    def test_it_knows_who_calls_by_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("there is no IPv6")
        server = self.sttcp("exec", "[::1]:0", *self.show_variables)
        with socket.create_connection(("::1", server.port), DEADLINE_S) as peer:
            port = peer.getsockname()[1]
            self.assertEqual(read_all(peer).decode().splitlines(),
                             ["PROTO=TCP", "TCPLOCALIP=::1", f"TCPLOCALPORT={server.port}",
                              "TCPREMOTEIP=::1", f"TCPREMOTEPORT={port}"])

    def test_it_knows_a_unix_socket(self) -> None:
        path = str(self.folder / "socket")
        self.sttcp("exec", f"unix:{path}", *self.show_variables).err.wait_for("listening on")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            self.assertEqual(read_all(peer).decode().splitlines(), ["PROTO=UNIX", f"UNIXLOCALPATH={path}"])

    def test_it_knows_nothing_of_who_called_before(self) -> None:
        server = self.serve("exec", "--", "env", env={
            "PROTO": "SSL", "TCPREMOTEIP": "192.0.2.1", "TCPREMOTEHOST": "other.example", "TCPREMOTEINFO": "x",
            "TCPLOCALHOST": "here.example", "UNIXREMOTEEUID": "0", "TCPDUMP": "kept"})
        lines = read_all(self.dial(server.port)).decode().splitlines()
        self.assertEqual([line for line in lines if "192.0.2" in line or "example" in line or "UNIX" in line], [])
        for name in ("PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT"):
            self.assertEqual(len([line for line in lines if line.startswith(f"{name}=")]), 1)
        self.assertIn("TCPDUMP=kept", lines)

    def test_an_exit_status_is_told(self) -> None:
        server = self.serve("exec", "--json", "--", "sh", "-c", "exit 7")
        self.assertEqual(read_all(self.dial(server.port)), b"")
        server.err.wait_for("sh has ended with status 7")
        server.out.wait_for('"event":"exec"')
        line = next(line for line in server.out.text().splitlines() if '"exec"' in line)
        self.assertEqual(json.loads(line)["status"], 7)
        server = self.serve("exec", "--", "sh", "-c", "kill -9 $$")
        read_all(self.dial(server.port))
        server.err.wait_for("was ended by signal 9")

    def test_an_exit_status_is_told_whatever_signals_are_ignored(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "exit 7",
                            prepare=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual(read_all(self.dial(server.port)), b"")
        server.err.wait_for("sh has ended with status 7")

    def test_orphans_leave_no_zombies(self) -> None:
        server = self.serve("exec", "--json", "--", "sh", "-c",
                            "(sh -c 'echo $$; exec sleep 1000 >/dev/null' &); exit 7", prepare=adopt_orphans)
        orphans = [int(read_all(self.dial(server.port))) for _ in range(5)]
        for pid in orphans:
            status = Path(f"/proc/{pid}/status")
            until("its adoption", lambda: f"\nPPid:\t{server.process.pid}\n" in status.read_text())
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            until("the end of the orphan", lambda: not runs(pid))
        # Nobody's status was taken.
        until("the statuses", lambda: server.out.text().count('"status":7') == 5)
        server.signal()
        server.ends_with(0)

    def test_a_lost_peer_leaves_no_zombie(self) -> None:
        need("setsid")
        # What has left the group of the command is not ended with it, and holds its output.
        server = self.serve("exec", "--json", "--", "sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & "
                            "read x; echo $$; exec sleep 1000")
        peer = self.dial(server.port)
        daemon = int(read_until(peer, b"\n"))
        self.stack.callback(os.kill, daemon, signal.SIGKILL)
        peer.sendall(b"x\n")
        pid = int(read_until(peer, b"\n"))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        until("the end of the process", lambda: not runs(pid))
        self.assertTrue(runs(daemon))
        server.out.wait_for('"signal":15')

    def test_silent_commands_cost_nothing(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo x; exec sleep 1000")
        peers = [self.dial(server.port) for _ in range(20)]
        for peer in peers:
            self.assertEqual(read_until(peer, b"\n"), b"x\n")
        # One does not read what it is sent, either, and is waited for with that.
        peers[0].setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                peers[0].send(bytes(65536))

        def switches() -> dict[str, int]:
            counts = {}
            for path in Path(f"/proc/{server.process.pid}/task").glob("*/status"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                    text = path.read_text()
                    counts[path.parent.name] = int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])
            return counts

        # The thread sanitizer has a thread that looks ten times a second.
        others = 1 if b"__tsan_init" in STTCP.read_bytes() else 0

        def sleeps() -> bool:
            before = switches()
            time.sleep(1)
            counts = sorted(count - before.get(task, 0) for task, count in switches().items())
            return sum(counts[:len(counts) - others]) < 10

        until("a second of sleep", sleeps)

    def test_standard_error_goes_to_the_peer_if_asked(self) -> None:
        server = self.serve("exec", "--stderr", "--", "sh", "-c", "echo out; echo err >&2")
        self.assertEqual(sorted(read_all(self.dial(server.port)).split()), [b"err", b"out"])
        server = self.serve("exec", "--", "sh", "-c", "echo out; echo err >&2")
        self.assertEqual(read_all(self.dial(server.port)), b"out\n")
        server.err.wait_for("^err$")

    def test_a_lost_peer_ends_the_process(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo $$; exec sleep 1000")
        peer = self.dial(server.port)
        pid = int(read_until(peer, b"\n"))
        self.assertTrue(runs(pid))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        until("the end of the process", lambda: not runs(pid))

    def test_a_lost_peer_ends_a_process_that_is_stopped(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo $$; kill -STOP $$")
        peer = self.dial(server.port)
        pid = int(read_until(peer, b"\n"))
        until("its stop", lambda: "\nState:\tT" in Path(f"/proc/{pid}/status").read_text())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        until("the end of the process", lambda: not runs(pid))

    def test_a_process_that_does_not_read_holds_back_its_peer_alone(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo $$; exec sleep 1000")
        deaf = self.dial(server.port)
        pid = int(read_until(deaf, b"\n"))
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        other = self.dial(server.port)
        read_until(other, b"\n")
        # It ends when the peer is lost, though its input is full.
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        deaf.close()
        until("the end of the process", lambda: not runs(pid))

    def test_a_second_signal_ends_processes(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo $$; exec sleep 1000")
        pid = int(read_until(self.dial(server.port), b"\n"))
        server.signal()
        server.err.wait_for("waiting for 1 connection")
        self.assertTrue(runs(pid))
        server.signal()
        server.ends_with(130)
        until("the end of the process", lambda: not runs(pid))

    def test_a_drain_lets_it_come_to_its_end(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "echo ready; read x; echo $x; exit 0")
        peer = self.dial(server.port)
        read_until(peer, b"ready\n")
        server.signal()
        server.err.wait_for("waiting for 1 connection")
        peer.sendall(b"bye\n")
        self.assertEqual(read_all(peer), b"bye\n")
        server.ends_with(0)
        self.assertIn("1 ended by themselves", server.err.text())

    def test_a_limit_is_told_and_the_others_wait(self) -> None:
        server = self.serve("exec", "--max", "2", "--", "cat")
        peers = [self.dial(server.port) for _ in range(4)]
        server.err.wait_for(r"2 connections are the limit; others wait .*--max")
        server = self.serve("exec", "--max", "1", "--", "cat")
        self.dial(server.port)
        server.err.wait_for(r"1 connection is the limit; others wait until it ends \(--max N allows more\)")
        for peer in peers:
            peer.sendall(b"x")
            peer.shutdown(socket.SHUT_WR)
        for peer in peers:
            self.assertEqual(read_all(peer), b"x")

    # It begins with the number of the process, and outlives SIGTERM and its peer.
    deaf = ("--", "sh", "-c", 'trap "" TERM; echo $$; read x; sleep 1; sleep 1; exit 5')

    def test_a_process_has_its_place_until_it_ends(self) -> None:
        server = self.serve("exec", "--json", "--max", "1", *self.deaf)
        first = self.dial(server.port)
        pid = int(read_until(first, b"\n"))
        second = self.dial(server.port)
        first.sendall(b"x\n")
        reset(first)
        read_until(second, b"\n")
        self.assertFalse(runs(pid))
        server.out.wait_for('"status":5')

    def test_a_process_has_its_place_after_an_orderly_end_too(self) -> None:
        server = self.serve("exec", "--max", "1", "--", "sh", "-c", "echo $$; exec <&- >&-; sleep 1; exit 5")
        first = self.dial(server.port)
        pid = int(read_until(first, b"\n"))
        self.assertEqual(read_all(first), b"")
        first.close()
        read_until(self.dial(server.port), b"\n")
        self.assertFalse(runs(pid))
        # Nobody has killed it.
        server.err.wait_for("has ended with status 5")

    def test_a_process_that_outlives_its_signal_is_killed(self) -> None:
        server = self.serve("exec", "--max", "1", "--", "sh", "-c", 'trap "" TERM; echo $$; '
                            "while :; do sleep 0.1; done")
        peer = self.dial(server.port)
        pid = int(read_until(peer, b"\n"))
        reset(peer)
        server.err.wait_for("was ended by signal 9")
        self.assertFalse(runs(pid))
        # It would outlive its server.
        self.stack.callback(os.kill, int(read_until(self.dial(server.port), b"\n")), signal.SIGKILL)

    def lose_a_peer(self, server: Program) -> int:
        """The number of its process, which goes on."""
        peer = self.dial(server.port)
        pid = int(read_until(peer, b"\n"))
        peer.sendall(b"x\n")
        reset(peer)
        return pid

    def test_a_stop_waits_for_processes_whose_peers_are_lost(self) -> None:
        may_end = self.folder / "may-end"
        server = self.serve("exec", "--json", "--", "sh", "-c", 'trap "" TERM; echo $$; '
                            f"until [ -e {may_end} ]; do sleep 0.1; done; exit 5")
        pids = [self.lose_a_peer(server) for _ in range(2)]
        server.signal()
        server.err.wait_for("waiting for processes: 2, at most 10 s; Ctrl\\+C again ends at once")
        self.assertEqual([runs(pid) for pid in pids], [True, True])
        may_end.touch()
        server.ends_with(0)
        self.assertEqual([runs(pid) for pid in pids], [False, False])
        self.assertEqual(server.out.text().count('"status":5'), 2)
        self.assertNotIn("left", server.err.text())

    def leaves(self, server: Program, pid: int) -> None:
        self.stack.callback(os.kill, pid, signal.SIGKILL)
        server.err.wait_for(f"a process has not ended, and is left behind: {pid}$")
        self.assertTrue(runs(pid))

    def test_a_second_signal_tells_what_it_leaves_behind(self) -> None:
        for lose in (True, False):
            server = self.serve("exec", "--", "sh", "-c", 'exec 2>&-; trap "" TERM; echo $$; read x; '
                                "while :; do sleep 0.1; done")
            peer = self.dial(server.port)
            pid = int(read_until(peer, b"\n"))
            if lose:
                reset(peer)
            server.signal()
            server.err.wait_for("waiting for ")
            server.signal()
            server.ends_with(130)
            self.leaves(server, pid)

    def test_the_end_of_a_drain_ends_processes_or_tells_of_them(self) -> None:
        def drain(script: str) -> tuple[Program, int]:
            server = self.serve("exec", "--json", "--drain", "0.2", "--", "sh", "-c", script)
            peer = self.dial(server.port)
            pid = int(read_until(peer, b"\n"))
            self.assertEqual(read_all(peer), b"")
            peer.close()
            server.signal()
            server.ends_with(0)
            return server, pid

        quiet = "echo $$; exec <&- >&-; "
        for _ in range(5):
            server, pid = drain(quiet + "exec sleep 1000")
            if '"signal":15' in server.out.text():
                break
            # It has a second to end, and may need longer on a busy machine.
            server.err.wait_for(f"a process has not ended, and is left behind: {pid}$")
        self.assertIn('"signal":15', server.out.text())
        self.leaves(*drain('exec 2>&-; trap "" TERM; ' + quiet + "while :; do sleep 0.1; done"))

    def test_ten_thousand_clients_are_served_a_hundred_at_a_time(self) -> None:
        server = self.serve("exec", "--", "cat")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        count = 1000 if "-fsanitize" in os.environ.get("CFLAGS", "") else min(10000, hard - 100)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        crowd = Crowd(server.port, count, 4)
        self.stack.callback(crowd.close)
        crowd.wait_for_answers(100)
        server.err.wait_for("100 connections are the limit; others wait until one ends")
        for _ in range(20):
            crowd.step(0.01)
        self.assertEqual((len(crowd.answered), crowd.lost), (100, []))
        # Each that ends lets another one in.
        for peer in crowd.answered[:50]:
            peer.close()
        crowd.wait_for_answers(150)
        self.assertEqual((len(crowd.answered), crowd.lost), (150, []))
        self.assertEqual(server.err.text().count("are the limit"), 1)
        server.signal()
        server.err.wait_for(r"waiting for \d+ connections")
        server.signal()
        server.ends_with(130)

    def test_more_at_a_time_than_there_may_be_files_is_refused(self) -> None:
        program = self.run_program("sh", "-c", "ulimit -Hn 20000 2>/dev/null; exec \"$0\" exec --max 10000 "
                                   "127.0.0.1:0 cat", STTCP)
        program.ends_with(3)
        self.assertRegex(program.err.text(), "10000 connections need 40064 files, and at most [0-9]+ may be "
                         "open: see 'ulimit -Hn'")

    def test_the_limit_on_files_is_raised_and_not_inherited(self) -> None:
        server = self.run_program("sh", "-c", "ulimit -Sn 150; exec \"$0\" exec --max 200 127.0.0.1:0 -- "
                                  "sh -c 'read x; ulimit -Sn'", STTCP)
        peers = [self.dial(server.port) for _ in range(100)]
        for peer in peers:
            peer.sendall(b"x\n")
        for peer in peers:
            self.assertEqual(read_all(peer), b"150\n")
        # Also if it looks at once.
        server = self.run_program("sh", "-c", "ulimit -Sn 150; exec \"$0\" exec --max 200 127.0.0.1:0 -- "
                                  "cat /proc/self/limits", STTCP)
        for peer in [self.dial(server.port) for _ in range(200)]:
            self.assertRegex(read_all(peer), b"Max open files +150 ")
        self.fails(3, "need .* files, and at most .*ulimit -Hn", "exec", "--max", "1000000000",
                   "127.0.0.1:0", "cat")

    def test_a_command_that_is_not_there_is_told_at_once(self) -> None:
        self.fails(3, "there is no command 'no-such-command' in any folder of PATH", "exec",
                   "127.0.0.1:0", "--", "no-such-command")
        self.fails(3, "there is no command '' in", "exec", "127.0.0.1:0", "--", "")
        self.fails(3, "cannot run .*: Is a directory", "exec", "127.0.0.1:0", "--", self.folder)
        self.fails(3, "cannot run /no/such/command: No such file", "exec", "127.0.0.1:0",
                   "/no/such/command")
        self.fails(3, "Permission denied", "exec", "127.0.0.1:0", "/etc/passwd")
        self.fails(2, "missing", "exec", "127.0.0.1:0")

    def test_descriptors_do_not_leak_into_it(self) -> None:
        server = self.serve("exec", "--", "sh", "-c", "ls -l /proc/$$/fd | grep -c socket; exit 0")
        idle = self.dial(server.port)
        self.assertEqual(read_until(idle, b"\n"), b"0\n")
