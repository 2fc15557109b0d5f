/* SPDX-License-Identifier: MIT */
/* When a client tries again, and when it does not. The attempt itself begins in conns.c. */
#include "group/reconnect.h"

#include <stdio.h>

#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "conn/conn.h"

/* Another one for each client. Where the kernel has no random number, as early at boot or under a
 * filter of system calls, the time and the address will do: nobody gains by guessing a wait. */
static uint64_t seed_for(const struct stt_group *group)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		return seed;
	return (uint64_t)stt_now_us() * 0x9e3779b97f4a7c15U ^ (uintptr_t)group;
}

void stt_reconnect_init(struct stt_group *group)
{
	const struct stt_settings *settings = &group->service.settings;

	group->retry_at_ms = STT_NEVER;
	group->backoff = (struct stt_backoff){
		.first_ms = settings->reconnect_ms,
		.most_ms = settings->reconnect_max_ms,
		.most_tries = settings->reconnect_tries,
	};
	if (settings->reconnect_ms >= 0)
		group->backoff.state = seed_for(group);
}

bool stt_reconnect_follows_locked(struct stt_group *group, const struct sttcp_conn *conn,
				  struct stt_reconnect_news *news)
{
	struct stt_backoff *backoff = &group->backoff;
	int64_t opened_ms = atomic_load_explicit(&conn->opened_ms, memory_order_relaxed);

	if (opened_ms)
		stt_backoff_note_lost(backoff, group->left_ms - opened_ms);
	if (stt_backoff_try(backoff))
		return true;
	news->what = STT_GIVES_UP;
	return false;
}

void stt_reconnect_plan_locked(struct stt_group *group, struct stt_reconnect_news *news)
{
	news->what = STT_CONNECTS_AGAIN;
	news->wait_ms = stt_backoff_wait(&group->backoff);
	news->tries = group->backoff.tries;
	group->retry_at_ms = stt_deadline_ms(news->wait_ms);
	stt_group_arm_locked(group, group->retry_at_ms);
}

void stt_reconnect_forget_locked(struct stt_group *group)
{
	group->retry_at_ms = STT_NEVER;
}

void stt_reconnect_tell(const struct stt_group *group, const struct stt_reconnect_news *news)
{
	const char *given = group->service.given;
	int most = group->service.settings.reconnect_tries;
	char of[32] = "";

	if (news->what == STT_NO_NEWS || !stt_log_wants(STT_LOG_INFO))
		return;
	if (news->what == STT_GIVES_UP) {
		stt_log(STT_LOG_INFO, "%s: does not connect again, reconnect_tries is %d", given,
			most);
		return;
	}
	if (most >= 0)
		snprintf(of, sizeof(of), " of %d", most);
	stt_log(STT_LOG_INFO, "%s: connects again in %d ms, try %d%s", given, news->wait_ms,
		news->tries, of);
}
