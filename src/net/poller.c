/* SPDX-License-Identifier: MIT */
/* epoll(7) and eventfd(2), with errno turned into results. */
#include "net/poller.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int stt_poller_open(void)
{
	int poller = epoll_create1(EPOLL_CLOEXEC);

	return poller < 0 ? -errno : poller;
}

int stt_poller_add(int poller, int fd, uint32_t events, void *data)
{
	struct epoll_event event = {.events = events, .data.ptr = data};

	return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int stt_poller_add_named(int poller, int fd, uint32_t events, uint64_t name)
{
	struct epoll_event event = {.events = events, .data.u64 = name};

	return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void stt_poller_change(int poller, int fd, uint32_t events, void *data)
{
	struct epoll_event event = {.events = events, .data.ptr = data};

	epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

void stt_poller_remove(int poller, int fd)
{
	epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

int stt_poller_wait(int poller, struct epoll_event *events, int max, int timeout_ms)
{
	int count = epoll_wait(poller, events, max, timeout_ms);

	if (count >= 0)
		return count;
	return errno == EINTR ? 0 : -errno;
}

int stt_waker_new(void)
{
	int waker = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return waker < 0 ? -errno : waker;
}

void stt_waker_clear(int waker)
{
	uint64_t count;
	ssize_t got = read(waker, &count, sizeof(count));

	(void)got;
}

int stt_waker_open(int poller, void *data)
{
	int waker = stt_waker_new();

	if (waker < 0)
		return waker;

	int result = stt_poller_add(poller, waker, EPOLLIN | EPOLLET, data);

	if (result < 0) {
		close(waker);
		return result;
	}
	return waker;
}

int stt_timer_open(int poller, void *data)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (timer < 0)
		return -errno;

	const struct itimerspec off = {.it_value = {.tv_sec = 0}};
	int result = stt_poller_add(poller, timer, EPOLLIN | EPOLLET, data);

	/* A filter of system calls may deny what comes later, when nobody can be told. */
	if (result == 0 && timerfd_settime(timer, TFD_TIMER_ABSTIME, &off, NULL) < 0)
		result = -errno;
	if (result < 0) {
		close(timer);
		return result;
	}
	return timer;
}

void stt_timer_set(int timer, int64_t at_ms)
{
	/* All 0 would turn it off. */
	int64_t at = at_ms > 0 ? at_ms : 1;
	const struct itimerspec spec = {
		.it_value = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000 * 1000000)},
	};

	timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

void stt_waker_wake(int waker)
{
	int saved = errno;
	const uint64_t one = 1;

	/* It cannot fail but by overflow, and then it is awake. */
	ssize_t written = write(waker, &one, sizeof(one));

	(void)written;
	errno = saved;
}
