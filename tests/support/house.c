/* SPDX-License-Identifier: MIT */
/* Houses. */
#include "support/house.h"

struct house *house;

void open_house(struct probe *probe, const sttcp_options *options)
{
	house = calloc(1, sizeof(*house));
	assert_non_null(house);
	house->probe = probe ? probe : probe_new();
	house->server = probe_listen(house->probe, options);
}

void close_house(void)
{
	for (int i = 0; i < house->npeers; i++) {
		peer_close(house->peers[i]);
		sttcp_conn_unref(house->conns[i]);
	}
	if (house->server)
		assert_int_equal(sttcp_server_stop_within(house->server, 0, NULL), 0);
	sttcp_server_free(house->server);
	probe_free(house->probe);
	free(house);
	house = NULL;
}

sttcp_conn *come_in(void)
{
	int count = sttcp_server_count(house->server);
	int peer = peer_connect(sttcp_server_port(house->server));

	assert_true(peer >= 0);
	EVENTUALLY(sttcp_server_count(house->server) == count + 1);

	sttcp_conn *conn = sttcp_server_find(house->server, probe_last_id(house->probe));

	assert_non_null(conn);
	house->peers[house->npeers] = peer;
	house->conns[house->npeers++] = conn;
	return conn;
}

void fill_house(int count)
{
	for (int i = 0; i < count; i++)
		come_in();
}

void fill_red(int count)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(sttcp_conn_join(house->conns[i], "red"), 0);
}

int count_in(const char *room)
{
	return sttcp_server_count_in(house->server, room);
}

void count_call(sttcp_conn *conn, void *argument)
{
	(void)conn;
	++*(int *)argument;
}
