/* SPDX-License-Identifier: MIT */
/* Names with several addresses, and resolvers that fail or block (G1, G3, G8, G14): getaddrinfo and
 * listen are this program's own, in front of the C library's; so is accept4. */
#include "support/faults.h"
#include "support/lines.h"
#include "support/support.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct event resolving = EVENT_INIT; /* who asks for "slow.test" */
static struct event answered = EVENT_INIT;
/* How often the port is still taken on 127.0.0.1, the second address of "two.test", and how many
 * have been chosen on its first one. */
static atomic_int port_thefts;
static atomic_int ports_chosen;

static struct addrinfo *make_entry(const char *host, const char *service,
				   const struct addrinfo *hints, struct addrinfo *next)
{
	struct entry {
		struct addrinfo info;
		struct sockaddr_in addr;
	} *entry = calloc(1, sizeof(*entry));

	if (!entry)
		abort();
	entry->addr.sin_family = AF_INET;
	inet_pton(AF_INET, host, &entry->addr.sin_addr);
	if (service)
		entry->addr.sin_port = htons((uint16_t)atoi(service));
	entry->info.ai_family = AF_INET;
	entry->info.ai_socktype = hints ? hints->ai_socktype : SOCK_STREAM;
	entry->info.ai_protocol = hints ? hints->ai_protocol : 0;
	entry->info.ai_addr = (struct sockaddr *)&entry->addr;
	entry->info.ai_addrlen = sizeof(entry->addr);
	entry->info.ai_next = next;
	return &entry->info;
}

static bool is_own(const char *node)
{
	size_t len = node ? strlen(node) : 0;

	return len > 5 && strcmp(node + len - 5, ".test") == 0;
}

/* "two.test" and its like are answered here; every other name by the C library. */
static int resolve(const char *restrict node, const char *restrict service,
		   const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	if (!is_own(node) || (hints && (hints->ai_flags & AI_NUMERICHOST) != 0))
		return real_getaddrinfo(node, service, hints, list);
	if (strcmp(node, "failing.test") == 0)
		return EAI_FAIL;
	if (strcmp(node, "slow.test") == 0) {
		event_raise(&resolving);
		event_wait(&answered, 1);
	}
	*list = make_entry("127.0.0.1", service, hints, NULL);
	if (strcmp(node, "two.test") == 0)
		*list = make_entry("127.0.0.2", service, hints, *list);
	if (strcmp(node, "foreign-first.test") == 0)
		*list = make_entry("192.0.2.1", service, hints, *list);
	if (strcmp(node, "foreign.test") == 0)
		inet_pton(AF_INET, "192.0.2.1",
			  &((struct sockaddr_in *)(*list)->ai_addr)->sin_addr);
	if (strcmp(node, "failing-second.test") == 0) /* connect(2) refuses a broadcast address */
		(*list)->ai_next = make_entry("255.255.255.255", service, hints, NULL);
	if (strcmp(node, "twice.test") == 0)
		*list = make_entry("127.0.0.1", service, hints, *list);
	(*list)->ai_flags = 0x7e57; /* ours to free */
	return 0;
}

static void free_answer(struct addrinfo *list)
{
	if (!list || list->ai_flags != 0x7e57) {
		real_freeaddrinfo(list);
		return;
	}
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static atomic_int last_backlog;

static int steal_port(int fd, int backlog)
{
	struct sockaddr_in addr = {0};
	socklen_t len = sizeof(addr);

	atomic_store(&last_backlog, backlog);
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || addr.sin_family != AF_INET)
		return real_listen(fd, backlog);
	if (addr.sin_addr.s_addr == htonl(0x7f000002))
		atomic_fetch_add(&ports_chosen, 1);
	if (addr.sin_addr.s_addr == htonl(0x7f000001) && atomic_load(&port_thefts) > 0) {
		atomic_fetch_sub(&port_thefts, 1);
		errno = EADDRINUSE; /* as if another had been quicker, see listen(2) */
		return -1;
	}
	return real_listen(fd, backlog);
}

static struct {
	atomic_bool armed; /* for the next accept */
	struct event empty;
	struct event looked;
} interval = {.empty = EVENT_INIT, .looked = EVENT_INIT};

/* As if another process that has the listener had been quicker: who is there is gone when accept
 * looks. Between that and what its caller does about it, there is time for others to do something.
 */
