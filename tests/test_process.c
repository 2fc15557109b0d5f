/* SPDX-License-Identifier: MIT */
/* G17, the process around the library: descriptors, signals of its threads, SIGPIPE, fork, and
 * leaving main. Each case runs in a process of its own. */
#include "support/echo.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

/* Children of a process with threads make threads of their own here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	event_raise(&inside);
	event_wait(&gate, 1);
}

/* ------------------------------------------------------------- close-on-exec */

/* Calls `fn` with every descriptor or task number in the folder. */
static void for_numbers_in(const char *path, void (*fn)(int number, void *argument), void *argument)
{
	DIR *dir = opendir(path);

	CHECK(dir);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		int number = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && number != dirfd(dir))
			fn(number, argument);
	}
	closedir(dir);
}

struct known {
	bool fd[1024];
	int found;
};

static void note_fd(int fd, void *argument)
{
	struct known *known = argument;

	if (fd < 1024)
		known->fd[fd] = true;
}

static void check_cloexec(int fd, void *argument)
{
	struct known *known = argument;

	if (fd < 1024 && known->fd[fd])
		return;
	known->found++;
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static int look_at_descriptors(void)
{
	static struct known before;

	for_numbers_in("/proc/self/fd", note_fd, &before);
	sttcp_server *server = echo_server(NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", sttcp_server_port(server), NULL);
	CHECK(sttcp_client_start(client) == 0);
	for (int64_t until = now_ms() + DEADLINE_MS; sttcp_server_count(server) < 1;) {
		CHECK(now_ms() < until);
		nap_ms(1);
	}
	for_numbers_in("/proc/self/fd", check_cloexec, &before);
	CHECK(before.found >= 4); /* a loop, a listener, two ends */
	sttcp_client_free(client);
	sttcp_server_free(server);
	return 0;
}

static void every_descriptor_is_close_on_exec(void **state)
{
	(void)state;
	assert_int_equal(process_run("look_at_descriptors"), 0);
}

/* ------------------------------------------------------------ threads, signals */

static int look_at_signals(void)
{
	struct sigaction before[65];
	struct sigaction after;
	sigset_t mask_before;
	sigset_t mask_after;
	int peers[20];

	memset(before, 0, sizeof(before));
	for (int i = 1; i <= 64; i++)
		sigaction(i, NULL, &before[i]);
	pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block) == 0);
	CHECK(sttcp_server_start(server) == 0);
	for (int i = 0; i < 20; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "x"));
	}
	CHECK(event_wait(&inside, 20));
	event_raise(&gate);
	for (int i = 0; i < 20; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	for (int i = 1; i <= 64; i++) {
		memset(&after, 0, sizeof(after));
		if (sigaction(i, NULL, &after) == 0)
			CHECK(after.sa_handler == before[i].sa_handler);
	}
	pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
	for (int i = 1; i <= 64; i++)
		CHECK(sigismember(&mask_before, i) == sigismember(&mask_after, i));
	return 0;
}

static void no_disposition_and_no_mask_is_touched(void **state)
{
	(void)state;
	assert_int_equal(process_run("look_at_signals"), 0);
}

static atomic_bool hammering;

static void *broadcast_on(void *server)
{
	static char data[20000];

	while (atomic_load(&hammering))
		sttcp_server_broadcast(server, data, sizeof(data));
	return NULL;
}

/* With SIGPIPE's default action, which kills. */
static int send_to_the_dead(void)
{
	pthread_t thread;

	signal(SIGPIPE, SIG_DFL);
	sttcp_server *server = echo_server(NULL);
	atomic_store(&hammering, true);
	CHECK(pthread_create(&thread, NULL, broadcast_on, server) == 0);
	for (int i = 0; i < 300; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		CHECK(peer >= 0);
		peer_say(peer, "x");
		if (i % 3 == 0)
			nap_ms(1);
		if (i % 2 == 0)
			peer_reset(peer);
		else
			peer_close(peer);
	}
	atomic_store(&hammering, false);
	pthread_join(thread, NULL);
	sttcp_server_free(server);
	return 0;
}

static void sigpipe_never_reaches_the_program(void **state)
{
	(void)state;
	assert_int_equal(process_run("send_to_the_dead"), 0);
}

/* ---------------------------------------------------------------------- fork */

