/* SPDX-License-Identifier: MIT */
/* A server on several addresses: one set of limits, one text each. That a start has all of them or
 * none is in test_all_or_none.c. */
#include "support/faults.h"
#include "support/place.h"
#include "support/support.h"

#include <limits.h>

static int leave_place(void **state)
{
	fault_clear();
	atomic_store(&stand_in_getaddrinfo, NULL);
	atomic_store(&stand_in_freeaddrinfo, NULL);
	return remove_place(state);
}

/* The port behind the last colon; 0 for NULL. */
static int port_of(const char *address)
{
	return address ? atoi(strrchr(address, ':') + 1) : 0;
}

static bool starts_with(const char *text, const char *start)
{
	return text && strncmp(text, start, strlen(start)) == 0;
}

/* -------------------------------------------------------------------- serving */

static void server_listens_on_all_that_were_added(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_add_address(server, place->host, -1), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.2", 0), 0);
	assert_null(sttcp_server_address(server, 0)); /* not yet */
	assert_int_equal(sttcp_server_start(server), 0);

	assert_true(starts_with(sttcp_server_address(server, 0), "127.0.0.1:"));
	assert_true(starts_with(sttcp_server_address(server, 1), "127.0.0.1:"));
	assert_string_equal(sttcp_server_address(server, 2), place->host);
	assert_true(starts_with(sttcp_server_address(server, 3), "127.0.0.2:"));
	assert_null(sttcp_server_address(server, 4));
	assert_null(sttcp_server_address(server, -1));
	assert_null(sttcp_server_address(server, INT_MAX));
	assert_null(sttcp_server_address(server, INT_MIN));

	int own = port_of(sttcp_server_address(server, 0));
	int second = port_of(sttcp_server_address(server, 1));

	assert_int_equal(sttcp_server_port(server), own);
	assert_true(own != second);
	assert_true(peer_is_answered(peer_connect(own)));
	assert_true(peer_is_answered(peer_connect(second)));
	assert_true(peer_is_answered(peer_connect_unix(place->path)));
	assert_true(peer_is_answered(
		peer_connect_to("127.0.0.2", port_of(sttcp_server_address(server, 3)))));
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(peer_connect(own), -1);
	assert_int_equal(peer_connect(second), -1);
	assert_false(exists(place->path));
	sttcp_server_free(server);
	probe_free(probe);
}

/* No port that it had for a moment. */
static void port_of_a_start_that_failed_is_not_told(void **state)
{
	int taken = 0;
	int other = peer_listen(&taken, 1);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	assert_int_equal(sttcp_server_port(server), 0);
	assert_null(sttcp_server_address(server, 0));
	sttcp_server_free(server);
	peer_close(other);
}

