/* SPDX-License-Identifier: MIT */
/* Backpressure with TLS: what a peer does not take waits, as plain bytes, and all that hangs on the
 * queue works as without TLS. */
#include <openssl/err.h>

#include "conn/conn.h"
#include "conn/secure.h"
#include "support/memory_faults.h"
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	SHORT_MS = 300,
	/* More than the narrow buffers of both sides, and a session's rest, hold. */
	LONG = 900 * 1024,
	/* What a session takes at a time. */
	BATCH = 64 * 1024,
	MEMBERS = 8
};

static char long_text[LONG];
static char got[LONG];

struct secure_pair {
	struct probe *probe;
	sttcp_server *server;
	sttcp_conn *conn;
	struct tls_peer peer;
};

static struct event drained = EVENT_INIT;

static void note_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&drained);
}

static size_t rest_of(sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	size_t rest = stt_tls_rest(stt_secure_of(conn)->session);

	stt_unlock(&conn->output.lock);
	return rest;
}

static void open_narrow(struct secure_pair *pair, const sttcp_options *given)
{
	struct event fresh = EVENT_INIT;
	sttcp_options options = *given;

	drained = fresh;
	fill_pattern(long_text, sizeof(long_text), 5);
	options.tls = stage_shared_server();
	pair->probe = probe_new();
	pair->probe->connection = narrow;
	pair->server = probe_server(pair->probe, "127.0.0.1", 0, &options);
	assert_int_equal(sttcp_server_on_drained(pair->server, note_drained), 0);
	assert_int_equal(sttcp_server_start(pair->server), 0);
	tls_peer_adopt(&pair->peer, peer_connect_narrow(sttcp_server_port(pair->server)), false, 0);
	assert_true(tls_peer_shake(&pair->peer));
	EVENTUALLY(sttcp_server_count(pair->server) == 1);
	pair->conn = sttcp_server_find(pair->server, probe_last_id(pair->probe));
	assert_non_null(pair->conn);
	/* The tickets leave after it is counted, and are a rest of their own. */
	EVENTUALLY(!rest_of(pair->conn));
}

static void close_pair(struct secure_pair *pair)
{
	sttcp_conn_unref(pair->conn);
	tls_peer_close(&pair->peer);
	sttcp_server_free(pair->server);
	probe_free(pair->probe);
}

static void drained_comes_when_the_last_record_has_left(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
		nap_ms(50);
		assert_int_equal(event_count(&drained), i - 1);
		assert_true(tls_peer_recv(&pair.peer, got, LONG));
		assert_memory_equal(got, long_text, LONG);
		assert_true(event_wait(&drained, i));
	}
	close_pair(&pair);
}

static void try_send_is_all_or_nothing(void **state)
{
	struct secure_pair pair;
	size_t sent = 0, size = 10000;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = 100000));
	while (sttcp_conn_try_send(pair.conn, long_text + sent, size) == 0)
		sent += size;
	assert_true(sent >= 100000);
	assert_true(tls_peer_recv(&pair.peer, got, sent));
	assert_memory_equal(got, long_text, sent);
	assert_true(event_wait(&drained, 1));
	assert_int_equal(sttcp_conn_try_send(pair.conn, "again", 5), 0);
	assert_true(tls_peer_expect(&pair.peer, "again"));
	close_pair(&pair);
}

static void peer_that_takes_nothing_ends_by_the_write_timeout(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(.write_timeout_ms = SHORT_MS));
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	close_pair(&pair);
}

/* Whether it ends while there is a rest. */
static bool ends_by_its_rest(struct secure_pair *pair)
{
	int64_t until = now_ms() + DEADLINE_MS;

	for (;; nap_ms(5)) {
		bool rests = rest_of(pair->conn) > 0;

		if (probe_count(pair->probe, STTCP_DISCONNECTION))
			return true;
		if (!rests)
			return false;
		assert_true(now_ms() < until);
	}
}

/* At some time the socket takes only a part of the records, and the queue is empty all the same.
 * Before that nothing waits, and there is no limit. */
