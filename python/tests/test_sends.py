# SPDX-License-Identifier: MIT
"""Small sends: they are tried first, with the interpreter's lock held, and wait where there is no room."""

import socket
import sys
import threading
import time
import unittest

from support import Case, wait_for


class SmallSendTest(Case):
    def test_it_keeps_the_lock_of_the_interpreter(self):
        peer, connection = self.peer_and_connection()
        ended = threading.Event()
        self.addCleanup(ended.set)
        turns = [0]

        def compute():
            while not ended.is_set():
                turns[0] += 1
                time.sleep(0)

        # What waits for the lock gets it unasked when it is let go, else only after this.
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        other = threading.Thread(target=compute)
        other.start()
        wait_for(lambda: turns[0], "the other thread")
        sys.setswitchinterval(100)
        taken = 0
        for _ in range(50):
            before = turns[0]
            for _ in range(100):
                connection.sendall(b"Meow!")
            taken += turns[0] - before
            self.assertEqual(peer.read(500), b"Meow!" * 100)
        sys.setswitchinterval(interval)
        ended.set()
        other.join()
        self.assertEqual(taken, 0)

    def test_a_full_queue_makes_it_wait(self):
        size, count = 4000, 4000
        for options in {}, {"framing": "line"}:
            with self.subTest(options):
                peer, connection = self.peer_and_connection(send_queue_max=65536, **options)
                # The kernel's buffers would grow, and might hold everything.
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                send = connection.send_message if options else connection.sendall
                messages = [b"%d" % i * size for i in range(10)]
                end = b"\n" if options else b""
                sent, most = [0], [0]

                def send_all():
                    for i in range(count):
                        send(messages[i % 10])
                        sent[0] = i + 1
                        most[0] = max(most[0], connection.stats().queued)

                sender = threading.Thread(target=send_all)
                sender.start()
                wait_for(lambda: connection.stats().queued >= 60000, "a full queue")
                self.assertLess(sent[0], count)
                whole = b"".join(each + end for each in messages) * (count // 10)
                self.assertTrue(peer.read(len(whole)) == whole)
                sender.join()
                self.assertLessEqual(most[0], 65536)

    def test_one_that_is_larger_than_the_queue_may_be(self):
        peer, connection = self.peer_and_connection(send_queue_max=1000)
        for _ in range(100):
            connection.sendall(b"x" * 3000)
            self.assertEqual(connection.send(b"y" * 3000), 3000)
        self.assertEqual(peer.read(600000), (b"x" * 3000 + b"y" * 3000) * 100)

    def test_on_a_connection_that_has_ended(self):
        peer, connection = self.peer_and_connection()
        connection.close()
        self.assertEqual(peer.read(1), b"")
        for send in connection.sendall, connection.send, connection.try_send:
            with self.assertRaises(OSError):
                send(b"x")


if __name__ == "__main__":
    unittest.main()
