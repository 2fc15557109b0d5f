/* SPDX-License-Identifier: MIT */
/* Latency histogram and time slices. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

static const int step_bits = 6; /* log2 of LOAD_HIST_STEPS */

static size_t bucket_of(uint64_t ns)
{
	int shift;

	if (ns >= UINT64_C(1) << 40)
		return LOAD_HIST_BUCKETS - 1;
	if (ns < LOAD_HIST_STEPS)
		return (size_t)ns;
	shift = 63 - __builtin_clzll(ns) - step_bits;
	return (size_t)shift * LOAD_HIST_STEPS + (size_t)(ns >> shift);
}

/* The middle of a bucket, in nanoseconds. */
static double bucket_middle(size_t bucket)
{
	size_t shift = bucket < 2 * LOAD_HIST_STEPS ? 0 : bucket / LOAD_HIST_STEPS - 1;

	return ((double)(bucket - shift * LOAD_HIST_STEPS) + 0.5) * (double)(UINT64_C(1) << shift);
}

void load_hist_add(struct load_hist *hist, uint64_t ns)
{
	hist->total++;
	hist->buckets[bucket_of(ns)]++;
	if (ns > hist->max)
		hist->max = ns;
}

double load_hist_us(const struct load_hist *hist, double part)
{
	double wanted = part * (double)hist->total;
	uint64_t seen = 0;

	if (!hist->total)
		return 0;
	if (part >= 1)
		return (double)hist->max / 1e3;
	for (size_t i = 0; i < LOAD_HIST_BUCKETS; i++) {
		seen += hist->buckets[i];
		if ((double)seen >= wanted)
			return bucket_middle(i) / 1e3;
	}
	return (double)hist->max / 1e3;
}

void load_slices_begin(struct load_slices *slices, pid_t pid, uint64_t now_ns,
		       const uint64_t work[2])
{
	slices->pid = pid;
	slices->count = 0;
	slices->last_ns = now_ns;
	slices->last_cpu_ns = load_proc_cpu_ns(pid);
	slices->last_work[0] = work[0];
	slices->last_work[1] = work[1];
	slices->next_ns = now_ns + LOAD_SLICE_MS * 1000000u;
}

void load_slices_tick(struct load_slices *slices, uint64_t now_ns, const uint64_t work[2])
{
	struct load_slice *slice;
	uint64_t cpu_ns;

	if (now_ns < slices->next_ns || slices->count == LOAD_MAX_SLICES)
		return;
	cpu_ns = load_proc_cpu_ns(slices->pid);
	slice = &slices->list[slices->count++];
	slice->ns = now_ns - slices->last_ns;
	slice->cpu_ns = cpu_ns - slices->last_cpu_ns;
	for (int i = 0; i < 2; i++) {
		slice->work[i] = work[i] - slices->last_work[i];
		slices->last_work[i] = work[i];
	}
	slices->last_ns = now_ns;
	slices->last_cpu_ns = cpu_ns;
	/* On the grid, so that the last slice ends with the cell. */
	do
		slices->next_ns += LOAD_SLICE_MS * 1000000u;
	while (slices->next_ns <= now_ns);
}

static double slice_rate(const struct load_slice *slice, int which)
{
	return slice->ns ? 1e9 * (double)slice->work[which] / (double)slice->ns : 0;
}

static int compare_quick(const void *left, const void *right)
{
	double a = slice_rate(left, 0);
	double b = slice_rate(right, 0);

	return (a > b) - (a < b);
}

static int compare_slow(const void *left, const void *right)
{
	double a = slice_rate(left, 1);
	double b = slice_rate(right, 1);

	return (a > b) - (a < b);
}

void load_slices_print(const struct load_slices *slices, int which, const char *name)
{
	struct load_slice *sorted = calloc((size_t)slices->count + 1, sizeof(*sorted));
	size_t count = (size_t)slices->count;
	double work = 0, ns = 0, best_work = 0, best_cpu_ns = 0;

	if (!sorted)
		return;
	for (size_t i = 0; i < count; i++) {
		sorted[i] = slices->list[i];
		work += (double)sorted[i].work[which];
		ns += (double)sorted[i].ns;
	}
	qsort(sorted, count, sizeof(*sorted), which ? compare_slow : compare_quick);
	/* The kernel brings the CPU time of a running process up to date only every tick (4 ms), 4%
	 * of a slice. So the best fifth of the slices, whose middle is the 90th percentile, are
	 * chosen by rate and their work and CPU time summed: choosing by the quotient itself would
	 * pick the slices with the luckiest ticks. */
	for (size_t i = count - (count + 4) / 5; i < count; i++) {
		best_work += (double)sorted[i].work[which];
		best_cpu_ns += (double)sorted[i].cpu_ns;
	}
	printf(" %s=%.0f %s_rate=%.1f %s_p90=%.1f %s_cpu=%.1f", name, work, name,
	       ns > 0 ? 1e9 * work / ns : 0, name,
	       count ? slice_rate(&sorted[(count * 9 - 1) / 10], which) : 0, name,
	       best_cpu_ns > 0 ? 1e9 * best_work / best_cpu_ns : 0);
	free(sorted);
}
