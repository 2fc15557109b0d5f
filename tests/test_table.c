/* SPDX-License-Identifier: MIT */
/* The hash table: its chains stay short whatever the keys have in common, it grows, shrinks, and
 * does without memory. */
#include "base/table.h"

#include "base/list.h"
#include "conn/conn.h"
#include "group/admission.h"
#include "support/memory_faults.h"
#include "support/support.h"

#include <netinet/in.h>

enum {
	MANY = 30000,
	/* Of 30 000 keys thrown into 32 768 slots at random the longest chain has 7 or 8. */
	LONGEST = 16
};

static unsigned longest_chain(const struct stt_table *table)
{
	unsigned longest = 0;

	for (size_t i = 0; i < (size_t)1 << table->bits; i++) {
		unsigned length = 0;

		for (struct stt_link *link = table->slots ? table->slots[i] : table->only; link;
		     link = link->next)
			length++;
		longest = length > longest ? length : longest;
	}
	return longest;
}

/* ----------------------------------------------------------------------- keys */

/* Ids of connections that are strided over n loops. */
static uint64_t key_stride(unsigned i, unsigned n)
{
	return 1 + (uint64_t)i * n;
}

/* The number in the bytes from `from` on of an address in memory. */
static uint64_t key_bytes(unsigned i, unsigned from)
{
	unsigned char bytes[8] = {0x20, 0x01, 0x0d, 0xb8};
	uint64_t key;

	bytes[from] = (unsigned char)(i >> 8);
	bytes[from + 1] = (unsigned char)i;
	memcpy(&key, bytes, sizeof(key));
	return key;
}

static uint64_t key_top(unsigned i, unsigned shift)
{
	return (uint64_t)i << shift;
}

static const struct {
	const char *name;
	uint64_t (*key)(unsigned i, unsigned how);
	unsigned how;
} series[] = {
	{"consecutive", key_stride, 1},	 {"1 modulo 2", key_stride, 2},
	{"1 modulo 3", key_stride, 3},	 {"1 modulo 8", key_stride, 8},
	{"1 modulo 64", key_stride, 64}, {"1 modulo 4096", key_stride, 4096},
	{"a /48", key_bytes, 6},	 {"a /32", key_bytes, 4},
	{"bytes 5 and 6", key_bytes, 5}, {"from bit 32 on", key_top, 32},
	{"from bit 49 on", key_top, 49},
};

static void chains_are_short_whatever_keys_have_in_common(void **state)
{
	struct stt_link *links = calloc(MANY, sizeof(*links));

	(void)state;
	assert_non_null(links);
	for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
		struct stt_table table = {0};

		for (unsigned j = 0; j < MANY; j++)
			stt_table_add(&table, &links[j], series[i].key(j, series[i].how));
		print_message("%s: %u\n", series[i].name, longest_chain(&table));
		assert_true(longest_chain(&table) <= LONGEST);
		stt_table_fini(&table, NULL);
	}
	free(links);
}

/* What the addresses of one network are for a server. */
static void networks_of_one_prefix_do_not_meet(void **state)
{
	static const int places[] = {6, 4};

	(void)state;
	for (int how = 0; how < 2; how++) {
		struct stt_group group = {.state = STT_RUNNING,
					  .service.settings = {.max_connections = -1,
							       .max_connections_per_ip = 1,
							       .accept_rate = -1}};
		const struct stt_table *addresses = &group.admission.addresses;
		struct sttcp_conn conn = {.peer = {.sin6_family = AF_INET6}};
		unsigned char *address = conn.peer.sin6_addr.s6_addr;

		address[0] = 0x20;
		address[1] = 0x01;
		stt_mutex_init(&group.lock);
		stt_lock(&group.lock);
		for (int i = 0; i < MANY; i++) {
			address[places[how]] = (unsigned char)(i >> 8);
			address[places[how] + 1] = (unsigned char)i;
			assert_int_equal(stt_admission_enter_locked(&group, &conn), STT_PLACE_FREE);
			assert_int_equal(stt_admission_enter_locked(&group, &conn),
					 STT_PLACE_OVER_ADDRESS);
		}
		assert_int_equal(addresses->count, MANY);
		assert_true(longest_chain(addresses) <= LONGEST);
		for (int i = 0; i < MANY; i++) {
			address[places[how]] = (unsigned char)(i >> 8);
			address[places[how] + 1] = (unsigned char)i;
			stt_admission_leave_locked(&group, &conn);
			assert_int_equal(stt_admission_enter_locked(&group, &conn), STT_PLACE_FREE);
		}
		stt_unlock(&group.lock);
		stt_mutex_fini(&group.lock);
		stt_admission_fini(&group.admission);
	}
}

/* Any network of IPv6 might have the key of an address of IPv4: the two differ in each bit of 32.
 */
static void families_do_not_meet(void **state)
{
	struct stt_group group = {.state = STT_RUNNING,
				  .service.settings = {.max_connections = -1,
						       .max_connections_per_ip = 1,
						       .accept_rate = -1}};
	const unsigned char address[4] = {32, 1, 13, 184}; /* 2001:db8 */

	(void)state;
	stt_mutex_init(&group.lock);
	stt_lock(&group.lock);
	for (int at = 0; at < 8; at += 4)
		for (int bit = 0; bit < 32; bit++) {
			struct sttcp_conn six = {.peer = {.sin6_family = AF_INET6}};
			struct sttcp_conn any = {.peer = {.sin6_family = AF_INET}};

			memcpy(&((struct sockaddr_in *)&any.peer)->sin_addr, address,
			       sizeof(address));
			memcpy(&six.peer.sin6_addr.s6_addr[at], address, sizeof(address));
			six.peer.sin6_addr.s6_addr[(4 - at) + bit / 8] =
				(unsigned char)(1 << bit % 8);
			assert_int_equal(stt_admission_enter_locked(&group, &any), STT_PLACE_FREE);
			assert_int_equal(stt_admission_enter_locked(&group, &six), STT_PLACE_FREE);
			assert_int_equal(group.admission.addresses.count, 2);
			stt_admission_leave_locked(&group, &any);
			stt_admission_leave_locked(&group, &six);
		}
	stt_unlock(&group.lock);
	stt_mutex_fini(&group.lock);
	stt_admission_fini(&group.admission);
}

