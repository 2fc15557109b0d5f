/* SPDX-License-Identifier: MIT */
/* G18: the library never prints, exits or aborts on what a peer does or on a lack of files; EMFILE
 * on accept pauses accepting and heals by itself. Lack of memory and threads: test_scarcity.c;
 * what a resolver does: test_host_names.c. */
#include "support/echo.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------- EMFILE */

static atomic_int warnings;

static void count_warnings(int level, const char *text, void *context)
{
	(void)text;
	(void)context;
	if (level <= 2)
		atomic_fetch_add(&warnings, 1);
}

/* Takes all descriptors that the process may still have. */
static int take_all(int *fds, int cap)
{
	int count = 0;

	while (count < cap && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		count++;
	return count;
}

static int run_out_of_files(void)
{
	enum {
		PEERS = 100
	};
	struct rlimit limit = {400, 400};
	static int taken[512];
	int peers[PEERS];
	sttcp_stats stats;

	sttcp_set_log(count_warnings, NULL);
	sttcp_server *server = echo_server(NULL);
	int port = sttcp_server_port(server);
	int fds = count_fds();
	check_echo(port);
	for (int64_t until = now_ms() + DEADLINE_MS; count_fds() != fds; nap_ms(1))
		CHECK(now_ms() < until); /* its descriptor must not be the one that is missing */
	int before = peer_connect(port);
	CHECK(peer_say(before, "x"));
	CHECK(peer_expect(before, "x"));
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	/* The peers have their descriptors; then there is none left to accept them with. */
	for (int i = 0; i < PEERS; i++) {
		peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(peers[i] >= 0);
	}
	int ntaken = take_all(taken, 512);
	CHECK(ntaken > 0);
	for (int i = 0; i < PEERS; i++)
		CHECK(peer_connect_with(peers[i], port));
	int64_t until = now_ms() + DEADLINE_MS;
	do {
		CHECK(now_ms() < until);
		nap_ms(1);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	} while (stats.accept_pauses == 0);
	/* Who is there already is served meanwhile; nothing is started, and that is told. */
	CHECK(peer_say(before, "y"));
	CHECK(peer_expect(before, "y"));
	sttcp_server *other = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_start(other) == -EMFILE);
	CHECK(strstr(sttcp_server_error(other), "127.0.0.1"));
	sttcp_server_free(other);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);
	int started = sttcp_client_start(client);
	CHECK(started == -EMFILE ||
	      (started == 0 && sttcp_client_wait(client, DEADLINE_MS) == -EMFILE));
	sttcp_client_free(client);
	/* It backs off instead of turning in a circle. */
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	int64_t pauses = stats.accept_pauses;
	nap_ms(200);
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	CHECK(stats.accept_pauses - pauses < 150);
	CHECK(stats.total == 2);
	/* It heals by itself: all that had connected are served. */
	for (int i = 0; i < ntaken; i++)
		close(taken[i]);
	for (int i = 0; i < PEERS; i++) {
		CHECK(peer_say(peers[i], "z"));
		CHECK(peer_expect(peers[i], "z"));
		peer_close(peers[i]);
	}
	peer_close(before);
	CHECK(atomic_load(&warnings) > 0);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void accept_without_files_pauses_and_heals(void **state)
{
	(void)state;
	assert_int_equal(process_run("run_out_of_files"), 0);
}

/* Nor can the engine start: a code, and everything works once there are files again. */
static int start_without_files(void)
{
	struct rlimit limit = {64, 64};
	static int taken[128];

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	int ntaken = take_all(taken, 128);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", 9, NULL);
	CHECK(server && client);
	/* One more descriptor at a time, until it starts. */
	int result = sttcp_server_start(server);
	CHECK(result == -EMFILE);
	CHECK(sttcp_client_start(client) < 0);
	while (result < 0 && ntaken > 0) {
		CHECK(result == -EMFILE);
		CHECK(strlen(sttcp_server_error(server)) > 0);
		close(taken[--ntaken]);
		result = sttcp_server_start(server);
	}
	CHECK(result == 0);
	while (ntaken > 0)
		close(taken[--ntaken]);
	int peer = peer_connect(sttcp_server_port(server));
	CHECK(peer >= 0);
	peer_close(peer);
	sttcp_client_free(client);
	sttcp_server_free(server);
	return 0;
}

static void start_without_files_fails_and_works_later(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_without_files"), 0);
}

/* ------------------------------------------------------------- resetting peers */

static bool send_some(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char some[30000];
	uint64_t id = sttcp_conn_id(conn);

	(void)probe;
	(void)data;
	(void)size;
	if (id % 5 == 0)
		nap_ms(1);
	sttcp_conn_send(conn, some, sizeof(some) / (size_t)(1 + id % 4));
	return true;
}

struct resetter {
	pthread_t thread;
	int port;
	uint32_t random;
	long done;
};

