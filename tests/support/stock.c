/* SPDX-License-Identifier: MIT */
/* Descriptors and threads. */
#include "support/stock.h"

static void *do_nothing(void *unused)
{
	return unused;
}

struct stock take_stock(void)
{
	pthread_t thread;

	/* A sanitizer has a thread of its own from the first one on. */
	CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
	pthread_join(thread, NULL);
	return (struct stock){count_fds(), count_threads()};
}

/* A thread that left the pool before the shutdown is joined by nobody, and may still be about to
 * exit. */
void check_stock(struct stock before)
{
	CHECK(count_fds() == before.fds);
	COMES(count_threads() == before.threads);
}
