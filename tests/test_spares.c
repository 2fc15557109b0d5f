/* SPDX-License-Identifier: MIT */
/* The stacks that a worker keeps for its next calls (conn/spares.h), counted as they are made. */
#include "base/fiber.h"
#include "base/portable.h"
#include "conn/spares.h"
#include "conn/strand.h"
#include "support/support.h"

enum {
	KIB = 1024,
	CALLS = 10000,
	/* A loop that changes hands on a busy machine begins with no spare stack. */
	MOST_MADE = CALLS / 50
};

static atomic_long made;

#if STT_HAVE_MAKECONTEXT
#include <dlfcn.h>
#include <ucontext.h>

typedef void makecontext_fn(ucontext_t *context, void (*fn)(void), int argc, ...);

/* In front of the C library's, which the library calls once for each stack. Where a sanitizer is
 * linked into the program, its own has the name with a prefix. */
makecontext_fn __interceptor_makecontext __attribute__((weak));

void makecontext(ucontext_t *context, void (*fn)(void), int argc, ...)
{
	makecontext_fn *real = __interceptor_makecontext;
	va_list list;

	if (!real) {
		void *symbol = dlsym(RTLD_NEXT, "makecontext");

		real = *(makecontext_fn **)(void *)&symbol;
	}
	va_start(list, argc);
	unsigned high = va_arg(list, unsigned);
	unsigned low = va_arg(list, unsigned);

	va_end(list);
	atomic_fetch_add(&made, 1);
	real(context, fn, 2, high, low);
}
#endif

/* --------------------------------------------------------------- alone */

static void give_new(struct stt_spares *spares, size_t stack_size, int count)
{
	for (int i = 0; i < count; i++) {
		struct stt_fiber *fiber = stt_fiber_new(stack_size, sizeof(struct stt_strand));

		assert_non_null(fiber);
		stt_spares_give(spares, stt_container_of(fiber, struct stt_strand, fiber));
	}
}

/* How many there are of a size; they stay. */
static int count_spares(struct stt_spares *spares, size_t stack_size)
{
	struct stt_strand *list[STT_MOST_SPARE + 1];
	int count = 0;

	while ((list[count] = stt_spares_take(spares, stack_size))) {
		assert_int_equal(list[count]->fiber.stack.size, stack_size);
		count++;
	}
	for (int i = 0; i < count; i++)
		stt_spares_give(spares, list[i]);
	return count;
}

static void need_fibers(void)
{
	if (!stt_fibers_are_there())
		skip();
}

static void sizes_share_what_is_kept(void **state)
{
	struct stt_spares spares = {0};
	size_t small = stt_stack_size(16 * KIB), large = stt_stack_size(64 * KIB);

	(void)state;
	need_fibers();
	assert_null(stt_spares_take(&spares, small));
	give_new(&spares, small, STT_MOST_SPARE + 8);
	assert_int_equal(count_spares(&spares, small), STT_MOST_SPARE);
	assert_null(stt_spares_take(&spares, large));
	give_new(&spares, large, STT_MOST_SPARE + 8);
	assert_int_equal(count_spares(&spares, large), STT_MOST_SPARE / 2);
	assert_int_equal(count_spares(&spares, small), STT_MOST_SPARE / 2);
	stt_spares_fini(&spares);
	assert_int_equal(count_spares(&spares, small) + count_spares(&spares, large), 0);
}

static void another_size_takes_the_place_of_the_fewest(void **state)
{
	struct stt_spares spares = {0};
	size_t sizes[STT_SPARE_SIZES + 1];

	(void)state;
	need_fibers();
	for (int i = 0; i <= STT_SPARE_SIZES; i++) {
		sizes[i] = stt_stack_size((size_t)(i + 1) * 16 * KIB);
		give_new(&spares, sizes[i], i == 1 ? 1 : 3);
	}
	for (int i = 0; i <= STT_SPARE_SIZES; i++)
		assert_int_equal(count_spares(&spares, sizes[i]), i == 1 ? 0 : 3);
	stt_spares_fini(&spares);
}

/* ---------------------------------------------------------- with servers */

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static sttcp_server *listen_on_stacks(int32_t size)
{
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0, STTCP_OPTIONS(.fibers = true, .fiber_stack_size = size));

	CHECK(server);
	CHECK(sttcp_server_on_receive(server, echo) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

/* Calls in turn for objects with different sizes, on one loop. */
static int call_in_turn(void)
{
	static const int32_t sizes[] = {16 * KIB, 128 * KIB, 32 * KIB};
	enum {
		SERVERS = sizeof(sizes) / sizeof(*sizes)
	};
	sttcp_server *servers[SERVERS];
	int peers[SERVERS];

	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	for (int i = 0; i < SERVERS; i++) {
		servers[i] = listen_on_stacks(sizes[i]);
		peers[i] = peer_connect(sttcp_server_port(servers[i]));
		CHECK(peers[i] >= 0);
	}
	for (int i = 0; i < CALLS; i++) {
		CHECK(peer_say(peers[i % SERVERS], "x"));
		CHECK(peer_expect(peers[i % SERVERS], "x"));
	}
	printf("%ld stacks were made for %d calls\n", atomic_load(&made), CALLS);
	CHECK(atomic_load(&made) >= SERVERS || !stt_fibers_are_there());
	CHECK(atomic_load(&made) <= MOST_MADE);
	for (int i = 0; i < SERVERS; i++) {
		peer_close(peers[i]);
		sttcp_server_free(servers[i]);
	}
	return 0;
}

static void objects_with_other_sizes_keep_their_stacks(void **state)
{
	(void)state;
	assert_int_equal(process_run("call_in_turn"), 0);
}

int main(int argc, char **argv)
{
	static const struct child children[] = {
		{"call_in_turn", call_in_turn},
		{0},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_share_what_is_kept),
		cmocka_unit_test(another_size_takes_the_place_of_the_fewest),
		cmocka_unit_test(objects_with_other_sizes_keep_their_stacks),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