static void *reset_at_any_moment(void *argument)
{
	struct resetter *self = argument;
	char data[3000] = {0};

	for (int i = 0; i < 150; i++) {
		int fd = peer_connect(self->port);

		if (fd < 0)
			continue;
		for (uint32_t sends = next_random(&self->random) % 4; sends > 0; sends--) {
			send(fd, data, next_random(&self->random) % sizeof(data) + 1,
			     MSG_NOSIGNAL | MSG_DONTWAIT);
			if (next_random(&self->random) % 3 == 0)
				recv(fd, data, sizeof(data), MSG_DONTWAIT);
		}
		if (next_random(&self->random) % 4 == 0)
			nap_ms(1);
		peer_reset(fd);
		self->done++;
	}
	return NULL;
}

/* Each one's end is told once, as a reset or whatever else it may be; who stays is served. */
static void peers_that_reset_at_any_moment_do_no_harm(void **state)
{
	struct resetter resetters[4];
	struct probe *probe = probe_new();

	(void)state;
	probe->data = send_some;
	/* What earlier cases have left to linger is closed by then. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	sttcp_server *server = probe_listen(probe, NULL);
	int warm = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	int fds = count_fds();
	for (uint32_t i = 0; i < 4; i++) {
		resetters[i] =
			(struct resetter){.port = sttcp_server_port(server), .random = i + 1};
		assert_int_equal(pthread_create(&resetters[i].thread, NULL, reset_at_any_moment,
						&resetters[i]),
				 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(resetters[i].thread, NULL);
		assert_true(resetters[i].done > 0);
	}
	EVENTUALLY(sttcp_server_count(server) == 1);
	EVENTUALLY(count_fds() == fds); /* nothing leaks */
	assert_true(peer_say(warm, "x"));
	assert_true(probe_wait_bytes(probe, 1));
	peer_close(warm);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION),
			 probe_count(probe, STTCP_DISCONNECTION));
	sttcp_server_free(server);
	probe_free(probe);
}

/* Servers that reset, against clients that come again. */
static void clients_of_a_resetting_server_do_no_harm(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	sttcp_client *clients[8];

	(void)state;
	probe->data = send_some;
	for (int i = 0; i < 8; i++)
		clients[i] = probe_client(probe, "127.0.0.1", port, NULL);
	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < 8; i++)
			assert_int_equal(sttcp_client_start(clients[i]), 0);
		for (int i = 0; i < 8; i++) {
			int peer = peer_accept(listener);

			if (i % 2 == 0)
				peer_say(peer, "some words");
			if (i % 4 == 3)
				nap_ms(1);
			peer_reset(peer);
		}
		for (int i = 0; i < 8; i++) {
			int result = sttcp_client_wait(clients[i], DEADLINE_MS);

			assert_true(result < 0 && result != -ETIMEDOUT);
		}
	}
	for (int i = 0; i < 8; i++)
		sttcp_client_free(clients[i]);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION),
			 probe_count(probe, STTCP_DISCONNECTION));
	assert_int_equal(probe_count(probe, STTCP_CONNECTION) +
				 probe_count(probe, STTCP_UNCONNECTED),
			 8 * 30);
	peer_close(listener);
	probe_free(probe);
}

/* --------------------------------------------------------------- never prints */

static int go_wrong_in_silence(void)
{
	int port;
	int other = peer_listen(&port, 1);
	char path[] = "/tmp/sttcp-output-XXXXXX";
	int file = mkstemp(path);
	struct stat status;

	CHECK(file >= 0);
	unlink(path);
	int out = dup(STDOUT_FILENO);
	int err = dup(STDERR_FILENO);
	CHECK(dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);
	int in_use = sttcp_server_start(server);
	sttcp_server_free(server);
	server = echo_server(NULL);
	for (int i = 0; i < 20; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		peer_say(peer, "x");
		peer_reset(peer);
	}
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, NULL);
	ignore(sttcp_client_start(client));
	int refused = sttcp_client_wait(client, DEADLINE_MS);
	sttcp_client_free(client);
	sttcp_server_stop_within(server, 0, NULL);
	sttcp_server_free(server);
	fflush(NULL);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	CHECK(in_use == -EADDRINUSE);
	CHECK(refused == -ECONNREFUSED);
	CHECK(fstat(file, &status) == 0);
	CHECK(status.st_size == 0);
	close(file);
	close(out);
	close(err);
	peer_close(other);
	return 0;
}

static void library_never_prints(void **state)
{
	(void)state;
	assert_int_equal(process_run("go_wrong_in_silence"), 0);
}

static const struct child children[] = {
	{"run_out_of_files", run_out_of_files},
	{"start_without_files", start_without_files},
	{"go_wrong_in_silence", go_wrong_in_silence},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accept_without_files_pauses_and_heals),
		cmocka_unit_test(start_without_files_fails_and_works_later),
		cmocka_unit_test(peers_that_reset_at_any_moment_do_no_harm),
		cmocka_unit_test(clients_of_a_resetting_server_do_no_harm),
		cmocka_unit_test(library_never_prints),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
