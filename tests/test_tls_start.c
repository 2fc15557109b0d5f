/* SPDX-License-Identifier: MIT */
/* sttcp_conn_start_tls: plain bytes first, TLS from then on, and nothing between the two. */
#include <sys/syscall.h>

#include "conn/conn.h"
#include "conn/line.h"
#include "conn/secure.h"
#include "engine/worker.h"
#include "net/poller.h"
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	SHORT_MS = 300,
	LONG = 700 * 1024
};

static _Atomic int started;
static struct event start_done = EVENT_INIT;
static _Atomic(struct stt_worker *) starter;
static sttcp_options lines = {.size = sizeof(sttcp_options), .framing = STTCP_FRAMING_LINE};

static void begin(void)
{
	struct event fresh = EVENT_INIT;

	started = 1;
	start_done = fresh;
	lines.tls_handshake_timeout_ms = 0;
}

/* "STARTTLS" begins it; anything else comes back, with a mark of how it came. */
static bool answer_line(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	sttcp_tls_info info;
	bool secure = sttcp_conn_tls(conn, &info, sizeof(info)) == 0;

	(void)probe;
	if (size != 8 || memcmp(data, "STARTTLS", 8) != 0)
		return sttcp_conn_sendf(conn, "%s %.*s\n", secure ? "secure" : "plain", (int)size,
					(const char *)data) == 0;
	sttcp_conn_send(conn, "go ahead\n", 9);
	atomic_store(&starter, stt_self);
	started = sttcp_conn_start_tls(conn, stage_shared_server(), NULL);
	event_raise(&start_done);
	return true;
}

static sttcp_server *serve(struct probe *probe)
{
	begin();
	probe->data = answer_line;
	return probe_listen(probe, &lines);
}

static void plain_lines_turn_into_tls(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);
	struct tls_peer peer;

	(void)state;
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "one\n"));
	assert_true(peer_expect(fd, "plain one\n"));
	assert_true(peer_say(fd, "STARTTLS\n"));
	assert_true(peer_expect(fd, "go ahead\n"));
	tls_peer_adopt(&peer, fd, false, 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, 0);
	assert_true(tls_peer_say(&peer, "two\nthree\n"));
	assert_true(tls_peer_expect(&peer, "secure two\nsecure three\n"));
	/* Once is enough. */
	assert_true(tls_peer_say(&peer, "STARTTLS\n"));
	assert_true(tls_peer_expect(&peer, "go ahead\n"));
	assert_true(event_wait(&start_done, 2));
	assert_int_equal(started, -EBUSY);
	tls_peer_notify(&peer);
	assert_int_equal(tls_peer_end(&peer), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* What somebody on the way puts behind STARTTLS must not count as if it had come encrypted. */
static void plain_line_behind_starttls_is_no_line(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);

	(void)state;
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "STARTTLS\ninjected\n"));
	assert_true(peer_expect(fd, "go ahead\n"));
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ETLS);
	peer_end(fd);
	peer_close(fd);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETLS);
	assert_int_equal(probe_count(probe, STTCP_RECEIVE), 1);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A client that does not wait for the answer: its hello is in the buffer already. */
static void hello_behind_starttls_is_the_first_of_tls(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	struct tls_peer peer;
	char both[4096] = "STARTTLS\n";
	char *hello;

	(void)state;
	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	SSL_set_bio(peer.ssl, in, out);
	assert_false(tls_peer_shake(&peer));
	size_t size = (size_t)BIO_get_mem_data(out, &hello);

	assert_true(size + 9 < sizeof(both));
	memcpy(both + 9, hello, size);
	assert_true(peer_send(peer.fd, both, size + 9));
	assert_true(peer_expect(peer.fd, "go ahead\n"));
	SSL_set_fd(peer.ssl, peer.fd);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_say(&peer, "x\n"));
	assert_true(tls_peer_expect(&peer, "secure x\n"));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Over memory, until nothing more can be done without the peer; then all of it leaves at once. */
static bool step(struct tls_peer *peer, const char *text)
{
	bool done = tls_peer_shake(peer);
	char *bytes;

	if (done)
		assert_true(tls_peer_say(peer, text));

	size_t size = (size_t)BIO_get_mem_data(SSL_get_wbio(peer->ssl), &bytes);

	assert_true(peer_send(peer->fd, bytes, size));
	assert_int_equal(BIO_reset(SSL_get_wbio(peer->ssl)), 1);
	return done;
}

