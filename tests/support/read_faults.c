/* SPDX-License-Identifier: MIT */
#include "support/read_faults.h"

#include "support/faults.h"
#include "support/support.h"

static struct event stands = EVENT_INIT;
static struct event may_go_on = EVENT_INIT;
static atomic_int stopped_fd = -1;

static long stop_before_recv(long number, const long arguments[6])
{
	int fd = (int)arguments[0];

	if (number == SYS_recvfrom && atomic_compare_exchange_strong(&stopped_fd, &fd, -1)) {
		event_raise(&stands);
		event_wait(&may_go_on, 1);
	}
	return real_syscall(number, arguments);
}

void read_stop(int fd)
{
	struct event fresh = EVENT_INIT;

	stands = may_go_on = fresh;
	atomic_store(&stopped_fd, fd);
	atomic_store(&stand_in_syscall, stop_before_recv);
}

bool read_stopped(void)
{
	return event_wait(&stands, 1);
}

void read_go_on(void)
{
	event_raise(&may_go_on);
}
