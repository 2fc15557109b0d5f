/* SPDX-License-Identifier: MIT */
/* Options local_host and local_port: a client's own end. */
#include "support/faults.h"
#include "support/support.h"

#include <netinet/in.h>
#include <sys/socket.h>

static struct event unblocked = EVENT_INIT;

enum {
	OURS = 0x7e57 /* ai_flags: to be freed here */
};

struct answer {
	struct addrinfo infos[2];
	struct sockaddr_in6 six;
	struct sockaddr_in four[2];
};

/* A resolver that knows "both.test" (::1, then 127.0.0.1), "two.test" (127.0.0.1, then 127.0.0.2),
 * and "slow.test", which it does not answer before `unblocked`. */
static int resolve(const char *restrict host, const char *restrict service,
		   const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	bool both = strcmp(host, "both.test") == 0;

	if (strcmp(host, "slow.test") == 0) {
		event_wait(&unblocked, 1);
		return EAI_AGAIN;
	}
	if (!both && strcmp(host, "two.test") != 0)
		return real_getaddrinfo(host, service, hints, list);
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!answer)
		return EAI_MEMORY;
	answer->six =
		(struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	for (int i = 0; i < 2; i++) {
		answer->four[i] = (struct sockaddr_in){
			.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (both ? 0U : (unsigned)i))};
		answer->infos[i] = (struct addrinfo){.ai_flags = OURS,
						     .ai_family = AF_INET,
						     .ai_addrlen = sizeof(answer->four[i]),
						     .ai_addr = (struct sockaddr *)&answer->four[i],
						     .ai_next = i ? NULL : &answer->infos[1]};
	}
	if (both) {
		answer->infos[0].ai_family = AF_INET6;
		answer->infos[0].ai_addrlen = sizeof(answer->six);
		answer->infos[0].ai_addr = (struct sockaddr *)&answer->six;
	}
	*list = answer->infos;
	return 0;
}

static void free_list(struct addrinfo *list)
{
	if (list && list->ai_flags == OURS)
		free(list); /* the first of an answer */
	else
		real_freeaddrinfo(list);
}

static int choose_answers(void **state)
{
	(void)state;
	atomic_store(&stand_in_getaddrinfo, resolve);
	atomic_store(&stand_in_freeaddrinfo, free_list);
	return 0;
}

static int end_answers(void **state)
{
	(void)state;
	atomic_store(&stand_in_getaddrinfo, NULL);
	atomic_store(&stand_in_freeaddrinfo, NULL);
	return 0;
}

/* What the server sees of its connection number `count`, which is open. */
static const char *seen_from(sttcp_server *server, struct probe *serving, long count)
{
	static char text[128];

	assert_true(probe_wait(serving, STTCP_CONNECTION, count));
	/* A member a moment after its handler has returned. */
	sttcp_conn *conn = NULL;
	EVENTUALLY((conn = sttcp_server_find(server, probe_last_id(serving))));
	snprintf(text, sizeof(text), "%s", sttcp_conn_address(conn));
	sttcp_conn_unref(conn);
	return text;
}

/* Connects, and expects this of the two ends; a port of 0 may be any. */
static void expect_end(const char *to, const sttcp_options *options, const char *host, int port)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, to, 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_client(calling, to, sttcp_server_port(server), options);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
	sttcp_conn *conn = NULL;
	EVENTUALLY((conn = sttcp_server_find(server, probe_last_id(serving))));
	sttcp_conn *own = client_conn(client);
	assert_string_equal(sttcp_conn_host(conn), host);
	if (port)
		assert_int_equal(sttcp_conn_port(conn), port);
	assert_string_equal(sttcp_conn_address(conn), sttcp_conn_local_address(own));
	sttcp_conn_unref(own);
	sttcp_conn_unref(conn);
	/* The peer closes first, and has the port in TIME_WAIT. */
	sttcp_server_free(server);
	assert_true(probe_wait(calling, STTCP_DISCONNECTION, 1));
	sttcp_client_free(client);
	probe_free(calling);
	probe_free(serving);
}

static void client_comes_from_its_end(void **state)
{
	int port = free_port();

	(void)state;
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_host = "127.0.0.5"), "127.0.0.5", 0);
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_port = port), "127.0.0.1", port);
	port = free_port();
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_host = "127.0.0.5", .local_port = port),
		   "127.0.0.5", port);
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_host = "localhost"), "127.0.0.1", 0);
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_host = "two.test"), "127.0.0.1", 0);
	/* Nothing was said. */
	expect_end("127.0.0.1", STTCP_OPTIONS(.local_host = "", .local_port = -1), "127.0.0.1", 0);
}

