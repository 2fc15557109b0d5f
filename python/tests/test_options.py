# SPDX-License-Identifier: MIT
"""Options: which there are, how they are told, and what is refused."""

import copy
import inspect
import math
import pickle
import re
import threading
import unittest

import sttcp
from sttcp import _options
from sttcp.client import Client
from sttcp.errors import in_words_of_python
from sttcp.server import Server
from support import Case, Seen

OF = {Server: _options.ServerOptions, Client: _options.ClientOptions}
# A value for each type.
SAMPLES = {_options.Seconds: 3, _options.Limit: 1000, _options.Number: 4, _options.Switch: True,
           _options.Bytes: b";", _options.Framing: "line", _options.Over: "reject",
           _options.Text: "127.0.0.1", _options.Frame: lambda connection, data: None,
           _options.HostName: "localhost", _options.ServerTLS: None, _options.ClientTLS: True}


def samples(options):
    return {name: SAMPLES[form] for name, form in _options.get_type_hints(options).items()}


class KnownTest(Case):
    def test_the_library_knows_each(self):
        for kind, options in OF.items():
            for name, value in samples(options).items():
                kind("127.0.0.1", 0, **{name: value})

    def test_servers_and_clients_differ_as_is_said(self):
        server, client = samples(_options.ServerOptions), samples(_options.ClientOptions)
        self.assertEqual(set(client) - set(server),
                         {"connect_timeout", "local_host", "local_port", "reconnect",
                          "reconnect_max", "reconnect_tries", "tls_name"})
        self.assertIn("max_connections", set(server) - set(client))

    def test_each_is_told(self):
        told = set(re.findall(r"\w+", Server.__doc__ + Client.__doc__))
        for kind, options in OF.items():
            parameters = inspect.signature(kind).parameters
            for name in samples(options):
                self.assertIn(name, told)
                self.assertIs(parameters[name].kind, inspect.Parameter.KEYWORD_ONLY)
            self.assertEqual(set(parameters) - set(samples(options)), {"host", "port", "handler"})
        parameters = inspect.signature(sttcp.Connection.set_framing).parameters
        self.assertEqual(set(parameters) - {"self"}, set(samples(_options.FramingOptions)))
        self.assertEqual(parameters["framing"].kind, inspect.Parameter.POSITIONAL_OR_KEYWORD)

    def test_a_class_of_its_own_tells_its_own(self):
        class Mine(Server):
            def __init__(self, limit):
                super().__init__("127.0.0.1", 0, max_connections=limit)

        self.assertEqual(list(inspect.signature(Mine).parameters), ["limit"])
        self.assertEqual(Mine(3).host, "127.0.0.1")


class RefusedTest(Case):
    def refused(self, call):
        with self.assertRaises(TypeError) as caught:
            call()
        return str(caught.exception)

    def test_an_unknown_option_is_named(self):
        for kind, name in ((Server, "no_such"), (Server, "connect_timeout"), (Server, "half_open"),
                           (Server, "options"), (Client, "max_connections"), (Client, "no_such")):
            for value in (1, False, None, sttcp.DEFAULT):
                text = self.refused(lambda: kind("127.0.0.1", 0, **{name: value}))
                self.assertEqual(text, "%s() got an unexpected keyword argument %r"
                                 % (kind.__name__, name))

    def test_set_framing_takes_no_others(self):
        server, seen = self.server(), Seen()
        server.connection_handler(lambda address, connection: seen.tell(connection))
        server.start()
        self.peer(server)
        connection = seen.next()
        for name in "idle_timeout", "no_such":
            text = self.refused(lambda: connection.set_framing("line", **{name: 1}))
            self.assertEqual(text, "set_framing() got an unexpected keyword argument %r" % name)

    def test_numbers_of_a_prefix_are_numbers(self):
        for name in "prefix_offset", "prefix_adjust":
            for value in None, True, "1", 1.0:
                self.refused(lambda: Server("127.0.0.1", 0, **{name: value}))
        for name, value in (("prefix_offset", -1), ("prefix_offset", 2**31),
                            ("prefix_adjust", -2**31 - 1), ("prefix_adjust", 2**31)):
            self.assertRaises(ValueError, Server, "127.0.0.1", 0, **{name: value})
        for value in 0, -1, -2**31, 2**31 - 1:
            Server("127.0.0.1", 0, prefix_adjust=value)

    def test_options_have_no_place(self):
        self.assertRaises(TypeError, lambda: Server("127.0.0.1", 0, None, "line"))


