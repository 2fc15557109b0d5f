/* SPDX-License-Identifier: MIT */
/* Timers and pieces of work: arguments are checked here. */
#include "group/timer.h"

#include "api/call.h"
#include "base/log.h"
#include "group/all.h"

sttcp_timer *sttcp_timer_new(void (*fn)(sttcp_timer *timer, void *context), void *context)
{
	stt_all_begin();
	return stt_timer_new(fn, context);
}

static int check_timer(const sttcp_timer *timer)
{
	if (!timer)
		return -EINVAL;
	return stt_forked_since(timer->fork_count) ? STTCP_EFORK : 0;
}

int sttcp_timer_start(sttcp_timer *timer, int first_ms, int every_ms)
{
	int result = check_timer(timer);

	if (result < 0)
		return result;
	if (!timer->fn || first_ms < 0 || every_ms < 0)
		return -EINVAL;

	int cancel = stt_call_begin();

	stt_log_begin();
	result = stt_timer_start(timer, first_ms, every_ms);
	stt_call_end(cancel);
	return result;
}

/* A thread of the library never waits for another one. */
static enum stt_timer_wait how_to_wait(void)
{
	return stt_self ? STT_STOP_NOW : STT_STOP_WAITS;
}

int sttcp_timer_stop(sttcp_timer *timer)
{
	int result = check_timer(timer);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_timer_stop(timer, how_to_wait());
	stt_call_end(cancel);
	return result;
}

void sttcp_timer_free(sttcp_timer *timer)
{
	/* In a forked child the references of the parent's threads are never given back. */
	if (check_timer(timer) < 0)
		return;

	int cancel = stt_call_begin();

	stt_timer_free(timer, how_to_wait());
	stt_call_end(cancel);
}

int sttcp_run(void (*fn)(void *argument), void *argument)
{
	if (!fn)
		return -EINVAL;

	int cancel = stt_call_begin();

	stt_log_begin();
	stt_all_begin();
	int result = stt_work_run(fn, argument);

	stt_call_end(cancel);
	return result;
}