static void texts_do_not_meet(void **state)
{
	struct stt_link *links = calloc(MANY, sizeof(*links));
	struct stt_table table = {0};

	(void)state;
	assert_non_null(links);
	for (int i = 0; i < MANY; i++) {
		char name[32];
		int size = snprintf(name, sizeof(name), "room number %d", i);
		uint64_t key = stt_table_hash(name, (size_t)size);

		assert_null(stt_table_find(&table, key));
		assert_int_equal(key, stt_table_hash(name, (size_t)size));
		stt_table_add(&table, &links[i], key);
	}
	assert_true(longest_chain(&table) <= LONGEST);
	/* Their length counts, too. */
	assert_true(stt_table_hash("a\0", 1) != stt_table_hash("a\0", 2));
	assert_true(stt_table_hash("", 0) != stt_table_hash("\0", 1));
	stt_table_fini(&table, NULL);
	free(links);
}

/* -------------------------------------------------------------------- contents */

struct thing {
	struct stt_link link;
	bool in;
};

static bool is_found(const struct stt_table *table, const struct thing *thing, uint64_t key)
{
	struct stt_link *link = stt_table_find(table, key);

	while (link && link != &thing->link)
		link = stt_table_find_next(link);
	return link;
}

/* Things come and go at random, four to a key, and each that is there is found. */
static void what_is_there_is_found_and_nothing_else(void **state)
{
	enum {
		THINGS = 2000,
		STEPS = 200000
	};
	static struct thing things[THINGS];
	struct stt_table table = {0};
	uint32_t random = 7;
	size_t count = 0;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		/* Waves: mostly coming, then mostly going. */
		bool comes = step / 20000 % 2 == 0;
		unsigned i = next_random(&random) % THINGS;

		if (next_random(&random) % 8 == 0)
			comes = !comes;
		if (comes && !things[i].in)
			stt_table_add(&table, &things[i].link, i / 4);
		if (!comes && things[i].in)
			stt_table_remove(&table, &things[i].link);
		count += comes && !things[i].in;
		count -= !comes && things[i].in;
		things[i].in = comes;
		assert_int_equal(table.count, count);
		assert_int_equal(is_found(&table, &things[i], i / 4), comes);
		i = next_random(&random) % THINGS;
		assert_int_equal(is_found(&table, &things[i], i / 4), things[i].in);
	}
	stt_table_fini(&table, NULL);
}

/* A wave that has gone leaves no memory behind. */
static void slots_go_with_the_wave(void **state)
{
	struct stt_link *links = calloc(MANY, sizeof(*links));
	struct stt_table table = {0};

	(void)state;
	assert_non_null(links);
	for (unsigned i = 0; i < MANY; i++)
		stt_table_add(&table, &links[i], i);
	assert_true((size_t)1 << table.bits >= MANY / 2);
	for (unsigned i = 0; i < MANY; i++) {
		assert_ptr_equal(stt_table_find(&table, i), &links[i]);
		stt_table_remove(&table, &links[i]);
		assert_null(stt_table_find(&table, i));
	}
	assert_true((size_t)1 << table.bits <= 64);
	assert_int_equal(table.count, 0);
	stt_table_fini(&table, NULL);
	free(links);
}

static int nfreed;

static void count_freed(struct stt_link *link)
{
	link->next = NULL;
	nfreed++;
}

static void fini_frees_what_is_left(void **state)
{
	struct stt_link links[100];

	(void)state;
	for (int n = 0; n <= 100; n += n < 3 ? 1 : 97) {
		struct stt_table table = {0};

		nfreed = 0;
		for (int i = 0; i < n; i++)
			stt_table_add(&table, &links[i], (uint64_t)i);
		stt_table_fini(&table, count_freed);
		assert_int_equal(nfreed, n);
	}
}

/* Without memory the chains get longer, from the first slot on; with it they are spread. */
static void table_does_without_memory(void **state)
{
	struct stt_table table = {0};
	struct stt_link links[300];

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (unsigned i = 0; i < 300; i++) {
		deny_after(i < 100 || (i >= 150 && i < 250) ? 0 : -1, true);
		stt_table_add(&table, &links[i], i);
	}
	assert_true(allow_again());
	for (unsigned i = 0; i < 300; i++)
		assert_ptr_equal(stt_table_find(&table, i), &links[i]);
	assert_true(table.bits > 0);
	deny_after(0, true);
	for (unsigned i = 0; i < 300; i++)
		stt_table_remove(&table, &links[i]);
	allow_again();
	assert_int_equal(table.count, 0);
	stt_table_fini(&table, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_are_short_whatever_keys_have_in_common),
		cmocka_unit_test(networks_of_one_prefix_do_not_meet),
		cmocka_unit_test(families_do_not_meet),
		cmocka_unit_test(texts_do_not_meet),
		cmocka_unit_test(what_is_there_is_found_and_nothing_else),
		cmocka_unit_test(slots_go_with_the_wave),
		cmocka_unit_test(fini_frees_what_is_left),
		cmocka_unit_test(table_does_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
