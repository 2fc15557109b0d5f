/* SPDX-License-Identifier: MIT */
/* The modes that are made of the closed loop. Each prints one line. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seconds_to_ns(double seconds)
{
	return (uint64_t)(seconds * 1e9);
}

static void print_latency(const struct load_hist *hist, const char *name)
{
	printf(" %s_p50_us=%.2f %s_p90_us=%.2f %s_p99_us=%.2f %s_max_us=%.2f", name,
	       load_hist_us(hist, 0.5), name, load_hist_us(hist, 0.9), name,
	       load_hist_us(hist, 0.99), name, load_hist_us(hist, 1));
}

/* What the name of the mode says about the two groups. */
static void shape_groups(struct load_group groups[2], const char *mode,
			 const struct load_options *options)
{
	groups[0].churn = !strcmp(mode, "churn");
	groups[1].churn = !strcmp(mode, "blockchurn");
	/* A message is 16 lines of 32 bytes. */
	if (!strcmp(mode, "lines")) {
		groups[0].size = 16 * 32;
		memset(groups[0].message, '.', groups[0].size);
		for (size_t end = 31; end < groups[0].size; end += 32)
			groups[0].message[end] = '\n';
	}
	if (!strcmp(mode, "paced"))
		groups[0].period_ns = (uint64_t)options->period_us * 1000;
	/* Sleeps that begin together would end together, and a slice would hold one wave of them
	 * more or less. */
	groups[1].spread_ns = (uint64_t)options->sleep_us * 1000;
	/* Connections that come and go, evenly. */
	if (!strcmp(mode, "beside")) {
		load_group_set_message(&groups[1], options->size, -1);
		groups[1].churn = true;
		groups[1].period_ns = (uint64_t)options->period_us * 1000;
		groups[1].spread_ns = groups[1].period_ns;
	}
}

/* Connects all, with one message each, a few at a time so that no queue overflows. */
static void visit_all(struct load_loop *loop)
{
	loop->groups[0].last = loop->groups[1].last = true;
	for (int first = 0; first < loop->nconns; first += 64) {
		int count = loop->nconns - first < 64 ? loop->nconns - first : 64;

		load_loop_start(loop, first, count);
		load_loop_run(loop, load_now() + seconds_to_ns(10), NULL);
	}
	loop->groups[0].last = loop->groups[1].last = false;
}

int load_mode_loop(const char *mode, const struct load_options *options)
{
	struct load_loop *loop = malloc(sizeof(*loop));
	struct load_slices *slices = malloc(sizeof(*slices));
	struct load_tasks before, after;
	uint64_t start_ns, cpu_ns, done[2];

	if (!loop || !slices || load_loop_init(loop, options, options->conns, options->slow))
		return -1;
	shape_groups(loop->groups, mode, options);
	/* Connected is not accepted: threads that are busy keep the one that accepts from it. */
	if (!strcmp(mode, "visited") || !strcmp(mode, "mixed"))
		visit_all(loop);
	load_loop_start(loop, 0, options->conns);
	load_loop_start(loop, options->conns, options->slow);
	load_loop_run(loop, load_now() + seconds_to_ns(options->warm), NULL);

	for (int i = 0; i < 2; i++) {
		done[i] = loop->groups[i].done;
		memset(&loop->groups[i].hist, 0, sizeof(loop->groups[i].hist));
	}
	load_tasks_read(&before, options->pid);
	cpu_ns = load_proc_cpu_ns(options->pid);
	start_ns = load_now();
	load_slices_begin(slices, options->pid, start_ns, done);
	load_loop_run(loop, start_ns + seconds_to_ns(options->seconds), slices);
	load_tasks_read(&after, options->pid);

	printf("mode=%s conns=%d slow_conns=%d size=%zu sleep_us=%ld seconds=%.3f errors=%llu",
	       mode, options->conns, options->slow, options->size, options->sleep_us,
	       (double)(load_now() - start_ns) / 1e9, (unsigned long long)loop->errors);
	printf(" cpu_s=%.4f rss_kib=%llu threads=%zu switches=%llu",
	       (double)(load_proc_cpu_ns(options->pid) - cpu_ns) / 1e9,
	       (unsigned long long)load_proc_rss(options->pid) / 1024, after.count,
	       (unsigned long long)load_tasks_switches(&before, &after));
	if (options->conns) {
		load_slices_print(slices, 0, "quick");
		print_latency(&loop->groups[0].hist, "quick");
	}
	if (options->slow) {
		load_slices_print(slices, 1, "slow");
		print_latency(&loop->groups[1].hist, "slow");
	}
	printf("\n");
	load_tasks_fini(&before);
	load_tasks_fini(&after);
	load_loop_fini(loop);
	free(slices);
	free(loop);
	return 0;
}

