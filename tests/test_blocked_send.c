/* SPDX-License-Identifier: MIT */
/* G9: a send that waits for room comes back when its connection is closed under it: by a forced
 * stop, by free, by a client's drain limit, whatever the peer does meanwhile. */
#include "conn/conn.h"
#include "support/support.h"

#include <sys/socket.h>

enum {
	DRAIN_MS = 300,
	/* Ten of them are more than the tests' deadline. */
	WRITE_MS = 3000,
	LARGE = 256 * 1024 * 1024
};

/* A peer that reads, and slowly, so that nothing comes to an end by itself. */
struct reader {
	int fd;
	atomic_int result;
	atomic_bool stops;
	pthread_t thread;
};

static void *read_slowly(void *argument)
{
	struct reader *reader = argument;
	static _Thread_local char bytes[4096];

	while (!atomic_load(&reader->stops)) {
		ssize_t got = recv(reader->fd, bytes, sizeof(bytes), 0);

		if (got <= 0) {
			atomic_store(&reader->result, got ? -errno : 0);
			break;
		}
		nap_ms(2);
	}
	return NULL;
}

static void reader_begin(struct reader *reader, int fd)
{
	assert_true(fd >= 0);
	*reader = (struct reader){.fd = fd};
	atomic_store(&reader->result, 1);
	assert_int_equal(pthread_create(&reader->thread, NULL, read_slowly, reader), 0);
}

static void reader_end(struct reader *reader)
{
	atomic_store(&reader->stops, true);
	shutdown(reader->fd, SHUT_RDWR);
	pthread_join(reader->thread, NULL);
	peer_close(reader->fd);
}

/* A send of more than anybody will read, on a thread of the user's. */
struct sender {
	sttcp_conn *conn;
	char *bytes;
	size_t size;
	int result;
	struct event begins;
	struct event back;
	pthread_t thread;
};

static void *send_large(void *argument)
{
	struct sender *sender = argument;

	event_raise(&sender->begins);
	sender->result = sttcp_conn_send(sender->conn, sender->bytes, sender->size);
	event_raise(&sender->back);
	return NULL;
}

static void sender_init(struct sender *sender, sttcp_conn *conn)
{
	*sender = (struct sender){.conn = conn,
				  .bytes = calloc(1, LARGE),
				  .size = LARGE,
				  .begins = EVENT_INIT,
				  .back = EVENT_INIT};
	assert_non_null(sender->bytes);
}

static void sender_begin(struct sender *sender, sttcp_conn *conn)
{
	sender_init(sender, conn);
	assert_int_equal(pthread_create(&sender->thread, NULL, send_large, sender), 0);
	EVENTUALLY(conn_queued(conn) > 0);
}

/* It is back, with why the connection has ended; the line behind the first is, too. */
static void expect_back(struct sender *sender, int code)
{
	assert_true(event_wait(&sender->back, 1));
	pthread_join(sender->thread, NULL);
	assert_int_equal(sender->result, code);
	free(sender->bytes);
}

enum way {
	FORCED_STOP,
	FREED,
	WAYS
};

static void end_server(struct pair *pair, enum way way)
{
	if (way == FORCED_STOP) {
		sttcp_server_stop_within(pair->server, 0, NULL);
	} else {
		sttcp_server_free(pair->server);
		pair->server = NULL;
	}
}

/* The pair may have a probe already. */
static void open_pair_with(struct pair *pair, const char *path, const sttcp_options *options)
{
	char host[128];

	if (!pair->probe)
		pair->probe = probe_new();
	if (!path) {
		pair->probe->connection = narrow;
		pair_open(pair, options);
		return;
	}
	snprintf(host, sizeof(host), "unix:%s", path);
	pair->server = probe_server(pair->probe, host, 0, options);
	assert_int_equal(sttcp_server_start(pair->server), 0);
	pair->peer = peer_connect_unix(path);
	EVENTUALLY(sttcp_server_count(pair->server) == 1);
	pair->conn = sttcp_server_find(pair->server, probe_last_id(pair->probe));
	assert_non_null(pair->conn);
}

