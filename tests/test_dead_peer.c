/* SPDX-License-Identifier: MIT */
/*
 * G14: a peer that has vanished is found in about dead_peer_timeout_ms, while
 * nothing is under way and while something is; one that answers is alive,
 * however long its window is shut. Each case is a process with a network of its
 * own, whose link goes away; all of them run at the same time.
 */
#include "support/support.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	LIMIT_MS = 3000, /* the smallest */
	/* A third, a tick, and what a busy machine is late by; the kernel alone needs minutes. */
	LATE_MS = 10000,
	MIXED_PORT = 7001, /* of a network namespace of its own */
	SKIPPED = 77
};

static bool set_link(bool up)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool set = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0;

	lo.ifr_flags = (short)(up ? lo.ifr_flags | IFF_UP : lo.ifr_flags & ~IFF_UP);
	set = set && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	close(fd);
	return set;
}

/* As root, or as anybody where that is allowed. */
static void enter_network(void)
{
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		_exit(SKIPPED);
	if (!set_link(true))
		_exit(SKIPPED);
}

/* -------------------------------------------------------------------- children */

static struct event opened = EVENT_INIT, ended = EVENT_INIT;
static atomic_int end_reason;
static sttcp_conn *_Atomic the_conn;

static bool note_connection(sttcp_conn *conn, void *context)
{
	(void)context;
	atomic_store(&the_conn, sttcp_conn_ref(conn));
	event_raise(&opened);
	return true;
}

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	atomic_store(&end_reason, reason);
	event_raise(&ended);
}

static void answer_much(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	static char bytes[200 * 1024];

	(void)data;
	(void)size;
	(void)context;
	CHECK(sttcp_conn_send(conn, bytes, sizeof(bytes)) == 0);
}

static const sttcp_options limits = {.size = sizeof(limits),
				     .dead_peer_timeout_ms = LIMIT_MS,
				     .write_timeout_ms = -1,
				     .send_queue_max = 1 << 26};

/* A server's connection, and the other end of it. */
static int open_server_with(const sttcp_options *options, sttcp_receive_handler handler)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	CHECK(sttcp_server_on_connection(server, note_connection) == 0);
	CHECK(sttcp_server_on_receive(server, handler) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);

	int peer = peer_connect_narrow(sttcp_server_port(server));

	CHECK(peer >= 0 && event_wait(&opened, 1));
	return peer;
}

static int open_server(sttcp_receive_handler handler)
{
	return open_server_with(&limits, handler);
}

static int open_client(void)
{
	int port = 0;
	int listener = peer_listen(&port, 4);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, &limits);

	CHECK(sttcp_client_on_connection(client, note_connection) == 0);
	CHECK(sttcp_client_on_disconnection(client, note_end) == 0);
	CHECK(sttcp_client_start(client) == 0);

	int peer = peer_accept(listener);

	CHECK(peer >= 0 && event_wait(&opened, 1));
	return peer;
}

/* `least_ms`: what an answer that may have come just before leaves of the limit. */
static int expect_death(int64_t cut_ms, int least_ms)
{
	CHECK(event_wait_ms(&ended, 1, LIMIT_MS + LATE_MS));
	CHECK(atomic_load(&end_reason) == STTCP_EDEAD_PEER);
	CHECK(now_ms() - cut_ms >= least_ms);
	return 0;
}

static int64_t cut(void)
{
	CHECK(set_link(false));
	return now_ms();
}

static void send_by_main(size_t size)
{
	char *bytes = calloc(1, size);

	CHECK(sttcp_conn_send(atomic_load(&the_conn), bytes, size) == 0);
	free(bytes);
}

static int idle_dies(void)
{
	enter_network();
	open_server(answer_much);
	return expect_death(cut(), LIMIT_MS / 2);
}

static int idle_client_dies(void)
{
	enter_network();
	open_client();
	return expect_death(cut(), LIMIT_MS / 2);
}

/* By main, and not after anything was sent on it before. */
static int with_bytes_under_way_dies(void)
{
	enter_network();
	open_server(answer_much);
	int64_t at = cut();

	send_by_main(5);
	return expect_death(at, LIMIT_MS / 2);
}