static int accept_slowly(int fd, any_address addr, socklen_t *restrict len, int flags)
{
	int result = real_accept4(fd, addr, len, flags);
	int code = errno;

	if (result >= 0 && atomic_exchange(&interval.armed, false)) {
		close(result);
		result = -1;
		code = EAGAIN;
		event_raise(&interval.empty);
		event_wait(&interval.looked, 1);
	}
	errno = code;
	return result;
}

/* ------------------------------------------------------------------- servers */

static void connect_to_both(int port)
{
	static const char *const hosts[] = {"127.0.0.1", "127.0.0.2"};

	for (int i = 0; i < 2; i++) {
		int peer = peer_connect_to(hosts[i], port);

		assert_true(peer >= 0);
		peer_close(peer);
	}
}

/* G1: port 0 is the same port on all addresses of the name. */
static void server_listens_on_all_addresses_with_one_port(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "two.test", 0, NULL);

	(void)state;
	atomic_store(&port_thefts, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		connect_to_both(sttcp_server_port(server));
		assert_int_equal(sttcp_server_stop(server), 0);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* The default does not depend on the C library: musl's SOMAXCONN is 128. */
static void accept_queue_is_as_long_as_asked_for(void **state)
{
	static const int lengths[][2] = {{0, 4096}, {7, 7}, {-1, INT_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		sttcp_server *server =
			sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.backlog = lengths[i][0]));

		assert_int_equal(sttcp_server_start(server), 0);
		assert_int_equal(atomic_load(&last_backlog), lengths[i][1]);
		sttcp_server_free(server);
	}
}

/* If the chosen port is taken on another address, a new one is tried, up to 16 times. */
static void server_tries_another_port_16_times(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "two.test", 0, NULL);

	(void)state;
	/* What earlier cases have left to linger is closed by then. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	for (int failures = 1; failures <= 10; failures += 3) {
		atomic_store(&port_thefts, failures);
		assert_int_equal(sttcp_server_start(server), 0);
		connect_to_both(sttcp_server_port(server));
		/* Of the tries before, nothing listens any more. */
		assert_non_null(sttcp_server_address(server, 1));
		assert_null(sttcp_server_address(server, 2));
		assert_int_equal(sttcp_server_stop(server), 0);
	}
	/* Of a port that was left for another nobody is told. */
	assert_int_equal(lines_with(1, ""), 0);
	/* Nor is anything left of these. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	int fds = count_fds();
	atomic_store(&port_thefts, INT32_MAX);
	atomic_store(&ports_chosen, 0);
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	/* Not the thefts: other programs may have some of the ports there, and they never get so
	 * far. */
	assert_in_range(atomic_load(&ports_chosen), 16, 17);
	assert_int_equal(lines_with(1, ""), 1);
	assert_non_null(strstr(sttcp_server_error(server), "127.0.0.1:"));
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	assert_int_equal(count_fds(), fds); /* the first address listens no more */
	atomic_store(&port_thefts, 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A port that was asked for is not exchanged for another; what listened already is closed. */
static void server_with_a_port_of_its_own_fails_as_a_whole(void **state)
{
	int port = free_port();
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "two.test", port, NULL);

	(void)state;
	atomic_store(&port_thefts, INT32_MAX);
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	assert_int_equal(INT32_MAX - atomic_load(&port_thefts), 1);
	assert_int_equal(peer_connect_to("127.0.0.2", port), -1);
	atomic_store(&port_thefts, 0);
	assert_int_equal(sttcp_server_start(server), 0);
	connect_to_both(port);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Addresses that this machine does not have are skipped, if at least one listens. */
static void server_skips_foreign_addresses(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "foreign-first.test", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer >= 0);
	peer_close(peer);
	sttcp_server_free(server);
	server = probe_server(probe, "foreign.test", 0, NULL);
	assert_int_equal(sttcp_server_start(server), -EADDRNOTAVAIL);
	assert_true(strlen(sttcp_server_error(server)) > 0);
	sttcp_server_free(server);
	server = probe_server(probe, "failing.test", 0, NULL);
	assert_int_equal(sttcp_server_start(server), STTCP_ERESOLVE);
	assert_non_null(strstr(sttcp_server_error(server), "failing.test"));
	sttcp_server_free(server);
	/* A name that has one address twice is no reason to fail. */
	server = probe_server(probe, "twice.test", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_server_free(server);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 0);
	probe_free(probe);
}

