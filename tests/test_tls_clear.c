/* SPDX-License-Identifier: MIT */
/* What is sent after sttcp_conn_start_tls never leaves in clear, also where a send from before,
 * which still stood in line, is given up. */
#include <sys/socket.h>

#include "base/fiber.h"
#include "conn/conn.h"
#include "conn/line.h"
#include "conn/secure.h"
#include "support/support.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

enum {
	CAP = 64 * 1024,
	MUCH = 12 * 1024 * 1024,
	IN_LINE = 8192,
	WAITS = 1 /* no result of a send */
};

static const char secret[] = "for TLS alone";

struct scene {
	struct probe *probe;
	sttcp_tls *tls;
	sttcp_conn *_Atomic one;
	sttcp_conn *_Atomic other;
	atomic_int sent;
};

/* "1" is kept; the handler of "2" waits in line there; "T" begins TLS. */
static bool act(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static const char before[IN_LINE];
	struct scene *scene = probe->extra;

	(void)size;
	switch (((const char *)data)[0]) {
	case '1':
		atomic_store(&scene->one, sttcp_conn_ref(conn));
		break;
	case '2':
		atomic_store(&scene->other, sttcp_conn_ref(conn));
		atomic_store(&scene->sent,
			     sttcp_conn_send(atomic_load(&scene->one), before, sizeof(before)));
		break;
	case 'T':
		return sttcp_conn_start_tls(conn, scene->tls, NULL) == 0;
	}
	return true;
}

static void *send_secret(void *context)
{
	struct scene *scene = context;

	for (int i = 0; i < 2 * IN_LINE / (int)sizeof(secret); i++)
		if (sttcp_conn_send(atomic_load(&scene->one), secret, sizeof(secret)) != 0)
			break;
	return NULL;
}

/* Far more than the kernel has room for. */
static void *send_much(void *context)
{
	static const char much[MUCH];
	struct scene *scene = context;

	if (sttcp_conn_send(atomic_load(&scene->one), much, sizeof(much)) != 0)
		probe_violate(scene->probe, "what was sent before TLS has failed");
	return NULL;
}

/* How many sends wait in line. */
static int count_line(sttcp_conn *conn)
{
	int count = 0;

	stt_lock(&conn->output.lock);
	for (struct stt_sender *each = conn->output.line; each; each = each->next)
		count++;
	stt_unlock(&conn->output.lock);
	return count;
}

/* All that was sent before, and what comes then until the peer is silent. */
static bool finds_secret(int peer)
{
	static char got[16 * 1024 * 1024];
	const struct timeval silence = {.tv_usec = 500 * 1000};
	size_t size = MUCH;

	assert_true(peer_recv(peer, got, MUCH));
	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	for (ssize_t more; (more = recv(peer, got + size, sizeof(got) - size, 0)) > 0;)
		size += (size_t)more;
	return memmem(got, size, secret, sizeof(secret) - 1);
}

static void nothing_leaves_in_the_place_of_a_send_that_was_given_up(void **state)
{
	struct scene scene = {.sent = WAITS};
	pthread_t first, last;

	(void)state;
	if (!stt_fibers_are_there())
		skip(); /* a handler that holds a thread is not given up */

	struct probe *probe = probe_new();

	scene.tls = good_server();
	probe->data = act;
	probe->extra = &scene;
	scene.probe = probe;
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.fibers = true, .send_queue_max = CAP,
						  .tls_handshake_timeout_ms = 0));
	int one = peer_connect_narrow(sttcp_server_port(server));
	int other = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(one, "1"));
	EVENTUALLY(atomic_load(&scene.one));
	assert_int_equal(pthread_create(&first, NULL, send_much, &scene), 0);
	EVENTUALLY(count_line(scene.one) == 1);
	assert_true(peer_say(other, "2"));
	EVENTUALLY(count_line(scene.one) == 2);
	assert_true(peer_say(one, "T"));
	EVENTUALLY(stt_secure_of(scene.one));
	sttcp_conn_abort(scene.other);
	EVENTUALLY(atomic_load(&scene.sent) != WAITS);
	assert_true(atomic_load(&scene.sent) < 0);
	assert_int_equal(pthread_create(&last, NULL, send_secret, &scene), 0);
	EVENTUALLY(count_line(scene.one) == 2);
	assert_false(finds_secret(one));
	pthread_join(first, NULL);
	peer_close(one);
	pthread_join(last, NULL);
	assert_string_equal(probe->violation, "");
	sttcp_conn_unref(scene.one);
	sttcp_conn_unref(scene.other);
	peer_close(other);
	sttcp_server_free(server);
	probe_free(probe);
	sttcp_tls_unref(scene.tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_leaves_in_the_place_of_a_send_that_was_given_up),
	};

	return cmocka_run_group_tests(tests, gates_set_up, good_files_close);
}