/* It is read together with the peer's last message, and raises no event of its own. */
static void line_behind_the_handshake_is_delivered(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);
	struct tls_peer peer;
	char byte;

	(void)state;
	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	assert_true(peer_say(peer.fd, "STARTTLS\n"));
	assert_true(peer_expect(peer.fd, "go ahead\n"));
	SSL_set_bio(peer.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	while (!step(&peer, "two\n")) {
		assert_true(peer_recv(peer.fd, &byte, 1));
		assert_int_equal(BIO_write(SSL_get_rbio(peer.ssl), &byte, 1), 1);
	}
	SSL_set_fd(peer.ssl, peer.fd);
	assert_true(tls_peer_expect(&peer, "secure two\n"));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ----------------------------------------------------------------- the other side */

static bool begin_as_client(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	if (size == 8 && memcmp(data, "go ahead", 8) == 0) {
		started = sttcp_conn_start_tls(conn, stage_shared_client(), "localhost");
		return started == 0 && sttcp_conn_send_message(conn, "asked", 5) == 0;
	}
	event_raise(&start_done);
	return true;
}

static bool ask_for_tls(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_send_message(conn, "STARTTLS", 8) == 0;
}

static void both_sides_are_of_the_library(void **state)
{
	struct probe *server_probe = probe_new();
	sttcp_server *server = serve(server_probe);
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = ask_for_tls;
	probe->data = begin_as_client;
	sttcp_client *client = probe_dial(probe, sttcp_server_port(server), &lines);

	/* The server's own, and the answer. */
	assert_true(event_wait(&start_done, 2));
	assert_non_null(strstr(probe_text(probe), "secure asked"));
	sttcp_client_close(client);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(probe);
	probe_free(server_probe);
}

/* ------------------------------------------------------------------------- faults */

static void handshake_that_does_not_come_has_a_limit(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	lines.tls_handshake_timeout_ms = SHORT_MS;
	probe->data = answer_line;
	sttcp_server *server = probe_listen(probe, &lines);
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "STARTTLS\n"));
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ETIME_HANDSHAKE);
	assert_true(peer_expect(fd, "go ahead\n"));
	assert_int_equal(peer_end(fd), 0);
	peer_close(fd);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETIME_HANDSHAKE);
	sttcp_server_free(server);
	probe_free(probe);
}

static void stop_ends_the_wait(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);

	(void)state;
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "STARTTLS\n"));
	assert_true(peer_expect(fd, "go ahead\n"));
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ESTOPPED);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

