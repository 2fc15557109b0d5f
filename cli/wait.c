/* SPDX-License-Identifier: MIT */
/*
 * Signals come by a descriptor, so that nothing is done inside a handler of
 * signals, and the threads of the library have them blocked.
 */
#include "wait.h"

#include "cli.h"
#include "clock.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static sigset_t old_mask, ours; /* of wait_prepare */
static int signals = -1;
static int done = -1; /* readable for ever after finish */
static atomic_bool finished;
static int status; /* set before `finished` */

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
enum {
	NSIGNALS = sizeof(numbers) / sizeof(*numbers)
};

static void take(int number)
{
	struct sigaction action;

	/* Blocked, it would come even where it is ignored. */
	if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
		sigaddset(&ours, number);
}

void wait_prepare(void)
{
	sigemptyset(&ours);
	for (int i = 0; i < NSIGNALS; i++)
		take(numbers[i]);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, it lets nobody wait for a child */
	sigprocmask(SIG_BLOCK, &ours, &old_mask);
	signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (signals < 0 || done < 0)
		abort(); /* no descriptors at the very start: nothing works here */
}

static void end_at_once(int number)
{
	(void)number;
	_exit(STATUS_INTERRUPTED);
}

static void handle(void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};

	sigemptyset(&action.sa_mask);
	for (int i = 0; i < NSIGNALS; i++)
		if (sigismember(&ours, numbers[i]))
			sigaction(numbers[i], &action, NULL);
}

void wait_unguard(void)
{
	handle(end_at_once);
	pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

void wait_guard(void)
{
	pthread_sigmask(SIG_BLOCK, &ours, NULL);
	handle(SIG_DFL);
}

const sigset_t *wait_old_mask(void)
{
	return &old_mask;
}

void finish(int exit_status)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;
	uint64_t one = 1;

	if (atomic_flag_test_and_set(&taken))
		return;
	status = exit_status;
	atomic_store(&finished, true);
	if (write(done, &one, sizeof(one)) < 0)
		abort();
}

bool is_finished(void)
{
	return atomic_load(&finished);
}

int finish_status(void)
{
	return is_finished() ? status : 0;
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG | __WNOTHREAD) > 0)
		;
}

void wait_reap(void)
{
	sigset_t all = ours, child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigaddset(&all, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (signalfd(signals, &all, 0) < 0)
		abort(); /* it is there already */
	reap();		 /* whoever has become this program may have had children */
}

static int wait_once(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct signalfd_siginfo info;
	int n = poll(fds, count, timeout_ms);

	if (n <= 0)
		return WOKEN_BY_TIME;
	if (fds[0].revents && read(signals, &info, sizeof(info)) == sizeof(info))
		return (int)info.ssi_signo;
	return count > 1 && fds[1].revents ? WOKEN_BY_FINISH : WOKEN_BY_TIME;
}

static int wait_on(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	int64_t end_ns = now_ns() + (int64_t)timeout_ms * 1000000;
	int woken;

	while ((woken = wait_once(fds, count, timeout_ms)) == SIGCHLD) {
		int64_t left_ns = end_ns - now_ns();

		reap();
		if (timeout_ms >= 0)
			timeout_ms = left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0;
	}
	return woken;
}

int wait_for(int timeout_ms)
{
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = done, .events = POLLIN}};

	return wait_on(fds, 2, timeout_ms);
}

int wait_for_signal(int timeout_ms)
{
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN}};

	return wait_on(fds, 1, timeout_ms);
}