static void nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void check_foreign_server(sttcp_server *server)
{
	sttcp_stats stats;
	sttcp_stop_report report;

	CHECK(sttcp_server_start(server) == STTCP_EFORK);
	CHECK(sttcp_server_stop(server) == STTCP_EFORK);
	CHECK(sttcp_server_close(server) == STTCP_EFORK);
	CHECK(sttcp_server_stop_within(server, 0, &report) == STTCP_EFORK);
	CHECK(sttcp_server_wait(server, 0) == STTCP_EFORK);
	CHECK(sttcp_server_keep_alive(server) == STTCP_EFORK);
	CHECK(sttcp_server_port(server) == STTCP_EFORK);
	CHECK(sttcp_server_add_address(server, "127.0.0.1", 0) == STTCP_EFORK);
	CHECK(sttcp_server_add_listener(server, 0) == STTCP_EFORK);
	CHECK(!sttcp_server_address(server, 0));
	CHECK(sttcp_server_on_receive(server, echo) == STTCP_EFORK);
	CHECK(sttcp_server_set_context(server, NULL) == STTCP_EFORK);
	CHECK(sttcp_server_broadcast(server, "x", 1) == STTCP_EFORK);
	CHECK(sttcp_server_broadcast_except(server, NULL, "x", 1) == STTCP_EFORK);
	CHECK(sttcp_server_each(server, nothing, NULL) == STTCP_EFORK);
	CHECK(sttcp_server_count(server) == STTCP_EFORK);
	CHECK(sttcp_server_send_room(server, "red", NULL, "x", 1) == STTCP_EFORK);
	CHECK(sttcp_server_send_room_message(server, "red", NULL, "x", 1) == STTCP_EFORK);
	CHECK(sttcp_server_each_in(server, "red", nothing, NULL) == STTCP_EFORK);
	CHECK(sttcp_server_count_in(server, "red") == STTCP_EFORK);
	CHECK(!sttcp_server_find(server, 1));
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == STTCP_EFORK);
	sttcp_server_free(server);
	sttcp_server_free(server);
}

static void check_foreign_client(sttcp_client *client)
{
	CHECK(sttcp_client_start(client) == STTCP_EFORK);
	CHECK(sttcp_client_stop(client) == STTCP_EFORK);
	CHECK(sttcp_client_close(client) == STTCP_EFORK);
	CHECK(sttcp_client_wait(client, 0) == STTCP_EFORK);
	CHECK(sttcp_client_keep_alive(client) == STTCP_EFORK);
	CHECK(sttcp_client_set_context(client, NULL) == STTCP_EFORK);
	CHECK(!sttcp_client_conn(client));
	sttcp_client_free(client);
}

static void no_task(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void check_foreign_conn(sttcp_conn *conn)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;

	CHECK(sttcp_conn_send(conn, "bad", 3) == STTCP_EFORK);
	CHECK(sttcp_conn_try_send(conn, "bad", 3) == STTCP_EFORK);
	CHECK(sttcp_conn_sendv(conn, &part, 1) == STTCP_EFORK);
	CHECK(sttcp_conn_try_sendv(conn, &part, 1) == STTCP_EFORK);
	CHECK(sttcp_conn_try_send_message(conn, "bad", 3) == STTCP_EFORK);
	CHECK(sttcp_conn_sendv_message(conn, &part, 1) == STTCP_EFORK);
	CHECK(sttcp_conn_sendf(conn, "bad") == STTCP_EFORK);
	CHECK(sttcp_conn_on_message(conn, NULL, NULL) == STTCP_EFORK);
	CHECK(sttcp_conn_recv_exactly(conn, &counts, 1, 0) == STTCP_EFORK);
	CHECK(sttcp_conn_next_size(conn, 0) == STTCP_EFORK);
	CHECK(sttcp_conn_flush(conn) == STTCP_EFORK);
	CHECK(sttcp_conn_close(conn) == STTCP_EFORK);
	CHECK(sttcp_conn_abort(conn) == STTCP_EFORK);
	CHECK(sttcp_conn_fail(conn, 0, "bad") == STTCP_EFORK);
	CHECK(sttcp_conn_shutdown(conn) == STTCP_EFORK);
	CHECK(sttcp_conn_detach(conn) == STTCP_EFORK);
	CHECK(sttcp_conn_join(conn, "red") == STTCP_EFORK);
	CHECK(sttcp_conn_leave(conn, "red") == STTCP_EFORK);
	CHECK(sttcp_conn_run(conn, no_task, NULL, NULL) == STTCP_EFORK);
	CHECK(sttcp_conn_after(conn, 0, no_task, NULL, NULL) == STTCP_EFORK);
	CHECK(sttcp_conn_every(conn, 1, no_task, NULL, NULL) == STTCP_EFORK);
	CHECK(sttcp_conn_cancel(conn, 1) == STTCP_EFORK);
	CHECK(sttcp_conn_stats(conn, &counts, sizeof(counts)) == STTCP_EFORK);
	CHECK(!sttcp_conn_is_open(conn));
	CHECK(!sttcp_conn_stopping(conn));
	CHECK(!sttcp_conn_server(conn));
	CHECK(!sttcp_conn_client(conn));
	sttcp_conn_unref(conn);
	sttcp_conn_unref(conn);
}