static void client_comes_from_its_ipv6_end(void **state)
{
	int port = free_port();

	(void)state;
	if (!have_ipv6())
		skip();
	expect_end("::1", STTCP_OPTIONS(.local_host = "::1"), "::1", 0);
	expect_end("[::1]", STTCP_OPTIONS(.local_host = "[::1]", .local_port = port), "::1", port);
	port = free_port();
	expect_end("::1", STTCP_OPTIONS(.local_port = port), "::1", port);
	expect_end("::1", STTCP_OPTIONS(.local_host = "both.test"), "::1", 0);
	expect_end("::ffff:127.0.0.1", STTCP_OPTIONS(.local_host = "127.0.0.5"), "127.0.0.5", 0);
}

/* The same port again and again, as a peer's firewall may demand. */
static void port_can_be_used_again_at_once(void **state)
{
	int port = free_port();

	(void)state;
	for (int i = 0; i < 5; i++)
		expect_end("127.0.0.1", STTCP_OPTIONS(.local_port = port), "127.0.0.1", port);
}

static void strings_are_copied(void **state)
{
	char host[] = "127.0.0.5";
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);

	(void)state;
	sttcp_client *client = probe_client(calling, "127.0.0.1", sttcp_server_port(server),
					    STTCP_OPTIONS(.local_host = host));
	memset(host, 'x', sizeof(host) - 1);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(strncmp(seen_from(server, serving, 1), "127.0.0.5", 9) == 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* So that each peer may have all ports. */
static void port_is_chosen_when_the_peer_is_known(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	int late = 0;
	socklen_t len = sizeof(late);

	(void)state;
	sttcp_client *client = probe_client(calling, "127.0.0.1", sttcp_server_port(server),
					    STTCP_OPTIONS(.local_host = "127.0.0.5"));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_conn *conn = client_conn(client);
	assert_int_equal(
		getsockopt(sttcp_conn_fd(conn), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, &len),
		0);
	assert_int_equal(late, 1);
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* ------------------------------------------------------------------- the race */

/* Of several addresses those that this end has a family for. */
static void race_takes_addresses_of_its_family(void **state)
{
	const char *const ends[] = {"127.0.0.5", "::1"};
	const char *const hosts[] = {"127.0.0.5:", "[::1]:"};
	struct probe *serving = probe_new();
	sttcp_server *server = probe_server(serving, "both.test", 0, NULL);

	(void)state;
	if (!have_ipv6())
		skip();
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < 2; i++) {
		struct probe *calling = probe_new();
		sttcp_client *client = probe_client(calling, "both.test", sttcp_server_port(server),
						    STTCP_OPTIONS(.local_host = ends[i]));

		assert_int_equal(sttcp_client_start(client), 0);
		assert_true(strncmp(seen_from(server, serving, i + 1), hosts[i],
				    strlen(hosts[i])) == 0);
		sttcp_client_free(client);
		probe_free(calling);
	}
	sttcp_server_free(server);
	probe_free(serving);
}

/* The attempts of a race share the port. */
static void race_goes_on_from_the_same_port(void **state)
{
	int port = free_port();
	int to_port = free_port(); /* 127.0.0.1 refuses */
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "127.0.0.2", to_port, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client =
		probe_client(calling, "two.test", to_port, STTCP_OPTIONS(.local_port = port));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(atoi(strrchr(seen_from(server, serving, 1), ':') + 1), port);
	sttcp_server_free(server);
	sttcp_client_free(client);
	probe_free(calling);
	probe_free(serving);
}

/* ------------------------------------------------------------------- failing */

static void expect_failure(const char *to, int to_port, const sttcp_options *options, int code,
			   const char *word)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, to, to_port, options);
	int fds = -1;

	for (int i = 1; i <= 3; i++) {
		assert_int_equal(sttcp_client_start(client), 0);
		assert_true(probe_wait(probe, STTCP_UNCONNECTED, i));
		assert_int_equal(probe_reason(probe), code);
		if (!strstr(probe_fail_text(probe), word))
			fail_msg("no '%s' in '%s'", word, probe_fail_text(probe));
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), code);
		if (fds < 0)
			fds = count_fds();
		/* None more; those of earlier cases may still be about to be closed. */
		assert_true(count_fds() <= fds);
	}
	sttcp_client_free(client);
	probe_free(probe);
}

static void end_that_is_not_ours_is_not_available(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	/* RFC 5737: 192.0.2.0/24 is nobody's. */
	expect_failure("127.0.0.1", port, STTCP_OPTIONS(.local_host = "192.0.2.1"), -EADDRNOTAVAIL,
		       "from 192.0.2.1: ");
	expect_failure("two.test", port,
		       STTCP_OPTIONS(.local_host = "192.0.2.1", .local_port = 7000), -EADDRNOTAVAIL,
		       "from 192.0.2.1:7000: ");
	/* Of another family than the peer. */
	expect_failure("127.0.0.1", port, STTCP_OPTIONS(.local_host = "::1"), -EADDRNOTAVAIL,
		       "from ::1: ");
	expect_failure("::1", port, STTCP_OPTIONS(.local_host = "127.0.0.1"), -EADDRNOTAVAIL,
		       "from 127.0.0.1: ");
	expect_failure("127.0.0.1", port, STTCP_OPTIONS(.local_host = "no.such.name.invalid"),
		       STTCP_ERESOLVE, "from no.such.name.invalid: ");
	peer_close(listener);
}

