/* SPDX-License-Identifier: MIT */
/* Each function asks for a fault, then for a stand-in, and is the C library's otherwise. */

/* Fortified calls are inline functions of glibc's, and would be instead of those below. */
#undef _FORTIFY_SOURCE

#include "support/faults.h"
#include "support/over_tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

enum {
	NO_CALL = -1
};

/* -------------------------------------------------------------------- faults */

static struct {
	atomic_long call;
	atomic_int errnum;
	atomic_int times;
	atomic_bool after;
	atomic_long calls;
} fault = {.call = NO_CALL};

static void set_fault(long call, int errnum, int times, bool after)
{
	/* Nobody may meet half of it. */
	atomic_store(&fault.call, NO_CALL);
	atomic_store(&fault.errnum, errnum);
	atomic_store(&fault.times, times);
	atomic_store(&fault.after, after);
	atomic_store(&fault.calls, 0);
	atomic_store(&fault.call, call);
}

void fault_instead(long call, int errnum, int times)
{
	set_fault(call, errnum, times, false);
}

void fault_after(long call, int errnum, int times)
{
	set_fault(call, errnum, times, true);
}

void fault_clear(void)
{
	atomic_store(&fault.call, NO_CALL);
}

long fault_calls(void)
{
	return atomic_load(&fault.calls);
}

/* The error that this call has, or 0: asked before it does its work, and after. */
static int error_of(long call, bool after)
{
	int times = atomic_load(&fault.times);

	if (call == NO_CALL || call != atomic_load(&fault.call) ||
	    after != atomic_load(&fault.after))
		return 0;
	atomic_fetch_add(&fault.calls, 1);
	while (times > 0)
		if (atomic_compare_exchange_weak(&fault.times, &times, times - 1))
			break;
	return times ? atomic_load(&fault.errnum) : 0;
}

/* ----------------------------------------------------------------- stand-ins */

/* By a detour, for ISO C has no conversion from an object's pointer to a function's. */
#define FIND_REAL(real, name)                                                                      \
	do {                                                                                       \
		void *symbol_ = dlsym(RTLD_NEXT, #name);                                           \
		(real) = *(name##_fn **)(void *)&symbol_;                                          \
	} while (0)

#define FAILS_WITH_ERRNO(errnum) (errno = (errnum), -1)
#define FAILS_WITH_CODE(errnum) (errnum)

/* Where a sanitizer is linked into the program, its own function has the name with a prefix. */
#define STAND_IN_DEFINE(result, name, parameters, arguments, call, fails)                          \
	_Atomic(name##_fn *) stand_in_##name;                                                      \
	name##_fn __interceptor_##name __attribute__((weak));                                      \
                                                                                                   \
	result real_##name parameters                                                              \
	{                                                                                          \
		static _Atomic(name##_fn *) found;                                                 \
		name##_fn *real = atomic_load(&found);                                             \
                                                                                                   \
		if (!real) {                                                                       \
			real = __interceptor_##name;                                               \
			if (!real)                                                                 \
				FIND_REAL(real, name);                                             \
			atomic_store(&found, real);                                                \
		}                                                                                  \
		return real arguments;                                                             \
	}                                                                                          \
                                                                                                   \
	result name parameters                                                                     \
	{                                                                                          \
		/* What is denied to the library is not denied to peers that speak TLS. */         \
		if (over_tls_is_inside())                                                          \
			return real_##name arguments;                                              \
		name##_fn *own = atomic_load(&stand_in_##name);                                    \
		int error = error_of(call, false);                                                 \
                                                                                                   \
		if (error)                                                                         \
			return fails(error);                                                       \
                                                                                                   \
		result value = own ? own arguments : real_##name arguments;                        \
                                                                                                   \
		error = error_of(call, true);                                                      \
		return error ? fails(error) : value;                                               \
	}

STAND_INS(STAND_IN_DEFINE)

_Atomic(void (*)(struct addrinfo *)) stand_in_freeaddrinfo;

void real_freeaddrinfo(struct addrinfo *list)
{
	typedef void freeaddrinfo_fn(struct addrinfo * list);
	freeaddrinfo_fn *real;

	FIND_REAL(real, freeaddrinfo);
	real(list);
}

void freeaddrinfo(struct addrinfo *list)
{
	void (*own)(struct addrinfo *) = atomic_load(&stand_in_freeaddrinfo);

	(own ? own : real_freeaddrinfo)(list);
}

/* ----------------------------------------------------------------- syscall(2) */

_Atomic(syscall_fn *) stand_in_syscall;

long real_syscall(long number, const long arguments[6])
{
	static _Atomic(void *) found;
	long (*real)(long, ...);

	if (!atomic_load(&found))
		atomic_store(&found, dlsym(RTLD_NEXT, "syscall"));
	*(void **)&real = atomic_load(&found);
	return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		    arguments[5]);
}

/* Six arguments are as many as there can be; what was not given is not looked at, but copied, which
 * the address sanitizer takes amiss. */
__attribute__((__no_sanitize_address__)) long syscall(long number, ...)
{
	syscall_fn *own = atomic_load(&stand_in_syscall);
	int error = error_of(number, false);
	long arguments[6];
	va_list list;

	if (error)
		return FAILS_WITH_ERRNO(error);
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	return own ? own(number, arguments) : real_syscall(number, arguments);
}
