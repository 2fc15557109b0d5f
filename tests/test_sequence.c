/* SPDX-License-Identifier: MIT */
/* G4: the handlers of one connection run in sequence, whichever threads they run on. */
#include "support/support.h"

#include <sched.h>

struct track {
	atomic_int inside;
	size_t at;
	uint32_t random;
};

static bool open_track(struct probe *probe, sttcp_conn *conn)
{
	struct track *track = calloc(1, sizeof(*track));

	(void)probe;
	if (!track)
		return false;
	track->random = (uint32_t)sttcp_conn_id(conn);
	sttcp_conn_set_data(conn, track, free);
	return true;
}

/* Byte n of the stream is n modulo 251; some calls sleep, some yield. */
static bool follow_track(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct track *track = sttcp_conn_data(conn);
	const unsigned char *bytes = data;

	if (atomic_exchange(&track->inside, 1) != 0)
		probe_violate(probe, "two handlers of one connection at once");
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != track->at++ % 251)
			probe_violate(probe, "bytes out of order");
	}
	switch (next_random(&track->random) % 8) {
	case 0:
		nap_ms(2);
		break;
	case 1:
		sched_yield();
		break;
	default:
		break;
	}
	atomic_store(&track->inside, 0);
	return true;
}

/* G4: handlers of one connection never overlap and run in sequence, through every hand-over. */
static void handlers_of_one_connection_run_in_sequence(void **state)
{
	enum {
		PEERS = 16,
		BYTES = 60000
	};
	static unsigned char stream[BYTES];
	struct probe *probe = probe_new();
	int peers[PEERS];
	size_t at[PEERS] = {0};
	uint32_t random = 7;

	(void)state;
	for (int i = 0; i < BYTES; i++)
		stream[i] = (unsigned char)(i % 251);
	probe->connection = open_track;
	probe->data = follow_track;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (int left = PEERS; left > 0;) {
		int i = (int)(next_random(&random) % PEERS);
		size_t part = next_random(&random) % 900 + 1;

		if (at[i] == BYTES)
			continue;
		part = part < BYTES - at[i] ? part : BYTES - at[i];
		assert_true(peer_send(peers[i], stream + at[i], part));
		at[i] += part;
		if (at[i] == BYTES) {
			left--;
			peer_close(peers[i]);
		}
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	assert_int_equal(probe->total, PEERS * BYTES);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handlers_of_one_connection_run_in_sequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