static void rest_alone_counts_for_the_write_timeout(void **state)
{
	struct secure_pair pair;
	sttcp_conn_counts counts;
	bool ended = false;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(.write_timeout_ms = SHORT_MS));
	for (int i = 0; i < 50 && !ended; i++) {
		assert_int_equal(sttcp_conn_send(pair.conn, long_text, BATCH), 0);
		assert_int_equal(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)), 0);
		assert_int_equal(counts.queued, 0);
		ended = ends_by_its_rest(&pair);
	}
	assert_true(ended);
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	assert_int_equal(event_count(&drained), 0);
	close_pair(&pair);
}

/* Sends until records wait for the descriptor, and nothing else does: how many bytes. */
static size_t send_up_to_a_rest(struct secure_pair *pair)
{
	sttcp_conn_counts counts;
	size_t sent = 0;

	for (; !rest_of(pair->conn); sent += BATCH) {
		assert_true(sent + BATCH <= LONG);
		assert_int_equal(sttcp_conn_send(pair->conn, long_text + sent, BATCH), 0);
	}
	assert_int_equal(sttcp_conn_stats(pair->conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.queued, 0);
	return sent;
}

static int64_t moved_ms(sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	int64_t at = conn->output.moved_ms;

	stt_unlock(&conn->output.lock);
	return at;
}

static bool start_tls(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	return sttcp_conn_start_tls(conn, stage_shared_server(), NULL) == 0;
}

/* What is sent amid a handshake has met no socket when there is no room for more. */
static void drained_comes_for_a_refusal_amid_the_handshake(void **state)
{
	struct secure_pair pair = {.probe = probe_new()};
	struct event fresh = EVENT_INIT;
	int result;

	(void)state;
	drained = fresh;
	pair.probe->data = start_tls;
	pair.server = probe_server(pair.probe, "127.0.0.1", 0,
				   STTCP_OPTIONS(.send_queue_max = 16 * 1024));
	assert_int_equal(sttcp_server_on_drained(pair.server, note_drained), 0);
	assert_int_equal(sttcp_server_start(pair.server), 0);
	int fd = peer_connect(sttcp_server_port(pair.server));

	assert_true(peer_say(fd, "go"));
	EVENTUALLY(sttcp_server_count(pair.server) == 1);
	pair.conn = sttcp_server_find(pair.server, probe_last_id(pair.probe));
	assert_non_null(pair.conn);
	EVENTUALLY(stt_secure_of(pair.conn));
	do {
		result = sttcp_conn_try_send(pair.conn, long_text, 1000);
	} while (result == 0);
	assert_int_equal(result, -EAGAIN);
	tls_peer_adopt(&pair.peer, fd, false, 0);
	assert_true(tls_peer_shake(&pair.peer));
	assert_true(event_wait(&drained, 1));
	close_pair(&pair);
}

/* For the write timeout. The queue was empty all the while. */
static void bytes_that_leave_the_rest_count_as_moved(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));

	size_t sent = send_up_to_a_rest(&pair);
	int64_t moved = moved_ms(pair.conn);

	nap_ms(20);
	assert_true(tls_peer_recv(&pair.peer, got, sent));
	EVENTUALLY(!rest_of(pair.conn));
	assert_true(moved_ms(pair.conn) > moved);
	close_pair(&pair);
}

/* Nor need it be the loop that moves them: here it waits for the lock. */
static void bytes_that_a_send_moves_count_as_moved(void **state)
{
	struct secure_pair pair;
	struct iovec part = {long_text, 1};
	ssize_t taken = -EAGAIN;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));

	size_t sent = send_up_to_a_rest(&pair);
	struct stt_output *out = &pair.conn->output;

	stt_lock(&out->lock);
	int64_t moved = out->moved_ms;

	nap_ms(20);
	/* Of the last batch the kernel may have a part. */
	bool read = tls_peer_recv(&pair.peer, got, sent - BATCH);

	for (int64_t until = now_ms() + DEADLINE_MS; taken == -EAGAIN && now_ms() < until;)
		taken = stt_secure_send_locked(out, &part, 1);
	int64_t at = out->moved_ms;

	stt_unlock(&out->lock);
	assert_true(read);
	assert_int_equal(taken, 1);
	assert_true(at > moved);
	close_pair(&pair);
}

