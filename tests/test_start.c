/* SPDX-License-Identifier: MIT */
/* G1: start is synchronous, tells what failed, and leaves nothing behind. */
#include "support/support.h"

#include <grp.h>
#include <netdb.h>
#include <sys/socket.h>

/* A server that must not start: the code, a sentence with `word` in it, and silence. */
static void refuse_start(const char *host, int port, const sttcp_options *options, int code,
			 const char *word)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, port, options);

	assert_non_null(server);
	assert_string_equal(sttcp_server_error(server), "");
	assert_int_equal(sttcp_server_start(server), code);
	if (!strstr(sttcp_server_error(server), word))
		fail_msg("no '%s' in '%s'", word, sttcp_server_error(server));
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	assert_string_equal(probe_order(probe), "");
	probe_free(probe);
}

static void refuse_client(const char *host, int port, const sttcp_options *options, int code,
			  const char *word)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, host, port, options);

	assert_non_null(client);
	assert_string_equal(sttcp_client_error(client), "");
	assert_int_equal(sttcp_client_start(client), code);
	if (!strstr(sttcp_client_error(client), word))
		fail_msg("no '%s' in '%s'", word, sttcp_client_error(client));
	sttcp_client_free(client);
	assert_string_equal(probe_order(probe), "");
	probe_free(probe);
}

/* G1: it returns after bind and listen have succeeded. */
static void start_returns_when_it_listens(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer >= 0);
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void start_with_a_bad_port_is_invalid(void **state)
{
	(void)state;
	refuse_start("127.0.0.1", -1, NULL, -EINVAL, "127.0.0.1");
	refuse_start("127.0.0.1", -2, NULL, -EINVAL, "from 0 to 65535, or -1");
	refuse_start("127.0.0.1", 65536, NULL, -EINVAL, "65536");
	refuse_start("localhost", 1 << 30, NULL, -EINVAL, "localhost");
	refuse_client("127.0.0.1", 0, NULL, -EINVAL, "127.0.0.1");
	refuse_client("127.0.0.1", -1, NULL, -EINVAL, "127.0.0.1");
	refuse_client("127.0.0.1", 65536, NULL, -EINVAL, "65536");
}

static void start_on_an_unknown_host_does_not_resolve(void **state)
{
	(void)state;
	refuse_start("no-such-host.invalid", 0, NULL, STTCP_ERESOLVE, "no-such-host.invalid");
}

