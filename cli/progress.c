/* SPDX-License-Identifier: MIT */
/*
 * The progress bar.
 */
#include "progress.h"

#include "clock.h"
#include "say.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static _Atomic int64_t began_ns; /* 0: not yet */
static _Atomic int64_t before, moved, total;
/* Only the main thread: the rate, smoothed over some seconds. */
static int64_t last_ns, last_moved;
static double rate;

void progress_begin(int64_t done, int64_t all)
{
	atomic_store(&before, done);
	atomic_store(&total, all);
	atomic_store(&began_ns, now_ns());
}

void progress_add(int64_t bytes)
{
	atomic_fetch_add(&moved, bytes);
}

int64_t progress_moved(void)
{
	return atomic_load(&moved);
}

double progress_seconds(void)
{
	int64_t began = atomic_load(&began_ns);

	return began ? (double)(now_ns() - began) / 1e9 : 0;
}

int progress_wait_ms(void)
{
	return say_has_status() ? 200 : -1;
}

static void measure(void)
{
	int64_t now = now_ns(), all = atomic_load(&moved);
	double seconds, latest;

	if (last_ns == 0)
		last_ns = atomic_load(&began_ns);
	seconds = (double)(now - last_ns) / 1e9;
	if (seconds <= 0)
		return;
	latest = (double)(all - last_moved) / seconds;
	rate = rate > 0 ? rate + (latest - rate) * (seconds < 2 ? seconds / 2 : 1) : latest;
	last_ns = now;
	last_moved = all;
}

/* "[#####.....] ", as wide as is left beside the numbers. */
static void format_bar(char *text, size_t cap, double part, int width)
{
	int filled = (int)(part * width);
	int at = 0;

	text[0] = '\0';
	if (width < 5 || (size_t)width + 4 > cap)
		return;
	text[at++] = '[';
	for (int i = 0; i < width; i++)
		text[at++] = i < filled ? '#' : '.';
	memcpy(text + at, "] ", 3);
}

void progress_draw(void)
{
	int64_t all = atomic_load(&total), done = atomic_load(&before) + atomic_load(&moved);
	char size[24], speed[24], left[24], bar[128], numbers[128], line[300];
	int width = say_width();

	if (!say_has_status() || !atomic_load(&began_ns))
		return;
	measure();
	human_size(size, sizeof(size), (double)done);
	human_size(speed, sizeof(speed), rate);
	if (all < 0) {
		snprintf(line, sizeof(line), "%s, %s/s", size, speed);
	} else {
		double part = all > 0 ? (double)done / (double)all : 1;

		human_time(left, sizeof(left),
			   rate > 0 ? (double)((int64_t)((double)(all - done) / rate)) : 0);
		snprintf(numbers, sizeof(numbers), "%s, %s/s, %s left", size, speed,
			 rate > 0 ? left : "?");
		format_bar(bar, sizeof(bar), part,
			   width - 10 - (int)strlen(numbers) < 100
				   ? width - 10 - (int)strlen(numbers)
				   : 100);
		snprintf(line, sizeof(line), "%3d%% %s%s", (int)(part * 100), bar, numbers);
	}
	say_status(line);
}

void progress_end(void)
{
	if (say_has_status() && atomic_load(&began_ns))
		say_status("");
}
