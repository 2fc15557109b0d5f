/* SPDX-License-Identifier: MIT */
/*
 * What valgrind is told, where its header is there when the library is built (valgrind manual,
 * "The Client Request mechanism"): a few instructions that do nothing elsewhere.
 */
#ifndef STT_BASE_MEMCHECK_H
#define STT_BASE_MEMCHECK_H

#include <stddef.h>

#ifdef __has_include
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define STT_MEMCHECK 1
#endif
#endif

/* A touch of it is an error, and the search for leaks does not read it. */
static inline void stt_memcheck_forbid(const void *at, size_t size)
{
#ifdef STT_MEMCHECK
	(void)VALGRIND_MAKE_MEM_NOACCESS(at, size);
#endif
	(void)at;
	(void)size;
}

static inline void stt_memcheck_allow(const void *at, size_t size)
{
#ifdef STT_MEMCHECK
	(void)VALGRIND_MAKE_MEM_UNDEFINED(at, size);
#endif
	(void)at;
	(void)size;
}

static inline unsigned stt_memcheck_new_stack(const char *low, size_t size)
{
	(void)low;
	(void)size;
#ifdef STT_MEMCHECK
	return VALGRIND_STACK_REGISTER(low, low + size);
#else
	return 0;
#endif
}

static inline void stt_memcheck_end_stack(unsigned id)
{
#ifdef STT_MEMCHECK
	VALGRIND_STACK_DEREGISTER(id);
#endif
	(void)id;
}

#endif