/* All connections begin at once, with a message that asks to sleep; how late is the last answer?
 * In mode "surge" they have been quick for the warm time before. */
int load_mode_burst(const char *mode, const struct load_options *options)
{
	struct load_loop *loop = malloc(sizeof(*loop));
	uint64_t limit_ns = seconds_to_ns(options->seconds + 10);
	uint64_t start_ns;

	if (!loop || load_loop_init(loop, options, options->conns, 0))
		return -1;
	if (!strcmp(mode, "surge")) {
		load_loop_start(loop, 0, loop->nconns);
		load_loop_run(loop, load_now() + seconds_to_ns(options->warm), NULL);
		loop->groups[0].last = true;
		load_loop_run(loop, load_now() + limit_ns, NULL);
	}
	load_group_set_message(&loop->groups[0], options->size, options->sleep_us);
	loop->groups[0].last = true;
	loop->groups[0].done = 0;
	memset(&loop->groups[0].hist, 0, sizeof(loop->groups[0].hist));

	start_ns = load_now();
	load_loop_start(loop, 0, loop->nconns);
	load_loop_run(loop, start_ns + limit_ns, NULL);
	printf("mode=%s conns=%d size=%zu sleep_us=%ld errors=%llu answers=%llu last_ms=%.3f", mode,
	       options->conns, options->size, options->sleep_us, (unsigned long long)loop->errors,
	       (unsigned long long)loop->groups[0].done, (double)(load_now() - start_ns) / 1e6);
	print_latency(&loop->groups[0].hist, "slow");
	printf("\n");
	load_loop_fini(loop);
	free(loop);
	return 0;
}

static void rest(double seconds)
{
	uint64_t ns = seconds_to_ns(seconds);
	const struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000u),
				       .tv_nsec = (long)(ns % 1000000000u)};

	nanosleep(&pause, NULL);
}

/* What idle connections cost: memory, and over `seconds` context switches and CPU. */
int load_mode_idle(const char *mode, const struct load_options *options)
{
	struct load_loop *loop = malloc(sizeof(*loop));
	struct load_tasks first, before, after;
	uint64_t rss, grown_rss, cpu_ns;

	/* One visitor beforehand: code and tables that are touched once are not counted. */
	if (!loop || load_loop_init(loop, options, 1, 0))
		return -1;
	visit_all(loop);
	load_loop_fini(loop);
	rest(options->warm);
	rss = load_proc_rss(options->pid);
	load_tasks_read(&first, options->pid);

	if (load_loop_init(loop, options, options->conns, 0))
		return -1;
	visit_all(loop);
	rest(options->warm);
	grown_rss = load_proc_rss(options->pid);
	load_tasks_read(&before, options->pid);
	cpu_ns = load_proc_cpu_ns(options->pid);
	rest(options->seconds);
	cpu_ns = load_proc_cpu_ns(options->pid) - cpu_ns;
	load_tasks_read(&after, options->pid);

	printf("mode=%s conns=%d seconds=%.3f errors=%llu answers=%llu rss_kib=%llu grown_kib=%lld",
	       mode, options->conns, options->seconds, (unsigned long long)loop->errors,
	       (unsigned long long)loop->groups[0].done, (unsigned long long)grown_rss / 1024,
	       ((long long)grown_rss - (long long)rss) / 1024);
	printf(" bytes_per_conn=%.1f threads=%zu grown_threads=%lld switches=%llu cpu_us=%.1f\n",
	       options->conns ? ((double)grown_rss - (double)rss) / options->conns : 0, after.count,
	       (long long)after.count - (long long)first.count,
	       (unsigned long long)load_tasks_switches(&before, &after), (double)cpu_ns / 1e3);
	load_tasks_fini(&first);
	load_tasks_fini(&before);
	load_tasks_fini(&after);
	load_loop_fini(loop);
	free(loop);
	return 0;
}
