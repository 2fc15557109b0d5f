/* SPDX-License-Identifier: MIT */
/* For tests that define a function of the C library themselves, in front of it: how each library
 * declares it, and what is behind it. */
#ifndef STT_TEST_LIBC_H
#define STT_TEST_LIBC_H

#include <dlfcn.h>
#include <stddef.h>
#include <sys/socket.h>

#ifdef __GLIBC__

/* A union of pointers to every kind of address. */
typedef __SOCKADDR_ARG any_address;
typedef __CONST_SOCKADDR_ARG any_const_address;
#define ADDRESS_IN(any) ((any).__sockaddr__)

/* dlsym may allocate, so it cannot be asked for these. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
#define behind_malloc __libc_malloc
#define behind_calloc __libc_calloc
#define behind_realloc __libc_realloc

#else

typedef struct sockaddr *any_address;
typedef const struct sockaddr *any_const_address;
#define ADDRESS_IN(any) (any)

static inline void *behind_malloc(size_t size)
{
	static void *(*behind)(size_t);

	if (!behind)
		*(void **)&behind = dlsym(RTLD_NEXT, "malloc");
	return behind(size);
}

static inline void *behind_calloc(size_t count, size_t size)
{
	static void *(*behind)(size_t, size_t);

	if (!behind)
		*(void **)&behind = dlsym(RTLD_NEXT, "calloc");
	return behind(count, size);
}

static inline void *behind_realloc(void *old, size_t size)
{
	static void *(*behind)(void *, size_t);

	if (!behind)
		*(void **)&behind = dlsym(RTLD_NEXT, "realloc");
	return behind(old, size);
}

#endif

#endif
