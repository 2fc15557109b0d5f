# SPDX-License-Identifier: MIT
"""Both ends send more than anybody holds: nobody waits for the other for ever. All defaults."""

import threading
import time
import unittest

from support import DEADLINE, Case

MIB = 1 << 20
# With both readers held nothing moves until the write timeout, 30 s, which ends the connection. How
# long all of it takes is the machine's affair.
LIMIT = 25.0


class BothWaysTest(Case):
    SIZE = 100 * MIB

    def setUp(self):
        super().setUp()
        self.came = 0
        self.longest = 0.0  # until more came
        self.all_there = threading.Event()

    def counting_client(self, port):
        client = self.client(port)
        self.opened = threading.Event()

        @client.connection_handler
        def connected(address, connection):
            self.opened.set()

        @client.response_handler
        def response(address, connection, data):
            now = time.monotonic()
            self.longest = max(self.longest, now - self.last)
            self.last = now
            self.came += len(data)
            if self.came == self.SIZE:
                self.all_there.set()

        client.start()
        self.assertTrue(self.opened.wait(DEADLINE))
        while client.connection is None:
            time.sleep(0.001)
        return client.connection

    def send_all(self, connection):
        self.last = time.monotonic()
        chunk = bytes(MIB)
        for _ in range(self.SIZE // MIB):
            connection.sendall(chunk)
        came = -1
        while not self.all_there.wait(LIMIT):
            self.assertGreater(self.came, came, "of %d bytes" % self.SIZE)
            came = self.came
        self.assertLess(self.longest, LIMIT)
        self.assertTrue(connection.is_open)

    def test_main_sends_much_to_a_server_that_echoes(self):
        self.send_all(self.counting_client(self.echo_server().port))

    def test_a_relay_passes_on_what_comes_from_both_sides(self):
        behind = self.echo_server()
        relay = self.server()

        @relay.connection_handler
        def begin(address, connection):
            onward = self.client(behind.port)
            onward.response_handler(lambda address, other, data: connection.sendall(data))
            ready = threading.Event()
            onward.connection_handler(lambda address, other: (
                setattr(connection, "data", other), ready.set()))
            onward.start()
            return ready.wait(DEADLINE)

        @relay.receive_handler
        def receive(address, connection, data):
            connection.data.sendall(data)

        relay.start()
        self.send_all(self.counting_client(relay.port))


if __name__ == "__main__":
    unittest.main()
