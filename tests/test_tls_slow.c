/* SPDX-License-Identifier: MIT */
/* Signatures that take as long as they like, as those of a key in a slow module do: whoever is not
 * in such a handshake does not notice. */
#include <dlfcn.h>
#include <openssl/evp.h>

#include "support/support.h"
#include "support/tls_stage.h"

enum {
	/* More than there are loops. */
	NSLOW = 12,
	NECHOES = 50
};

/* --------------------------------------------------------------------- slow module */

static atomic_bool is_slow;
static atomic_int signatures; /* since then */
static atomic_int inside;     /* of them wait */
static struct event is_quick = EVENT_INIT;

static int (*sign_behind)(EVP_MD_CTX *context, unsigned char *signature, size_t *size,
			  const unsigned char *data, size_t data_size);

__attribute__((constructor)) static void find_behind(void)
{
	*(void **)&sign_behind = dlsym(RTLD_NEXT, "EVP_DigestSign");
}

/* In front of OpenSSL's own, which makes the signatures of handshakes. The first ones wait. */
int EVP_DigestSign(EVP_MD_CTX *context, unsigned char *signature, size_t *size,
		   const unsigned char *data, size_t data_size)
{
	if (atomic_load(&is_slow) && atomic_fetch_add(&signatures, 1) < NSLOW) {
		atomic_fetch_add(&inside, 1);
		event_wait(&is_quick, 1);
		atomic_fetch_sub(&inside, 1);
	}
	return sign_behind(context, signature, size, data, data_size);
}

/* ---------------------------------------------------------------------------- peers */

struct slow_peer {
	struct tls_peer peer;
	pthread_t thread;
	bool shaken;
};

static void *shake(void *argument)
{
	struct slow_peer *slow = argument;

	slow->shaken = tls_peer_shake(&slow->peer);
	return NULL;
}

static void begin_slowly(struct slow_peer *peers, int port)
{
	for (int i = 0; i < NSLOW; i++) {
		tls_peer_prepare(&peers[i].peer, port, 0);
		assert_int_equal(pthread_create(&peers[i].thread, NULL, shake, &peers[i]), 0);
	}
	/* None waits for another one. */
	EVENTUALLY(atomic_load(&signatures) == NSLOW);
}

static void expect_echo(struct tls_peer *peer)
{
	assert_true(tls_peer_say(peer, "there"));
	assert_true(tls_peer_expect(peer, "there"));
}

static void finish(struct slow_peer *peers)
{
	for (int i = 0; i < NSLOW; i++) {
		pthread_join(peers[i].thread, NULL);
		assert_true(peers[i].shaken);
		expect_echo(&peers[i].peer);
		tls_peer_close(&peers[i].peer);
	}
}

/* An open connection, a new one, and calls of the program. */
static void expect_that_others_go_on(sttcp_server *server, struct tls_peer *open)
{
	struct tls_peer late;
	sttcp_stats stats;

	for (int i = 0; i < NECHOES; i++)
		expect_echo(open);
	tls_peer_open(&late, sttcp_server_port(server));
	expect_echo(&late);
	assert_int_equal(sttcp_server_broadcast(server, "all", 3), 2);
	assert_true(tls_peer_expect(open, "all"));
	assert_true(tls_peer_expect(&late, "all"));
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, NSLOW + 2);
	assert_int_equal(sttcp_server_count(server), 2);
	tls_peer_close(&late);
}

static void slow_handshakes_hold_nobody_else_up(void **state)
{
	struct slow_peer slow[NSLOW];
	struct tls_peer open;
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	tls_peer_open(&open, sttcp_server_port(server));
	atomic_store(&is_slow, true);
	begin_slowly(slow, sttcp_server_port(server));
	expect_that_others_go_on(server, &open);
	/* Else they may have waited for one of these. */
	assert_int_equal(atomic_load(&inside), NSLOW);
	event_raise(&is_quick);
	finish(slow);
	expect_echo(&open);
	tls_peer_close(&open);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ starttls */

static bool go_over(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	return sttcp_conn_start_tls(conn, stage_shared_server(), NULL) == 0;
}

/* Its connection is a member all the while: whoever sends to it, or asks about it, goes on. */
static void calls_do_not_wait_for_a_slow_start_tls(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	struct slow_peer slow;
	sttcp_conn_counts counts;
	sttcp_tls_info info;

	(void)state;
	is_quick = fresh;
	/* One of them waits. */
	atomic_store(&signatures, NSLOW - 1);
	probe->data = go_over;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));

	tls_peer_prepare(&slow.peer, sttcp_server_port(server), 0);
	assert_true(peer_say(slow.peer.fd, "STARTTLS\n"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	assert_int_equal(pthread_create(&slow.thread, NULL, shake, &slow), 0);
	EVENTUALLY(atomic_load(&inside) == 1);
	assert_int_equal(sttcp_conn_try_send(conn, "one ", 4), 0);
	assert_int_equal(sttcp_server_broadcast(server, "two ", 4), 1);
	assert_int_equal(sttcp_conn_send(conn, "three", 5), 0);
	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.queued, 13);
	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), -ENOENT);
	assert_int_equal(atomic_load(&inside), 1);
	event_raise(&is_quick);
	pthread_join(slow.thread, NULL);
	assert_true(slow.shaken);
	assert_true(tls_peer_expect(&slow.peer, "one two three"));
	sttcp_conn_unref(conn);
	tls_peer_close(&slow.peer);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_handshakes_hold_nobody_else_up),
		cmocka_unit_test(calls_do_not_wait_for_a_slow_start_tls),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