static void server_without_its_own_address_has_what_was_added(void **state)
{
	const char *const hosts[] = {NULL, "", "127.0.0.1", "no.such.name.invalid"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_server(probe, hosts[i], -1, NULL);

		probe->data = echo_data;
		assert_int_equal(sttcp_server_port(server), 0);
		assert_int_equal(sttcp_server_start(server), -EINVAL);
		assert_non_null(strstr(sttcp_server_error(server), "-1"));
		assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		assert_string_equal(sttcp_server_error(server), "");
		assert_int_equal(sttcp_server_port(server), 0);
		assert_true(
			peer_is_answered(peer_connect(port_of(sttcp_server_address(server, 0)))));
		assert_null(sttcp_server_address(server, 1));
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* For a Unix socket the port is ignored, whatever it is. */
static void unix_server_ignores_its_port(void **state)
{
	struct place *place = *state;
	sttcp_server *server = sttcp_server_new(place->host, -1, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	assert_string_equal(sttcp_server_address(server, 0), place->host);
	sttcp_server_free(server);
}

static void wildcard_is_one_address_for_both_families(void **state)
{
	sttcp_server *server = sttcp_server_new(NULL, 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(
		starts_with(sttcp_server_address(server, 0), have_ipv6() ? "[::]:" : "0.0.0.0:"));
	assert_null(sttcp_server_address(server, 1));
	sttcp_server_free(server);
}

static void literal_in_brackets_can_be_added(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	(void)state;
	if (!have_ipv6())
		skip();
	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "[::1]", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(starts_with(sttcp_server_address(server, 1), "[::1]:"));
	assert_true(
		peer_is_answered(peer_connect_to("::1", port_of(sttcp_server_address(server, 1)))));
	sttcp_server_free(server);
	probe_free(probe);
}

/* A resolver that knows "many.test": three addresses, of which this machine lacks the second. */
static struct sockaddr_in answers[3];
static struct addrinfo infos[3];

static int resolve_many(const char *restrict host, const char *restrict service,
			const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	const uint32_t hosts[] = {0x7f000001, 0xc0000201, 0x7f000002}; /* 192.0.2.1: RFC 5737 */

	if (strcmp(host, "many.test") != 0)
		return real_getaddrinfo(host, service, hints, list);
	for (int i = 0; i < 3; i++) {
		answers[i] = (struct sockaddr_in){.sin_family = AF_INET,
						  .sin_addr.s_addr = htonl(hosts[i])};
		infos[i] = (struct addrinfo){.ai_family = AF_INET,
					     .ai_addrlen = sizeof(answers[i]),
					     .ai_addr = (struct sockaddr *)&answers[i],
					     .ai_next = i < 2 ? &infos[i + 1] : NULL};
	}
	*list = infos;
	return 0;
}

static void free_many(struct addrinfo *list)
{
	if (list != infos)
		real_freeaddrinfo(list);
}

/* Each socket has a text, and what is absent has none. */
static void name_with_several_addresses_has_several_texts(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.3", 0, NULL);

	(void)state;
	atomic_store(&stand_in_getaddrinfo, resolve_many);
	atomic_store(&stand_in_freeaddrinfo, free_many);
	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "many.test", 0), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.4", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(starts_with(sttcp_server_address(server, 0), "127.0.0.3:"));
	assert_true(starts_with(sttcp_server_address(server, 1), "127.0.0.1:"));
	assert_true(starts_with(sttcp_server_address(server, 2), "127.0.0.2:"));
	assert_true(starts_with(sttcp_server_address(server, 3), "127.0.0.4:"));
	assert_null(sttcp_server_address(server, 4));

	/* One port on all addresses of a name. */
	int port = port_of(sttcp_server_address(server, 1));

	assert_int_equal(port_of(sttcp_server_address(server, 2)), port);
	assert_true(peer_is_answered(peer_connect(port)));
	assert_true(peer_is_answered(peer_connect_to("127.0.0.2", port)));
	sttcp_server_free(server);
	probe_free(probe);
}

static bool keep_address(struct probe *probe, sttcp_conn *conn)
{
	const char *address = sttcp_server_address(sttcp_conn_server(conn), 1);

	snprintf(probe->extra, 64, "%s", address ? address : "none");
	return true;
}

/* The first handler finds them. */
static void addresses_are_known_in_handlers(void **state)
{
	int port = free_port();
	char found[64] = "";
	char expected[64];

	(void)state;
	snprintf(expected, sizeof(expected), "127.0.0.1:%d", port);
	for (int i = 0; i < 20; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

		probe->extra = found;
		probe->connection = keep_address;
		assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", port), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(sttcp_client_start(client), 0);
		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		assert_string_equal(found, expected);
		sttcp_client_free(client);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void restart_listens_again_on_all(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	const char *first = NULL;

	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		const char *address = sttcp_server_address(server, 1);
		assert_true(peer_is_answered(peer_connect(sttcp_server_port(server))));
		assert_true(peer_is_answered(peer_connect(port_of(address))));
		assert_true(peer_is_answered(peer_connect_unix(place->path)));
		assert_int_equal(sttcp_server_stop_within(server, i % 2 ? 0 : -1, NULL), 0);
		/* They are told until the next start, and each text lives as long as the server. */
		assert_ptr_equal(sttcp_server_address(server, 1), address);
		if (i > 0)
			assert_true(starts_with(first, "127.0.0.1:"));
		else
			first = address;
		assert_int_equal(peer_connect(port_of(address)), -1);
		/* One more each time. By force, a handler may still be on its way out. */
		EVENTUALLY(sttcp_server_add_address(server, "127.0.0.1", 0) == 0);
	}
	assert_int_equal(sttcp_server_start(server), 0);
	assert_non_null(sttcp_server_address(server, 7));
	assert_null(sttcp_server_address(server, 8));
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- refusing */

static void address_that_cannot_be_is_refused_at_once(void **state)
{
	char longest[128] = "unix:/";
	const struct {
		const char *host;
		int port;
		int code;
	} cases[] = {
		{"127.0.0.1", -1, -EINVAL},
		{"127.0.0.1", 65536, -EINVAL},
		{"localhost", INT_MIN, -EINVAL},
		{NULL, INT_MAX, -EINVAL},
		{"", -2, -EINVAL},
		{"unix:", 0, -EINVAL},
		{"unix:@", 0, -EINVAL},
		{longest, 0, -ENAMETOOLONG},
	};
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	(void)state;
	memset(longest + 6, 'p', sizeof(longest) - 7);
	assert_int_equal(sttcp_server_add_address(NULL, "127.0.0.1", 0), -EINVAL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(sttcp_server_add_address(server, cases[i].host, cases[i].port),
				 cases[i].code);
		assert_true(starts_with(sttcp_server_error(server), "cannot listen on "));
	}
	/* None of them was added. */
	assert_int_equal(sttcp_server_start(server), 0);
	assert_null(sttcp_server_address(server, 1));
	sttcp_server_free(server);
}

static void name_that_does_not_exist_is_told_by_start(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_add_address(server, "no.such.name.invalid", 7000), 0);
	assert_int_equal(sttcp_server_start(server), STTCP_ERESOLVE);
	assert_non_null(strstr(sttcp_server_error(server), "no.such.name.invalid:7000"));
	sttcp_server_free(server);
}

static struct event entered = EVENT_INIT;
static struct event let_go = EVENT_INIT;

static bool hold_up(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	event_raise(&entered);
	return event_wait(&let_go, 1);
}

/* Also while a handler of the last run has not returned. */
static void address_is_added_only_while_stopped(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	(void)state;
	probe->connection = hold_up;
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), -EBUSY);
	assert_non_null(strstr(sttcp_server_error(server), "127.0.0.1:0"));
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(event_wait(&entered, 1));
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), -EBUSY);
	event_raise(&let_go);
	EVENTUALLY(sttcp_server_add_address(server, "127.0.0.1", 0) == 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_non_null(sttcp_server_address(server, 1));
	assert_null(sttcp_server_address(server, 2));
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool add_one(struct probe *probe, sttcp_conn *conn)
{
	*(int *)probe->extra = sttcp_server_add_address(sttcp_conn_server(conn), "127.0.0.1", 0);
	return true;
}

/* G9: in a handler, too, where the server runs. */
static void address_cannot_be_added_in_a_handler(void **state)
{
	struct probe *probe = probe_new();
	int result = 1;

	(void)state;
	probe->extra = &result;
	probe->connection = add_one;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_int_equal(result, -EBUSY);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* --------------------------------------------------------------------- limits */

static void limits_count_over_all_addresses(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.max_connections = 1));

	(void)state;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < 2; i++) {
		int first = peer_connect(port_of(sttcp_server_address(server, i)));
		assert_true(probe_wait(probe, STTCP_CONNECTION, 2 * i + 1));
		int second = peer_connect(port_of(sttcp_server_address(server, 1 - i)));
		assert_true(peer_quiet(second, 50));
		assert_int_equal(probe_count(probe, STTCP_CONNECTION), 2 * i + 1);
		peer_close(first);
		assert_true(probe_wait(probe, STTCP_CONNECTION, 2 * i + 2));
		peer_close(second);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 2 * i + 2));
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void limit_per_address_counts_over_all_addresses(void **state)
{
	struct place *place = *state;
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.max_connections_per_ip = 1));
	sttcp_stats stats;

	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_add_address(server, place->host, 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int first = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	int second = peer_connect(port_of(sttcp_server_address(server, 1)));
	assert_int_equal(peer_end(second), 0);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.over_per_ip, 1);
	/* Those of a Unix socket have no address that could count. */
	int third = peer_connect_unix(place->path);
	int fourth = peer_connect_unix(place->path);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 3));
	peer_close(first);
	peer_close(second);
	peer_close(third);
	peer_close(fourth);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G18: each of them pauses by itself, and resumes by itself. */
