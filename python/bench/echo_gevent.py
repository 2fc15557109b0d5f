# SPDX-License-Identifier: MIT
"""The same with gevent: a greenlet for each connection."""

import socket

import common
import gevent.server
import gevent.threadpool

options = common.options()
pool = gevent.threadpool.ThreadPool(common.THREADS)


def echo(connection, address):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            data = connection.recv(65536)
            if not data:
                return
            if data[0] == common.SLEEP:
                pool.apply(common.sleep, (data,))
            connection.sendall(data)
    except ConnectionError:
        pass


def converse(connection, address):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with connection.makefile("rb") as messages:
            while True:
                data = messages.read(common.SIZE)
                if not data:
                    return
                connection.sendall(data)
    except ConnectionError:
        pass


server = gevent.server.StreamServer(("127.0.0.1", options.port), converse if options.dialogue else echo,
                                    backlog=common.BACKLOG)
server.start()
common.announce(server.server_port)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