static int64_t over_connections(sttcp_server *server)
{
	sttcp_stats stats = {0};

	sttcp_server_stats(server, &stats, sizeof(stats));
	return stats.over_connections;
}

/* Whoever accepts it may close it at once, without a handshake. */
static int connect_plainly(int port)
{
	const struct sockaddr_in addr = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)port),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Runs first, so that the two listeners are on two loops. One takes the last place, finds nobody to
 * give it to, and gives it back; meanwhile the other one found all places taken and waits: it has
 * to be called. */
static void place_given_back_calls_the_other_listener(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server =
		probe_server(probe, "two.test", 0, STTCP_OPTIONS(.max_connections = 2));
	assert_int_equal(sttcp_server_start(server), 0);
	int port = sttcp_server_port(server);
	int first = peer_connect_to("127.0.0.1", port);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	atomic_store(&interval.armed, true);
	int lost = connect_plainly(port);
	assert_true(event_wait(&interval.empty, 1));
	int second = peer_connect_to("127.0.0.2", port);
	assert_true(peer_say(second, "x"));
	EVENTUALLY(over_connections(server) == 1);
	event_raise(&interval.looked);
	assert_true(peer_expect(second, "x"));
	assert_true(peer_say(first, "y") && peer_expect(first, "y"));
	close(lost);
	peer_close(first);
	peer_close(second);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- clients */

/* Every address that the name has is tried: the first one refuses. */
static void client_tries_the_next_address(void **state)
{
	int port = free_port(); /* nobody listens there on 127.0.0.2, either */
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "127.0.0.1", port, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_client(calling, "two.test", port, NULL);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(sttcp_client_start(client), 0);
		assert_true(probe_wait(calling, STTCP_CONNECTION, i));
		sttcp_conn *conn = client_conn(client);
		assert_string_equal(sttcp_conn_host(conn), "127.0.0.1");
		sttcp_conn_unref(conn);
		assert_int_equal(sttcp_client_close(client), 0);
	}
	assert_int_equal(probe_count(calling, STTCP_UNCONNECTED), 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* All of them refuse: one unconnected handler. */
static void client_fails_once_when_all_addresses_do(void **state)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "two.test", free_port(), NULL);

	(void)state;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_string_equal(probe_order(probe), "uU");
	sttcp_client_free(client);
	probe_free(probe);
}

/* An address that does not answer does not hold up the next one (RFC 8305): a listener whose queue
 * is full on 127.0.0.2, the server on 127.0.0.1, both on one port. */
static void client_does_not_wait_for_a_silent_address(void **state)
{
	struct sockaddr_in silent = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
	int port = free_port();
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "127.0.0.1", port, NULL);
	int fill[8];
	int nfill = 0;

	(void)state;
	atomic_store(&port_thefts, 0);
	assert_int_equal(sttcp_server_start(server), 0);
	silent.sin_port = htons((uint16_t)port);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&silent, sizeof(silent)), 0);
	assert_int_equal(listen(listener, 0), 0);
	while (nfill < 8) {
		fill[nfill] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fill[nfill++], (struct sockaddr *)&silent, sizeof(silent));
	}
	sttcp_client *client =
		probe_client(calling, "two.test", port, STTCP_OPTIONS(.connect_timeout_ms = -1));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_conn *conn = client_conn(client);
	assert_string_equal(sttcp_conn_host(conn), "127.0.0.1");
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	while (nfill > 0)
		peer_close(fill[--nfill]);
	peer_close(listener);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void client_tells_a_failing_resolver(void **state)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "failing.test", 80, NULL);

	(void)state;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ERESOLVE);
	assert_string_equal(probe_order(probe), "uU");
	assert_string_equal(probe_address(probe), "failing.test:80");
	assert_true(strlen(probe_fail_text(probe)) > 0); /* what the resolver had to say */
	sttcp_client_free(client);
	probe_free(probe);
}

/* The only one with that resolver, which answers for good at its end. start returns while the
 * resolver blocks; others go on; the connect timeout includes it; a close gives up at once; and the
 * late answer is dropped. */