static void drained_follows_a_rest_alone(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));

	size_t sent = send_up_to_a_rest(&pair);

	assert_int_equal(event_count(&drained), 0);
	assert_true(tls_peer_recv(&pair.peer, got, sent));
	assert_true(event_wait(&drained, 1));
	close_pair(&pair);
}

/* However little the peer takes at a time. */
static void close_with_a_rest_alone_has_a_limit(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));
	send_up_to_a_rest(&pair);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	stt_lock(&pair.conn->output.lock);
	int64_t until = pair.conn->output.flush_until_ms;

	stt_unlock(&pair.conn->output.lock);
	assert_true(until > now_ms());
	close_pair(&pair);
}

/* What finds no room while a rest waits must not make that look as if it had moved. */
static void sends_in_vain_do_not_put_the_write_timeout_off(void **state)
{
	enum {
		SIZE = 10000
	};
	struct secure_pair pair;
	int64_t until = now_ms() + DEADLINE_MS / 4;

	(void)state;
	open_narrow(&pair,
		    STTCP_OPTIONS(.write_timeout_ms = SHORT_MS, .total_queue_max = SIZE / 2));
	while (sttcp_conn_try_send(pair.conn, long_text, SIZE) == 0)
		;
	while (!probe_count(pair.probe, STTCP_DISCONNECTION) && now_ms() < until) {
		ignore(sttcp_conn_try_send(pair.conn, long_text, SIZE));
		nap_ms(SHORT_MS / 10);
	}
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 1);
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	close_pair(&pair);
}

static void close_flushes_and_says_so(void **state)
{
	struct secure_pair pair;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	nap_ms(50);
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	assert_true(tls_peer_recv(&pair.peer, got, LONG));
	assert_memory_equal(got, long_text, LONG);
	assert_int_equal(tls_peer_end(&pair.peer), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	close_pair(&pair);
}

/* Input that waits in the session while its reader rests raises no event: resume has to look. */
static bool pause_at_once(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_pause(conn);
	return true;
}

static void paused_input_is_delivered_after_resume(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = pause_at_once;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .framing = STTCP_FRAMING_LINE));

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(tls_peer_say(&peer, "a\n"));
	assert_true(probe_wait(probe, STTCP_RECEIVE, 1));
	for (int i = 0; i < 20; i++)
		assert_true(tls_peer_say(&peer, "b\n"));
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	for (int i = 2; i <= 21; i++) {
		sttcp_conn_resume(conn);
		assert_true(probe_wait(probe, STTCP_RECEIVE, i));
	}
	sttcp_conn_unref(conn);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ members */

static bool join_red(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_join(conn, "red") == 0;
}

