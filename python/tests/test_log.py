# SPDX-License-Identifier: MIT
"""What is told to the logger, and what is printed."""

import logging
import unittest

from support import run_python


class LogTest(unittest.TestCase):
    PROGRAM = """
import resource, socket, sys
import sttcp, sttcp._engine
%s
sttcp._engine.log(1, "an error")
sttcp._engine.log(2, "a warning")
server = sttcp.Server("127.0.0.1", 0)
@server.receive_handler
def receive(address, connection, data):
    raise KeyError("of the handler")
with server:
    with socket.create_connection(server.sock_name, 20) as peer:
        peer.sendall(b"x")
        while peer.recv(1):
            pass
"""

    def test_nothing_is_printed_where_logging_is_not_configured_but_what_a_handler_raised(self):
        said = run_python(self.PROGRAM % "").stderr
        self.assertIn("KeyError: 'of the handler'", said)
        self.assertTrue(said.startswith("Exception in thread sttcp-"), said)
        self.assertNotIn("an error", said)
        self.assertNotIn("a warning", said)

    def test_where_it_is_configured_it_is_told(self):
        said = run_python(self.PROGRAM % "import logging; logging.basicConfig()").stderr
        self.assertIn("ERROR:sttcp:an error\n", said)
        self.assertIn("WARNING:sttcp:a warning\n", said)
        self.assertIn("KeyError: 'of the handler'", said)

    def test_the_handler_that_does_nothing_is_there_once(self):
        found = [each for each in logging.getLogger("sttcp").handlers
                 if isinstance(each, logging.NullHandler)]
        self.assertEqual(len(found), 1)


if __name__ == "__main__":
    unittest.main()
