/* SPDX-License-Identifier: MIT */
/*
 * The choice of a target.
 */
#include "targets.h"

#include "clock.h"
#include "say.h"
#include "tls_name.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct {
	const char *text;
	struct address address;
	/* under the lock */
	int nconns;
	int64_t down_until_ns; /* 0: it is not passed over */
} targets[MAX_TARGETS];

static int ntargets;
static bool by_fewest;
static int64_t rest_ns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int next_turn; /* under the lock */

void targets_set(char **words, int count, bool fewest, int rest_ms)
{
	if (count > MAX_TARGETS)
		exit(fail(STATUS_USAGE, "there are %d targets, and at most %d are possible", count,
			  MAX_TARGETS));
	for (int i = 0; i < count; i++) {
		targets[i].text = words[i];
		targets[i].address = read_address(words[i], false);
	}
	ntargets = count;
	by_fewest = fewest;
	rest_ns = (int64_t)rest_ms * 1000000;
}

bool targets_allow(const sttcp_options *options)
{
	for (int i = 0; i < ntargets; i++)
		if (!tls_name_fits(options, targets[i].text, "--target-tls", "--target-name"))
			return false;
	return true;
}

/* Whether a is the better choice than b, where both come in turn. */
static bool is_better(int a, int b, int64_t now)
{
	bool a_down = targets[a].down_until_ns > now, b_down = targets[b].down_until_ns > now;

	if (a_down != b_down)
		return b_down;
	return by_fewest && targets[a].nconns < targets[b].nconns;
}

int targets_take(uint64_t tried)
{
	int64_t now = now_ns();
	int best = -1;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < ntargets; i++) {
		int target = (next_turn + i) % ntargets;

		if (!(tried & UINT64_C(1) << target) && (best < 0 || is_better(target, best, now)))
			best = target;
	}
	if (best >= 0) {
		targets[best].nconns++;
		next_turn = best + 1;
	}
	pthread_mutex_unlock(&lock);
	return best;
}

void targets_drop(int target)
{
	pthread_mutex_lock(&lock);
	targets[target].nconns--;
	pthread_mutex_unlock(&lock);
}

bool targets_fail(int target)
{
	int64_t now = now_ns();
	bool is_news;

	pthread_mutex_lock(&lock);
	is_news = targets[target].down_until_ns <= now;
	targets[target].down_until_ns = now + rest_ns;
	pthread_mutex_unlock(&lock);
	return is_news;
}

void targets_reached(int target)
{
	pthread_mutex_lock(&lock);
	targets[target].down_until_ns = 0;
	pthread_mutex_unlock(&lock);
}

const struct address *targets_address(int target)
{
	return &targets[target].address;
}

const char *targets_text(int target)
{
	return targets[target].text;
}
