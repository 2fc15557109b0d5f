# SPDX-License-Identifier: MIT
"""sttcp chat, with nc and with sockets as guests."""

import json
import subprocess

from support import Case, Program, need, read_all, read_until


class Chat(Case):
    def guest(self, server: Program) -> Program:
        need("nc")
        guest = self.run_program("nc", "127.0.0.1", server.port, stdin=subprocess.PIPE)
        guest.out.wait_for(r"^\* you are guest\d+, in lobby with \d+ other")
        return guest

    def test_rooms_and_names(self) -> None:
        server = self.serve("chat")
        ann = self.guest(server)
        ann.type("/nick ann\n")
        ann.out.wait_for(r"^\* you are ann$")
        bob = self.guest(server)
        ann.out.wait_for(r"^\* guest\d+ has come$")
        bob.type("/nick ann\n/nick Ann\n/nick bob\n")
        bob.out.wait_for(r"^\* somebody else is called ann$")
        bob.out.wait_for(r"^\* somebody else is called Ann$")
        ann.out.wait_for(r"^\* guest\d+ is now bob$")
        bob.type("hello\n/me waves\n/who\n")
        ann.out.wait_for("^bob: hello$")
        ann.out.wait_for(r"^\* bob waves$")
        bob.out.wait_for(r"^\* ann$")
        bob.type("/join garden\n")
        bob.out.wait_for(r"^\* you are bob, in garden with 0 others$")
        ann.out.wait_for(r"^\* bob has gone$")
        bob.type("nobody hears it\n/join lobby\nback\n/quit\n")
        ann.out.wait_for("^bob: back$")
        self.assertNotIn("nobody", ann.out.text())
        bob.out.wait_for("goodbye")
        server.signal()
        ann.out.wait_for("the chat is closing")
        server.ends_with(0)

    def test_a_newcomer_gets_a_name_that_is_free(self) -> None:
        server = self.serve("chat")
        ann = self.dial(server.port)
        read_until(ann, b"* you are guest")
        number = int(read_until(ann, b",")[:-1])
        read_until(ann, b"\n")
        ann.sendall(b"/nick Guest%d\n" % (number + 1))
        read_until(ann, b"\n")
        for free in (number + 2, number + 3):
            guest = self.dial(server.port)
            read_until(guest, b"* you are guest")
            self.assertEqual(int(read_until(guest, b",")[:-1]), free)

    def test_control_characters_are_made_visible(self) -> None:
        server = self.serve("chat", "--json")
        ann = self.dial(server.port)
        read_until(ann, b"others\n")
        eve = self.dial(server.port)
        read_until(ann, b"has come\n")
        read_until(eve, b"other\n")
        eve.sendall(b"\x1b]0;owned\x07 \xc2\x9b1m \xff \xe2\x80\xae \xc3\xa4\n")
        line = read_until(ann, b"\n").split(b": ", 1)[1]
        self.assertEqual(line, rb"\x1b]0;owned\x07 \xc2\x9b1m \xff \xe2\x80\xae".replace(b"\\\\", b"\\")
                         + b" \xc3\xa4\n")
        eve.sendall(b"/nick \x1b[31m\n/nick " + b"x" * 21 + b"\n")
        self.assertIn(b"a name has 1 to 20", read_until(eve, b"\n"))
        self.assertIn(b"a name has 1 to 20", read_until(eve, b"\n"))
        server.signal()
        server.ends_with(0)
        for event in map(json.loads, server.out.text().splitlines()):
            self.assertNotIn("\033", json.dumps(event, ensure_ascii=False))

    def test_a_line_that_is_too_long_is_refused_with_words(self) -> None:
        server = self.serve("chat")
        peer = self.dial(server.port)
        read_until(peer, b"others\n")
        peer.sendall(b"x" * 3000 + b"\n")
        self.assertIn(b"at most 2000 bytes", read_all(peer))

    def test_a_command_that_is_none_is_told(self) -> None:
        peer = self.dial(self.serve("chat").port)
        read_until(peer, b"others\n")
        peer.sendall(b"/nope\n/help")
        self.assertIn(b"no such command", read_until(peer, b"\n"))
