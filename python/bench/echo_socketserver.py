# SPDX-License-Identifier: MIT
"""The same with socketserver.ThreadingTCPServer: a thread for each connection."""

import socket
import socketserver

import common

options = common.options()


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self):
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            if data[0] == common.SLEEP:
                common.sleep(data)
            self.request.sendall(data)


class Dialogue(Handler):
    def handle(self):
        with self.request.makefile("rb") as messages:
            while True:
                data = messages.read(common.SIZE)
                if not data:
                    return
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = common.BACKLOG

    def handle_error(self, request, client_address):
        """Those that are cut off when the load ends are no news."""


with Server(("127.0.0.1", options.port), Dialogue if options.dialogue else Handler) as server:
    common.announce(server.server_address[1])
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
