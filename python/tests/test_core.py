# SPDX-License-Identifier: MIT
"""What the core can do beyond the seed, all of it in Python, too."""

import socket
import unittest

from support import Case, Seen, wait_for


class MoreTest(Case):
    def test_broadcast_reaches_all_but_one(self):
        server = self.server(framing="line", start=True)
        peers = [self.peer(server) for _ in range(3)]
        wait_for(lambda: server.count == 3)
        first = server.connections()[0]
        self.assertEqual(server.broadcast(b"a\n"), 3)
        self.assertEqual(server.broadcast_message(b"b", exclude=first), 2)
        self.assertEqual(server.broadcast(b"c\n", first), 2)
        server.each(lambda connection: connection.close())
        found = sorted(peer.read_all() for peer in peers)
        self.assertEqual(found, [b"a\n", b"a\nb\nc\n", b"a\nb\nc\n"])

    def test_max_connections_rejects(self):
        server = self.server(max_connections=1, over_limit="reject")
        server.connection_handler(lambda address, connection: connection.sendall(b"in"))
        server.start()
        first = self.peer(server)
        self.assertEqual(first.read(2), b"in")
        self.assertEqual(self.peer(server).read_all(), b"")
        self.assertEqual(server.stats().over_connections, 1)

    def test_half_close_calls_the_end_handler(self):
        server = self.server(half_close=True)

        @server.end_handler
        def end(address, connection):
            connection.sendall(b"goodbye")
            connection.close()

        server.start()
        peer = self.peer(server)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"goodbye")

    def test_drained_handler_goes_on_with_a_long_answer(self):
        server = self.server(send_queue_max=65536)
        part = b"x" * 16384
        left = [2000]

        def send_more(address, connection):
            while left[0] and connection.try_send(part):
                left[0] -= 1
            if not left[0]:
                connection.close()

        server.connection_handler(send_more)
        server.drained_handler(send_more)
        server.start()
        self.assertEqual(len(self.peer(server).read_all()), 2000 * len(part))

    def test_pause_and_resume(self):
        seen = Seen()
        server = self.server()

        @server.receive_handler
        def receive(address, connection, data):
            connection.pause()
            seen.tell(connection, data)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"a")
        connection, data = seen.next()
        peer.sendall(b"b")
        connection.resume()
        self.assertEqual(seen.next()[1], b"b")

    def test_unix_sockets(self):
        import os
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = "unix:" + os.path.join(folder, "socket")
            server = self.server(host=path)
            server.receive_handler(lambda address, connection, data: connection.sendall(data))
            server.start()
            client = self.client(0, host=path)
            seen = Seen()
            client.connection_handler(lambda address, connection: connection.sendall(b"x"))
            client.response_handler(lambda address, connection, data:
                                    seen.tell(address, data) or False)
            client.start()
            self.assertEqual(seen.next(), ((path, 0), b"x"))
            self.assertTrue(client.wait(20))
            server.stop()


if __name__ == "__main__":
    unittest.main()
