/* SPDX-License-Identifier: MIT */
/* G3: a client that connects again while things fail around it: its name, its sockets, memory.
 * getaddrinfo, connect and malloc are this program's own, in front of the C library's. */
#include "support/faults.h"
#include "support/memory_faults.h"
#include "support/support.h"

#include <sys/random.h>

#define SOON .reconnect_ms = 1, .reconnect_max_ms = 20

static atomic_int questions;
static _Atomic(const char *) answer; /* NULL: the resolver fails */

static int resolve(const char *restrict host, const char *restrict service,
		   const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	const char *is = atomic_load(&answer);

	if (strcmp(host, "moving.test") != 0)
		return real_getaddrinfo(host, service, hints, list);
	atomic_fetch_add(&questions, 1);
	return is ? real_getaddrinfo(is, service, hints, list) : EAI_AGAIN;
}

/* The server has moved while the client was waiting. */
static void name_is_resolved_anew_each_time(void **state)
{
	int port = free_port(); /* nobody listens there on 127.0.0.2, either */
	struct probe *side = probe_new();
	sttcp_server *server = probe_server(side, "127.0.0.1", port, NULL);
	struct probe *probe = probe_new();

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	atomic_store(&stand_in_getaddrinfo, resolve);
	atomic_store(&questions, 0);
	atomic_store(&answer, NULL);
	sttcp_client *client = probe_client(probe, "moving.test", port, STTCP_OPTIONS(SOON));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 3));
	assert_int_equal(probe_reason(probe), STTCP_ERESOLVE);

	atomic_store(&answer, "127.0.0.2");
	EVENTUALLY(probe_reason(probe) == -ECONNREFUSED);
	atomic_store(&answer, "127.0.0.1");
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	assert_int_equal(sttcp_client_close(client), 0);
	/* Once for each attempt: no answer was kept. */
	assert_int_equal(atomic_load(&questions), probe_count(probe, STTCP_UNCONNECTED) +
							  probe_count(probe, STTCP_CONNECTION));
	sttcp_client_free(client);
	sttcp_server_free(server);
	atomic_store(&stand_in_getaddrinfo, NULL);
	probe_free(side);
	probe_free(probe);
}

static void sockets_that_cannot_be_had_are_failed_attempts(void **state)
{
	static const int errors[] = {EMFILE, ENOBUFS, ENETUNREACH, EACCES};
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct probe *probe = probe_new();

		fault_instead(SYS_connect, errors[i], 3);
		sttcp_client *client =
			probe_dial(probe, sttcp_server_port(server), STTCP_OPTIONS(SOON));
		assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
		fault_clear();
		assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 3);
		assert_int_equal(probe_reason(probe), -errors[i]);
		sttcp_client_free(client);
		probe_free(probe);
	}
	sttcp_server_free(server);
	probe_free(side);
}

/* Without memory for an attempt there is none, and no handler tells of one: the client waits once
 * more. */
static void shortage_of_memory_is_outlived(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	if (!memory_can_be_short()) {
		peer_close(refusing);
		probe_free(probe);
		skip();
	}
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	for (int i = 0; i < 40; i++) {
		long before = probe_count(probe, STTCP_UNCONNECTED);

		deny_after(i % 8, true);
		nap_ms(5);
		allow_again();
		assert_true(probe_wait(probe, STTCP_UNCONNECTED, before + 3));
	}
	assert_int_equal(sttcp_client_wait(client, 0), -ETIMEDOUT);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

/* A random number that the kernel does not give costs no start. getrandom is this program's own,
 * too. */
static atomic_bool no_random;
static atomic_int refused;

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
	if (!atomic_load(&no_random))
		return syscall(SYS_getrandom, buffer, size, flags);
	atomic_fetch_add(&refused, 1);
	errno = EPERM; /* as a filter of system calls has it */
	return -1;
}

static void client_is_made_without_random_numbers(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	atomic_store(&no_random, true);
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON, .reconnect_tries = 5));
	atomic_store(&no_random, false);
	assert_int_equal(atomic_load(&refused), 1);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_is_resolved_anew_each_time),
		cmocka_unit_test(sockets_that_cannot_be_had_are_failed_attempts),
		cmocka_unit_test(shortage_of_memory_is_outlived),
		cmocka_unit_test(client_is_made_without_random_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