static void broadcasts_and_rooms_reach_all(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peers[MEMBERS];

	(void)state;
	probe->connection = join_red;
	fill_pattern(long_text, sizeof(long_text), 9);
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	for (int i = 0; i < MEMBERS; i++)
		tls_peer_open(&peers[i], sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count_in(server, "red") == MEMBERS);
	assert_int_equal(sttcp_server_broadcast(server, "small", 5), MEMBERS);
	assert_int_equal(sttcp_server_broadcast(server, long_text, LONG), MEMBERS);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, "room", 4), MEMBERS);
	for (int i = 0; i < MEMBERS; i++) {
		assert_true(tls_peer_expect(&peers[i], "small"));
		assert_true(tls_peer_recv(&peers[i], got, LONG));
		assert_memory_equal(got, long_text, LONG);
		assert_true(tls_peer_expect(&peers[i], "room"));
		tls_peer_close(&peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------ many threads */

enum {
	SENDERS = 6,
	SENDS = 400
};

static void *send_many(void *argument)
{
	sttcp_conn *conn = argument;

	for (int i = 0; i < SENDS; i++)
		sttcp_conn_send(conn, "abcdefgh", 8);
	return NULL;
}

/* Two threads in one session crash OpenSSL; and each send is contiguous. */
static void threads_send_while_the_peer_sends(void **state)
{
	struct probe *probe = probe_new();
	pthread_t threads[SENDERS];
	struct tls_peer peer;

	(void)state;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	tls_peer_open(&peer, sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_many, conn), 0);
	for (int i = 0; i < SENDERS * SENDS; i++) {
		assert_true(tls_peer_say(&peer, "input"));
		/* A key update now and then, which has to be answered in between. */
		if (i % 100 == 0)
			assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_true(tls_peer_expect(&peer, "abcdefgh"));
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(probe_wait_bytes(probe, 5 * SENDERS * SENDS));
	sttcp_conn_unref(conn);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A peer that asks for answers, and does not read them. */
static void flood_of_key_updates_ends_the_connection(void **state)
{
	struct secure_pair pair;
	char byte = 0;

	(void)state;
	open_narrow(&pair, STTCP_OPTIONS(0));
	for (int i = 0; i < 200000; i++) {
		size_t sent;

		ERR_clear_error();
		if (SSL_key_update(pair.peer.ssl, SSL_KEY_UPDATE_REQUESTED) != 1 ||
		    SSL_write_ex(pair.peer.ssl, &byte, 1, &sent) != 1 ||
		    probe_count(pair.probe, STTCP_DISCONNECTION))
			break;
	}
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETLS);
	assert_non_null(strstr(probe_fail_text(pair.probe), "does not read"));
	close_pair(&pair);
}

/* A send that missed memory has taken nothing, and all goes on; or the session cannot go on,
 * perhaps behind a part of it, and the connection ends. */
static void send_without_memory_leaves_no_corpse(void **state)
{
	bool denied = true;
	int ended = 0, open = 0;

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (long count = 0; denied; count++) {
		struct secure_pair pair;
		int result = 0;

		open_narrow(&pair, STTCP_OPTIONS(0));
		deny_after(count, false);
		for (int i = 0; i < LONG / BATCH && result == 0; i++)
			result = sttcp_conn_try_send(pair.conn, long_text, BATCH);
		denied = allow_again();
		if (result == -ENOMEM && sttcp_conn_is_open(pair.conn)) {
			open++;
			assert_int_equal(sttcp_conn_try_send(pair.conn, "x", 1), 0);
		} else if (result == -ENOMEM) {
			ended++;
			assert_int_equal(sttcp_conn_reason(pair.conn), -ENOMEM);
		}
		close_pair(&pair);
	}
	assert_true(ended > 0);
	assert_true(open > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drained_comes_when_the_last_record_has_left),
		cmocka_unit_test(try_send_is_all_or_nothing),
		cmocka_unit_test(peer_that_takes_nothing_ends_by_the_write_timeout),
		cmocka_unit_test(rest_alone_counts_for_the_write_timeout),
		cmocka_unit_test(drained_comes_for_a_refusal_amid_the_handshake),
		cmocka_unit_test(bytes_that_leave_the_rest_count_as_moved),
		cmocka_unit_test(bytes_that_a_send_moves_count_as_moved),
		cmocka_unit_test(drained_follows_a_rest_alone),
		cmocka_unit_test(close_with_a_rest_alone_has_a_limit),
		cmocka_unit_test(sends_in_vain_do_not_put_the_write_timeout_off),
		cmocka_unit_test(close_flushes_and_says_so),
		cmocka_unit_test(paused_input_is_delivered_after_resume),
		cmocka_unit_test(broadcasts_and_rooms_reach_all),
		cmocka_unit_test(threads_send_while_the_peer_sends),
		cmocka_unit_test(flood_of_key_updates_ends_the_connection),
		cmocka_unit_test(send_without_memory_leaves_no_corpse),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
