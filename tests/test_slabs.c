/* SPDX-License-Identifier: MIT */
/* Blocks of one size in mapped memory: no two overlap, and what a wave has taken goes back. */
#include "support/support.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "base/slabs.h"

enum {
	BLOCK = 480,
	COUNT = 20000,
	THREADS = 4
};

static struct stt_slabs slabs = STT_SLABS_INIT(BLOCK, STT_SLABS_OF_TESTS, STT_KEEPS_FEW);

/* Mapped memory of this process, in KiB. */
static long mapped_kib(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file && fscanf(file, "%ld", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void blocks_are_aligned_and_apart(void **state)
{
	static unsigned char *blocks[COUNT];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = stt_slabs_take(&slabs);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 16, 0);
		memset(blocks[i], i & 255, BLOCK);
	}
	for (int i = 0; i < COUNT; i++)
		for (int at = 0; at < BLOCK; at += 60)
			assert_int_equal(blocks[i][at], i & 255);
	/* Every other one, and then those again that lie between. */
	for (int i = 0; i < COUNT; i += 2)
		stt_slabs_give(&slabs, blocks[i]);
	for (int i = 0; i < COUNT; i += 2) {
		blocks[i] = stt_slabs_take(&slabs);
		memset(blocks[i], i & 255, BLOCK);
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(blocks[i][0], i & 255);
		assert_int_equal(blocks[i][BLOCK - 1], i & 255);
		stt_slabs_give(&slabs, blocks[i]);
	}
}

static void check_waves(struct stt_slabs *of)
{
	enum {
		SPARE_KIB = 256
	};
	static void *blocks[COUNT];
	long begin = mapped_kib();
	long before = 0;

	for (int wave = 0; wave < 5; wave++) {
		for (int i = 0; i < COUNT; i++)
			blocks[i] = stt_slabs_take(of);
		assert_true(mapped_kib() - begin > COUNT / 1024 * BLOCK);
		for (int i = 0; i < COUNT; i++)
			stt_slabs_give(of, blocks[(i * 7919L) % COUNT]);
		if (wave == 0)
			before = mapped_kib();
		assert_int_equal(mapped_kib(), before);
		assert_true(before <= begin + SPARE_KIB);
	}
}

static void waves_leave_no_memory_behind(void **state)
{
	static struct stt_slabs many = STT_SLABS_INIT(BLOCK, STT_SLABS_OF_TESTS, STT_KEEPS_MANY);

	(void)state;
	if (UNDER_ASAN)
		skip(); /* blocks are malloc's there */
	check_waves(&slabs);
	check_waves(&many);
}

enum {
	MOST = 40
};

/* Page faults of a wave behind others like it. */
static long faults_of_a_wave(struct stt_slabs *of, int count)
{
	void *blocks[MOST];
	struct rusage before, after;

	for (int wave = 0; wave < 3; wave++) {
		getrusage(RUSAGE_THREAD, &before);
		for (int i = 0; i < count; i++)
			blocks[i] = memset(stt_slabs_take(of), wave, of->block);
		for (int i = 0; i < count; i++)
			stt_slabs_give(of, blocks[i]);
		getrusage(RUSAGE_THREAD, &after);
	}
	return after.ru_minflt - before.ru_minflt;
}

/* Of 16 KiB each, of which a slab has 15. */
static void short_waves_find_their_memory(void **state)
{
	static struct stt_slabs few = STT_SLABS_INIT(16 * 1024, STT_SLABS_OF_TESTS, STT_KEEPS_FEW);
	static struct stt_slabs many =
		STT_SLABS_INIT(16 * 1024, STT_SLABS_OF_TESTS, STT_KEEPS_MANY);
	void *stay[MOST];

	(void)state;
	if (UNDER_ASAN || UNDER_TSAN)
		skip(); /* blocks are malloc's there, or have a shadow */
	assert_int_equal(faults_of_a_wave(&few, 4), 0);
	assert_true(faults_of_a_wave(&few, 12) > 0);
	assert_int_equal(faults_of_a_wave(&many, 12), 0);
	assert_true(faults_of_a_wave(&many, MOST) > 0);
	/* Beside as many that stay. */
	for (int i = 0; i < MOST; i++)
		stay[i] = memset(stt_slabs_take(&many), 1, many.block);
	assert_int_equal(faults_of_a_wave(&many, MOST), 0);
	for (int i = 0; i < MOST; i++)
		stt_slabs_give(&many, stay[i]);
}

static void giving_nothing_back_is_fine(void **state)
{
	(void)state;
	stt_slabs_give(&slabs, NULL);
}

static void *take_and_give(void *argument)
{
	uint32_t random = (uint32_t)(uintptr_t)argument + 1;
	unsigned char *mine[64] = {0};

	for (int i = 0; i < COUNT; i++) {
		unsigned at = next_random(&random) % 64;

		if (mine[at] && mine[at][8] != at)
			return "a block has two owners";
		stt_slabs_give(&slabs, mine[at]);
		mine[at] = stt_slabs_take(&slabs);
		if (!mine[at])
			return "no memory";
		mine[at][8] = (unsigned char)at;
	}
	for (int at = 0; at < 64; at++)
		stt_slabs_give(&slabs, mine[at]);
	return NULL;
}

static void threads_share_them(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

static void child_of_a_fork_begins_anew(void **state)
{
	void *block = stt_slabs_take(&slabs);
	int status;

	(void)state;
	pid_t child = fork();

	if (child == 0) {
		alarm(5);
		stt_slabs_after_fork();
		void *own = stt_slabs_take(&slabs);

		_exit(!own || (own == block && !UNDER_ASAN));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	stt_slabs_give(&slabs, block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_aligned_and_apart),
		cmocka_unit_test(waves_leave_no_memory_behind),
		cmocka_unit_test(short_waves_find_their_memory),
		cmocka_unit_test(giving_nothing_back_is_fine),
		cmocka_unit_test(threads_share_them),
		cmocka_unit_test(child_of_a_fork_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