/* Of a server whose own address is a Unix path. */
static int beside_a_unix_path_dies(void)
{
	char path[64];

	snprintf(path, sizeof(path), "unix:@sttcp-dead-%d", (int)getpid());
	enter_network();

	sttcp_server *server = sttcp_server_new(path, 0, &limits);

	CHECK(sttcp_server_add_address(server, "127.0.0.1", MIXED_PORT) == 0);
	CHECK(sttcp_server_on_connection(server, note_connection) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	CHECK(peer_connect(MIXED_PORT) >= 0 && event_wait(&opened, 1));
	int64_t at = cut();

	send_by_main(5);
	return expect_death(at, LIMIT_MS / 2);
}

/* More than the kernel takes, and nobody reads; then the link goes. */
static int with_a_queue_dies(void)
{
	enter_network();
	open_server(answer_much);
	send_by_main(8 << 20);
	nap_ms(LIMIT_MS / 2);
	return expect_death(cut(), LIMIT_MS / 3);
}

static int client_with_bytes_under_way_dies(void)
{
	enter_network();
	open_client();
	int64_t at = cut();

	send_by_main(5);
	return expect_death(at, LIMIT_MS / 2);
}

/* Sent by the handler, on the loop: the alarm is set there. */
static int answer_under_way_dies(void)
{
	enter_network();
	int peer = open_server(answer_much);

	CHECK(peer_say(peer, "?"));
	/* Some of it arrives, the rest waits for the closed window. */
	EVENTUALLY(atomic_load(&the_conn));
	sttcp_conn_counts counts = {0};

	while (counts.messages_out < 1)
		CHECK(sttcp_conn_stats(atomic_load(&the_conn), &counts, sizeof(counts)) == 0);
	return expect_death(cut(), LIMIT_MS / 3);
}

/* ------------------------------------------------- handlers that send to the dead */

/* The handler runs off the ready list, and nothing happens on the loop after that. */
static int answered_off_the_list_dies(void)
{
	enter_network();
	int peer = open_server(answer_much);
	sttcp_conn_counts counts = {0};

	CHECK(sttcp_conn_pause(atomic_load(&the_conn)) == 0);
	CHECK(peer_say(peer, "?"));
	int there = 0;

	while (!there)
		CHECK(ioctl(sttcp_conn_fd(atomic_load(&the_conn)), FIONREAD, &there) == 0);
	CHECK(sttcp_conn_resume(atomic_load(&the_conn)) == 0);
	while (counts.messages_out < 1)
		CHECK(sttcp_conn_stats(atomic_load(&the_conn), &counts, sizeof(counts)) == 0);
	return expect_death(cut(), LIMIT_MS / 3);
}

static struct event returned = EVENT_INIT;
static atomic_int waited_for;

static int expect_return(void)
{
	CHECK(event_wait_ms(&returned, 1, LIMIT_MS + LATE_MS));
	CHECK(atomic_load(&waited_for) == STTCP_EDEAD_PEER);
	return expect_death(now_ms(), 0);
}

static void ask_and_wait(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char answer;

	(void)data;
	(void)size;
	(void)context;
	CHECK(set_link(false));
	CHECK(sttcp_conn_send(conn, "and you?", 8) == 0);
	atomic_store(&waited_for, (int)sttcp_conn_recv(conn, &answer, 1, -1));
	event_raise(&returned);
}

/* A handler that waits for the answer learns of it, too. */
static int waited_for_by_its_handler_dies(void)
{
	enter_network();
	int peer = open_server(ask_and_wait);

	CHECK(peer_say(peer, "?"));
	return expect_return();
}

static void send_and_wait(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	static char bytes[1 << 20];
	const int narrow = 32 * 1024;

	(void)data;
	(void)size;
	(void)context;
	CHECK(setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &narrow, sizeof(narrow)) == 0);
	CHECK(set_link(false));
	atomic_store(&waited_for, sttcp_conn_send(conn, bytes, sizeof(bytes)));
	event_raise(&returned);
}

