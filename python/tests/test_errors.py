# SPDX-License-Identifier: MIT
"""sttcp.Error: the base of what the library tells, beside Python's own exceptions."""

import copy
import errno
import pickle
import socket
import unittest

import sttcp
from sttcp import _sttcp, errors
from sttcp.client import Client
from support import Case, Seen, free_port

# What each code has been one of since it is there.
OWN = {
    "EDESTROYED": Client.DestructionException, "ECLOSED": ConnectionAbortedError,
    "ESTOPPED": sttcp.StoppedError, "EHANDLER": sttcp.HandlerError, "EFRAME": sttcp.FrameError,
    "ELIMIT": sttcp.LimitError, "ESLOW": sttcp.SlowPeerError, "ERESOLVE": socket.gaierror,
    "ETLS": sttcp.TLSError, "ECUT": sttcp.CutError, "EFORK": RuntimeError,
    "EDEAD_PEER": sttcp.TimeLimitError,
    **{"ETIME_" + which: sttcp.TimeLimitError
       for which in ("CONNECT", "FIRST_BYTE", "IDLE", "MESSAGE", "WRITE", "LIFETIME",
                     "HANDSHAKE")}}
BASES = {sttcp.StoppedError: ConnectionAbortedError, sttcp.SlowPeerError: ConnectionAbortedError,
         sttcp.HandlerError: ConnectionAbortedError, sttcp.LimitError: ConnectionError,
         sttcp.FrameError: ConnectionError, sttcp.TimeLimitError: TimeoutError,
         sttcp.TLSError: ConnectionError, sttcp.CutError: ConnectionAbortedError,
         Client.DestructionException: ConnectionAbortedError}
SYSTEM = {"ECONNRESET": ConnectionResetError, "ECONNREFUSED": ConnectionRefusedError,
          "EPIPE": BrokenPipeError, "EACCES": PermissionError, "EAGAIN": BlockingIOError,
          "ETIMEDOUT": TimeoutError, "EADDRINUSE": OSError, "EINVAL": ValueError}


class CodesTest(unittest.TestCase):
    def made(self):
        """All kinds: name, code, what Python calls it, the exception."""
        for name, kind in OWN.items():
            code = getattr(_sttcp, name)
            yield "STTCP_" + name, code, kind, errors.make_exception(code, None)
        for name, kind in SYSTEM.items():
            code = -getattr(errno, name)
            yield name, code, kind, errors.make_exception(code, None)

    def test_none_is_missing(self):
        self.assertEqual(set(OWN), {name for name in dir(_sttcp) if name.startswith("E")})

    def test_every_one_is_an_error_and_what_python_calls_it(self):
        for name, code, kind, error in self.made():
            self.assertIsInstance(error, sttcp.Error, name)
            self.assertIsInstance(error, kind, name)
            self.assertEqual((error.name, error.code), (name, code))
            self.assertEqual(type(error).__name__, kind.__name__)
            if kind not in (ValueError, RuntimeError):
                self.assertIsInstance(error, OSError, name)
                self.assertEqual(str(error), "[Errno %d] %s" % (error.errno, error.strerror))

    def test_the_named_ones_are_of_pythons_own(self):
        for kind, base in BASES.items():
            self.assertTrue(issubclass(kind, sttcp.Error) and issubclass(kind, base), kind)
        self.assertFalse(issubclass(sttcp.Error, OSError))

    def test_timeouts_are_of_both_kinds(self):
        # Which are one since Python 3.10.
        for code in -errno.ETIMEDOUT, _sttcp.ETIME_IDLE:
            error = errors.make_exception(code, None)
            self.assertIsInstance(error, TimeoutError)
            self.assertIsInstance(error, socket.timeout)

    def test_a_text_takes_the_place_of_that_of_the_code(self):
        for code in (_sttcp.ESLOW, _sttcp.EFORK, -errno.EINVAL, -errno.ECONNRESET):
            self.assertIn("my text", str(errors.make_exception(code, "my text")))

    def test_one_made_by_hand_has_the_code_of_its_kind(self):
        error = sttcp.HandlerError("my text")
        self.assertEqual((error.code, error.name, str(error)),
                         (_sttcp.EHANDLER, "STTCP_EHANDLER", "my text"))
        self.assertEqual((sttcp.Error().code, sttcp.Error().name), (0, ""))

    def test_a_copy_and_what_was_pickled_are_the_same(self):
        for name, code, kind, error in self.made():
            for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
                self.assertIs(type(again), type(error))
                self.assertEqual((again.name, again.code, str(again)), (name, code, str(error)))
                self.assertEqual(getattr(again, "limit", None), getattr(error, "limit", None))


class RaisedTest(Case):
    def test_one_clause_catches_what_any_call_fails_with(self):
        seen = Seen()
        server = self.server(start=True)
        with self.assertRaises(sttcp.Error) as caught:
            self.server(port=server.port).start()
        self.assertEqual(caught.exception.name, "EADDRINUSE")
        with self.assertRaises(sttcp.Error) as caught:
            server.start()
        self.assertIsInstance(caught.exception, RuntimeError)
        with self.assertRaises(sttcp.Error) as caught:
            self.server(low_water=2, high_water=1).start()
        self.assertIsInstance(caught.exception, ValueError)
        client = self.client(server.port)
        client.connection_handler(lambda address, connection: seen.tell(connection))
        client.start()
        connection = seen.next()
        with self.assertRaises(sttcp.Error) as caught:
            connection.recv(1)
        self.assertEqual(caught.exception.name, "EDEADLK")
        client.close()
        for call in (lambda: connection.sendall(b"x"), connection.pause):
            with self.assertRaises(sttcp.Error) as caught:
                call()
            self.assertEqual(caught.exception.name, "STTCP_EDESTROYED")

    def test_the_reason_of_a_handler_is_one(self):
        seen = Seen()
        server = self.server()
        server.connection_handler(lambda address, connection: seen.tell("connected"))
        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        peer = self.peer(server)
        self.assertEqual(seen.next(), "connected")
        peer.reset()
        reason = seen.next()
        self.assertIsInstance(reason, sttcp.Error)
        self.assertIsInstance(reason, ConnectionResetError)
        self.assertEqual((reason.name, reason.code), ("ECONNRESET", -errno.ECONNRESET))

        client = self.client(free_port())
        client.unconnected_handler(lambda address, error: seen.tell(error))
        client.start()
        error = seen.next()
        self.assertIsInstance(error, sttcp.Error)
        self.assertIsInstance(error, ConnectionRefusedError)

    def test_what_a_handler_raised_is_passed_on_as_it_is(self):
        seen = Seen()
        server = self.server()
        raised = LookupError("x")

        @server.connection_handler
        def fail(address, connection):
            raise raised

        server.disconnection_handler(lambda address, reason: seen.tell(reason))
        server.start()
        self.peer(server)
        self.assertIs(seen.next(), raised)


if __name__ == "__main__":
    unittest.main()
