# SPDX-License-Identifier: MIT
"""sttcp bench: what it counts, against servers of which that is known."""

import contextlib
import json
import os
import re
import shutil
import socket
import threading
import time
from pathlib import Path

from support import Case, Program, need


class Bench(Case):
    def measure(self, *words: object, **more: object) -> dict[str, object]:
        # A busy machine may answer none in a second.
        for seconds in (1, 8):
            bench = self.sttcp("bench", "--json", "-t", seconds, *words, **more)
            if not bench.wait() or "no request was answered" not in bench.err.text():
                break
        bench.ends_with(0)
        result = json.loads(bench.out.text())
        self.assertEqual(result["event"], "bench")
        self.assertEqual(sum(row["count"] for row in result["histogram"]), result["requests"])
        latency = result["latency_us"]
        order = ["min", "p50", "p75", "p90", "p99", "p99_9", "p99_99", "max"]
        self.assertEqual(sorted(latency[key] for key in order), [latency[key] for key in order])
        self.assertGreater(result["requests"], 0)
        return dict(result)

    def echo(self, *words: str) -> Program:
        return self.serve("echo", *words)

    def test_a_closed_loop(self) -> None:
        target = f"127.0.0.1:{self.echo().port}"
        result = self.measure("-c", "3", "-s", "100", "-d", "4", target)
        self.assertEqual((result["connections"], result["depth"], result["request_size"],
                          result["lost_connections"]), (3, 4, 100, 0))

    def test_every_framing(self) -> None:
        for framing in ("line", "length:4", "length:varint", "fixed:64", r"delimiter:\r\n"):
            target = f"127.0.0.1:{self.echo('--framing', framing).port}"
            self.measure("-c", "2", "--framing", framing, target)

    def test_a_request_has_its_own_size(self) -> None:
        for words in (("--request", "abc", "--size", "100000"), ("--size", "1", "--request", "abc")):
            self.fails(2, "--request has a size already", "bench", *words, "127.0.0.1:1")

    def test_ctrl_c_ends_it_while_connections_open(self) -> None:
        listener = socket.socket()
        self.stack.callback(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # the kernel answers one, and leaves the others alone
        bench = self.sttcp("bench", "-c", "4", "--connect-timeout", "1h",
                           f"127.0.0.1:{listener.getsockname()[1]}")
        bench.wait_until_it_waits()
        bench.signal()
        bench.ends_with(130)

    def test_a_large_request_takes_memory_for_one(self) -> None:
        listener = self.listen()
        bench = self.sttcp("bench", "-c", "1", "-s", "16M", "-t", "20",
                           f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.accept(listener)
        peer.recv(1)  # all is laid out
        peak = Path(f"/proc/{bench.process.pid}/status").read_text()
        self.assertLess(int(re.findall(r"VmHWM:\s+(\d+) kB", peak)[0]), 200_000)

    def test_large_messages_of_fixed_size(self) -> None:
        target = f"127.0.0.1:{self.echo('--framing', 'fixed:2M').port}"
        self.measure("-c", "1", "--framing", "fixed:2M", "-s", "2M", target)

    def test_an_open_loop_sends_what_is_due(self) -> None:
        target = f"127.0.0.1:{self.echo().port}"
        result = self.measure("-c", "2", "--rate", "200", target)
        due = 200 * float(str(result["seconds"]))
        self.assertAlmostEqual(int(str(result["requests"])) + int(str(result["unanswered"])), due, delta=2)

    def test_a_latency_counts_from_when_the_request_was_due(self) -> None:
        # A server that stops for 0.2 s: half of the requests of 0.4 s come late, by 0.1 s in the mean.
        # Counted from when they were sent, they would be one or none.
        listener = self.listen()

        def serve() -> None:
            peer = self.accept(listener)
            began = time.monotonic()
            with peer, contextlib.suppress(ConnectionResetError):
                while data := peer.recv(65536):
                    if began and time.monotonic() - began > 0.1:
                        time.sleep(0.2)  # this is the stall itself, and no wait for an event
                        began = 0
                    peer.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        bench = self.sttcp("bench", "--json", "-c", "1", "-t", "0.6", "--rate", "500",
                           f"127.0.0.1:{listener.getsockname()[1]}")
        bench.ends_with(0)
        thread.join()
        latency = json.loads(bench.out.text())["latency_us"]
        self.assertGreater(latency["max"], 180_000)
        self.assertGreater(latency["p90"], 60_000)

    def test_answers_of_another_size(self) -> None:
        listener = self.listen()

        def serve() -> None:
            with self.accept(listener) as peer, contextlib.suppress(ConnectionResetError):
                while data := peer.recv(5, socket.MSG_WAITALL):
                    assert data == b"GET\r\n", data
                    peer.sendall(b"answer")

        thread = threading.Thread(target=serve)
        thread.start()
        self.measure("-c", "1", "--request", r"GET\r\n", "--reply-size", "6",
                     f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()

    def test_the_report_for_people(self) -> None:
        target = f"127.0.0.1:{self.echo().port}"
        bench = self.sttcp("bench", "-c", "2", "-t", "1", target)
        bench.ends_with(0)
        text = bench.out.text()
        self.assertRegex(text, r"^\d+ requests in 1\.\d\d s on 2 connections: \d+ a second")
        self.assertRegex(text, r"(?m)^ +99\.9% +[\d.]+ (us|ms|s)$")
        self.assertRegex(text, r"(?m)^  < +[\d.]+ (us|ms|s) +\d+\.\d\d% #+$")
        self.assertNotIn("\033", text + bench.err.text())

    def test_ctrl_c_ends_it_with_what_was_measured(self) -> None:
        server = self.echo("--stats", "--json")
        bench = self.sttcp("bench", "--json", "-c", "1", "-t", "1h", f"127.0.0.1:{server.port}")
        server.out.wait_for(r'"messages_in_per_s":[1-9]')
        bench.signal()
        bench.ends_with(0)
        self.assertLess(json.loads(bench.out.text())["seconds"], 60)

    def test_nobody_there_is_told_once(self) -> None:
        bench = self.sttcp("bench", "-c", "20", f"127.0.0.1:{self.closed_port()}")
        bench.ends_with(3)
        self.assertEqual(bench.err.text().count("cannot connect"), 1)

    def test_lost_connections_are_told(self) -> None:
        listener = self.listen()

        def serve() -> None:
            for _ in range(2):
                self.accept(listener).close()

        thread = threading.Thread(target=serve)
        thread.start()
        bench = self.sttcp("bench", "-c", "2", "-t", "1h", f"127.0.0.1:{listener.getsockname()[1]}")
        bench.ends_with(1)
        thread.join()
        self.assertRegex(bench.err.text(), "2 of 2 connections were lost")

    def test_a_server_that_closes_in_order_is_no_error(self) -> None:
        listener = self.listen()
        bench = self.sttcp("bench", "-c", "1", "-s", "1", f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.accept(listener)
        self.assertEqual(peer.recv(1), b"x")
        peer.close()
        bench.ends_with(1)
        self.assertIn("were lost; the first one: the server has closed it\n", bench.err.text())

    def test_a_server_that_never_answers_is_told(self) -> None:
        listener = self.listen()
        bench = self.sttcp("bench", "-c", "1", "-t", "0.1", f"127.0.0.1:{listener.getsockname()[1]}")
        bench.ends_with(1)
        self.assertIn("no request was answered; does the server", bench.err.text())

    def test_more_connections_than_files_is_told(self) -> None:
        bench = self.run_program("sh", "-c", "ulimit -n 100; exec \"$0\" bench -c 1000 localhost:1",
                                 os.path.join(os.environ["STTCP_BUILD_DIR"], "cli", "sttcp"))
        bench.ends_with(3)
        self.assertIn("ulimit -Hn", bench.err.text())

    def test_a_plot_is_drawn_or_gnuplot_asked_for(self) -> None:
        target = f"127.0.0.1:{self.echo().port}"
        file = self.folder / "it's.svg"
        bench = self.sttcp("bench", "-c", "1", "-t", "1", "--plot", file, target)
        if shutil.which("gnuplot"):
            bench.ends_with(0)
            self.assertIn("<svg", file.read_text())
        else:
            bench.ends_with(3)
            self.assertIn("apt-get install gnuplot-nox", bench.err.text())

    def test_a_plot_that_cannot_be_made_is_told_at_once(self) -> None:
        need("gnuplot")
        for file, why in ((self.folder / "no" / "x.svg", "No such file"), (self.folder, "Is a directory")):
            bench = self.sttcp("bench", "--json", "-c", "1", "-t", "1", "--plot", file,
                               f"127.0.0.1:{self.echo().port}")
            bench.ends_with(3)
            self.assertRegex(bench.err.text(), f"^sttcp bench: {file}: {why}")
            self.assertEqual(bench.out.text(), "")

    def test_a_plot_replaces_another_one_only_when_it_is_drawn(self) -> None:
        need("gnuplot")
        file = self.folder / "plot.svg"
        for before in (None, "old" * 1_000_000):
            if before:
                file.write_text(before)
            self.fails(3, "nobody listens", "bench", "--plot", file, f"127.0.0.1:{self.closed_port()}")
            self.assertEqual(file.read_text() if file.exists() else None, before)
        bench = self.sttcp("bench", "--json", "-c", "1", "-t", "0.2", "--plot", file, f"127.0.0.1:{self.echo().port}")
        bench.ends_with(0)
        self.assertTrue(file.read_text().rstrip().endswith("</svg>"))
        self.assertEqual(bench.out.text().count("\n"), 1)