/* And so does one that waits for room. */
static int sent_to_by_its_handler_dies(void)
{
	static const sttcp_options small = {.size = sizeof(small),
					    .dead_peer_timeout_ms = LIMIT_MS,
					    .write_timeout_ms = -1,
					    .send_queue_max = 64 * 1024};

	enter_network();
	int peer = open_server_with(&small, send_and_wait);

	CHECK(peer_say(peer, "?"));
	return expect_return();
}

/* Quiet looks come to an end, and a later send begins anew. */
static int after_a_quiet_time_dies(void)
{
	enter_network();
	int peer = open_server(answer_much);
	char got[5];

	send_by_main(5);
	CHECK(peer_recv(peer, got, 5));
	nap_ms(LIMIT_MS * 3 / 2);
	int64_t at = cut();

	send_by_main(5);
	return expect_death(at, LIMIT_MS / 2);
}

/* A live peer that reads nothing for ten times the limit: then all bytes arrive. */
static int shut_window_lives(void)
{
	enum {
		SIZE = 8 << 20
	};
	enter_network();
	int peer = open_server(answer_much);
	size_t bytes = 0;

	send_by_main(SIZE);
	CHECK(!event_wait_ms(&ended, 1, 10 * LIMIT_MS));
	sttcp_conn_close(atomic_load(&the_conn));
	CHECK(peer_drain(peer, &bytes) == 0);
	CHECK(bytes == SIZE);
	CHECK(event_wait(&ended, 1));
	CHECK(atomic_load(&end_reason) == STTCP_ECLOSED);
	return 0;
}

/* The same, with all of it in the kernel's buffers and nothing queued. */
static int shut_window_with_an_empty_queue_lives(void)
{
	enum {
		SIZE = 200 * 1024
	};
	enter_network();
	int peer = open_server(answer_much);
	size_t bytes = 0;

	send_by_main(SIZE);
	CHECK(!event_wait_ms(&ended, 1, 10 * LIMIT_MS));
	sttcp_conn_close(atomic_load(&the_conn));
	CHECK(peer_drain(peer, &bytes) == 0);
	CHECK(bytes == SIZE);
	return 0;
}

static const struct child children[] = {
	{"idle_dies", idle_dies},
	{"idle_client_dies", idle_client_dies},
	{"with_bytes_under_way_dies", with_bytes_under_way_dies},
	{"with_a_queue_dies", with_a_queue_dies},
	{"client_with_bytes_under_way_dies", client_with_bytes_under_way_dies},
	{"answer_under_way_dies", answer_under_way_dies},
	{"answered_off_the_list_dies", answered_off_the_list_dies},
	{"waited_for_by_its_handler_dies", waited_for_by_its_handler_dies},
	{"sent_to_by_its_handler_dies", sent_to_by_its_handler_dies},
	{"after_a_quiet_time_dies", after_a_quiet_time_dies},
	{"beside_a_unix_path_dies", beside_a_unix_path_dies},
	{"shut_window_lives", shut_window_lives},
	{"shut_window_with_an_empty_queue_lives", shut_window_with_an_empty_queue_lives},
	{NULL, NULL},
};

/* -------------------------------------------------------------------- parent */

static void run(int from, int to)
{
	struct process processes[sizeof(children) / sizeof(children[0])];
	bool skipped = false;

	for (int i = from; i < to; i++)
		assert_true(process_start(&processes[i], children[i].name));
	/* Longer than a process is waited for. */
	nap_ms(to - from < 3 ? 9 * LIMIT_MS : 0);
	for (int i = from; i < to; i++) {
		int status = process_wait(&processes[i]);

		skipped |= status == SKIPPED;
		if (status != 0 && status != SKIPPED)
			fail_msg("%s: %d", children[i].name, status);
	}
	if (skipped) {
		print_message("no network namespaces here\n");
		skip();
	}
}

static void a_vanished_peer_is_found(void **state)
{
	(void)state;
	run(0, 11);
}

static void a_peer_behind_a_shut_window_lives(void **state)
{
	(void)state;
	run(11, 13);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vanished_peer_is_found),
		cmocka_unit_test(a_peer_behind_a_shut_window_lives),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
