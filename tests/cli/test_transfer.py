# SPDX-License-Identifier: MIT
"""sttcp send and sttcp receive, with each other, nc and sockets."""

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
from pathlib import Path

from support import Case, Program, need, read_all, read_until, until


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class Transfer(Case):
    def setUp(self) -> None:
        super().setUp()
        self.data = random.Random(1).randbytes(3_000_001)
        self.digest = hashlib.sha256(self.data).hexdigest()
        self.source = self.folder / "source"
        self.source.write_bytes(self.data)
        self.target = self.folder / "target"
        self.part = self.folder / "target.part"

    def send(self, port: int, *words: object, **more: object) -> Program:
        # How long a busy machine takes to greet is no matter here.
        return self.sttcp("send", "--wait", "1m", self.source, f"127.0.0.1:{port}", *words, **more)

    def test_a_file_arrives_with_its_checksum(self) -> None:
        receiver = self.serve("receive", self.target, "--json")
        sender = self.send(receiver.port, "--json")
        sender.ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertFalse(self.part.exists())
        self.assertIn(f"SHA-256 {self.digest}, as received", sender.err.text())
        self.assertIn(f"SHA-256 {self.digest}, as sent", receiver.err.text())
        self.assertIn("receiving source from 127.0.0.1", receiver.err.text())
        sent = json.loads(sender.out.text())
        received = json.loads(receiver.out.text().splitlines()[1])
        for event in (sent, received):
            self.assertEqual((event["bytes"], event["sha256"], event["verified"]),
                             (len(self.data), self.digest, True))

    def test_a_newline_in_a_name_does_not_end_the_header(self) -> None:
        self.source = self.folder / "a\nbbbb"
        self.source.write_bytes(self.data)
        receiver = self.serve("receive", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertIn(r"receiving a\nbbbb from", receiver.err.text())

    def test_a_long_name_is_cut_between_characters(self) -> None:
        self.source = self.folder / ("x" + "\u00e4" * 120)
        self.source.write_bytes(self.data)
        receiver = self.serve("receive", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertIn("receiving x" + "\u00e4" * 99 + " from", receiver.err.text())

    def test_an_empty_file_arrives(self) -> None:
        self.source.write_bytes(b"")
        receiver = self.serve("receive", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"")

    def test_files_of_the_kernel_arrive(self) -> None:
        sysfs = Path("/sys/kernel/mm/transparent_hugepage/enabled")
        for self.source in (Path("/proc/filesystems"), sysfs):
            if not self.source.exists():
                continue
            receiver = self.serve("receive", "--force", self.target)
            self.send(receiver.port).ends_with(0)
            receiver.ends_with(0)
            self.assertEqual(self.target.read_bytes(), self.source.read_bytes())

    def test_standard_input_and_output(self) -> None:
        receiver = self.serve("receive")
        with self.source.open("rb") as file:
            piped = self.run_program("cat", stdin=file.fileno())
            sender = self.sttcp("send", "--wait", "1m", "-", f"127.0.0.1:{receiver.port}",
                                stdin=subprocess.PIPE)
            piped.wait()
        sender.type(piped.out.bytes)
        sender.end_input()
        sender.ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(receiver.out.bytes, self.data)

    def test_nc_sends(self) -> None:
        need("nc")
        receiver = self.serve("receive", self.target)
        with self.source.open("rb") as file:
            nc = self.run_program("nc", "-N", "127.0.0.1", receiver.port, stdin=file.fileno())
            receiver.ends_with(0)
            nc.wait()
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertIn(f"SHA-256 {self.digest}; the peer does not check it", receiver.err.text())

    def test_nc_that_is_slow_sends_all_the_same(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        greeting = read_until(peer, b"\n")
        self.assertEqual(greeting, b"sttcp-receive 1 0 -\n")
        # It begins as our sender's first line does, and is none.
        peer.sendall(b"sttcp-")
        peer.sendall(b"send me")
        peer.close()
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"sttcp-send me")

    def test_nc_receives(self) -> None:
        need("nc")
        with self.target.open("wb") as file:
            nc = subprocess.Popen(["nc", "-v", "-l", "127.0.0.1", "0"], stdin=subprocess.DEVNULL,
                                  stdout=file, stderr=subprocess.PIPE)
        self.stack.enter_context(nc)
        self.stack.callback(nc.kill)
        assert nc.stderr
        port = int(re.findall(rb"istening on \S+ (\d+)", nc.stderr.readline())[0])
        sender = self.sttcp("send", "--wait", "100ms", self.source, f"127.0.0.1:{port}")
        sender.ends_with(0)
        self.assertIn("the peer does not check it", sender.err.text())
        nc.wait(20)
        self.assertEqual(self.target.read_bytes(), self.data)

    def test_plain_bytes_go_at_once(self) -> None:
        listener = self.listen()
        sender = self.sttcp("send", "--plain", self.source, f"127.0.0.1:{listener.getsockname()[1]}")
        # Its peer need not close its side.
        peer = self.accept(listener)
        self.assertEqual(read_all(peer), self.data)
        sender.ends_with(0)

    def test_a_peer_may_answer_while_it_receives(self) -> None:
        self.source.write_bytes(self.data * 20)
        listener = self.listen()
        sender = self.sttcp("send", "--plain", self.source, f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.accept(listener)
        got = 0
        while part := peer.recv(1 << 20):
            got += len(part)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # all of it is here
                peer.sendall(part)  # it blocks until its answers are taken
        self.assertEqual(got, len(self.data) * 20)
        sender.ends_with(0)

    def test_a_peer_may_end_its_side_first(self) -> None:
        self.source.write_bytes(self.data * 3)
        listener = self.listen()
        sender = self.sttcp("send", "--plain", self.source, f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.accept(listener)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(len(read_all(peer)), len(self.data) * 3)
        sender.ends_with(0)

    # ------------------------------------------------------------------ what goes wrong

    def cut(self) -> int:
        """A transfer that ends after some bytes; returns how many are there."""
        receiver = self.serve("receive", self.target)
        sender = self.sttcp("send", "--wait", "1m", "-", f"127.0.0.1:{receiver.port}",
                            stdin=subprocess.PIPE)
        sender.type(self.data[:1_000_000])
        until("the bytes", lambda: self.part.stat().st_size == 1_000_000)
        sender.signal()
        sender.ends_with(130)
        receiver.ends_with(1)
        self.assertIn("the file was cut after 1000000 bytes", receiver.err.text())
        self.assertIn("target.part; 'sttcp receive --resume' goes on", receiver.err.text())
        self.assertFalse(self.target.exists())
        self.assertEqual(self.part.read_bytes(), self.data[:1_000_000])
        return 1_000_000

    def test_a_cut_is_noticed_and_resumed(self) -> None:
        there = self.cut()
        self.fails(3, "target.part is there.*--resume.*--force", "receive", "127.0.0.1:0", self.target)
        receiver = self.serve("receive", "--resume", "--json", self.target)
        sender = self.send(receiver.port, "--json")
        sender.ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertFalse(self.part.exists())
        self.assertEqual(json.loads(sender.out.text())["bytes"], len(self.data) - there)
        received = json.loads(receiver.out.text().splitlines()[1])
        self.assertEqual((received["resumed"], received["verified"]), (there, True))

    def test_another_file_is_not_appended(self) -> None:
        self.cut()
        self.source.write_bytes(b"another one" * 200_000)
        receiver = self.serve("receive", "--resume", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"another one" * 200_000)

    def test_a_shorter_file_is_not_appended(self) -> None:
        self.cut()
        self.source.write_bytes(b"short")
        receiver = self.serve("receive", "--resume", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"short")

    def pipe(self, port: int, data: bytes, *words: str) -> Program:
        sender = self.sttcp("send", "--wait", "1m", "-", f"127.0.0.1:{port}", *words, stdin=subprocess.PIPE)
        with contextlib.suppress(BrokenPipeError):  # it may take no more
            sender.type(data)
        sender.end_input()
        return sender

    def test_a_pipe_resumes(self) -> None:
        there = self.cut()
        receiver = self.serve("receive", "--resume", "--json", self.target)
        sender = self.pipe(receiver.port, self.data, "--json")
        sender.ends_with(0)
        receiver.ends_with(0)
        self.assertIn(f"goes on after {there} bytes that are there", sender.err.text())
        self.assertEqual(self.target.read_bytes(), self.data)
        self.assertEqual(json.loads(sender.out.text())["sha256"], self.digest)
        received = json.loads(receiver.out.text().splitlines()[1])
        self.assertEqual((received["resumed"], received["verified"]), (there, True))

    def test_another_pipe_takes_nothing_away(self) -> None:
        there = self.cut()
        for data in (b"another one" * 200_000, b"short", b""):
            receiver = self.serve("receive", "--resume", self.target)
            sender = self.pipe(receiver.port, data)
            sender.ends_with(1)
            receiver.ends_with(1)
            self.assertIn("-: it does not begin with the 1000000 bytes that are there, and cannot be read again; "
                          "'sttcp receive --force' begins anew", sender.err.text())
            self.assertIn("the sender says: it does not begin with", receiver.err.text())
            self.assertEqual(self.part.read_bytes(), self.data[:there])

    def test_a_file_behind_standard_input_is_sent_again_from_where_it_stood(self) -> None:
        there = self.cut()
        for begins, resumed in ((b"", there), (b"another", 0)):
            if begins:
                self.cut()
                self.data = begins + self.data
            self.source.write_bytes(b"head" + self.data)
            with self.source.open("rb") as file:
                os.lseek(file.fileno(), 4, os.SEEK_SET)
                receiver = self.serve("receive", "--resume", "--json", self.target)
                self.sttcp("send", "--wait", "1m", "-", f"127.0.0.1:{receiver.port}",
                           stdin=file.fileno()).ends_with(0)
            receiver.ends_with(0)
            self.assertEqual(self.target.read_bytes(), self.data)
            self.assertEqual(json.loads(receiver.out.text().splitlines()[1])["resumed"], resumed)
            self.target.unlink()

    def test_nc_cannot_resume(self) -> None:
        self.cut()
        receiver = self.serve("receive", "--resume", self.target)
        self.dial(receiver.port).sendall(b"all of it again")
        receiver.ends_with(1)
        self.assertIn("cannot go on in the middle", receiver.err.text())
        self.assertEqual(self.part.stat().st_size, 1_000_000)

    def test_a_lost_receiver_is_status_1(self) -> None:
        listener = self.listen()
        sender = self.sttcp("send", "--plain", self.source, f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.accept(listener)
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        sender.ends_with(1)
        self.assertRegex(sender.err.text(), "the connection was lost after .* bytes")

    def test_only_what_can_go_on_is_advised_to(self) -> None:
        listener = self.listen()
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        file = self.stack.enter_context(self.source.open("rb"))
        for input_, resumes in ((subprocess.PIPE, False), (file, True), (None, True)):
            if input_ is None:
                sender = self.send(listener.getsockname()[1])
            else:
                sender = self.sttcp("send", "--wait", "1m", "-", to, stdin=input_)
            peer = self.accept(listener)
            peer.sendall(b"sttcp-receive 1 0 -\n")
            read_until(peer, b"\n")
            if input_ == subprocess.PIPE:
                sender.type(b"x")
            peer.recv(5, socket.MSG_WAITALL)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            if input_ == subprocess.PIPE:
                sender.end_input()
            sender.ends_with(1)
            self.assertIn("the connection was lost after", sender.err.text())
            self.assertEqual("'sttcp receive --resume' goes on from there" in sender.err.text(), resumes)

    def test_a_folder_is_sent_by_what_is_advised(self) -> None:
        self.fails(3, f"'tar -c {self.folder} [|] sttcp send - unix:/x' sends it", "send", self.folder, "unix:/x")

    def test_ctrl_c_is_no_end_for_a_plain_receiver(self) -> None:
        listener = self.listen()
        sender = self.sttcp("send", "--plain", "-", f"127.0.0.1:{listener.getsockname()[1]}",
                            stdin=subprocess.PIPE)
        sender.type(b"some")
        peer = self.accept(listener)
        self.assertEqual(peer.recv(4, socket.MSG_WAITALL), b"some")
        sender.signal()
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)
        sender.ends_with(130)

    def test_a_reset_of_a_plain_sender_is_a_cut(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        peer.sendall(b"some")
        until("the bytes", lambda: self.part.read_bytes() == b"some")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        receiver.ends_with(1)
        self.assertEqual(self.part.read_bytes(), b"some")

    def header(self, peer: socket.socket, text: bytes) -> None:
        read_until(peer, b"\n")
        peer.sendall(text)

    def test_a_wrong_checksum_is_status_1_on_both_sides(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\3abc\0\0\0\0" + b"0" * 64 + b"\n")
        self.assertIn(b"the checksum is another one", read_all(peer))
        receiver.ends_with(1)
        self.assertEqual(self.part.read_bytes(), b"abc")
        self.source.write_bytes(b"abc")
        listener = self.listen()
        sender = self.send(listener.getsockname()[1])
        peer = self.accept(listener)
        peer.sendall(b"sttcp-receive 1 0 -\n")
        read_until(peer, hashlib.sha256(b"abc").hexdigest().encode() + b"\n")
        peer.sendall(b"the \x1b[31mchecksum is another one\n")
        sender.ends_with(1)
        self.assertIn(r"the receiver says: the \x1b[31mchecksum is another one", sender.err.text())

    def test_what_makes_no_sense_is_refused(self) -> None:
        for text in (b"sttcp-send 1 x\n", b"sttcp-send 1 3 5 name\n",
                     b"sttcp-send 1 " + b"9" * 2000 + b"\n"):
            receiver = self.serve("receive", "--force", self.target)
            self.header(self.dial(receiver.port), text)
            receiver.ends_with(1)
            self.assertIn("the sender speaks in riddles", receiver.err.text())
            self.assertFalse(self.target.exists())
        for text in (b"sttcp-receive 1 \n", b"sttcp-receive 1 x y\n"):
            listener = self.listen()
            sender = self.send(listener.getsockname()[1])
            self.accept(listener).sendall(text)
            sender.ends_with(1)
            self.assertIn("speaks in riddles", sender.err.text())

    def test_a_name_is_never_printed_raw(self) -> None:
        receiver = self.serve("receive", self.target)
        self.header(self.dial(receiver.port), b"sttcp-send 1 3 0 \x1b]0;x\x07\n")
        receiver.err.wait_for(r"receiving \\x1b\]0;x\\x07 from")

    def test_a_header_may_come_byte_by_byte(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_until(peer, b"\n")
        digest = hashlib.sha256(b"abc").hexdigest().encode()
        for byte in b"sttcp-send 1 3 0 x\n\0\0\0\2ab\0\0\0\1c\0\0\0\0" + digest + b"\n":
            peer.sendall(bytes([byte]))
        self.assertEqual(read_all(peer), b"ok\n")
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"abc")

    def test_a_full_disk_is_told_on_both_sides(self) -> None:
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        receiver = self.serve("receive", "/dev/full")
        sender = self.send(receiver.port)
        sender.ends_with(1)
        receiver.ends_with(1)
        self.assertIn("/dev/full: No space left on device", receiver.err.text())
        self.assertIn("the receiver says: /dev/full: No space left on device", sender.err.text())

    def test_a_standard_output_that_takes_no_more_is_told_once_on_both_sides(self) -> None:
        reader, closed = os.pipe()
        os.close(reader)
        for output, why in ((os.open("/dev/full", os.O_WRONLY), "No space left on device"),
                            (closed, "its reader is gone")):
            receiver = self.serve("receive", stdout=output)
            os.close(output)
            sender = self.send(receiver.port)
            sender.ends_with(1)
            receiver.ends_with(1)
            self.assertEqual(re.findall("standard output: (.*)", receiver.err.text()), [why])
            self.assertIn(f"the receiver says: standard output: {why}", sender.err.text())

    def test_a_file_that_changes_is_no_file(self) -> None:
        listener = self.listen()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for change in ("shorter", "touched"):
            self.source.write_bytes(self.data * 5)
            sender = self.send(listener.getsockname()[1])
            peer = self.accept(listener)
            peer.sendall(b"sttcp-receive 1 0 -\n")
            read_until(peer, b"\n")
            peer.recv(1)  # it is in the middle of it now, and cannot be through
            if change == "shorter":
                os.truncate(self.source, 1000)
            else:
                os.utime(self.source, (1, 1))
            said = read_all(peer)
            self.assertRegex(said[-80:], b"\xff\xff\xff\xffthe file has .* while it was sent\n$")
            sender.ends_with(1)
            self.assertRegex(sender.err.text(), "source: the file has .* while it was sent")

    def test_the_sender_s_reason_reaches_the_receiver(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\2ab\xff\xff\xff\xffit is gone\n")
        receiver.ends_with(1)
        self.assertIn("the sender says: it is gone", receiver.err.text())

    def test_what_cannot_begin_is_told(self) -> None:
        self.fails(3, "No such file", "send", self.folder / "none", "127.0.0.1:1")
        self.fails(3, "is a directory", "send", self.folder, "127.0.0.1:1")
        self.fails(3, "cannot connect", "send", self.source, f"127.0.0.1:{self.closed_port()}")
        self.fails(3, "No such file", "receive", "127.0.0.1:0", self.folder / "no" / "where")
        self.fails(3, "is a directory", "receive", "127.0.0.1:0", self.folder)
        self.fails(2, "--json needs a FILE", "receive", "127.0.0.1:0", "--json")
        self.fails(2, "--resume needs a FILE", "receive", "127.0.0.1:0", "--resume")
        self.target.write_bytes(b"old")
        self.fails(3, "target is there already; --force", "receive", "127.0.0.1:0", self.target)
        self.assertEqual(self.target.read_bytes(), b"old")
        port = self.listen().getsockname()[1]
        self.fails(3, "in use", "receive", f"127.0.0.1:{port}", self.folder / "new")
        self.fails(3, "is the name right", "receive", "nowhere.invalid:1", self.folder / "new")
        self.assertFalse((self.folder / "new").exists())
        self.assertFalse(self.part.exists())

    def test_force_replaces(self) -> None:
        self.target.write_bytes(b"old")
        receiver = self.serve("receive", "--force", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), self.data)

    def test_force_takes_nothing_away_before_something_comes(self) -> None:
        self.part.write_bytes(b"precious")
        receiver = self.serve("receive", "--force", self.target)
        self.assertEqual(self.part.read_bytes(), b"precious")
        receiver.signal()
        receiver.ends_with(130)
        self.assertEqual(self.part.read_bytes(), b"precious")
        # Nor for somebody who sends nothing.
        for said in (b"", b"sttcp-send 1 3 0 x\n", b"sttcp-send 1 3 0 x\n\xff\xff\xff\xffno\n"):
            receiver = self.serve("receive", "--force", self.target)
            peer = self.dial(receiver.port)
            self.header(peer, said)
            if said:
                receiver.err.wait_for("receiving x")
            reset(peer)
            receiver.ends_with(1)
            self.assertEqual(self.part.read_bytes(), b"precious")
            self.assertNotIn("target.part", receiver.err.text())
        receiver = self.serve("receive", "--force", self.target)
        for option in ("--resume", "--force"):
            self.fails(3, "another 'sttcp receive' is writing .*target.part",
                       "receive", option, "127.0.0.1:0", self.target)
        peer = self.dial(receiver.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\3ab")
        until("the bytes", lambda: self.part.read_bytes() == b"ab")
        reset(peer)
        receiver.ends_with(1)
        self.assertEqual(self.part.read_bytes(), b"ab")
        receiver = self.serve("receive", "--force", self.target)
        self.dial(receiver.port).close()
        receiver.ends_with(0)
        self.assertEqual((self.target.read_bytes(), self.part.exists()), (b"", False))

    def test_a_file_that_appears_meanwhile_is_not_replaced(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\3abc")
        until("the bytes", lambda: self.part.read_bytes() == b"abc")
        self.target.write_bytes(b"precious")
        peer.sendall(b"\0\0\0\0" + hashlib.sha256(b"abc").hexdigest().encode() + b"\n")
        self.assertIn(b"target: it has appeared during the transfer", read_all(peer))
        receiver.ends_with(1)
        self.assertIn("not replaced without --force", receiver.err.text())
        self.assertEqual(self.target.read_bytes(), b"precious")
        self.assertEqual(self.part.read_bytes(), b"abc")

    def test_two_receivers_do_not_write_one_part(self) -> None:
        first = self.serve("receive", self.target)
        peer = self.dial(first.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\3ab")
        until("the bytes", lambda: self.part.read_bytes() == b"ab")
        for option in ("--resume", "--force"):
            self.fails(3, "another 'sttcp receive' is writing .*target.part",
                       "receive", option, "127.0.0.1:0", self.target)
        peer.sendall(b"c\0\0\0\0" + hashlib.sha256(b"abc").hexdigest().encode() + b"\n")
        first.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"abc")

    def test_a_part_that_is_no_file_is_not_written_to(self) -> None:
        other = self.folder / "other"
        other.write_bytes(b"precious")
        self.part.symlink_to(other)
        self.fails(3, "target.part is a symbolic link", "receive", "--resume", "127.0.0.1:0", self.target)
        receiver = self.serve("receive", "--force", self.target)
        self.send(receiver.port).ends_with(0)
        receiver.ends_with(0)
        self.assertEqual(other.read_bytes(), b"precious")
        self.assertEqual(self.target.read_bytes(), self.data)
        os.mkfifo(self.part)
        self.fails(3, "target.part is no regular file", "receive", "--resume", "--force",
                   "127.0.0.1:0", self.target)

    def test_a_signal_ends_it_while_a_pipe_opens(self) -> None:
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for words in (("send", fifo, "127.0.0.1:1"), ("receive", "127.0.0.1:0", fifo)):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                program = self.sttcp(*words)
                program.wait_until_it_waits()
                program.signal(number)
                program.ends_with(130)

    def test_ctrl_c_ends_it_while_a_part_is_read(self) -> None:
        with self.part.open("wb") as file:
            file.truncate(1 << 40)  # it takes no room, and half an hour
        receiver = self.sttcp("receive", "--resume", "127.0.0.1:0", self.target)
        files = Path(f"/proc/{receiver.process.pid}/fdinfo")

        def reads() -> bool:
            with contextlib.suppress(FileNotFoundError):  # another one is closed meanwhile
                return any(int(info.read_text().split()[1]) > 0 for info in files.iterdir()
                           if os.path.realpath(files.parent / "fd" / info.name) == str(self.part))
            return False

        until("the part is read", reads)
        receiver.signal()
        receiver.ends_with(130)
        self.assertEqual(self.part.stat().st_size, 1 << 40)

    def test_ctrl_c_before_anybody_comes_leaves_nothing(self) -> None:
        receiver = self.serve("receive", self.target)
        receiver.signal()
        receiver.ends_with(130)
        self.assertEqual(list(self.folder.iterdir()), [self.source])

    def test_a_second_signal_ends_a_transfer(self) -> None:
        for sent, left in ((b"", False), (b"sttcp-send 1 3 0 x\n\0\0\0\2ab", True)):
            receiver = self.serve("receive", self.target)
            peer = self.dial(receiver.port)
            self.header(peer, sent)
            if sent:
                until("the bytes", lambda: self.part.read_bytes() == b"ab")
            receiver.signal()
            receiver.err.wait_for("waiting for 1 connection")
            receiver.signal()
            receiver.ends_with(130)
            self.assertEqual(self.part.exists(), left)

    def test_ctrl_c_lets_a_transfer_come_to_its_end(self) -> None:
        receiver = self.serve("receive", self.target)
        peer = self.dial(receiver.port)
        self.header(peer, b"sttcp-send 1 3 0 x\n\0\0\0\2ab")
        until("the bytes", lambda: self.part.read_bytes() == b"ab")
        receiver.signal()
        receiver.err.wait_for("waiting for 1 connection")
        peer.sendall(b"\0\0\0\1c\0\0\0\0" + hashlib.sha256(b"abc").hexdigest().encode() + b"\n")
        receiver.ends_with(0)
        self.assertEqual(self.target.read_bytes(), b"abc")


class Names(Case):
    def test_what_is_no_file_is_written_to_and_not_replaced(self) -> None:
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        reader = self.run_program("cat", fifo)
        receiver = self.serve("receive", fifo)
        with self.dial(receiver.port) as peer:
            peer.sendall(b"through a pipe")
        receiver.ends_with(0)
        reader.ends_with(0)
        self.assertEqual(reader.out.bytes, b"through a pipe")
        self.assertEqual(list(Path(self.folder).iterdir()), [fifo])
