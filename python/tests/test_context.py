# SPDX-License-Identifier: MIT
"""Context variables (contextvars): what one handler sets no other one sees, whoever runs on its thread
next; a coroutine finds it again after each wait."""

import contextvars
import unittest

import sttcp
from support import DEADLINE, Case, Seen

var = contextvars.ContextVar("var", default=None)


class ContextTest(Case):
    def talk(self, **handlers):
        server = self.server(framing="line")
        for name, handler in handlers.items():
            getattr(server, name)(handler)
        server.start()
        return server

    def ask(self, peer, line):
        peer.sendall(line + b"\n")
        return peer.read(len(line) + 1)

    def test_a_coroutine_keeps_what_it_has_set(self):
        seen = Seen()

        async def handler(address, connection):
            seen.tell("at first", var.get())
            async for line in connection:
                token = var.set(line)
                await connection.send_message(line)
                await sttcp.sleep(0.001)
                seen.tell(await connection.recv_message(), var.get())
                var.reset(token)  # fails in another context
                await connection.send_message(line)

        server = self.talk(connection_handler=handler)
        peers = [(self.peer(server), b"%d" % number) for number in range(5)]
        for _ in range(3):
            for peer, name in peers:
                self.assertEqual(self.ask(peer, name), name + b"\n")
            for peer, name in peers:
                self.assertEqual(self.ask(peer, name), name + b"\n")
        found = seen.rest()
        self.assertEqual([each for each in found if each[0] == "at first"], [("at first", None)] * 5)
        self.assertEqual(sorted(each for each in found if each[0] != "at first"),
                         sorted((name, name) for _, name in peers * 3))

    def test_a_handler_leaves_nothing_behind(self):
        def receive(address, connection, line):
            before = var.get()
            var.set(line)
            connection.send_message(b"%r" % before)

        async def waits(address, connection, line):
            before = var.get()
            var.set(line)
            await sttcp.sleep(0)
            await connection.send_message(b"%r" % before)

        for handler in receive, waits:
            server = self.talk(receive_handler=handler)
            for _ in range(2):
                peer = self.peer(server)
                for _ in range(3):
                    peer.sendall(b"x\n")
                    self.assertEqual(peer.read(5), b"None\n")

    def test_what_closes_a_coroutine_does_so_in_its_context(self):
        seen = Seen()

        async def handler(address, connection):
            token = var.set(connection.id)
            try:
                seen.tell(await connection.recv_message())
                await connection.recv_message()
            finally:
                var.reset(token)
                seen.tell(var.get())

        server = self.talk(connection_handler=handler)
        for end in (lambda peer: peer.close(), lambda peer: peer.reset(),
                    lambda peer: server.stop(0)):
            peer = self.peer(server)
            peer.sendall(b"x\n")
            other = self.peer(server)
            other.sendall(b"x\n")
            # Or a stop might come before they are accepted, and then they have no handler.
            self.assertEqual((seen.next(), seen.next()), (b"x", b"x"))
            end(peer)
            end(other)
            self.assertEqual((seen.next(), seen.next()), (None, None))
        self.assertEqual(self.raised.rest(), [])

    def test_tasks_timers_and_frames_leave_nothing_behind(self):
        seen = Seen()

        def note():
            seen.tell(var.get())
            var.set("set")

        def frame(connection, data):
            note()
            return 0, len(data), len(data)

        server = self.server(frame=frame)
        server.receive_handler(lambda address, connection, data: connection.sendall(data))

        @server.connection_handler
        def connection_handler(address, connection):
            for _ in range(3):
                connection.run(note)
                sttcp.run(note)

        server.start()
        peer = self.peer(server)
        for _ in range(3):
            peer.sendall(b"x")
            self.assertEqual(peer.read(1), b"x")
        timer = server.every(0.001, note)
        self.assertEqual([seen.next() for _ in range(20)], [None] * 20)
        timer.stop()

    def test_it_is_the_callers_in_what_a_handler_calls(self):
        seen = Seen()
        server = self.server(framing="line", max_message=10)

        @server.connection_handler
        def handler(address, connection):
            var.set("handler")
            try:
                connection.recv_message()
            except sttcp.LimitError:
                seen.tell(var.get())

        @server.malformed_handler
        def malformed(address, connection, error):
            seen.tell(var.get())
            var.set("malformed")

        server.start()
        self.peer(server).sendall(b"x" * 20)
        self.assertEqual((seen.next(), seen.next()), ("handler", "handler"))

    def test_a_context_of_the_programs_own(self):
        # As libraries do that wrap a coroutine's steps.
        async def handler(address, connection):
            own = contextvars.copy_context()
            own.run(var.set, "own")
            line = await connection.recv_message()
            await connection.send_message(b"%s %s" % (own[var].encode(), repr(var.get()).encode()))
            self.assertEqual(line, b"x")

        peer = self.peer(self.talk(connection_handler=handler))
        peer.settimeout(DEADLINE)
        peer.sendall(b"x\n")
        self.assertEqual(peer.read(9), b"own None\n")


if __name__ == "__main__":
    unittest.main()