/* Nothing but the end that is tested brings a sender back: not a stall, either, and on a busy
 * machine the peer may not come to read for long. */
static void open_pair(struct pair *pair, const char *path)
{
	open_pair_with(pair, path, STTCP_OPTIONS(.write_timeout_ms = -1));
}

static void check_senders_come_back(enum way way, const char *path)
{
	struct sender first, second;
	struct reader reader;
	struct pair pair = {0};

	open_pair(&pair, path);
	reader_begin(&reader, pair.peer);
	sender_begin(&first, pair.conn);
	sender_begin(&second, pair.conn);
	end_server(&pair, way);
	expect_back(&first, STTCP_ESTOPPED);
	expect_back(&second, STTCP_ESTOPPED);
	assert_int_equal(conn_queued(pair.conn), 0);
	/* What was cut is no message that came to its end. */
	if (!path)
		EVENTUALLY(atomic_load(&reader.result) == -ECONNRESET);
	reader_end(&reader);
	sttcp_conn_unref(pair.conn);
	if (pair.server)
		sttcp_server_free(pair.server);
	probe_free(pair.probe);
}

static void senders_come_back_from_a_forced_end(void **state)
{
	(void)state;
	check_senders_come_back(FORCED_STOP, NULL);
	check_senders_come_back(FREED, NULL);
}

static void senders_come_back_on_a_unix_socket(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/sttcp-waits-%d", (int)getpid());
	check_senders_come_back(FORCED_STOP, path);
	check_senders_come_back(FREED, path);
	unlink(path);
}

/* The sender is a handler of another server's. */
static bool send_on_the_other(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	send_large(probe->extra);
	return true;
}

static void call_sender(struct pair *caller, struct sender *sender)
{
	caller->probe->data = send_on_the_other;
	caller->probe->extra = sender;
	pair_open(caller, NULL);
	assert_true(peer_say(caller->peer, "go"));
}

/* The reader has the victim's peer. */
static void close_both(struct pair *victim, struct pair *caller, struct reader *reader,
		       struct sender *sender)
{
	pair_close(caller);
	reader_end(reader);
	pair_close(&(struct pair){.probe = victim->probe,
				  .server = victim->server,
				  .conn = victim->conn,
				  .peer = -1});
	free(sender->bytes);
}

static void a_handler_comes_back_from_a_send_elsewhere(void **state)
{
	struct pair victim = {0}, caller = {.probe = probe_new()};
	struct sender sender;
	struct reader reader;

	(void)state;
	open_pair(&victim, NULL);
	reader_begin(&reader, victim.peer);
	sender_init(&sender, victim.conn);
	call_sender(&caller, &sender);
	EVENTUALLY(conn_queued(victim.conn) > 0);
	end_server(&victim, FORCED_STOP);
	assert_true(event_wait(&sender.back, 1));
	assert_int_equal(sender.result, STTCP_ESTOPPED);
	close_both(&victim, &caller, &reader, &sender);
}

static bool send_on_itself(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct sender *sender = probe->extra;

	(void)data;
	(void)size;
	sender->conn = conn;
	send_large(sender);
	return true;
}

/* Of the connection itself: its last handler cannot be waited for before its time runs. */
static void a_handler_comes_back_from_a_send_of_its_own(void **state)
{
	struct sender sender;
	struct reader reader;
	struct pair pair = {.probe = probe_new()};

	(void)state;
	sender_init(&sender, NULL);
	pair.probe->data = send_on_itself;
	pair.probe->extra = &sender;
	open_pair_with(&pair, NULL, STTCP_OPTIONS(.write_timeout_ms = WRITE_MS));
	assert_true(peer_say(pair.peer, "go"));
	EVENTUALLY(conn_queued(pair.conn) > 0);
	reader_begin(&reader, pair.peer);
	sttcp_server_stop_within(pair.server, 0, NULL);
	assert_true(event_wait(&sender.back, 1));
	assert_int_equal(sender.result, STTCP_ESTOPPED);
	pair.peer = -1;
	pair_close(&pair);
	reader_end(&reader);
	free(sender.bytes);
}