static void start_on_an_address_in_use_fails(void **state)
{
	int port;
	char address[64];
	int other = peer_listen(&port, 8);

	(void)state;
	assert_true(other >= 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	refuse_start("127.0.0.1", port, NULL, -EADDRINUSE, address);
	peer_close(other);
}

static void start_of_two_servers_on_one_port_refuses_the_second(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);

	(void)state;
	refuse_start("127.0.0.1", port, NULL, -EADDRINUSE, "127.0.0.1");
	int peer = peer_connect(port); /* the first goes on */
	assert_true(peer >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void start_with_reuse_port_shares_the_port(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *first = probe_listen(probe, STTCP_OPTIONS(.reuse_port = true));
	sttcp_server *second = probe_server(probe, "127.0.0.1", sttcp_server_port(first),
					    STTCP_OPTIONS(.reuse_port = true));

	(void)state;
	assert_int_equal(sttcp_server_start(second), 0);
	sttcp_server_free(first);
	sttcp_server_free(second);
	probe_free(probe);
}

static void start_on_a_foreign_address_is_not_available(void **state)
{
	(void)state;
	refuse_start("192.0.2.1", 0, NULL, -EADDRNOTAVAIL, "192.0.2.1");
}

/* The first port below 1024 that needs a privilege, or 0. */
static int privileged_port(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	int first = 1024;

	if (file) {
		if (fscanf(file, "%d", &first) != 1)
			first = 1024;
		fclose(file);
	}
	return first > 7 ? 7 : 0;
}

static int start_as_nobody(void)
{
	int port = privileged_port();
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);

	if (geteuid() == 0)
		CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	CHECK(sttcp_server_start(server) == -EACCES);
	CHECK(strstr(sttcp_server_error(server), "127.0.0.1:7"));
	sttcp_server_free(server);
	return 0;
}

static void start_without_permission_is_denied(void **state)
{
	(void)state;
	if (privileged_port() == 0) {
		print_message("every port is open to everybody here\n");
		skip();
	}
	assert_int_equal(process_run("start_as_nobody"), 0);
}

static void start_with_bad_options_is_invalid(void **state)
{
	sttcp_options bad[7];

	(void)state;
	for (int i = 0; i < 7; i++)
		sttcp_options_init(&bad[i], sizeof(bad[i]));
	bad[0].size = 0;
	bad[1].send_queue_max = -2;
	bad[2].backlog = -2;
	bad[3].connect_timeout_ms = -2;
	bad[4].drain_timeout_ms = -2;
	bad[5].write_timeout_ms = -2;
	bad[6].write_timeout_ms = INT32_MIN;
	for (int i = 0; i < 7; i++) {
		refuse_start("127.0.0.1", 0, &bad[i], -EINVAL, "");
		refuse_client("127.0.0.1", 9, &bad[i], -EINVAL, "");
	}
}

/* Larger structs of newer headers: fine while what is unknown is zero. */
static void start_with_a_larger_struct_wants_zeroes(void **state)
{
	struct {
		sttcp_options known;
		char newer[64];
	} options;
	struct probe *probe = probe_new();

	(void)state;
	memset(&options, 0, sizeof(options));
	options.known.size = sizeof(options);
	sttcp_server *server = probe_listen(probe, &options.known);
	sttcp_server_free(server);
	options.newer[63] = 1;
	refuse_start("127.0.0.1", 0, &options.known, -EINVAL, "");
	refuse_client("127.0.0.1", 9, &options.known, -EINVAL, "");
	probe_free(probe);
}

static void start_with_a_shorter_struct_is_fine(void **state)
{
	struct probe *probe = probe_new();
	sttcp_options options;

	(void)state;
	memset(&options, 0x7f, sizeof(options)); /* what is behind `size` is not looked at */
	options.size = offsetof(sttcp_options, max_message);
	options.framing = STTCP_FRAMING_RAW;
	sttcp_server *server = probe_listen(probe, &options);
	sttcp_server_free(server);
	probe_free(probe);
}

static void options_are_copied_by_new(void **state)
{
	sttcp_options options;
	struct probe *probe = probe_new();
	char host[32] = "127.0.0.1";

	(void)state;
	sttcp_options_init(&options, sizeof(options));
	assert_int_equal(options.size, sizeof(options));
	assert_int_equal(options.backlog, 0);
	sttcp_server *server = probe_server(probe, host, 0, &options);
	memset(&options, 0xff, sizeof(options));
	memset(host, 'x', sizeof(host) - 1);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G1: what fails leaves nothing running. */
static void start_that_fails_leaves_nothing(void **state)
{
	int port;
	int other = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL); /* the engine is there from now on */

	(void)state;
	assert_true(other >= 0);
	sttcp_server_free(server);
	/* What earlier cases have left to linger is closed by then. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	refuse_start("127.0.0.1", port, NULL, -EADDRINUSE, "");
	int fds = count_fds();
	for (int i = 0; i < 20; i++)
		refuse_start("127.0.0.1", port, NULL, -EADDRINUSE, "");
	assert_int_equal(count_fds(), fds);
	peer_close(other);
	probe_free(probe);
}

/* G1: port 0 on a name is the same port on each of its addresses. */
static void start_on_port_zero_is_one_port_on_all_addresses(void **state)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "localhost", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_port(server), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int port = sttcp_server_port(server);
	assert_in_range(port, 1, 65535);
	assert_int_equal(getaddrinfo("localhost", NULL, &hints, &list), 0);
	int reached = 0;
	for (struct addrinfo *entry = list; entry; entry = entry->ai_next) {
		char host[NI_MAXHOST];

		if (entry->ai_family == AF_INET6 && !have_ipv6())
			continue;
		assert_int_equal(getnameinfo(entry->ai_addr, entry->ai_addrlen, host, sizeof(host),
					     NULL, 0, NI_NUMERICHOST),
				 0);
		int peer = peer_connect_to(host, port);
		assert_true(peer >= 0);
		peer_close(peer);
		reached++;
	}
	freeaddrinfo(list);
	assert_true(reached > 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void port_is_the_given_one_before_start(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 12345, NULL);

	(void)state;
	assert_int_equal(sttcp_server_port(server), 12345);
	sttcp_server_free(server);
}

static void start_twice_is_busy(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EBUSY);
	assert_int_equal(sttcp_server_port(server), port);
	int peer = peer_connect(port);
	assert_true(peer >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 3));
	assert_int_equal(sttcp_client_start(client), -EBUSY);
	sttcp_client_free(client);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G16: a closed object can be started again, on its port at once, though connections that the
 * server ended linger in TIME_WAIT. */
static bool close_at_once(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_close(conn) == 0;
}

static void start_after_stop_works_on_the_same_port(void **state)
{
	int port = free_port();
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = close_at_once;
	sttcp_server *server = probe_server(probe, "127.0.0.1", port, NULL);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_server_port(server), port);
		int peer = peer_connect(port);
		assert_true(peer >= 0);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(peer_connect(port), -1); /* it listens no more */
	}
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 10);
	sttcp_server_free(server);
	probe_free(probe);
}

static void error_is_empty_after_a_start_that_works(void **state)
{
	int port;
	int other = peer_listen(&port, 8);
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	assert_true(strlen(sttcp_server_error(server)) > 0);
	peer_close(other);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_string_equal(sttcp_server_error(server), "");
	sttcp_server_free(server);
}

static bool accept_other(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	return true;
}

