/* SPDX-License-Identifier: MIT */
/* CPUs by affinity and by the quota of cgroup v2 (cpu.max) or v1 (cpu.cfs_quota_us). A file that is
 * not there or not understood means no quota. */
#include "engine/cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cpus_of_affinity(void)
{
	/* A machine with more CPUs than cpu_set_t has bits makes the call fail: room for 16 384. */
	int most = 16384;
	cpu_set_t *set = CPU_ALLOC((size_t)most);
	size_t size = CPU_ALLOC_SIZE((size_t)most);
	int count = 1;

	if (set && sched_getaffinity(0, size, set) == 0)
		count = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return count > 0 ? count : 1;
}

static bool read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");

	if (!file)
		return false;

	bool read = fgets(line, size, file);

	fclose(file);
	return read;
}

static int cpus_of_quota(double quota, double period)
{
	if (quota <= 0 || period <= 0)
		return 0;

	int cpus = (int)(quota / period);

	return cpus < quota / period ? cpus + 1 : cpus;
}

static int smaller_quota(int a, int b)
{
	return a && (!b || a < b) ? a : b;
}

/* The group itself and all above it limit it. */
static int quota_of_v2(char *group)
{
	int least = 0;

	for (;;) {
		char path[512];
		char line[128];
		double quota;
		double period;

		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
		if (read_line(path, line, sizeof(line)) &&
		    sscanf(line, "%lf %lf", &quota, &period) == 2)
			least = smaller_quota(cpus_of_quota(quota, period), least);

		char *slash = strrchr(group, '/');

		if (!slash)
			return least;
		*slash = '\0';
	}
}

static int quota_of_v1(void)
{
	char quota[64];
	char period[64];

	if (!read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof(quota)) ||
	    !read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof(period)))
		return 0;
	return cpus_of_quota(atof(quota), atof(period));
}

static int cpus_of_cgroup(void)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[384];
	int least = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::", 3) == 0)
			least = smaller_quota(quota_of_v2(line + 3), least);
	}
	fclose(file);
	return smaller_quota(quota_of_v1(), least);
}

int stt_cpus_usable(void)
{
	return smaller_quota(cpus_of_cgroup(), cpus_of_affinity());
}