static void calls_elsewhere_are_refused(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = serve(probe);

	(void)state;
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "x\n"));
	assert_true(peer_expect(fd, "plain x\n"));
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	assert_int_equal(sttcp_conn_start_tls(conn, stage_shared_server(), NULL), -EDEADLK);
	assert_int_equal(sttcp_conn_start_tls(conn, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_start_tls(NULL, stage_shared_server(), NULL), -EINVAL);
	sttcp_conn_unref(conn);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

static const char *_Atomic asked_for;

static bool start_in_vain(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	started = sttcp_conn_start_tls(conn, stage_shared_client(), asked_for);
	/* Nothing has changed. */
	sttcp_conn_send(conn, data, size);
	event_raise(&start_done);
	return true;
}

static void refusal_changes_nothing_and_says_why(void **state)
{
	static const struct {
		const char *name, *text;
	} cases[] = {
		{NULL, "needs the name"},
		{"", "no certificate can be for"},
		{".example", "no certificate can be for"},
		{"db.example:5432", "no certificate can be for"},
		{"a b", "no certificate can be for"},
		{NULL, "needs the name"},
	};
	struct probe *probe = probe_new();

	(void)state;
	begin();
	probe->data = start_in_vain;
	sttcp_server *server = probe_listen(probe, NULL);
	int fd = peer_connect(sttcp_server_port(server));

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		asked_for = cases[i].name;
		assert_true(peer_say(fd, "still plain"));
		assert_true(peer_expect(fd, "still plain"));
		assert_int_equal(started, -EINVAL);
		const char *text = sttcp_tls_error(stage_shared_client());

		assert_non_null(strstr(text, "sttcp_conn_start_tls"));
		assert_non_null(strstr(text, cases[i].text));
	}
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------ what was sent */

static char long_text[LONG];

static bool send_and_start(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	if (sttcp_conn_send(conn, long_text, sizeof(long_text)) < 0)
		return false;
	started = sttcp_conn_start_tls(conn, stage_shared_server(), NULL);
	event_raise(&start_done);
	sttcp_conn_send(conn, "inside", 6);
	return true;
}

/* More than the socket takes: it has to leave as it is before the handshake begins. What others
 * send meanwhile waits for that. */
static void queue_leaves_in_the_clear_first(void **state)
{
	static char got[LONG];
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	begin();
	fill_pattern(long_text, sizeof(long_text), 3);
	probe->connection = narrow;
	probe->data = send_and_start;
	sttcp_server *server = probe_listen(probe, NULL);
	int fd = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(fd, "go"));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	sttcp_conn_counts counts;

	assert_non_null(conn);
	EVENTUALLY(sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 && counts.queued > 0);
	/* Before the start in the handler this would be plain, too. */
	EVENTUALLY(stt_secure_of(conn));
	assert_int_equal(sttcp_conn_send(conn, "behind", 6), 0);
	assert_true(peer_recv(fd, got, sizeof(got)));
	assert_memory_equal(got, long_text, sizeof(got));
	tls_peer_adopt(&peer, fd, false, 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_expect(&peer, "behindinside"));
	assert_int_equal(started, 0);
	sttcp_conn_unref(conn);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Whatever ends it meanwhile: a FIN behind a part of what was sent would say that this was all. */
static void close_amid_the_clear_part_is_no_orderly_end(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	probe->connection = narrow;
	probe->data = send_and_start;
	sttcp_server *server = probe_listen(probe, NULL);
	int fd = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(fd, "go"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	sttcp_conn_counts counts;

	assert_non_null(conn);
	EVENTUALLY(sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 && counts.queued > 0);
	EVENTUALLY(stt_secure_of(conn));
	sttcp_conn_close(conn);
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ECLOSED);
	assert_int_equal(peer_end(fd), -ECONNRESET);
	sttcp_conn_unref(conn);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

struct waiter {
	pthread_t thread;
	sttcp_conn *conn;
	size_t size;
	_Atomic int tid;
	_Atomic int result;
};

static void *send_and_wait(void *argument)
{
	struct waiter *waiter = argument;

	waiter->tid = (int)syscall(SYS_gettid);
	waiter->result = sttcp_conn_send(waiter->conn, long_text, waiter->size);
	return NULL;
}

static void wait_in_line(struct waiter *waiter, sttcp_conn *conn, size_t size)
{
	waiter->conn = conn;
	waiter->size = size;
	waiter->tid = 0;
	assert_int_equal(pthread_create(&waiter->thread, NULL, send_and_wait, waiter), 0);
	EVENTUALLY(waiter->tid && thread_sleeps(waiter->tid));
}

static struct event may_start = EVENT_INIT;

static bool wait_and_start(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	event_wait(&may_start, 1);
	started = sttcp_conn_start_tls(conn, stage_shared_server(), NULL);
	event_raise(&start_done);
	return true;
}

/* Sends that an end turns away were to leave in the clear, and never will. Nobody may wait for
 * them, least of all under the lock. */
static void senders_that_are_turned_away_are_not_waited_for(void **state)
{
	static char got[LONG];
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	struct waiter first, second;

	(void)state;
	begin();
	may_start = fresh;
	fill_pattern(long_text, sizeof(long_text), 4);
	probe->connection = narrow;
	probe->data = wait_and_start;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.send_queue_max = 20000));
	int fd = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(fd, "go"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	wait_in_line(&first, conn, LONG);
	wait_in_line(&second, conn, 1000);
	event_raise(&may_start);
	EVENTUALLY(stt_secure_of(conn));
	nap_ms(50);
	/* As an end does it, with the last byte before the handler's thread has seen the end. */
	stt_lock(&conn->output.lock);
	stt_line_turn_away_locked(&conn->output, STTCP_ECLOSED);
	for (size_t at = 0; at < LONG; at += 1000) {
		size_t size = LONG - at < 1000 ? LONG - at : 1000;

		assert_true(peer_recv(fd, got + at, size));
		stt_output_flush_locked(&conn->output);
	}
	stt_unlock(&conn->output.lock);
	sttcp_conn_close(conn);
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	assert_memory_equal(got, long_text, LONG);
	assert_int_equal(first.result, 0);
	assert_int_equal(second.result, STTCP_ECLOSED);
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ECLOSED);
	sttcp_conn_unref(conn);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G8: at max_threads, where this case is the monitor. */
static void handshake_of_a_silent_peer_makes_room_for_others(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	atomic_store(&starter, NULL);
	sttcp_server *server = serve(probe);
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "STARTTLS\n"));
	assert_true(peer_expect(fd, "go ahead\n"));
	EVENTUALLY(atomic_load(&starter) && (atomic_load(&starter)->wait.number & 1));

	struct stt_wait *wait = &atomic_load(&starter)->wait;

	atomic_store(&wait->unwanted, atomic_load(&wait->number));
	stt_waker_wake(atomic_load(&wait->waker));
	assert_true(event_wait(&start_done, 1));
	assert_int_equal(started, STTCP_ELIMIT);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ELIMIT);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_lines_turn_into_tls),
		cmocka_unit_test(plain_line_behind_starttls_is_no_line),
		cmocka_unit_test(hello_behind_starttls_is_the_first_of_tls),
		cmocka_unit_test(line_behind_the_handshake_is_delivered),
		cmocka_unit_test(both_sides_are_of_the_library),
		cmocka_unit_test(handshake_that_does_not_come_has_a_limit),
		cmocka_unit_test(stop_ends_the_wait),
		cmocka_unit_test(calls_elsewhere_are_refused),
		cmocka_unit_test(refusal_changes_nothing_and_says_why),
		cmocka_unit_test(queue_leaves_in_the_clear_first),
		cmocka_unit_test(close_amid_the_clear_part_is_no_orderly_end),
		cmocka_unit_test(senders_that_are_turned_away_are_not_waited_for),
		cmocka_unit_test(handshake_of_a_silent_peer_makes_room_for_others),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