class CheckTest(Case):
    def test_start_names_the_option_that_is_wrong(self):
        for options, word in (({"delimiter": b";", "framing": "line"}, "delimiter"),
                              ({"high_water": 2000, "send_queue_max": 1000}, "high_water"),
                              ({"lifetime_jitter": 1}, "lifetime_jitter")):
            with self.assertRaisesRegex(ValueError, word):
                self.server(**options).start()
            with self.assertRaisesRegex(ValueError, word):
                Client("localhost", 1, **options).start()

    def test_options_are_checked(self):
        for wrong in ({"framing": "words"}, {"idle_timeout": -1}, {"idle_timeout": 0},
                      {"max_connections": 0}, {"over_limit": "panic"},
                      {"idle_timeout": float("nan")}):
            self.assertRaises(ValueError, Server, "localhost", 1, **wrong)
        for wrong in {"idle_timeout": "5"}, {"max_connections": 1.5}, {"no_such_option": 1}:
            self.assertRaises(TypeError, Server, "localhost", 1, **wrong)
        self.assertRaises(ValueError, self.server(framing="fixed").start)
        Server("localhost", 1, idle_timeout=None, max_connections=None, drain_timeout=0)


class DefaultTest(Case):
    def test_it_is_shown_by_its_name(self):
        self.assertEqual((repr(sttcp.DEFAULT), str(sttcp.DEFAULT)), ("DEFAULT", "DEFAULT"))
        self.assertIn("idle_timeout: 'float | None' = DEFAULT", str(inspect.signature(Server)))

    def test_there_is_one(self):
        self.assertIsInstance(sttcp.DEFAULT, sttcp.Default)
        for again in (copy.deepcopy(sttcp.DEFAULT), pickle.loads(pickle.dumps(sttcp.DEFAULT))):
            self.assertIs(again, sttcp.DEFAULT)

    def test_it_says_nothing(self):
        for kind, options in OF.items():
            kind("127.0.0.1", 0, **dict.fromkeys(samples(options), sttcp.DEFAULT))
        server = self.server(**dict.fromkeys(samples(_options.ServerOptions), sttcp.DEFAULT))
        server.receive_handler(lambda address, connection, data: connection.sendall(data))
        server.start()
        peer = self.peer(server)
        peer.sendall(b"Meow!")
        self.assertEqual(peer.read(5), b"Meow!")
        server.stop(0)
        self.assertEqual(server.stop(sttcp.DEFAULT), (0, 0, 0))


class SwitchTest(Case):
    def echo(self, sent, back, **options):
        server = self.server(**options)
        server.receive_handler(lambda address, connection, data: connection.send_message(data))
        server.start()
        peer = self.peer(server)
        peer.sendall(sent)
        self.assertEqual(peer.read(len(back)), back)

    def test_one_that_is_off_says_nothing(self):
        self.echo(b"\0Meow!", b"\0Meow!", prefix_varint=False, prefix_little_endian=False,
                  prefix_includes_itself=False, rest_at_end=False)

    def test_a_field_of_a_framing_asks_for_it(self):
        self.echo(b"\5Meow!", b"\5Meow!", prefix_varint=True)
        self.echo(b"\0\5Meow!", b"\0\5Meow!", prefix_size=2)
        self.echo(b"\0\0\5Meow!", b"\0\0\5Meow!", prefix_size=3)
        self.echo(b"M\0\0\0\x08eow!", b"M\0\0\0\x08eow!", prefix_offset=1, prefix_includes_itself=True)
        self.echo(b"\0\0\0\6Meow!", b"\0\0\0\6Meow!", prefix_adjust=-1)
        self.echo(b"Meow!;", b"Meow!;", delimiter=b";")
        self.echo(b"Meow", b"Meow", fixed_size=4)

    def test_a_framing_may_be_any_callable(self):
        class Cut:
            def __call__(self, connection, data):
                return (0, 2, 2) if len(data) >= 2 else None

            def __len__(self):  # and so false
                return 0

        self.echo(b"Meow", b"Meow", framing=Cut())

    def test_set_framing_hears_one_that_is_off_too(self):
        server = self.server(framing="line")

        @server.receive_handler
        def receive(address, connection, data):
            connection.set_framing(prefix_little_endian=False)
            connection.send_message(data)

        server.start()
        peer = self.peer(server)
        peer.sendall(b"Meow!\n")
        self.assertEqual(peer.read(9), b"\0\0\0\5Meow!")


