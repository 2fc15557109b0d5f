/* SPDX-License-Identifier: MIT */
/* What straight-line code waits with, on any thread: dial, sleep, poll. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/call.h"
#include "conn/wait.h"
#include "engine/turn.h"
#include "group/dial.h"

enum {
	SENTENCE = 560
};

/* Not _Thread_local: that is room which others need, where the library is loaded late. The C
 * library frees it, whatever has become of this one by then. */
static pthread_key_t error_key;
/* What stands here was not allocated, and is freed by nobody: the sentence that tells that there
 * was no memory for another one. Else NULL. */
static pthread_key_t missed_key;
static pthread_once_t error_once = PTHREAD_ONCE_INIT;
static bool has_error_keys;

static void make_error_keys(void)
{
	if (pthread_key_create(&error_key, free) != 0)
		return;
	has_error_keys = pthread_key_create(&missed_key, NULL) == 0;
	if (!has_error_keys)
		pthread_key_delete(error_key);
}

__attribute__((__destructor__)) static void drop_error_keys(void)
{
	if (has_error_keys) {
		pthread_key_delete(error_key);
		pthread_key_delete(missed_key);
	}
	has_error_keys = false;
}

static char *error_of_thread(void)
{
	pthread_once(&error_once, make_error_keys);
	return has_error_keys ? pthread_getspecific(error_key) : NULL;
}

/* After a wait, which may have ended on another thread: nothing of the thread is known from before.
 */
__attribute__((__noinline__)) static void keep_error(const char *text)
{
	static const char missed[] = "out of memory";
	char *kept = error_of_thread();

	if (!has_error_keys)
		return;
	if (!kept && *text) {
		kept = malloc(SENTENCE);
		if (kept && pthread_setspecific(error_key, kept) != 0) {
			free(kept);
			kept = NULL;
		}
	}
	if (kept)
		snprintf(kept, SENTENCE, "%s", text);
	if (pthread_getspecific(missed_key) || (*text && !kept))
		pthread_setspecific(missed_key, *text && !kept ? missed : NULL);
}

/* The owner of a loop that has nobody to go on with it: it would wait for itself. */
static bool is_bare_loop(void)
{
	return stt_self && stt_self->loop && !stt_turn_runs(stt_self);
}

static sttcp_conn *fail(int *code, int result, const char *sentence, char *text)
{
	*code = result;
	snprintf(text, SENTENCE, "%s", sentence);
	return NULL;
}

static void copy_error(struct stt_group *group, char *text)
{
	/* In a child that was forked in the log callback it is the parent's. */
	if (stt_forked_since(group->service.fork_count)) {
		snprintf(text, SENTENCE, "cannot dial: %s", sttcp_strerror(STTCP_EFORK));
		return;
	}
	stt_lock(&group->lock);
	snprintf(text, SENTENCE, "%s", group->error);
	stt_unlock(&group->lock);
}

static sttcp_conn *dial(const char *host, int port, const sttcp_options *options, int *code,
			char *text)
{
	if (!host)
		return fail(code, -EINVAL, "cannot dial: the host is NULL", text);
	if (is_bare_loop())
		return fail(code, -EDEADLK, "cannot dial in this callback", text);

	struct stt_group *group = stt_api_new_group(STT_FOR_DIAL, host, port, options);

	if (!group)
		return fail(code, -ENOMEM, sttcp_strerror(-ENOMEM), text);

	sttcp_conn *conn = NULL;

	*code = stt_group_check_start(group);
	if (*code == 0)
		conn = stt_dial(group, code, text, SENTENCE);
	else
		copy_error(group, text);
	/* The connection has a reference of its own. */
	stt_group_unref(group);
	return conn;
}

sttcp_conn *sttcp_dial(const char *host, int port, const sttcp_options *options, int *code)
{
	int cancel = stt_call_begin();
	char text[SENTENCE] = "";
	int result = 0;
	sttcp_conn *conn = dial(host, port, options, &result, text);

	keep_error(text);
	if (code)
		*code = result;
	stt_call_end(cancel);
	return conn;
}

const char *sttcp_dial_error(void)
{
	const char *text = error_of_thread();

	if (!text && has_error_keys)
		text = pthread_getspecific(missed_key);
	return text ? text : "";
}

int sttcp_sleep(int ms)
{
	if (ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	int result = stt_wait_sleep(ms);

	stt_call_end(cancel);
	return result;
}

int sttcp_poll(int fd, short events, int timeout_ms)
{
	if (fd < 0 || timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	int result = stt_wait_poll(fd, events, timeout_ms);

	stt_call_end(cancel);
	return result;
}
