/* SPDX-License-Identifier: MIT */
/* A server on several addresses: a start listens on all of them or on none (G1). */
#include "support/descriptors.h"
#include "support/faults.h"
#include "support/place.h"
#include "support/support.h"

static int leave_place(void **state)
{
	fault_clear();
	return remove_place(state);
}

/* It has its descriptors from the first start on. */
static void start_the_engine(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	/* A new one: what earlier cases have left to linger is closed by then. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_server_free(server);
}

/* G1: whichever of them cannot be had, the others are closed, and the sentence names it. */
static void start_listens_on_all_or_on_none(void **state)
{
	struct place *place = *state;
	int taken;
	int other = peer_listen(&taken, 8);
	char name[32];

	snprintf(name, sizeof(name), "127.0.0.1:%d", taken);
	start_the_engine();
	for (int bad = 0; bad < 4; bad++) {
		int port = free_port();
		struct probe *probe = probe_new();
		sttcp_server *server = probe_server(probe, "127.0.0.1", bad == 0 ? taken : 0, NULL);

		if (bad == 1)
			assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);
		assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
		if (bad == 2)
			assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);
		assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", port), 0);
		if (bad == 3)
			assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);

		int fds = count_fds();

		for (int i = 0; i < 3; i++) {
			assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
			assert_non_null(strstr(sttcp_server_error(server), name));
			assert_null(sttcp_server_address(server, 0));
			assert_false(exists(place->path));
			assert_int_equal(peer_connect(port), -1);
			assert_int_equal(count_fds(), fds);
		}
		assert_int_equal(sttcp_server_wait(server, 0), -EINVAL);
		sttcp_server_free(server);
		assert_string_equal(probe_order(probe), "");
		probe_free(probe);
	}
	peer_close(other);
}

/* Where the addresses are the same, so are the texts. */
static void restart_on_the_same_addresses_keeps_the_texts(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	const char *address = sttcp_server_address(server, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		assert_ptr_equal(sttcp_server_address(server, 0), address);
	}
	sttcp_server_free(server);
}

/* G1: nothing is left, not even the texts of an earlier start. */
static void start_that_fails_forgets_the_addresses_of_the_last_one(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_server *other = sttcp_server_new(place->host, 0, NULL);

	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_string_equal(sttcp_server_address(server, 1), place->host);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_start(other), 0);
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	assert_null(sttcp_server_address(server, 0));
	assert_null(sttcp_server_address(server, 1));
	sttcp_server_free(other);
	sttcp_server_free(server);
}

static void start_that_failed_works_when_the_address_is_free(void **state)
{
	struct place *place = *state;
	int taken;
	int other = peer_listen(&taken, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, place->host, 0, NULL);

	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	peer_close(other);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(peer_is_answered(peer_connect(taken)));
	assert_true(peer_is_answered(peer_connect_unix(place->path)));
	sttcp_server_free(server);
	probe_free(probe);
}

static void address_that_is_absent_fails_although_others_listen(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_add_address(server, "192.0.2.1", 7000), 0);
	assert_int_equal(sttcp_server_start(server), -EADDRNOTAVAIL);
	assert_non_null(strstr(sttcp_server_error(server), "192.0.2.1:7000"));
	sttcp_server_free(server);
}

static void same_address_twice_is_in_use(void **state)
{
	struct place *place = *state;
	const char *const hosts[] = {"127.0.0.1", place->host};

	for (int i = 0; i < 2; i++) {
		int port = free_port();
		sttcp_server *server = sttcp_server_new(hosts[i], port, NULL);

		assert_int_equal(sttcp_server_add_address(server, hosts[i], port), 0);
		assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
		assert_false(exists(place->path));
		sttcp_server_free(server);
	}
}

/* With SO_REUSEPORT the kernel spreads connections over both. */
static void same_address_twice_is_fine_with_reuse_port(void **state)
{
	int port = free_port();
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", port, STTCP_OPTIONS(.reuse_port = true));

	(void)state;
	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", port), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < 20; i++)
		assert_true(peer_is_answered(peer_connect(port)));
	sttcp_server_free(server);
	probe_free(probe);
}

/* G1: nothing is left, whichever descriptor it was that could not be had. */
static void start_without_descriptors_listens_on_none(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	int result = -1;
	int tries = 0;

	start_the_engine();
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	int fds = count_fds();
	while (result < 0 && tries < fds + 10) { /* those of the engine stand in between */
		result = start_with_fds(server, tries++);
		if (result < 0) {
			assert_int_equal(result, -EMFILE);
			assert_true(strstr(sttcp_server_error(server), "127.0.0.1:") ||
				    strstr(sttcp_server_error(server), place->host));
			assert_false(exists(place->path));
			assert_int_equal(count_fds(), fds);
		}
	}
	assert_int_equal(result, 0);
	assert_true(tries > 3);
	sttcp_server_free(server);
}

/* The loop's table of descriptors, which is used last of all. */
static void start_without_room_in_the_poller_listens_on_none(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	start_the_engine();
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	int fds = count_fds();
	fault_instead(SYS_epoll_ctl, ENOSPC, 1);
	assert_int_equal(sttcp_server_start(server), -ENOSPC);
	fault_clear();
	assert_true(strstr(sttcp_server_error(server), "127.0.0.1:") ||
		    strstr(sttcp_server_error(server), place->host));
	assert_null(sttcp_server_address(server, 0));
	assert_false(exists(place->path));
	assert_int_equal(count_fds(), fds);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(exists(place->path));
	sttcp_server_free(server);
}

struct lines {
	atomic_int count;
};

static void count_line(int level, const char *text, void *context)
{
	struct lines *lines = context;

	(void)text;
	if (level == 1)
		lines->count++;
}

/* A Unix socket has no port that could be chosen anew. */
static void unix_socket_in_use_is_told_once(void **state)
{
	struct place *place = *state;
	sttcp_server *first = sttcp_server_new(place->host, 0, NULL);
	sttcp_server *second = sttcp_server_new(place->host, 0, NULL);
	struct lines lines = {0};

	assert_int_equal(sttcp_server_start(first), 0);
	sttcp_set_log(count_line, &lines);
	assert_int_equal(sttcp_server_start(second), -EADDRINUSE);
	sttcp_set_log(NULL, NULL);
	assert_int_equal(lines.count, 1);
	sttcp_server_free(second);
	sttcp_server_free(first);
}

#define place_test(function) cmocka_unit_test_setup_teardown(function, make_place, leave_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		place_test(start_listens_on_all_or_on_none),
		place_test(restart_on_the_same_addresses_keeps_the_texts),
		place_test(start_that_fails_forgets_the_addresses_of_the_last_one),
		place_test(start_that_failed_works_when_the_address_is_free),
		place_test(address_that_is_absent_fails_although_others_listen),
		place_test(same_address_twice_is_in_use),
		place_test(same_address_twice_is_fine_with_reuse_port),
		place_test(start_without_descriptors_listens_on_none),
		place_test(start_without_room_in_the_poller_listens_on_none),
		place_test(unix_socket_in_use_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
