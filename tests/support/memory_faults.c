/* SPDX-License-Identifier: MIT */
/* malloc and its like, in front of the C library's. */
#include "support/memory_faults.h"

#include "support/libc.h"
#include "support/support.h"

/* The allocations that still succeed; below 0 all do. */
static atomic_long allocations_left = -1;
static atomic_bool none_after;
static atomic_long denied;

#if !UNDER_ASAN && !UNDER_TSAN

static bool is_allowed(void)
{
	long left = atomic_load(&allocations_left);

	while (left >= 0) {
		long next = left > 0 ? left - 1 : atomic_load(&none_after) ? 0 : -1;

		if (!atomic_compare_exchange_weak(&allocations_left, &left, next))
			continue;
		if (left > 0)
			return true;
		atomic_fetch_add(&denied, 1);
		errno = ENOMEM;
		return false;
	}
	return true;
}

static bool allowed(void)
{
	return over_tls_is_inside() || is_allowed();
}

void *malloc(size_t size)
{
	return allowed() ? behind_malloc(size) : NULL;
}

void *calloc(size_t count, size_t size)
{
	return allowed() ? behind_calloc(count, size) : NULL;
}

void *realloc(void *old, size_t size)
{
	return allowed() ? behind_realloc(old, size) : NULL;
}

#ifndef __GLIBC__

/* musl's own gives nothing where malloc alone has been replaced. */
void *aligned_alloc(size_t alignment, size_t size)
{
	static void *(*behind)(size_t, size_t);

	if (!behind)
		*(void **)&behind = dlsym(RTLD_NEXT, "aligned_alloc");
	return allowed() ? behind(alignment, size) : NULL;
}

#endif

#endif

bool memory_can_be_short(void)
{
	if (UNDER_ASAN || UNDER_TSAN) {
		fprintf(stderr, "a sanitizer owns malloc: lack of memory is not tried here\n");
		return false;
	}
	return true;
}

void deny_after(long count, bool for_good)
{
	atomic_store(&none_after, for_good);
	atomic_store(&allocations_left, count);
}

long deny_no_more(void)
{
	return atomic_exchange(&allocations_left, -1);
}

bool allow_again(void)
{
	atomic_store(&allocations_left, -1);
	return atomic_exchange(&denied, 0) > 0;
}