/* The parent's objects answer with a code and touch nothing; new ones work in both. */
static int fork_with_everything_running(void)
{
	sttcp_server *server = echo_server(NULL);
	int port = sttcp_server_port(server);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);
	sttcp_conn *conn = NULL;

	CHECK(sttcp_client_start(client) == 0);
	for (int64_t until = now_ms() + DEADLINE_MS; !conn; nap_ms(1)) {
		CHECK(now_ms() < until);
		conn = sttcp_client_conn(client);
	}
	for (int round = 0; round < 3; round++) {
		pid_t pid = process_fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			check_foreign_conn(conn);
			check_foreign_server(server);
			check_foreign_client(client);
			CHECK(sttcp_keep_alive() == -EINVAL); /* nothing of the child's own */
			sttcp_server *own = echo_server(NULL);
			check_echo(sttcp_server_port(own));
			sttcp_client *other =
				sttcp_client_new("127.0.0.1", sttcp_server_port(own), NULL);
			CHECK(sttcp_client_start(other) == 0);
			CHECK(sttcp_client_close(other) == 0);
			sttcp_client_free(other);
			CHECK(sttcp_server_stop(own) == 0);
			sttcp_server_free(own);
			_exit(0);
		}
		CHECK(process_wait_pid(pid) == 0);
		CHECK(sttcp_conn_is_open(conn)); /* the parent's are as they were */
		CHECK(sttcp_conn_send(conn, "good", 4) == 0);
		check_echo(port);
	}
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	return 0;
}

static void fork_leaves_the_parents_objects_alone(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_with_everything_running"), 0);
}

/* A fork with objects that were made and not started, and an engine that never ran. */
static int fork_before_the_first_start(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	pid_t pid = process_fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(sttcp_server_start(server) == STTCP_EFORK);
		sttcp_server *own = echo_server(NULL);
		check_echo(sttcp_server_port(own));
		sttcp_server_free(own);
		_exit(0);
	}
	CHECK(process_wait_pid(pid) == 0);
	CHECK(sttcp_server_start(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void fork_before_the_first_start_is_fine(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_before_the_first_start"), 0);
}

/* Nor was any other object made before. */
static int fork_with_one_object(sttcp_tls *tls)
{
	pid_t pid = process_fork();

	CHECK(tls && pid >= 0);
	if (pid == 0) {
		CHECK(sttcp_tls_set_alpn(tls, "h2") == STTCP_EFORK);
		CHECK(sttcp_tls_reload(tls) == STTCP_EFORK);
		CHECK(!sttcp_tls_error(tls));
		CHECK(sttcp_tls_ref(tls) == tls);
		sttcp_tls_unref(tls);
		_exit(0);
	}
	CHECK(process_wait_pid(pid) == 0);
	sttcp_tls_unref(tls);
	return 0;
}

static int fork_with_a_tls_server(void)
{
	return fork_with_one_object(sttcp_tls_server("none.pem", NULL));
}

static int fork_with_a_tls_client(void)
{
	return fork_with_one_object(sttcp_tls_client());
}

static void fork_with_nothing_but_a_tls_object_is_noticed(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_with_a_tls_server"), 0);
	assert_int_equal(process_run("fork_with_a_tls_client"), 0);
}

/* -------------------------------------------------------------- leaving main */

static int leave_with_servers_running(void)
{
	static sttcp_server *servers[2];
	static sttcp_client *client;

	servers[0] = echo_server(NULL);
	servers[1] = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(servers[1], block) == 0);
	CHECK(sttcp_server_start(servers[1]) == 0);
	for (int i = 0; i < 8; i++) { /* some handlers are blocked, some busy */
		int peer = peer_connect(sttcp_server_port(servers[1]));

		CHECK(peer_say(peer, "x"));
	}
	CHECK(event_wait(&inside, 8));
	client = sttcp_client_new("127.0.0.1", sttcp_server_port(servers[0]), NULL);
	CHECK(sttcp_client_start(client) == 0);
	for (int i = 0; i < 8; i++)
		CHECK(peer_say(peer_connect(sttcp_server_port(servers[0])), "x"));
	return 0;
}

/* Leaving main with servers running is no crash. */
static void leaving_main_is_exit_status_0(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(process_run("leave_with_servers_running"), 0);
}

static const struct child children[] = {
	{"look_at_descriptors", look_at_descriptors},
	{"look_at_signals", look_at_signals},
	{"send_to_the_dead", send_to_the_dead},
	{"fork_with_everything_running", fork_with_everything_running},
	{"fork_before_the_first_start", fork_before_the_first_start},
	{"fork_with_a_tls_server", fork_with_a_tls_server},
	{"fork_with_a_tls_client", fork_with_a_tls_client},
	{"leave_with_servers_running", leave_with_servers_running},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_descriptor_is_close_on_exec),
		cmocka_unit_test(no_disposition_and_no_mask_is_touched),
		cmocka_unit_test(sigpipe_never_reaches_the_program),
		cmocka_unit_test(fork_leaves_the_parents_objects_alone),
		cmocka_unit_test(fork_before_the_first_start_is_fine),
		cmocka_unit_test(fork_with_nothing_but_a_tls_object_is_noticed),
		cmocka_unit_test(leaving_main_is_exit_status_0),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
