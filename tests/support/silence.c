/* SPDX-License-Identifier: MIT */
/* Silence: context switches and CPU time of all threads but the test's own. */
#include "support/support.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <time.h>

/* A sanitizer's own thread has this name, or none of its own but a clock. */
static long switches_of(const char *task)
{
	char path[300];
	char line[256];
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", task);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, "ctxt_switches:");

		if (at)
			sum += strtol(at + strlen("ctxt_switches:"), NULL, 10);
	}
	fclose(file);
	return sum;
}

/* Of all threads but the calling one; -1 when a thread has come or gone meanwhile. */
static long switches_of_others(void)
{
	DIR *dir = opendir("/proc/self/task");
	long own = (long)syscall(SYS_gettid);
	long sum = 0;

	if (!dir)
		return -1;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] != '.' && atol(entry->d_name) != own)
			sum += switches_of(entry->d_name);
	}
	closedir(dir);
	return sum;
}

/* The process's CPU time without the calling thread's, in microseconds. */
static int64_t cpu_of_others_us(void)
{
	struct timespec all;
	struct timespec own;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
	return ((int64_t)all.tv_sec - own.tv_sec) * 1000000 + (all.tv_nsec - own.tv_nsec) / 1000;
}

/* Two samples, 200 ms apart, that are equal: everybody has gone to sleep. Threads that leave after
 * some seconds are waited for here, too. */
void expect_silence(void)
{
	int64_t until = now_ms() + DEADLINE_MS;
	int threads = -1;
	long switches = -1;
	int still = 0;

	while (still < 5 && now_ms() < until) {
		long now = switches_of_others();
		int count = count_threads();

		still = now == switches && count == threads ? still + 1 : 0;
		switches = now;
		threads = count;
		nap_ms(200);
	}
	assert_true(still >= 5); /* it never became quiet */
	/* A thread that had nothing to do may leave in just this second, and a timer whose alarm
	 * was taken off rings once for nothing: then once more. */
	bool strayed = false;

	for (int i = 0; i < 8; i++) {
		switches = switches_of_others();
		threads = count_threads();
		int64_t cpu = cpu_of_others_us();
		nap_ms(1000);
		cpu = cpu_of_others_us() - cpu;
		long moved = switches_of_others() - switches;
		if (count_threads() != threads)
			continue;
		if (moved && !strayed) {
			strayed = true;
			continue;
		}
		assert_int_equal(moved, 0);
		assert_true(cpu < 500); /* the clocks are read one after the other */
		return;
	}
	fail_msg("threads kept coming or leaving");
}