class WordsTest(Case):
    def test_what_is_refused_is_called_as_here(self):
        for kind, options, text in [
                (Server, {"lifetime_jitter": 5}, "lifetime_jitter has no effect without lifetime$"),
                (Client, {"reconnect_max": 5}, "reconnect_max has no effect without reconnect$"),
                (Client, {"reconnect": 5, "reconnect_max": 2},
                 "reconnect_max is 2: it may not be below reconnect, which is 5$"),
                (Server, {"framing": "fixed"}, "framing 'fixed' needs fixed_size$"),
                (Server, {"framing": "delimiter"}, "needs delimiter, of 1 to 16 bytes$"),
                (Server, {"delimiter": b"x" * 20}, "the size of delimiter is 20: "),
                (Server, {"framing": "line", "prefix_size": 2}, "no effect with framing 'line'$"),
                (Server, {"frame": print, "fixed_size": 3}, "frame has no effect with framing 'fixed'")]:
            with self.assertRaisesRegex(ValueError, text):
                kind("127.0.0.1", 1, **options).start()

    def test_every_time_is_known(self):
        for options in _options._KNOWN.values():
            for name, form in options.items():
                if form.suffix:
                    self.assertEqual(in_words_of_python(-22, f"{name}_ms is 500, {name}_ms"),
                                     f"{name} is 0.5, {name}")


class NumberTest(Case):
    def test_times_that_calls_wait(self):
        server = self.server(start=True)
        client = self.client(server.port)
        client.response_handler(lambda address, connection, data: True)
        client.start()
        connection = sttcp.dial("127.0.0.1", server.port)
        self.addCleanup(connection.close)
        over = self.server(start=True)
        over.stop()
        for call in (lambda timeout: over.wait(timeout), client.wait_open,
                     lambda timeout: client.send(b"x", timeout), connection.settimeout,
                     lambda timeout: connection.recv_exactly(0, timeout),
                     lambda timeout: Server("127.0.0.1", 0).stop(timeout)):
            for timeout in None, 1, 2147483, 1e10, 1e300, 10**400, math.inf:
                call(timeout)
            self.assertRaises(ValueError, call, math.nan)
            self.assertRaises(TypeError, call, "1")
        for timeout in 1e10, math.inf:
            connection.settimeout(timeout)
            self.assertEqual(connection.gettimeout(), 2e6 if timeout == 1e10 else None)
            timer = threading.Timer(0.05, server.stop, (0,))
            timer.start()
            self.assertTrue(server.wait(timeout))
            timer.join()
            server.start()

    def test_sizes_beyond_32_bits(self):
        self.server(fixed_size=2**40, max_message=None, start=True)
        for options in ({"fixed_size": 2**63}, {"max_message": 2**63}, {"max_connections": 2**31},
                        {"backlog": 2**31}):
            with self.assertRaisesRegex(ValueError, "%s must be .*, not %d" % (*options, *options.values())):
                Server("127.0.0.1", 0, **options)


if __name__ == "__main__":
    unittest.main()
