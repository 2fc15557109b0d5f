# SPDX-License-Identifier: MIT
"""Rooms: parts of a server's connections, by name."""

import gc
import random
import threading
import unittest

from support import Case, Seen, wait_for


class RoomsTest(Case):
    def open(self, count, **options):
        """A server, and peers with their connections, in the same order."""
        server = self.server(start=True, **options)
        peers, connections = [], []
        for _ in range(count):
            before = server.connections()
            peers.append(self.peer(server))
            wait_for(lambda: server.count > len(connections))
            connections += [each for each in server.connections() if each not in before]
        return server, peers, connections

    def test_a_room_is_a_part_of_the_connections(self):
        server, peers, connections = self.open(3, framing="line")
        connections[0].join("red")
        connections[1].join("red")
        connections[1].join("red")
        connections[2].join("blue")
        self.assertEqual(server.count_in("red"), 2)
        self.assertEqual(server.count_in("green"), 0)
        self.assertCountEqual(server.connections("red"), connections[:2])
        self.assertEqual(server.connections(room="green"), [])
        seen = []
        self.assertEqual(server.each(seen.append, room="blue"), 1)
        self.assertEqual(seen, connections[2:])
        self.assertEqual(server.broadcast(b"a\n", room="red"), 2)
        self.assertEqual(server.broadcast_message(b"b", room="red"), 2)
        self.assertEqual(server.broadcast(b"c\n", exclude=connections[0], room="red"), 1)
        self.assertEqual(server.broadcast_message(b"d", connections[1], "red"), 1)
        self.assertEqual(server.broadcast(b"nobody", room="green"), 0)
        server.each(lambda connection: connection.close())
        self.assertEqual([peer.read_all() for peer in peers], [b"a\nb\nd\n", b"a\nb\nc\n", b""])
        wait_for(lambda: server.count_in("red") == 0)

    def test_leaving(self):
        server, _, (connection,) = self.open(1)
        connection.leave("red")
        connection.join("red")
        connection.join("blue")
        connection.leave("red")
        connection.leave("red")
        self.assertEqual((server.count_in("red"), server.count_in("blue")), (0, 1))

    def test_names_are_text_or_bytes(self):
        server, _, (connection,) = self.open(1)
        for name, same in (("é", "é".encode()), (b"\xff", b"\xff"), ("x" * 255, b"x" * 255)):
            connection.join(name)
            self.assertEqual(server.count_in(same), 1)
            self.assertEqual(server.connections(same), [connection])
        self.assertEqual(server.count_in("É"), 0)

    def test_wrong_names_are_refused(self):
        server, _, (connection,) = self.open(1)
        for wrong, error in (("", ValueError), (b"", ValueError), ("x" * 256, ValueError),
                             ("é" * 128, ValueError), ("a\0b", ValueError), ("\udc80", ValueError),
                             (7, TypeError), (["red"], TypeError), (bytearray(b"red"), TypeError)):
            for call in (connection.join, connection.leave, server.count_in, server.connections,
                         lambda room: server.broadcast(b"x", room=room),
                         lambda room: server.broadcast_message(b"x", room=room),
                         lambda room: server.each(print, room)):
                self.assertRaises(error, call, wrong)
        for call in connection.join, connection.leave, server.count_in:
            self.assertRaises(TypeError, call, None)
        # What the C half does with what does not come through the Python half.
        for call in connection._join, connection._leave, server._count_in, server._connections:
            self.assertRaises(TypeError, call, "red")

    def test_a_join_in_the_connection_handler_counts_when_it_has_returned(self):
        server = self.server()
        counts = Seen()

        @server.connection_handler
        def begin(address, connection):
            connection.join("red")
            counts.tell(server.count_in("red"))

        server.start()
        self.peer(server)
        self.assertEqual(counts.next(), 0)
        wait_for(lambda: server.count_in("red") == 1)

    def test_the_disconnection_handler_tells_the_others(self):
        seen = Seen()
        server = self.server()

        @server.connection_handler
        def begin(address, connection):
            connection.data = "red"
            connection.join(connection.data)

        @server.disconnection_handler
        def end(address, reason, connection):
            seen.tell(server.count_in(connection.data))
            server.broadcast(b"gone", room=connection.data)

        server.start()
        peers = [self.peer(server) for _ in range(2)]
        wait_for(lambda: server.count_in("red") == 2)
        peers[0].close()
        self.assertEqual(seen.next(), 1)
        self.assertEqual(peers[1].read(4), b"gone")

    def test_a_connection_that_has_ended_joins_no_more(self):
        server, _, (connection,) = self.open(1)
        connection.join("red")
        connection.fail(KeyError("enough"))
        wait_for(lambda: server.count == 0)
        self.assertRaises(OSError, connection.join, "red")
        self.assertRaises(OSError, connection.leave, "red")
        self.assertEqual(server.count_in("red"), 0)

    def test_a_clients_connection_has_no_rooms(self):
        server = self.server(start=True)
        client = self.client(server.port)
        refused = Seen()

        @client.connection_handler
        def begin(address, connection):
            for call in connection.join, connection.leave:
                try:
                    call("red")
                except TypeError as error:
                    refused.tell(str(error))

        client.start()
        for _ in range(2):
            self.assertEqual(refused.next(), "a client's connection has no rooms")

    def test_many_threads_join_and_leave(self):
        server, _, connections = self.open(8)
        rooms = ["room %d" % number for number in range(4)]

        def move(number):
            chance = random.Random(number)
            for _ in range(300):
                connection, room = chance.choice(connections), chance.choice(rooms)
                chance.choice((connection.join, connection.leave,
                               lambda room: server.broadcast(b"x", connection, room),
                               server.count_in, server.connections))(room)

        threads = [threading.Thread(target=move, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for room in rooms:
            self.assertEqual(len(server.connections(room)), server.count_in(room))
            server.each(lambda connection, room=room: connection.leave(room), room)
            self.assertEqual(server.count_in(room), 0)


class ListTest(Case):
    def test_what_ends_meanwhile_is_left_out(self):
        """Garbage is collected as the first of the objects is made, and lets handlers in."""
        ends = Seen()
        server = self.server()
        server.disconnection_handler(lambda address, reason: ends.tell(address))
        server.start()
        peers = [self.peer(server) for _ in range(2)]
        wait_for(lambda: server.count == 2)

        def end_all(phase, info):
            if phase == "start" and peers:
                while peers:
                    peers.pop().close()
                ends.next(), ends.next()

        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        gc.callbacks.append(end_all)
        self.addCleanup(gc.callbacks.remove, end_all)
        gc.set_threshold(1)
        found = server._connections()
        gc.set_threshold(0)
        if peers:
            self.skipTest("this Python collects nothing there")
        self.assertLess(len(found), 2)
        self.assertEqual(server.connections(), [])


if __name__ == "__main__":
    unittest.main()