static void accepting_pauses_on_each_address_by_itself(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
	sttcp_stats stats;

	(void)state;
	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	fault_instead(SYS_accept4, EMFILE, 4);
	int first = peer_connect(port_of(sttcp_server_address(server, 0)));
	int second = peer_connect(port_of(sttcp_server_address(server, 1)));
	assert_true(peer_is_answered(first));
	assert_true(peer_is_answered(second));
	fault_clear();
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.accept_pauses, 4);
	sttcp_server_free(server);
	probe_free(probe);
}

#define place_test(function) cmocka_unit_test_setup_teardown(function, make_place, leave_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		place_test(server_listens_on_all_that_were_added),
		place_test(port_of_a_start_that_failed_is_not_told),
		place_test(server_without_its_own_address_has_what_was_added),
		place_test(unix_server_ignores_its_port),
		place_test(wildcard_is_one_address_for_both_families),
		place_test(literal_in_brackets_can_be_added),
		place_test(name_with_several_addresses_has_several_texts),
		place_test(addresses_are_known_in_handlers),
		place_test(restart_listens_again_on_all),
		place_test(address_that_cannot_be_is_refused_at_once),
		place_test(name_that_does_not_exist_is_told_by_start),
		place_test(address_is_added_only_while_stopped),
		place_test(address_cannot_be_added_in_a_handler),
		place_test(limits_count_over_all_addresses),
		place_test(limit_per_address_counts_over_all_addresses),
		place_test(accepting_pauses_on_each_address_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
