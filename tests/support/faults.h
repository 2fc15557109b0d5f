/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail, or do something else, when a test says so: functions
 * of this program's own stand in front of the C library's, and what a test does
 * not change is handed on. They are linked into the programs whose test includes
 * this header (CMakeLists.txt), and into no other.
 *
 * Any thread may make the calls; one thread, the test's, changes what they do.
 */
#ifndef STT_TEST_FAULTS_H
#define STT_TEST_FAULTS_H

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/portable.h"
#include "support/libc.h"

/* -------------------------------------------------------------------- faults */

/* The next `times` calls (-1: all of them) fail with `errnum` and do nothing else. A call is named
 * by its number, as SYS_close; for pthread_create it is SYS_clone. One call at a time. */
void fault_instead(long call, int errnum, int times);

/* The same, but they do their work first: as a connect that is interrupted has begun, and a close
 * that is has closed. */
void fault_after(long call, int errnum, int times);

void fault_clear(void);

/* How often that call has been made since then, those that failed included. */
long fault_calls(void);

/* ----------------------------------------------------------------- stand-ins */

/* For each function `name` there are here
 *	stand_in_name	what is called instead of it; NULL, as at first: the real one
 *	real_name	the C library's, or the sanitizer's, for stand-ins to call
 * Faults come first. X(result, name, parameters, arguments, call, how it fails) */
#define STAND_INS(X)                                                                               \
	X(int, accept4, (int fd, any_address addr, socklen_t *restrict len, int flags),            \
	  (fd, addr, len, flags), SYS_accept4, FAILS_WITH_ERRNO)                                   \
	X(int, connect, (int fd, any_const_address addr, socklen_t len), (fd, addr, len),          \
	  SYS_connect, FAILS_WITH_ERRNO)                                                           \
	X(int, listen, (int fd, int backlog), (fd, backlog), SYS_listen, FAILS_WITH_ERRNO)         \
	X(int, close, (int fd), (fd), SYS_close, FAILS_WITH_ERRNO)                                 \
	X(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), SYS_write,    \
	  FAILS_WITH_ERRNO)                                                                        \
	X(int, epoll_ctl, (int poller, int op, int fd, struct epoll_event *event),                 \
	  (poller, op, fd, event), SYS_epoll_ctl, FAILS_WITH_ERRNO)                                \
	X(int, epoll_wait, (int poller, struct epoll_event *events, int max, int timeout),         \
	  (poller, events, max, timeout), SYS_epoll_wait, FAILS_WITH_ERRNO)                        \
	X(int, pthread_create,                                                                     \
	  (pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*run)(void *),  \
	   void *restrict argument),                                                               \
	  (thread, attr, run, argument), SYS_clone, FAILS_WITH_CODE)                               \
	X(int, getaddrinfo,                                                                        \
	  (const char *restrict host, const char *restrict service,                                \
	   const struct addrinfo *restrict hints, struct addrinfo **restrict list),                \
	  (host, service, hints, list), NO_CALL, FAILS_WITH_CODE)                                  \
	X(int, setsockopt, (int fd, int level, int option, const void *from, socklen_t size),      \
	  (fd, level, option, from, size), SYS_setsockopt, FAILS_WITH_ERRNO)                       \
	X(int, poll, (struct pollfd * polled, nfds_t count, int timeout),                          \
	  (polled, count, timeout), SYS_poll, FAILS_WITH_ERRNO)                                    \
	X(int, timerfd_settime,                                                                    \
	  (int timer, int flags, const struct itimerspec *spec, struct itimerspec *before),        \
	  (timer, flags, spec, before), SYS_timerfd_settime, FAILS_WITH_ERRNO)                     \
	STAND_IN_SEM_CLOCKWAIT(X)

#if STT_HAVE_SEM_CLOCKWAIT
#define STAND_IN_SEM_CLOCKWAIT(X)                                                                  \
	X(int, sem_clockwait,                                                                      \
	  (sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until),     \
	  (semaphore, clock, until), NO_CALL, FAILS_WITH_ERRNO)
#else
#define STAND_IN_SEM_CLOCKWAIT(X)
#endif

#define STAND_IN_DECLARE(result, name, parameters, arguments, call, fails)                         \
	typedef result name##_fn parameters;                                                       \
	extern _Atomic(name##_fn *) stand_in_##name;                                               \
	name##_fn real_##name;

STAND_INS(STAND_IN_DECLARE)

/* Calls that go to the kernel by syscall(2), as those of every message do. */
typedef long syscall_fn(long number, const long arguments[6]);
extern _Atomic(syscall_fn *) stand_in_syscall;
syscall_fn real_syscall;

/* Only a stand-in, for real_getaddrinfo's lists have another end. */
extern _Atomic(void (*)(struct addrinfo *)) stand_in_freeaddrinfo;
void real_freeaddrinfo(struct addrinfo *list);

#endif