static void end_in_use_is_told(void **state)
{
	int port;
	int taken;
	int listener = peer_listen(&port, 8);
	int other = peer_listen(&taken, 8);

	(void)state;
	expect_failure("127.0.0.1", port,
		       STTCP_OPTIONS(.local_host = "127.0.0.1", .local_port = taken), -EADDRINUSE,
		       "from 127.0.0.1");
	peer_close(other);
	peer_close(listener);
}

/* It meets itself, and has found no server. */
static void end_that_is_the_peers_is_refused(void **state)
{
	int port = free_port();

	(void)state;
	expect_failure("127.0.0.1", port,
		       STTCP_OPTIONS(.local_host = "127.0.0.1", .local_port = port), -ECONNREFUSED,
		       "from 127.0.0.1");
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_server_free(server);
}

/* Its lookup counts for the timeout, and an attempt that is closed meanwhile ends at once. */
static void lookup_of_the_end_is_part_of_the_attempt(void **state)
{
	struct probe *probe = probe_new();
	sttcp_client *client =
		probe_client(probe, "127.0.0.1", 7000,
			     STTCP_OPTIONS(.local_host = "slow.test", .connect_timeout_ms = 30));

	(void)state;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETIME_CONNECT);
	sttcp_client_free(client);

	client = probe_client(probe, "slow.test", 7000, STTCP_OPTIONS(.local_host = "slow.test"));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 2);
	assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
	sttcp_client_free(client);
	event_raise(&unblocked);
	probe_free(probe);
}

static void close_at_any_moment_ends_the_attempt(void **state)
{
	int port;
	int listener = peer_listen(&port, 128);
	struct probe *probe = probe_new();

	(void)state;
	for (int i = 1; i <= 60; i++) {
		sttcp_client *client =
			probe_client(probe, i % 2 ? "two.test" : "127.0.0.1", port,
				     STTCP_OPTIONS(.local_host = i % 3 ? "two.test" : "127.0.0.1"));

		assert_int_equal(sttcp_client_start(client), 0);
		for (int spin = 0; spin < i * 200; spin++)
			atomic_signal_fence(memory_order_seq_cst);
		assert_int_equal(sttcp_client_close(client), 0);
		sttcp_client_free(client);
	}
	peer_close(listener);
	probe_free(probe);
}

/* ------------------------------------------------------------------- refusing */

static void refuse(const char *to, const sttcp_options *options, const char *word)
{
	sttcp_client *client = sttcp_client_new(to, 7000, options);

	assert_int_equal(sttcp_client_start(client), -EINVAL);
	if (!strstr(sttcp_client_error(client), word))
		fail_msg("no '%s' in '%s'", word, sttcp_client_error(client));
	sttcp_client_free(client);
}

static void end_that_cannot_be_is_refused(void **state)
{
	(void)state;
	refuse("unix:/tmp/socket", STTCP_OPTIONS(.local_host = "127.0.0.1"), "local_host");
	refuse("unix:@name", STTCP_OPTIONS(.local_port = 7000), "local_port");
	refuse("127.0.0.1", STTCP_OPTIONS(.local_host = "unix:/tmp/socket"), "local_host");
	refuse("127.0.0.1", STTCP_OPTIONS(.local_port = 65536), "local_port");
	refuse("127.0.0.1", STTCP_OPTIONS(.local_port = -2), "local_port");
	refuse("127.0.0.1", STTCP_OPTIONS(.local_port = INT32_MAX), "local_port");
}

static void servers_have_no_local_end(void **state)
{
	const sttcp_options *const options[] = {STTCP_OPTIONS(.local_host = "127.0.0.1"),
						STTCP_OPTIONS(.local_port = 7000)};

	(void)state;
	for (int i = 0; i < 2; i++) {
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options[i]);

		assert_int_equal(sttcp_server_start(server), -EINVAL);
		assert_non_null(strstr(sttcp_server_error(server), "local_"));
		sttcp_server_free(server);
	}
}

#define answers_test(function)                                                                     \
	cmocka_unit_test_setup_teardown(function, choose_answers, end_answers)

int main(void)
{
	const struct CMUnitTest tests[] = {
		answers_test(client_comes_from_its_end),
		answers_test(client_comes_from_its_ipv6_end),
		answers_test(port_can_be_used_again_at_once),
		answers_test(strings_are_copied),
		answers_test(port_is_chosen_when_the_peer_is_known),
		answers_test(race_takes_addresses_of_its_family),
		answers_test(race_goes_on_from_the_same_port),
		answers_test(end_that_is_not_ours_is_not_available),
		answers_test(end_in_use_is_told),
		answers_test(end_that_is_the_peers_is_refused),
		answers_test(lookup_of_the_end_is_part_of_the_attempt),
		answers_test(close_at_any_moment_ends_the_attempt),
		answers_test(end_that_cannot_be_is_refused),
		answers_test(servers_have_no_local_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