static void slow_resolver_holds_up_nobody(void **state)
{
	struct probe *serving = probe_new();
	struct probe *patient = probe_new();
	struct probe *hasty = probe_new();
	struct probe *closed = probe_new();
	struct probe *freed = probe_new();
	sttcp_client *clients[4];

	(void)state;
	serving->data = echo_data;
	sttcp_server *server = probe_listen(serving, NULL);
	int port = sttcp_server_port(server);
	clients[0] =
		probe_client(patient, "slow.test", port, STTCP_OPTIONS(.connect_timeout_ms = -1));
	clients[1] =
		probe_client(hasty, "slow.test", port, STTCP_OPTIONS(.connect_timeout_ms = 200));
	clients[2] = probe_client(closed, "slow.test", port, NULL);
	clients[3] = probe_client(freed, "slow.test", port, NULL);
	for (int i = 0; i < 4; i++)
		if (i != 1)
			assert_int_equal(sttcp_client_start(clients[i]), 0);
	assert_true(event_wait(&resolving, 3)); /* all at once */
	/* Its time may be over before a thread comes to ask for it. */
	assert_int_equal(sttcp_client_start(clients[1]), 0);
	assert_int_equal(sttcp_client_wait(clients[1], DEADLINE_MS), STTCP_ETIME_CONNECT);
	char given[64]; /* the name as it was given: it never resolved */
	snprintf(given, sizeof(given), "slow.test:%d", port);
	assert_string_equal(probe_address(hasty), given);
	assert_int_equal(sttcp_client_close(clients[2]), 0);
	assert_int_equal(probe_reason(closed), STTCP_EDESTROYED);
	sttcp_client_free(clients[3]);
	assert_int_equal(probe_reason(freed), STTCP_EDESTROYED);
	probe_free(freed);
	for (int i = 0; i < 10; i++) {
		int peer = peer_connect(port);

		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		peer_close(peer);
	}
	assert_int_equal(sttcp_client_wait(clients[0], 0), -ETIMEDOUT);
	event_raise(&answered);
	assert_true(probe_wait(patient, STTCP_CONNECTION, 1));
	assert_string_equal(probe_order(hasty), "uU");
	assert_string_equal(probe_order(closed), "uU");
	for (int i = 0; i < 3; i++)
		sttcp_client_free(clients[i]);
	sttcp_server_free(server);
	probe_free(closed);
	probe_free(hasty);
	probe_free(patient);
	probe_free(serving);
}

/* G14: the first address never answers, and the last one fails at once: the limit holds. */
static void connect_timeout_holds_when_the_last_address_fails(void **state)
{
	struct probe *probe = probe_new();
	struct blackhole hole;

	(void)state;
	atomic_store(&port_thefts, 0);
	assert_true(blackhole_open(&hole));
	sttcp_client *client = probe_client(probe, "failing-second.test", hole.port,
					    STTCP_OPTIONS(.connect_timeout_ms = 600));
	int64_t begin = now_ms();
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ETIME_CONNECT);
	assert_true(now_ms() - begin >= 590);
	assert_string_equal(probe_order(probe), "uU");
	sttcp_client_free(client);
	blackhole_close(&hole);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(place_given_back_calls_the_other_listener),
		cmocka_unit_test(slow_resolver_holds_up_nobody),
		cmocka_unit_test(server_listens_on_all_addresses_with_one_port),
		cmocka_unit_test(accept_queue_is_as_long_as_asked_for),
		cmocka_unit_test_setup_teardown(server_tries_another_port_16_times, lines_open,
						lines_close),
		cmocka_unit_test(server_with_a_port_of_its_own_fails_as_a_whole),
		cmocka_unit_test(server_skips_foreign_addresses),
		cmocka_unit_test(client_tries_the_next_address),
		cmocka_unit_test(client_fails_once_when_all_addresses_do),
		cmocka_unit_test(client_does_not_wait_for_a_silent_address),
		cmocka_unit_test(client_tells_a_failing_resolver),
		cmocka_unit_test(connect_timeout_holds_when_the_last_address_fails),
	};

	atomic_store(&stand_in_getaddrinfo, resolve);
	atomic_store(&stand_in_freeaddrinfo, free_answer);
	atomic_store(&stand_in_listen, steal_port);
	atomic_store(&stand_in_accept4, accept_slowly);
	if (sttcp_engine_configure(2, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