/* The handler's own connection is ended by force, and not the one that it sends on: a send that
 * waits behind another comes back, one that has begun when its peer has had its time. */
enum victim {
	OPEN,
	WITH_A_LINE, /* another one sends, too */
	CLOSED	     /* and has more time for its flush */
};

/* Whether the send was still there by then: it has its limit, and its reader may have no CPU. */
static bool handler_is_ended(int write_timeout_ms, enum victim kind)
{
	bool waits_behind = kind == WITH_A_LINE;
	struct pair victim = {0}, caller = {.probe = probe_new()};
	struct sender first, sender, last;
	struct reader reader;

	open_pair_with(&victim, NULL, STTCP_OPTIONS(.write_timeout_ms = write_timeout_ms));
	reader_begin(&reader, victim.peer);
	if (waits_behind)
		sender_begin(&first, victim.conn);
	sender_init(&sender, victim.conn);
	call_sender(&caller, &sender);
	if (waits_behind)
		assert_true(event_wait(&sender.begins, 1));
	else
		EVENTUALLY(conn_queued(victim.conn) > 0 || event_count(&sender.back) > 0);
	/* Past the time for which a send waits before it is let into the queue. */
	nap_ms(50);
	if (kind == CLOSED)
		sttcp_conn_close(victim.conn);
	bool in_time = event_count(&sender.back) == 0;

	sttcp_server_stop_within(caller.server, 0, NULL);
	assert_true(event_wait(&sender.back, 1));
	if (waits_behind) {
		assert_int_equal(sender.result, STTCP_ESTOPPED);
		assert_true(sttcp_conn_is_open(victim.conn));
		/* The line has an end still, where the next one stands. */
		sender_begin(&last, victim.conn);
		nap_ms(50);
		end_server(&victim, FORCED_STOP);
		expect_back(&first, STTCP_ESTOPPED);
		expect_back(&last, STTCP_ESTOPPED);
	} else {
		assert_true(sender.result < 0);
		EVENTUALLY(!sttcp_conn_is_open(victim.conn));
		if (write_timeout_ms >= 0)
			assert_int_equal(sender.result,
					 kind == CLOSED ? STTCP_ECLOSED : STTCP_ETIME_WRITE);
	}
	close_both(&victim, &caller, &reader, &sender);
	return in_time;
}

static void check_handler_is_ended(int write_timeout_ms, enum victim kind)
{
	int64_t until = now_ms() + DEADLINE_MS;

	while (!handler_is_ended(write_timeout_ms, kind))
		assert_true(now_ms() < until);
}

static void a_handler_that_is_ended_comes_back_from_a_send_elsewhere(void **state)
{
	(void)state;
	check_handler_is_ended(-1, OPEN);
	check_handler_is_ended(300, OPEN);
	check_handler_is_ended(WRITE_MS, CLOSED);
	check_handler_is_ended(-1, WITH_A_LINE);
}

static int64_t limit_of(sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	int64_t until_ms = conn->output.flush_until_ms;

	stt_unlock(&conn->output.lock);
	return until_ms;
}

/* The limit for such a send goes with it: what a closing connection has queued besides keeps its
 * own time, and an open one has none. */
static void check_limit_goes(enum victim kind)
{
	struct pair victim = {0}, caller = {.probe = probe_new()};
	struct sender sender;
	char part[1000];
	size_t left;

	/* The limits do not pass here, so that the peer may take its time. */
	open_pair_with(&victim, NULL, STTCP_OPTIONS(.write_timeout_ms = 6 * DEADLINE_MS));
	sender_init(&sender, victim.conn);
	sender.size = left = 4 * 1024 * 1024;
	call_sender(&caller, &sender);
	EVENTUALLY(conn_queued(victim.conn) > 0);
	nap_ms(50);
	if (kind == CLOSED)
		sttcp_conn_close(victim.conn);
	int64_t before = limit_of(victim.conn);
	assert_true((before != 0) == (kind == CLOSED));
	sttcp_server_stop_within(caller.server, 0, NULL);
	EVENTUALLY(limit_of(victim.conn) && limit_of(victim.conn) != before);
	/* The send is back when what is left fits into the queue; a part of that stays in it. */
	for (; event_count(&sender.back) == 0 && left > 512 * 1024; left -= sizeof(part))
		assert_true(peer_recv(victim.peer, part, sizeof(part)));
	assert_true(event_wait(&sender.back, 1));
	assert_int_equal(sender.result, 0);
	assert_int_equal(limit_of(victim.conn), before);
	pair_close(&caller);
	pair_close(&victim);
	free(sender.bytes);
}

