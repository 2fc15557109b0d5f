# SPDX-License-Identifier: MIT
"""The command line of the sttcp command: verbs, options, what is said when they are wrong."""

import ctypes
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
import unittest

from support import DEADLINE_S, SOURCE, STTCP, Case, has_tls, need, until

VERBS = ["echo", "chat", "listen", "connect", "exec", "proxy", "dump", "receive", "send", "bench"]


def help_of(verb: str) -> str:
    return subprocess.run([STTCP, verb, "--help"], check=True, capture_output=True, text=True,
                          timeout=DEADLINE_S).stdout


def options_of(verb: str) -> set[str]:
    found = set(re.findall(r"^ +(?:-., +)?--([a-z-]+)", help_of(verb), re.MULTILINE))
    assert {"log", "help"} <= found, found
    return found - {"help", "usage", "version"}


def page(name: str) -> str:
    """Without what troff reads of it."""
    return (SOURCE / "man" / f"{name}.1").read_text().replace("\\-", "-")


class Help(Case):
    def test_help_lists_every_verb(self) -> None:
        text = subprocess.run([STTCP, "--help"], check=True, capture_output=True, text=True).stdout
        self.assertEqual(re.findall(r"^  ([a-z]+) ", text, re.MULTILINE), VERBS)

    def test_members_of_json_are_in_the_pages(self) -> None:
        chat = self.serve("chat", "--json", "--stats")
        peer = self.dial(chat.port)
        for line in ("hello", "/me waves", "/nick ann", "/join garden"):
            peer.sendall(f"{line}\n".encode())
        chat.out.wait_for('"room":"garden"')
        chat.out.wait_for('"event":"stats"')
        peer.close()
        until("the leave", lambda: chat.out.text().count('"event":"leave"') == 2)
        chat.signal()
        chat.ends_with(0)
        echo = self.serve("echo")
        dump = self.serve("dump", "--json", "--framing", "line", f"127.0.0.1:{echo.port}")
        peer = self.dial(dump.port)
        peer.sendall(b"x\n\xff")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.recv(3, socket.MSG_WAITALL), b"x\n\xff")
        dump.out.wait_for('"event":"closed"')
        for program, name in ((chat, "sttcp-chat"), (dump, "sttcp-dump")):
            text = page("sttcp") + page(name)
            for event in map(json.loads, program.out.text().splitlines()):
                for word in (event["event"], *event):
                    found = re.search(rf"^\.BR? (?:.*[ \"])?{word}(?:[ \"].*)?$", text, re.MULTILINE)
                    self.assertTrue(found, f"{word} of {event}")

    def test_help_with_a_verb_is_that_of_the_verb(self) -> None:
        for verb in VERBS:
            text = subprocess.run([STTCP, "help", verb], check=True, capture_output=True, text=True)
            self.assertEqual(text.stdout, help_of(verb))

    def test_version_is_that_of_the_library(self) -> None:
        header = (SOURCE / "include" / "sttcp.h").read_text()
        numbers = re.findall(r"#define STTCP_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
        for words in (["--version"], ["echo", "--version"]):
            done = subprocess.run([STTCP, *words], check=True, capture_output=True, text=True)
            self.assertEqual(done.stdout, f"sttcp {'.'.join(numbers)}\n")

    def test_help_that_cannot_be_written_is_an_error(self) -> None:
        with open("/dev/full", "wb") as full:
            for words in (["--help"], ["echo", "--help"], ["help", "echo"], ["echo", "--version"]):
                self.fails(1, "standard output: No space left on device", *words, stdout=full.fileno())

    def test_without_a_verb_the_usage_is_an_error(self) -> None:
        self.fails(2, "Usage: sttcp VERB")


class Manual(Case):
    def test_every_verb_has_a_page_with_every_option(self) -> None:
        for verb in VERBS:
            page = (SOURCE / "man" / f"sttcp-{verb}.1").read_text().replace("\\-", "-")
            for option in options_of(verb):
                self.assertRegex(page, rf"\\fB--{option}\b", f"sttcp-{verb}.1")
            for option in re.findall(r"^\.(?:B|BR|BI|IP) .*?\\fB--([a-z-]+)", page, re.MULTILINE):
                self.assertIn(option, options_of(verb), f"sttcp-{verb}.1 has an option too many")

    def test_the_page_of_the_command_names_every_verb_and_status(self) -> None:
        page = (SOURCE / "man" / "sttcp.1").read_text().replace("\\-", "-")
        for verb in VERBS:
            self.assertIn(f"sttcp-{verb}", page)
        for status in ("0", "1", "2", "3", "130"):
            self.assertRegex(page, rf"(?m)^\.B {status}$")

    def test_pages_are_without_a_warning(self) -> None:
        need("groff")
        for page in sorted((SOURCE / "man").glob("sttcp*.1")):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True,
                                  check=True)
            self.assertEqual(done.stderr, b"", page)
            self.assertGreater(len(done.stdout), 500)


