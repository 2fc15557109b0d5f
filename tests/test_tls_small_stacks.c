/* SPDX-License-Identifier: MIT */
/* Handshakes on the smallest stacks that there are (fiber_stack_size): what the manual says that
 * they take is measured. */
#include "conn/desk.h"
#include "conn/strand.h"
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	SMALLEST = 16 * 1024,
	DOCUMENTED = 14 * 1024, /* sttcp-fibers(7), STACKS */
	PAINT = 0xa5
};

static sttcp_tls *server_tls;
static sttcp_tls *client_tls;
static int far_port;
static _Atomic int results[2];
static _Atomic size_t deepest;
static struct event done = EVENT_INIT;

/* ---------------------------------------------------------------- the depth */

/* Below the frames that there are. Nothing of a sanitizer's may stand there. */
__attribute__((__noinline__)) static void paint(const struct stt_strand *strand)
{
	volatile char *end = (volatile char *)__builtin_frame_address(0) - 256;

	for (volatile char *at = strand->fiber.stack.low; at < end; at++)
		*at = (char)PAINT;
}

/* From the top of the stack. What lies below a long wait has gone back to the system, and is 0. */
static size_t depth_of(const struct stt_strand *strand)
{
	const struct stt_stack *stack = &strand->fiber.stack;
	const volatile char *at = stack->low;

	while (*at == (char)PAINT || !*at)
		at++;
	return (size_t)(stack->low + stack->size - at);
}

static bool can_paint(void)
{
	return stt_strand_here() && !UNDER_ASAN && !UNDER_TSAN;
}

/* Runs in a handler, and keeps how deep it was at most. */
static int measure(int (*shake)(sttcp_conn *conn), sttcp_conn *conn)
{
	if (!can_paint())
		return shake(conn);
	/* The same stack throughout, on whatever thread. */
	const struct stt_strand *strand = stt_strand_here();

	paint(strand);
	int result = shake(conn);
	size_t depth = depth_of(strand);

	if (depth > atomic_load(&deepest))
		atomic_store(&deepest, depth);
	return result;
}

/* ------------------------------------------------------------------ handlers */

static int shake_as_server(sttcp_conn *conn)
{
	return sttcp_conn_start_tls(conn, server_tls, NULL);
}

static int shake_as_client(sttcp_conn *conn)
{
	return sttcp_conn_start_tls(conn, client_tls, "localhost");
}

static int shake_by_dialling(sttcp_conn *conn)
{
	int code = 0;
	sttcp_conn *far =
		sttcp_dial("localhost", far_port, STTCP_OPTIONS(.tls = client_tls), &code);

	(void)conn;
	sttcp_conn_unref(far);
	return code;
}

static bool start_server(sttcp_conn *conn, void *context)
{
	(void)context;
	atomic_store(&results[0], measure(shake_as_server, conn));
	event_raise(&done);
	return true;
}

static bool start_client(sttcp_conn *conn, void *context)
{
	(void)context;
	atomic_store(&results[1], measure(shake_as_client, conn));
	event_raise(&done);
	return true;
}

static bool dial_far(sttcp_conn *conn, void *context)
{
	(void)context;
	atomic_store(&results[0], measure(shake_by_dialling, conn));
	event_raise(&done);
	return true;
}

/* --------------------------------------------------------------------- cases */

static sttcp_server *listen_on_small(sttcp_connection_handler handler, sttcp_tls *tls)
{
	sttcp_server *server = sttcp_server_new(
		"localhost", 0,
		STTCP_OPTIONS(.fibers = true, .fiber_stack_size = SMALLEST, .tls = tls));

	if (handler)
		assert_int_equal(sttcp_server_on_connection(server, handler), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	return server;
}

static void make_tls(const char *name, enum cert_key key, int version)
{
	const char *chain, *file;
	struct event fresh = EVENT_INIT;

	stage_write(name, &(struct cert_spec){.names = "DNS:localhost", .key = key}, &chain, &file);
	server_tls = sttcp_tls_server(chain, file);
	client_tls = stage_client();
	assert_non_null(server_tls);
	assert_int_equal(sttcp_tls_set_versions(server_tls, version, version), 0);
	done = fresh;
	atomic_store(&results[0], 1);
	atomic_store(&results[1], 1);
}

static void free_tls(void)
{
	sttcp_tls_unref(server_tls);
	sttcp_tls_unref(client_tls);
}

static void start_on_both_sides(void)
{
	sttcp_server *server = listen_on_small(start_server, NULL);
	sttcp_client *client =
		sttcp_client_new("localhost", sttcp_server_port(server),
				 STTCP_OPTIONS(.fibers = true, .fiber_stack_size = SMALLEST));

	assert_int_equal(sttcp_client_on_connection(client, start_client), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(event_wait(&done, 2));
	assert_int_equal(atomic_load(&results[0]), 0);
	assert_int_equal(atomic_load(&results[1]), 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
}

/* The far server shakes hands by itself, and so before its handler. */
static void dial_in_a_handler(int expected)
{
	sttcp_server *far = listen_on_small(NULL, server_tls);
	sttcp_server *server = listen_on_small(dial_far, NULL);

	far_port = sttcp_server_port(far);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&done, 1));
	assert_int_equal(atomic_load(&results[0]), expected);
	peer_close(peer);
	sttcp_server_free(server);
	sttcp_server_free(far);
}

/* Whom the system trusts is read when it is first asked for, in the handshake. */
static void dial_that_reads_the_systems_trust_fits(void **state)
{
	(void)state;
	atomic_store(&deepest, 0);
	make_tls("unknown", CERT_EC, 13);
	sttcp_tls_unref(client_tls);
	client_tls = sttcp_tls_client();
	dial_in_a_handler(STTCP_ETLS);
	free_tls();
	print_message("%zu bytes\n", atomic_load(&deepest));
	assert_true(atomic_load(&deepest) <= DOCUMENTED);
}

static const struct {
	const char *name;
	enum cert_key key;
} keys[] = {{"ec", CERT_EC}, {"rsa", CERT_RSA}, {"ed25519", CERT_ED25519}};

static void with_each_key(void (*shake)(void))
{
	static const int versions[] = {12, 13};

	for (size_t i = 0; i < 2 * sizeof(keys) / sizeof(*keys); i++) {
		atomic_store(&deepest, 0);
		make_tls(keys[i / 2].name, keys[i / 2].key, versions[i % 2]);
		shake();
		free_tls();
		print_message("%s, TLS 1.%d: %zu bytes\n", keys[i / 2].name, (int)(2 + i % 2),
			      atomic_load(&deepest));
		assert_true(atomic_load(&deepest) <= DOCUMENTED);
	}
}

static void start_tls_fits_on_the_smallest_stack(void **state)
{
	(void)state;
	with_each_key(start_on_both_sides);
}

static void dial_trusted(void)
{
	dial_in_a_handler(0);
}

static void dial_over_tls_fits_on_the_smallest_stack(void **state)
{
	(void)state;
	with_each_key(dial_trusted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dial_that_reads_the_systems_trust_fits),
		cmocka_unit_test(start_tls_fits_on_the_smallest_stack),
		cmocka_unit_test(dial_over_tls_fits_on_the_smallest_stack),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
