/* SPDX-License-Identifier: MIT */
/* What children serve. */
#include "support/echo.h"

void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

sttcp_server *server_with(sttcp_receive_handler handler, const sttcp_options *options)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	CHECK(server);
	CHECK(sttcp_server_on_receive(server, handler) == 0);
	return server;
}

sttcp_server *echo_server(const sttcp_options *options)
{
	sttcp_server *server = server_with(echo, options);

	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static int talking_peer(int port)
{
	int peer = peer_connect(port);

	CHECK(peer >= 0);
	CHECK(peer_say(peer, "x") && peer_expect(peer, "x"));
	return peer;
}

int echoing_peer(sttcp_server *server)
{
	return talking_peer(sttcp_server_port(server));
}

void check_echo(int port)
{
	peer_close(talking_peer(port));
}