class Completions(Case):
    def test_bash_completes_verbs_and_options(self) -> None:
        def complete(*words: str) -> set[str]:
            script = (f"source {SOURCE}/cli/completions/sttcp.bash; COMP_WORDS=(sttcp \"$@\"); "
                      "COMP_CWORD=$#; _sttcp sttcp \"${!#}\"; printf '%s\\n' \"${COMPREPLY[@]}\"")
            done = subprocess.run(["bash", "-euc", script, "-", *words], check=True,
                                  capture_output=True, text=True)
            return set(done.stdout.split())

        self.assertEqual(complete("") - {"help", "--help", "--version"}, set(VERBS))
        self.assertEqual(complete("e"), {"echo", "exec"})
        for verb in VERBS:
            self.assertEqual(complete(verb, "--") - {"--help"},
                             {f"--{option}" for option in options_of(verb)}, verb)
        self.assertEqual(complete("echo", "--log", "t"), {"trace"})
        self.assertEqual(complete("proxy", "--balance", ""), {"turn", "fewest"})
        # Bash makes three words of --framing=l: the equals sign is one of its own.
        self.assertEqual(complete("echo", "--framing", "=", "li"), {"line"})
        self.assertEqual(complete("echo", "--log", "="), {"none", "error", "warning", "info", "trace"})
        self.assertIn("length:3", complete("echo", "--framing", "length"))

    def test_bash_completes_behind_a_colon(self) -> None:
        """As bash itself does it, which puts words where COMP_WORDBREAKS cuts them."""
        (self.folder / "socket").touch()
        (self.folder / "sub").mkdir()

        def complete(line: str, breaks: str = "") -> str:
            """The line when Tab was pressed at its end."""
            set_breaks = f"COMP_WORDBREAKS={breaks}; " if breaks else ""
            main, side = pty.openpty()
            self.stack.callback(os.close, main)
            process = subprocess.Popen(
                ["bash", "--norc", "--noprofile", "-i"], stdin=side, stdout=side, stderr=side, cwd=self.folder,
                start_new_session=True, env={**os.environ, "TERM": "dumb", "PS1": "", "HISTFILE": ""})
            os.close(side)
            self.stack.callback(process.wait)
            self.stack.callback(process.kill)
            # What is shown is only the line; what stands in it is printed by the function it is for.
            os.write(main, (f"{set_breaks}source {SOURCE}/cli/completions/sttcp.bash; bind 'set bell-style none'; "
                            "sttcp() { printf '<%s>' \"$*\"; echo END; }\n").encode())
            os.write(main, line.encode() + b"\t\n")
            shown = b""
            while not (found := re.search(rb"<([^>]*)>END\r", shown)):
                assert select.select([main], [], [], DEADLINE_S)[0], shown
                shown += os.read(main, 1000)
            return found[1].decode().rstrip()

        for breaks in ("", "' '"):  # by default a colon is one
            self.assertEqual(complete("sttcp echo unix:so", breaks), "echo unix:socket")
            self.assertEqual(complete("sttcp connect unix:", breaks), "connect unix:s")
            self.assertEqual(complete(f"sttcp connect unix:{self.folder}/so", breaks),
                             f"connect unix:{self.folder}/socket")
            self.assertEqual(complete("sttcp send socket unix:su", breaks), "send socket unix:sub/")
            self.assertEqual(complete("sttcp echo --framing length:v", breaks), "echo --framing length:varint")
            self.assertEqual(complete("sttcp send socket localhost:so", breaks), "send socket localhost:so")
            self.assertEqual(complete("sttcp send :80 so", breaks), "send :80 socket")
            self.assertEqual(complete("sttcp echo --framing=length:v", breaks), "echo --framing=length:varint")
            self.assertEqual(complete("sttcp echo 0 --log=tr", breaks), "echo 0 --log=trace")

    def test_zsh_knows_every_verb_and_option(self) -> None:
        text = (SOURCE / "cli" / "completions" / "_sttcp").read_text()
        for verb in VERBS:
            block = re.search(rf"^\t{verb}\)\n(.*?)\n\t\t;;$", text, re.MULTILINE | re.DOTALL)
            assert block, f"_sttcp has no {verb}"
            self.assertEqual(set(re.findall(r"'(?:\([^)]*\))?(?:\{[^}]*\})?'?--([a-z-]+)", block[1]))
                             - {"help"}, options_of(verb), verb)