static void server_handlers_are_busy_while_it_runs(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	assert_int_equal(sttcp_server_on_connection(server, accept_other), -EBUSY);
	assert_int_equal(sttcp_server_on_receive(server, NULL), -EBUSY);
	assert_int_equal(sttcp_server_on_end(server, NULL), -EBUSY);
	assert_int_equal(sttcp_server_on_disconnection(server, NULL), -EBUSY);
	assert_int_equal(sttcp_server_on_universal(server, NULL), -EBUSY);
	assert_int_equal(sttcp_server_set_context(server, NULL), -EBUSY);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1)); /* nothing was replaced */
	peer_close(peer);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_on_connection(server, accept_other), 0);
	assert_int_equal(sttcp_server_on_receive(server, NULL), 0);
	assert_int_equal(sttcp_server_on_end(server, NULL), 0);
	assert_int_equal(sttcp_server_on_disconnection(server, NULL), 0);
	assert_int_equal(sttcp_server_on_universal(server, NULL), 0);
	assert_int_equal(sttcp_server_set_context(server, probe), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void client_handlers_are_busy_while_it_runs(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_dial(probe, port, NULL);

	(void)state;
	assert_int_equal(sttcp_client_on_connection(client, accept_other), -EBUSY);
	assert_int_equal(sttcp_client_on_response(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_on_end(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_on_disconnection(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_on_unconnected(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_on_universal(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_set_context(client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(sttcp_client_on_response(client, NULL), 0);
	assert_int_equal(sttcp_client_on_universal(client, NULL), 0);
	assert_int_equal(sttcp_client_set_context(client, probe), 0);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

/* "" and NULL are all interfaces, both families; IPv4 peers appear as plain IPv4. */
static void start_on_all_interfaces_is_dual_stack(void **state)
{
	const char *hosts[] = {"", NULL};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_server(probe, hosts[i], 0, NULL);
		char address[64];

		assert_int_equal(sttcp_server_start(server), 0);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer >= 0);
		snprintf(address, sizeof(address), "127.0.0.1:%d", peer_port(peer));
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
		assert_string_equal(probe_address(probe), address);
		if (have_ipv6()) {
			peer = peer_connect_to("::1", sttcp_server_port(server));
			assert_true(peer >= 0);
			snprintf(address, sizeof(address), "[::1]:%d", peer_port(peer));
			peer_close(peer);
			assert_true(probe_wait(probe, STTCP_DISCONNECTION, 2));
			assert_string_equal(probe_address(probe), address);
		}
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void start_with_ipv6_only_leaves_ipv4_out(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "::", 0, STTCP_OPTIONS(.ipv6_only = true));

	(void)state;
	if (!have_ipv6())
		skip();
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(peer_connect(sttcp_server_port(server)), -1);
	int peer = peer_connect_to("::1", sttcp_server_port(server));
	assert_true(peer >= 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static int configure_the_engine(void)
{
	CHECK(sttcp_engine_configure(-1, 0, 0) == -EINVAL);
	CHECK(sttcp_engine_configure(0, -1, 0) == -EINVAL);
	CHECK(sttcp_engine_configure(1, 16, 1 << 20) == 0);
	CHECK(sttcp_engine_configure(2, 0, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	CHECK(sttcp_server_start(server) == 0);
	CHECK(sttcp_engine_configure(1, 0, 0) == -EBUSY);
	sttcp_server_free(server);
	CHECK(sttcp_engine_configure(1, 0, 0) == -EBUSY);
	return 0;
}

static void configure_is_busy_after_the_first_start(void **state)
{
	(void)state;
	assert_int_equal(process_run("configure_the_engine"), 0);
}

static const struct child children[] = {
	{"start_as_nobody", start_as_nobody},
	{"configure_the_engine", configure_the_engine},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_returns_when_it_listens),
		cmocka_unit_test(start_with_a_bad_port_is_invalid),
		cmocka_unit_test(start_on_an_unknown_host_does_not_resolve),
		cmocka_unit_test(start_on_an_address_in_use_fails),
		cmocka_unit_test(start_of_two_servers_on_one_port_refuses_the_second),
		cmocka_unit_test(start_with_reuse_port_shares_the_port),
		cmocka_unit_test(start_on_a_foreign_address_is_not_available),
		cmocka_unit_test(start_without_permission_is_denied),
		cmocka_unit_test(start_with_bad_options_is_invalid),
		cmocka_unit_test(start_with_a_larger_struct_wants_zeroes),
		cmocka_unit_test(start_with_a_shorter_struct_is_fine),
		cmocka_unit_test(options_are_copied_by_new),
		cmocka_unit_test(start_that_fails_leaves_nothing),
		cmocka_unit_test(start_on_port_zero_is_one_port_on_all_addresses),
		cmocka_unit_test(port_is_the_given_one_before_start),
		cmocka_unit_test(start_twice_is_busy),
		cmocka_unit_test(start_after_stop_works_on_the_same_port),
		cmocka_unit_test(error_is_empty_after_a_start_that_works),
		cmocka_unit_test(server_handlers_are_busy_while_it_runs),
		cmocka_unit_test(client_handlers_are_busy_while_it_runs),
		cmocka_unit_test(start_on_all_interfaces_is_dual_stack),
		cmocka_unit_test(start_with_ipv6_only_leaves_ipv4_out),
		cmocka_unit_test(configure_is_busy_after_the_first_start),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
