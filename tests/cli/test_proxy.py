# SPDX-License-Identifier: MIT
"""sttcp proxy and sttcp dump, with sockets, nc and socat at their ends."""

import json
import os
import re
import select
import socket
import struct
import threading
import unittest

from support import Case, Program, has_tls, need, read_all, until


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def events(program: Program, kind: str) -> list[dict[str, object]]:
    # The last line may not have come as a whole.
    whole = program.out.text().rpartition("\n")[0].splitlines()
    return [event for event in map(json.loads, whole) if event["event"] == kind]


class Proxy(Case):
    def test_both_directions_with_half_close(self) -> None:
        listener = self.listen()
        proxy = self.serve("proxy", address(listener))
        peer = self.dial(proxy.port)
        far = self.accept(listener)
        peer.sendall(b"question")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(far), b"question")
        far.sendall(b"answer after the end")
        far.close()
        self.assertEqual(read_all(peer), b"answer after the end")
        host, port = peer.getsockname()
        proxy.out.wait_for(rf"^\d\d:\d\d:\d\d {host}:{port} -> {address(listener)}, 8 B in, 20 B out, "
                           r"[\d.]+ s, closed in order$")

    def test_much_passes_unharmed(self) -> None:
        need("nc", "socat")
        data = os.urandom(20_000_000)
        (self.folder / "data").write_bytes(data)
        echo = self.run_program("socat", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:cat")
        target = int(echo.err.wait_for(r"listening on .*:(\d+)$")[1])
        proxy = self.serve("proxy", "--json", f"127.0.0.1:{target}")
        with (self.folder / "data").open("rb") as file:
            nc = self.run_program("nc", "-N", "127.0.0.1", proxy.port, stdin=file.fileno())
            nc.ends_with(0)
        self.assertEqual(nc.out.bytes, data)
        until("the line", lambda: events(proxy, "connection"))
        (event,) = events(proxy, "connection")
        self.assertEqual((event["bytes_in"], event["bytes_out"], event["code"]),
                         (len(data), len(data), "OK"))

    def test_a_slow_end_holds_back_the_other(self) -> None:
        for slow in ("client", "target"):
            listener = self.listen()
            proxy = self.serve("proxy", address(listener))
            peer = self.dial(proxy.port)
            far = self.accept(listener)
            giver, taker = (far, peer) if slow == "client" else (peer, far)
            giver.setblocking(False)
            sent = 0
            while select.select([], [giver], [], 0.3)[1]:
                try:
                    sent += giver.send(bytes(1 << 16))
                except BlockingIOError:
                    continue
                self.assertLess(sent, 60 << 20, "nothing holds it back")
            got: list[bytes] = []
            reader = threading.Thread(target=lambda: got.append(read_all(taker)))
            reader.start()
            giver.settimeout(20)
            giver.sendall(bytes(1 << 20))
            giver.shutdown(socket.SHUT_WR)
            reader.join()
            self.assertEqual(len(got[0]), sent + (1 << 20))

    def test_targets_in_turn(self) -> None:
        listeners = [self.listen() for _ in range(3)]
        proxy = self.serve("proxy", *map(address, listeners))
        for round_ in range(2):
            for listener in listeners:
                self.dial(proxy.port)
                self.accept(listener).sendall(b"x")

    def test_the_fewest_connections(self) -> None:
        first, second = self.listen(), self.listen()
        proxy = self.serve("proxy", "--balance", "fewest", "--json", address(first), address(second))
        held = [(self.dial(proxy.port), self.accept(first)), (self.dial(proxy.port), self.accept(second))]
        # The second one has none from here on, so it gets the next two.
        for i in range(2):
            for end in held.pop():
                end.close()
            until("its end", lambda: len(events(proxy, "connection")) == i + 1)
            held.append((self.dial(proxy.port), self.accept(second)))

    def test_a_target_that_refuses_is_passed_over(self) -> None:
        listener = self.listen()
        dead = f"127.0.0.1:{self.closed_port()}"
        proxy = self.serve("proxy", "--retry", "1h", dead, address(listener))
        for _ in range(4):
            peer = self.dial(proxy.port)
            far = self.accept(listener)
            far.sendall(b"x")
            self.assertEqual(peer.recv(1), b"x")
        self.assertEqual(proxy.err.text().count(f"{dead} is passed over"), 1)

    def test_a_target_comes_back(self) -> None:
        listener = self.listen()
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        proxy = self.serve("proxy", "--retry", "50ms", address(bound), address(listener))
        self.dial(proxy.port)
        self.accept(listener)
        bound.listen()
        bound.setblocking(False)

        def comes() -> bool:
            self.dial(proxy.port)
            return bool(select.select([bound], [], [], 0.1)[0])

        until("the first target", comes)

    def test_no_target_is_told(self) -> None:
        dead = [f"127.0.0.1:{self.closed_port()}" for _ in range(2)]
        proxy = self.serve("proxy", *dead)
        with self.assertRaises(ConnectionResetError):
            self.dial(proxy.port).recv(1)  # it may come as early as in connect(2)
        proxy.out.wait_for("no target can be reached; .*[Rr]efused")

    def test_a_reset_is_passed_on(self) -> None:
        listener = self.listen()
        proxy = self.serve("proxy", "--json", address(listener))
        for which in range(2):
            ends = [self.dial(proxy.port), self.accept(listener)]
            ends[1].sendall(b"x")
            self.assertEqual(ends[0].recv(1), b"x")
            reset(ends[which])
            with self.assertRaises(ConnectionResetError):
                ends[1 - which].recv(1)
            until("the line", lambda: len(events(proxy, "connection")) == which + 1)
        reasons = [str(event["reason"]) for event in events(proxy, "connection")]
        self.assertRegex(reasons[0], "^the client: .*reset")
        self.assertRegex(reasons[1], "^the target: .*reset")

    def test_an_idle_connection_ends_with_its_reason(self) -> None:
        listener = self.listen()
        proxy = self.serve("proxy", "--idle", "200ms", address(listener))
        peer = self.dial(proxy.port)
        self.accept(listener)
        try:
            self.assertEqual(peer.recv(1), b"")
        except ConnectionResetError:
            pass
        proxy.out.wait_for("no byte for 200 ms, the limit of --idle$")

    def test_a_target_that_does_not_answer_is_told_with_its_limit(self) -> None:
        listener = socket.socket()
        self.stack.callback(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # the kernel answers one, and leaves the others alone
        self.dial(listener.getsockname()[1])
        proxy = self.serve("proxy", "--connect-timeout", "200ms", address(listener))
        with self.assertRaises(ConnectionResetError):
            self.dial(proxy.port).recv(1)
        proxy.err.wait_for("is passed over: .*no answer for 200 ms, the limit of --connect-timeout$")
        proxy.out.wait_for("no answer for 200 ms, the limit of --connect-timeout$")

    @unittest.skipUnless(has_tls(), "built without TLS")
    def test_a_target_that_tls_cannot_have_is_told_at_once(self) -> None:
        for verb in ("proxy", "dump"):
            self.fails(3, "unix:@foo: --target-tls needs --target-name with a Unix socket", verb, "--target-tls",
                       "127.0.0.1:0", "unix:@foo")
            for name in ("x y", "x:80", ".x", "x..y", "-" * 64, "x/y"):
                self.fails(3, f"--target-name is a DNS name or an address, without a port, not '{name}'", verb,
                           "--target-tls", f"--target-name={name}", "127.0.0.1:0", "127.0.0.1:1")
        for name in ("x.example", "x.example.", "_x", "192.0.2.1", "2001:db8::1"):
            self.serve("proxy", "--target-tls", f"--target-name={name}", "unix:@foo")

    def test_too_many_targets_are_refused(self) -> None:
        self.fails(2, "one word too many|at most 64", "proxy", "127.0.0.1:0", *["localhost:1"] * 65)


class Dump(Case):
    def talk(self, *words: str, sends: bytes = b"", answers: bytes = b"") -> Program:
        listener = self.listen()
        dump = self.serve("dump", address(listener), *words)
        peer = self.dial(dump.port)
        far = self.accept(listener)
        peer.sendall(sends)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(far), sends)
        far.sendall(answers)
        far.close()
        self.assertEqual(read_all(peer), answers)
        dump.out.wait_for("closed in order")
        return dump

    @staticmethod
    def shown(dump: Program) -> list[str]:
        """The lines, without the time."""
        return [re.sub(r"^\d\d:\d\d:\d\d\.\d{6} ", "", line) for line in dump.out.text().splitlines()]

    def test_text_by_line(self) -> None:
        dump = self.talk(sends=b"GET /\r\nHost: x\r\n\r\n", answers=b"\x1b[31mred\\\n\xff")
        lines = self.shown(dump)
        self.assertRegex(lines[0], r"^#1 127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+$")
        self.assertEqual([line for line in lines if " > " in line],
                         [r"#1 > GET /\r\n", r"#1 > Host: x\r\n", r"#1 > \r\n", "#1 > (FIN)"])
        self.assertEqual([line for line in lines if " < " in line],
                         [r"#1 < \x1b[31mred\\\n", r"#1 < \xff", "#1 < (FIN)"])
        self.assertNotIn("\033", dump.out.text())

    def test_hex(self) -> None:
        dump = self.talk("--hex", sends=bytes(range(18)) + b"abc", answers=b"x")
        self.assertIn("#1 > 21 bytes", self.shown(dump))
        self.assertIn("    000000   00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|",
                      dump.out.text())
        self.assertIn("    000010   10 11 61 62 63                                    |..abc|",
                      dump.out.text())

    def test_framed(self) -> None:
        for framing, sends, shown in (
            ("line", b"one\r\ntwo\nrest", ["one", "two", "rest (not complete)"]),
            (r"delimiter:\0", b"one\0\0two", ["one", "", "two (not complete)"]),
            ("length:2", b"\0\3one\0\0\0\5two", ["one", "", r"\x00\x05two (not complete)"]),
            ("length:2:little", b"\3\0one", ["one"]),
            ("length:1:self", b"\4one\3tw", ["one", "tw"]),
            ("length:varint", b"\x03one\x80\x01" + b"y" * 128, ["one", "y" * 128]),
            ("length:8", b"\0" * 7 + b"\1x", ["x"]),
            ("length:4", b"\xff\xff\xff\xffmuch",
             [r"\xff\xff\xff\xffmuch (over --max-message, and all that follows is shown as it comes)"]),
            ("fixed:3", b"onetwo.", ["one", "two", ". (not complete)"]),
        ):
            with self.subTest(framing):
                dump = self.talk("--framing", framing, sends=sends)
                self.assertEqual([line[5:] for line in self.shown(dump) if line.startswith("#1 > ")],
                                 [*shown, "(FIN)"])

    def test_the_limit_of_a_message_is_the_same_for_all_framings(self) -> None:
        over = " (over --max-message, and all that follows is shown as it comes)"
        for framing, sends, shown in (
            ("line", b"abc\r\nabcd\nx\n", ["abc", r"abcd\nx\n" + over]),
            ("line", b"abc\nabcde", ["abc", "abcde" + over]),
            ("delimiter:--", b"abc--abc-", ["abc", "abc- (not complete)"]),
            ("delimiter:--", b"abcd--", ["abcd--" + over]),
            ("delimiter:--", b"abcde", ["abcde" + over]),
            ("length:1", b"\3abc\4abcd", ["abc", r"\x04abcd" + over]),
            ("length:varint", b"\4abcd", [r"\x04abcd" + over]),
            ("length:1:self", b"\4abc\0",
             ["abc", r"\x00 (malformed, and all that follows is shown as it comes)"]),
        ):
            with self.subTest(framing, sends=sends):
                dump = self.talk("--framing", framing, "--max-message", "3", sends=sends)
                self.assertEqual([line[5:] for line in self.shown(dump) if line.startswith("#1 > ")],
                                 [*shown, "(FIN)"])
        dump = self.talk("--json", "--framing", "line", "--max-message", "3", sends=b"abc\nabcde\n")
        got = [json.loads(line) for line in dump.out.text().splitlines() if '"data"' in line]
        self.assertEqual([(event["text"], event.get("note")) for event in got],
                         [("abc", None), ("abcde\n", over.strip(" ()"))])

    def test_what_was_cut_is_shown(self) -> None:
        for which in range(2):
            listener = self.listen()
            dump = self.serve("dump", address(listener), "--framing", "line")
            ends = [self.dial(dump.port), self.accept(listener)]
            ends[which].sendall(b"half a line")
            self.assertEqual(ends[1 - which].recv(11, socket.MSG_WAITALL), b"half a line")
            reset(ends[which])
            dump.out.wait_for("#1 [<>] half a line [(]not complete[)]")
            dump.out.wait_for("#1 the (client|target): .*reset")

    def test_no_more_bytes_than_asked_for(self) -> None:
        dump = self.talk("--bytes", "4", "--framing", "line", sends=b"0123456789\n")
        self.assertIn("#1 > 0123 (and 6 bytes more)", self.shown(dump))
        dump = self.talk("--bytes", "4", "--framing", "line", sends="xx\u20acxx\n\u00e4\n".encode())
        self.assertIn("#1 > xx (and 5 bytes more)", self.shown(dump))
        self.assertIn("#1 > \u00e4", self.shown(dump))

    def test_no_more_bytes_in_hexadecimal_either(self) -> None:
        dump = self.talk("--hex", "--bytes", "1", sends=b"0123456789")
        self.assertIn("    000000   30" + " " * 48 + "|0|", self.shown(dump))
        self.assertIn("    (and 9 bytes more)", self.shown(dump))

    def test_no_more_bytes_of_json_but_whole_characters(self) -> None:
        dump = self.talk("--json", "--bytes", "4", "--framing", "line",
                         sends="xx\u20acxx\nabcdef\n".encode() + b"\x80" * 9 + b"\n")
        got = [json.loads(line) for line in dump.out.text().splitlines() if '"data"' in line]
        self.assertEqual([(event.get("text"), event.get("hex"), event["size"]) for event in got],
                         [("xx", None, 7), ("abcd", None, 6), (None, "80808080", 9)])

    def test_a_varint_may_count_itself(self) -> None:
        long = b"y" * 200
        dump = self.talk("--framing", "length:varint:self", sends=b"\4abc\xca\1" + long + b"\1")
        self.assertIn("#1 > abc", self.shown(dump))
        self.assertIn(f"#1 > {long.decode()}", self.shown(dump))
        self.assertIn("#1 > ", self.shown(dump))

    def test_json(self) -> None:
        dump = self.talk("--json", "--framing", "line", sends=b'a "line"\n\xff\n')
        got = [json.loads(line) for line in dump.out.text().splitlines()]
        self.assertEqual([event["event"] for event in got],
                         ["listening", "open", "data", "data", "fin", "fin", "closed"])
        self.assertEqual((got[2]["from"], got[2]["text"], got[2]["size"]), ("client", 'a "line"', 8))
        self.assertEqual((got[3]["hex"], got[3]["size"]), ("ff", 1))

    def test_json_has_nothing_that_a_terminal_obeys(self) -> None:
        text = "\x9b31m \u202e \u2066 \ufeff \x1b \x7f \u00e4 \U0001f600"
        dump = self.talk("--json", "--framing", "line", sends=text.encode() + b"\n")
        line = next(line for line in dump.out.text().splitlines() if '"data"' in line)
        self.assertEqual(json.loads(line)["text"], text)
        self.assertIn(r'"\u009b31m \u202e \u2066 \ufeff \u001b \u007f ' + '\u00e4 \U0001f600"', line)

    def test_bytes_pass_unchanged_whatever_the_framing(self) -> None:
        data = os.urandom(3_000_000)
        listener = self.listen()
        dump = self.serve("dump", address(listener), "--framing", "length:4", "--bytes", "1")
        peer = self.dial(dump.port)
        far = self.accept(listener)

        def send() -> None:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        self.assertEqual(read_all(far), data)
        thread.join()

    def test_a_reader_that_goes_ends_it(self) -> None:
        listener = self.listen()
        reader, writer = os.pipe()
        dump = self.serve("dump", address(listener), stdout=writer)
        os.close(writer)
        peer = self.dial(dump.port)
        far = self.accept(listener)
        self.assertIn(b"->", os.read(reader, 1000))
        os.close(reader)
        peer.sendall(b"x\n")
        dump.err.wait_for("standard output: its reader is gone")
        peer.close()
        far.close()
        dump.ends_with(1)