def lose_power() -> None:
    """Permissions count for root, too."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


class Mistakes(Case):
    def test_a_mistake_is_told_with_what_is_right(self) -> None:
        for pattern, *words in (
            ["there is no verb 'nope'.*--help", "nope"],
            ["there is no verb 'nope'", "help", "nope"],
            ["missing", "echo"],
            ["'2' is one word too many", "echo", "1", "2"],
            ["neither a number nor the name of a service", "echo", "no-such-port"],
            ["0 .* to 65535", "echo", "65536"],
            ["1 to 65535", "connect", "localhost:0"],
            ["HOST:PORT", "connect", "localhost"],
            ["brackets", "echo", "::1:80"],
            ["path or name of a Unix socket", "echo", "unix:"],
            ["--max is a number", "echo", "0", "--max", "many"],
            ["--max is a number", "echo", "0", "--max", "0"],
            ["a time in seconds above 0, or such as 200ms", "echo", "0", "--idle", "soon"],
            ["a time", "echo", "0", "--idle", "-1"],
            ["a framing is raw, line", "echo", "0", "--framing", "frames"],
            ["1, 2, 3, 4 or 8", "echo", "0", "--framing", "length:5"],
            [":little and :self", "echo", "0", "--framing", "length:4:big"],
            ["1 to 16 bytes", "echo", "0", "--framing", "delimiter:"],
            ["does not begin with", "echo", "0", "--framing", r"delimiter:\q"],
            ["number of bytes from 1", "echo", "0", "--framing", "fixed:0"],
            ["--framing other than raw", "echo", "0", "--max-message", "5"],
            ["a level is none", "echo", "0", "--log", "loud"],
            ["--client-ca needs --tls", "echo", "0", "--client-ca", "x"],
            ["turn or fewest", "proxy", "0", "localhost:1", "--balance", "best"],
            ["unrecognized option", "echo", "0", "--nope"],
            ["a number", "bench", "localhost:1", "--connections", "0"],
            ["a time", "echo", "0", "--drain", "-1s"],
            ["a time", "echo", "0", "--drain", "0.1ms"],
            ["--per-ip: a Unix socket", "echo", "unix:@x", "--per-ip", "1"],
            ["--depth is for a closed", "bench", "localhost:1", "--rate", "5", "--depth", "2"],
            ["--reply-size is for", "bench", "localhost:1", "--framing", "line", "--reply-size", "2"],
            ["of 64 bytes is no message of this --framing: it has another size",
             "bench", "localhost:1", "--framing", "fixed:5"],
            ["its length does not fit", "bench", "localhost:1", "--framing", "length:1", "-s", "256"],
            ["its length does not fit", "bench", "localhost:1", "--framing", "length:1:self", "-s", "255"],
            ["larger than --max-message", "bench", "localhost:1", "--framing", "length:4", "-s", "2M"],
            ["the end of a message stands in it", "bench", "localhost:1", "--framing", "line", "--request", r"a\nb"],
            ["the end of a message stands in it", "bench", "localhost:1", "--framing", "line", "--request", r"a\r"],
            ["the end of a message stands in it", "bench", "localhost:1", "--framing", "delimiter:ab",
             "--request", "xabx"],
            ["the end of a message stands in it", "bench", "localhost:1", "--framing", "delimiter:aa",
             "--request", "xa"],
            ["a word is empty: .*FILE", "receive", "127.0.0.1:0", ""],
            ["a word is empty: FILE", "send", "", "localhost:1"],
            ["a word is empty", "echo", ""],
            ["a word is empty", "exec", "", "cat"],
            ["a word is empty", "proxy", "127.0.0.1:0", "localhost:1", ""],
            ["--wait is a time in seconds above 0, or such as 200ms, 5m or 1h, not '0'", "send", "--wait", "0",
             "/dev/null", "localhost:1"],
            ["--drain is a time in seconds, or such as 200ms, 5m or 1h, not '-1'", "echo", "--drain=-1", "0"],
            ["--max is empty", "echo", "0", "--max", ""],
            ["--plot is empty", "bench", "localhost:1", "--plot="],
            ["--framing is empty", "echo", "0", "--framing", ""],
            ["--ca is empty", "connect", "localhost:1", "--tls", "--ca", ""],
            ["--tls-name is empty", "connect", "localhost:1", "--tls", "--tls-name", ""],
            ["--target-name is empty", "proxy", "0", "localhost:1", "--target-tls", "--target-name="],
            ["an IPv6 address stands in brackets", "connect", "[]:1"],
            ["1 to 107 bytes", "echo", "unix:@"],
            ["1 to 107 bytes", "echo", "unix:/" + "x" * 107],
            ["1 to 107 bytes", "connect", "unix:@" + "x" * 108],
            ["after length:varint comes :self", "echo", "0", "--framing", "length:varint:little"],
            ["has messages over --max-message", "echo", "0", "--framing", "fixed:2M", "--max-message", "1M"],
        ):
            with self.subTest(words):
                self.fails(2, pattern, *words)

    @unittest.skipUnless(has_tls(), "built without TLS")
    def test_trust_without_tls_is_a_mistake(self) -> None:
        self.fails(2, "needs --tls", "connect", "localhost:1", "--insecure")
        self.fails(2, "needs --target-tls", "proxy", "0", "localhost:1", "--target-insecure")

    def test_a_port_that_is_taken_is_told_with_its_address(self) -> None:
        port = self.listen().getsockname()[1]
        self.fails(3, rf"127.0.0.1:{port}.*ss -ltnp", "echo", f"127.0.0.1:{port}")

    def test_a_failed_start_is_told_once(self) -> None:
        taken = f"127.0.0.1:{self.listen().getsockname()[1]}"
        for level in ("error", "trace"):
            program = self.sttcp("echo", taken, "--log", level)
            program.ends_with(3)
            self.assertEqual(program.err.text().count("Address already in use"), 1, program.err.text())

    def test_a_unix_socket_that_is_taken_is_told_without_a_port(self) -> None:
        path = f"unix:{self.folder}/s"
        for address in (path, f"unix:@{path}"):
            self.sttcp("echo", address).err.wait_for("listening")
            self.fails(3, f"{address}: .* in use; 'ss -lxp' shows who listens there$", "echo", address)
        (self.folder / "file").touch()
        self.fails(3, "file: .* in use; what has this name is no socket$", "echo", f"{path[:-1]}file")

    def test_what_may_not_be_is_told_with_what_is_needed(self) -> None:
        self.folder.chmod(0o555)
        self.fails(3, "Permission denied; who makes a socket needs the right to write to its folder$",
                   "echo", f"unix:{self.folder}/s", prepare=lose_power)

    def test_a_host_that_does_not_exist_is_told(self) -> None:
        self.fails(3, "no-such-host.invalid", "echo", "no-such-host.invalid:0")
        self.fails(3, "no-such-host.invalid", "connect", "no-such-host.invalid:1")

    def test_a_certificate_that_is_not_there_is_named(self) -> None:
        self.fails(3, "/no/such/file|built without TLS", "echo", "127.0.0.1:0", "--tls", "/no/such/file")
        self.fails(3, "/no/such/file|built without TLS", "connect", "127.0.0.1:1", "--tls", "--ca",
                   "/no/such/file")


class Addresses(Case):
    def test_a_server_takes_every_kind(self) -> None:
        for word, pattern in (("0", r"listening on .*:\d+ \(all interfaces\)$"),
                              (":0", r"listening on .*:\d+ \(all interfaces\)$"),
                              ("localhost:0", r"listening on (127\.0\.0\.1|\[::1\]):\d+$"),
                              (f"unix:{self.folder}/s", rf"listening on unix:{self.folder}/s$")):
            program = self.sttcp("echo", word)
            program.err.wait_for(pattern)
            program.signal()
            program.ends_with(0)

    def test_a_client_finds_a_unix_socket(self) -> None:
        server = self.sttcp("echo", f"unix:{self.folder}/s")
        server.err.wait_for("listening")
        client = self.sttcp("connect", f"unix:{self.folder}/s", stdin=subprocess.PIPE)
        client.type("over a file\n")
        client.out.wait_for("over a file")
        client.end_input()
        client.ends_with(0)


class Ends(Case):
    def test_sigint_sigterm_and_sighup_stop_with_a_report(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            program = self.serve("echo")
            with self.dial(program.port) as peer:
                peer.sendall(b"x")
                self.assertEqual(peer.recv(1), b"x")
                program.signal(number)
                program.ends_with(0)
            self.assertRegex(program.err.text(), "stopped after 1 connection; .* ended by themselves")

    def test_a_signal_that_is_ignored_stays_ignored(self) -> None:
        program = self.run_program("sh", "-c", f"trap '' INT; exec {STTCP} echo 127.0.0.1:0")
        port = program.port
        program.signal(signal.SIGINT)
        peer = self.dial(port)
        peer.sendall(b"x")
        self.assertEqual(peer.recv(1), b"x")
        program.signal(signal.SIGTERM)
        program.ends_with(0)

    def test_a_drain_says_for_whom_it_waits(self) -> None:
        listener = self.listen()
        program = self.serve("proxy", f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.dial(program.port)
        far = self.accept(listener)
        far.sendall(b"x")
        self.assertEqual(peer.recv(1), b"x")
        program.signal()
        host, port = peer.getsockname()
        program.err.wait_for(rf"waiting for 1 connection \({host}:{port}\), at most 10 s; Ctrl\+C")
        with self.assertRaises(ConnectionRefusedError):
            self.dial(program.port)
        peer.close()
        far.close()
        program.ends_with(0)
        self.assertRegex(program.err.text(), "1 ended by themselves, 0 by force")

    def test_a_drain_of_nothing_ends_at_once(self) -> None:
        for nothing in ("0", "0s", "0ms", "0.0"):
            server = self.serve("echo", "--drain", nothing)
            self.dial(server.port)
            server.signal()
            server.ends_with(0)

    def test_a_second_signal_ends_at_once(self) -> None:
        listener = self.listen()
        program = self.serve("proxy", f"127.0.0.1:{listener.getsockname()[1]}", "--drain", "1h")
        peer = self.dial(program.port)
        self.accept(listener).sendall(b"x")
        self.assertEqual(peer.recv(1), b"x")
        program.signal()
        program.err.wait_for("waiting for 1")
        program.signal()
        program.ends_with(130)
        self.assertRegex(program.err.text(), "0 ended by themselves, 1 by force")

    def test_a_drain_has_its_limit(self) -> None:
        listener = self.listen()
        program = self.serve("proxy", f"127.0.0.1:{listener.getsockname()[1]}", "--drain", "0.3")
        peer = self.dial(program.port)
        self.accept(listener).sendall(b"x")
        self.assertEqual(peer.recv(1), b"x")
        program.signal()
        program.ends_with(0)
        self.assertRegex(program.err.text(), "0 ended by themselves, 1 by force")

    def test_standard_output_that_is_closed_ends_it(self) -> None:
        reader, writer = socket.socketpair()
        program = subprocess.Popen([str(STTCP), "echo", "--json", "--stats", "127.0.0.1:0"],
                                   stdin=subprocess.DEVNULL, stdout=writer.fileno(), stderr=subprocess.PIPE)
        self.stack.callback(program.kill)
        writer.close()
        reader.close()
        _, err = program.communicate(timeout=DEADLINE_S)
        self.assertEqual(program.returncode, 1)
        self.assertIn(b"standard output: its reader is gone", err)


class Options(Case):
    def test_json_tells_where_it_listens_and_how_it_went(self) -> None:
        program = self.serve("echo", "--json")
        with self.dial(program.port) as peer:
            peer.sendall(b"12345")
            self.assertEqual(peer.recv(5, socket.MSG_WAITALL), b"12345")
        program.signal()
        program.ends_with(0)
        first, last = [json.loads(line) for line in program.out.text().splitlines()]
        self.assertEqual(first, {"event": "listening", "address": f"127.0.0.1:{program.port}",
                                 "port": program.port})
        self.assertEqual((last["event"], last["connections"], last["bytes_in"], last["bytes_out"]),
                         ("stopped", 1, 5, 5))

    def test_stats_are_lines_where_there_is_no_terminal(self) -> None:
        program = self.serve("echo", "--stats")
        self.dial(program.port).sendall(b"x")
        program.err.wait_for(r"1 connections, 1 in all, 0 failed; in .*; \d+ threads")
        self.assertNotIn("\033", program.err.text())
        program = self.serve("echo", "--stats", "--json")
        program.out.wait_for('"event":"stats"')
        line = next(line for line in program.out.text().splitlines() if '"stats"' in line)
        self.assertLessEqual({"connections", "messages_in_per_s", "bytes_out_per_s", "threads",
                              "threads_blocked", "longest_ms", "longest_address"}, set(json.loads(line)))

    def test_stats_are_not_made_up_for_after_a_stop(self) -> None:
        program = self.serve("echo", "--stats", "--json")
        program.out.wait_for('"stats"')
        program.signal(signal.SIGSTOP)
        time.sleep(3.2)  # three seconds without a line
        seen, began = program.out.text().count('"stats"'), time.monotonic()
        program.signal(signal.SIGCONT)
        until("two more", lambda: program.out.text().count('"stats"') >= seen + 2)
        self.assertGreater(time.monotonic() - began, 0.9)

    def test_limits_count(self) -> None:
        program = self.serve("echo", "--per-ip", "1")
        first = self.dial(program.port)
        first.sendall(b"x")
        self.assertEqual(first.recv(1), b"x")
        second = self.dial(program.port)
        try:
            self.assertEqual(second.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_idle_connections_end(self) -> None:
        program = self.serve("echo", "--idle", "100ms")
        self.assertEqual(self.dial(program.port).recv(1), b"")

    def test_framing_counts(self) -> None:
        program = self.serve("echo", "--framing", "length:2")
        peer = self.dial(program.port)
        peer.sendall(b"\0\5hel")
        peer.sendall(b"lo")
        self.assertEqual(peer.recv(7, socket.MSG_WAITALL), b"\0\5hello")

    def test_the_log_has_its_level(self) -> None:
        program = self.serve("echo", "--log", "trace")
        self.dial(program.port).close()
        program.err.wait_for("trace: ")
        for level in ("4", "trace"):
            program = self.serve("echo", env={"STTCP_LOG": level})
            self.dial(program.port).close()
            program.err.wait_for("trace: ")

    def test_a_level_of_the_environment_that_is_none_is_told(self) -> None:
        for level in ("abc", "5", "-1", "4x"):
            program = self.serve("echo", "--json", env={"STTCP_LOG": level})
            self.assertIn(f"STTCP_LOG is '{level}', and a level is 0 to 4: warnings are shown", program.err.text())
            # They are, but for the levels above.
            self.dial(program.port).close()
            program.signal()
            program.ends_with(0)
            self.assertNotIn("trace: ", program.err.text())
        program = self.serve("echo", "--log", "none", env={"STTCP_LOG": "abc"})
        self.assertNotIn("STTCP_LOG", program.err.text())  # it does not count