static void limit_of_a_send_goes_with_it(void **state)
{
	(void)state;
	check_limit_goes(OPEN);
	check_limit_goes(CLOSED);
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static bool wait_at_gate(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)conn;
	(void)data;
	(void)size;
	event_raise(&inside);
	/* Longer than the test waits for what must not wait for this. */
	return event_wait(&gate, event_count(&inside)) || event_wait(&gate, event_count(&inside));
}

/* Nor does it wait for a handler of the other connection, whose peer reads nothing. */
static void a_reset_is_seen_beside_a_handler(void **state)
{
	struct sender sender;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/sttcp-waits-%d", (int)getpid());
	for (int i = 0; i < 2; i++) {
		struct pair victim = {.probe = probe_new()};
		struct pair caller = {.probe = probe_new()};

		victim.probe->data = wait_at_gate;
		open_pair(&victim, i ? path : NULL);
		assert_true(peer_say(victim.peer, "x"));
		assert_true(event_wait(&inside, i + 1));
		sender_init(&sender, victim.conn);
		call_sender(&caller, &sender);
		EVENTUALLY(conn_queued(victim.conn) > 0);
		nap_ms(50);
		sttcp_server_stop_within(caller.server, 0, NULL);
		assert_true(event_wait(&sender.back, 1));
		assert_true(sender.result < 0);
		event_raise(&gate);
		pair_close(&caller);
		pair_close(&victim);
		free(sender.bytes);
	}
}

/* In a handler of its own, or on a thread of the user's. */
static void check_client(bool frees, bool in_handler)
{
	struct probe *probe = probe_new();
	struct sender sender;
	struct reader reader;
	int port = 0;
	int listener = peer_listen(&port, 4);
	sttcp_client *client;
	sttcp_conn *conn;

	probe->connection = narrow;
	if (in_handler) {
		sender_init(&sender, NULL);
		probe->data = send_on_itself;
		probe->extra = &sender;
	}
	client = probe_dial(probe, port, STTCP_OPTIONS(.drain_timeout_ms = DRAIN_MS));
	int peer = peer_accept(listener);

	conn = client_conn(client);
	if (in_handler) {
		assert_true(peer_say(peer, "go"));
		EVENTUALLY(conn_queued(conn) > 0);
	} else {
		sender_begin(&sender, conn);
	}
	reader_begin(&reader, peer);
	if (frees)
		sttcp_client_free(client);
	else
		sttcp_client_close(client);
	assert_true(event_wait(&sender.back, 1));
	assert_int_equal(sender.result, STTCP_EDESTROYED);
	if (!in_handler)
		pthread_join(sender.thread, NULL);
	free(sender.bytes);
	reader_end(&reader);
	sttcp_conn_unref(conn);
	if (!frees)
		sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

static void a_client_s_sender_comes_back_at_the_drain_limit(void **state)
{
	(void)state;
	check_client(false, false);
	check_client(true, false);
	check_client(false, true);
	check_client(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(senders_come_back_from_a_forced_end),
		cmocka_unit_test(senders_come_back_on_a_unix_socket),
		cmocka_unit_test(a_handler_comes_back_from_a_send_elsewhere),
		cmocka_unit_test(a_handler_comes_back_from_a_send_of_its_own),
		cmocka_unit_test(a_handler_that_is_ended_comes_back_from_a_send_elsewhere),
		cmocka_unit_test(limit_of_a_send_goes_with_it),
		cmocka_unit_test(a_reset_is_seen_beside_a_handler),
		cmocka_unit_test(a_client_s_sender_comes_back_at_the_drain_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
