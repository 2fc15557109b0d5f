/* SPDX-License-Identifier: MIT */
/* Figures about the server's process, read from outside: CPU time, memory, threads, switches. */
#include "load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t load_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t load_proc_cpu_ns(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	/* Not /proc/PID/task/.../schedstat: it forgets threads that have ended. Either lags behind
	 * by up to a tick of the kernel while a thread runs without a pause. */
	if (!pid || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* The number behind "key:" in a file of lines; `found` is the sum over all keys given. */
static int sum_fields(const char *path, const char *const keys[], uint64_t *found)
{
	FILE *file = fopen(path, "re");
	char line[256];
	int hits = 0;

	*found = 0;
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		for (int i = 0; keys[i]; i++) {
			size_t len = strlen(keys[i]);

			if (!strncmp(line, keys[i], len) && line[len] == ':') {
				*found += strtoull(line + len + 1, NULL, 10);
				hits++;
			}
		}
	}
	fclose(file);
	return hits;
}

uint64_t load_proc_rss(pid_t pid)
{
	/* status counts pages per CPU and may be off by some hundred KiB; smaps_rollup is exact. */
	static const char *const exact[] = {"Rss", NULL};
	static const char *const rough[] = {"VmRSS", NULL};
	char path[64];
	uint64_t kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (!sum_fields(path, exact, &kib)) {
		snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
		sum_fields(path, rough, &kib);
	}
	return kib * 1024;
}

uint64_t load_proc_peak_rss(pid_t pid)
{
	static const char *const keys[] = {"VmHWM", NULL};
	char path[64];
	uint64_t kib;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	sum_fields(path, keys, &kib);
	return kib * 1024;
}

static int compare_tasks(const void *left, const void *right)
{
	const struct load_task *a = left;
	const struct load_task *b = right;

	return (a->tid > b->tid) - (a->tid < b->tid);
}

void load_tasks_read(struct load_tasks *tasks, pid_t pid)
{
	static const char *const keys[] = {"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches",
					   NULL};
	size_t cap = 0;
	char path[64];
	DIR *dir;

	*tasks = (struct load_tasks){0};
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = pid ? opendir(path) : NULL;
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));) {
		struct load_task task = {.tid = atoi(entry->d_name)};

		if (task.tid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, task.tid);
		if (!sum_fields(path, keys, &task.switches))
			continue;
		if (tasks->count == cap) {
			struct load_task *list = tasks->list;

			cap = cap ? 2 * cap : 64;
			list = realloc(list, cap * sizeof(*list));
			if (!list)
				break;
			tasks->list = list;
		}
		tasks->list[tasks->count++] = task;
	}
	closedir(dir);
	if (tasks->count)
		qsort(tasks->list, tasks->count, sizeof(*tasks->list), compare_tasks);
}

void load_tasks_fini(struct load_tasks *tasks)
{
	free(tasks->list);
	*tasks = (struct load_tasks){0};
}

uint64_t load_tasks_switches(const struct load_tasks *before, const struct load_tasks *after)
{
	uint64_t sum = 0;

	for (size_t i = 0, j = 0; i < after->count; i++) {
		sum += after->list[i].switches;
		while (j < before->count && before->list[j].tid < after->list[i].tid)
			j++;
		/* A lower count is a new thread that got the number of one that has ended. */
		if (j < before->count && before->list[j].tid == after->list[i].tid &&
		    before->list[j].switches <= after->list[i].switches)
			sum -= before->list[j].switches;
	}
	return sum;
}
