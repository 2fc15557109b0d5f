/* SPDX-License-Identifier: MIT */
/*
 * One log callback for the process: a function of the user's, or standard
 * error. Each setting has a number. A call of the callback is on a list, with
 * the number of its setting, and whoever makes a new setting waits until the
 * older calls have returned. The lock is never held while the callback runs.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log_print.h"
#include "base/mutex.h"

enum {
	TEXT = 512 /* the longest line; what is longer is cut */
};

/* A call of the user's function, on the stack of its thread. */
struct call {
	struct stt_node in_calls;
	uint64_t setting;
	bool stays; /* in the child of a fork: it does not come back */
};

atomic_int stt_log_most;

static struct stt_mutex log_lock = STT_MUTEX_INIT;
/* A call has come back. */
static struct stt_cond call_gone = STT_COND_INIT;
/* Under the lock. */
static struct stt_node calls = {&calls, &calls};
static uint64_t setting; /* how often it was set */
static sttcp_log_fn function;
static void *function_context;
static int function_level = STT_LOG_INFO;
static int stderr_level;
static struct stt_log_file stderr_file; /* when that was set */
static bool environment_read;

/* The call that this thread is in. */
static _Thread_local struct call *own_call;

bool stt_log_is_inside(void)
{
	return own_call;
}

static int limited(int level)
{
	return level < 0 ? 0 : level > STT_LOG_TRACE ? STT_LOG_TRACE : level;
}

static void note_most_locked(void) STT_REQUIRES(log_lock)
{
	atomic_store_explicit(&stt_log_most, function ? function_level : stderr_level,
			      memory_order_relaxed);
}

static bool runs_older_locked(uint64_t number) STT_REQUIRES(log_lock)
{
	for (struct stt_node *node = calls.next; node != &calls; node = node->next)
		if (stt_container_of(node, struct call, in_calls)->setting < number)
			return true;
	return false;
}

static void set_locked(sttcp_log_fn fn, void *context, int level) STT_REQUIRES(log_lock)
{
	setting++;
	function = fn;
	function_context = context;
	stderr_level = level;
	if (level)
		stderr_file = stt_log_file_now();
	note_most_locked();
}

/* Returns when the previous callback no longer runs; inside it at once. */
static void set(sttcp_log_fn fn, void *context, int level)
{
	int cancel = stt_cancel_off();

	stt_lock(&log_lock);
	set_locked(fn, context, level);
	uint64_t number = setting;

	while (!own_call && runs_older_locked(number))
		stt_cond_wait(&call_gone, &log_lock);
	stt_unlock(&log_lock);
	stt_cancel_back(cancel);
}

void sttcp_set_log(sttcp_log_fn fn, void *context)
{
	set(fn, context, 0);
}

void sttcp_log_to_stderr(int level)
{
	set(NULL, NULL, limited(level));
}

void sttcp_log_level(int level)
{
	stt_lock(&log_lock);
	function_level = limited(level);
	note_most_locked();
	stt_unlock(&log_lock);
}

void stt_log_begin(void)
{
	stt_lock(&log_lock);
	/* Not if the environment may be another user's, see secure_getenv(3). */
	const char *wanted = environment_read || setting ? NULL : secure_getenv("STTCP_LOG");

	environment_read = true;
	if (wanted && wanted[0] >= '0' && wanted[0] <= '0' + STT_LOG_TRACE && !wanted[1])
		set_locked(NULL, NULL, wanted[0] - '0');
	stt_unlock(&log_lock);
}

/* It may contain what a peer has sent: a line stays one line. */
static void make_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == '\177')
			*text = '?';
}

static void call_function(sttcp_log_fn fn, int level, const char *text, void *context,
			  struct call *call)
{
	own_call = call;
	fn(level, text, context);
	while (call->stays)
		pause();
	own_call = NULL;
	stt_lock(&log_lock);
	stt_list_remove(&call->in_calls);
	stt_cond_wake_all(&call_gone);
	stt_unlock(&log_lock);
}

void stt_log_tell(enum stt_log_level level, const char *format, ...)
{
	int error = errno;
	char text[TEXT];
	va_list arguments;
	struct call call;

	/* Lines caused by the callback's own calls would call it again and again. */
	if (own_call)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	make_one_line(text);

	stt_lock(&log_lock);
	sttcp_log_fn fn = function_level >= (int)level ? function : NULL;
	void *context = function_context;
	bool prints = !function && stderr_level >= (int)level;
	struct stt_log_file file = stderr_file;

	call.setting = setting;
	call.stays = false;
	if (fn)
		stt_list_append(&calls, &call.in_calls);
	stt_unlock(&log_lock);

	if (fn)
		call_function(fn, (int)level, text, context, &call);
	if (prints)
		stt_log_print(&file, level, text);
	errno = error;
}

void stt_log_after_fork(bool stays)
{
	stt_mutex_init(&log_lock);
	stt_cond_init(&call_gone);
	stt_list_init(&calls);
	/* Forked inside the callback, which returns here in the child, too. */
	if (own_call) {
		stt_list_append(&calls, &own_call->in_calls);
		own_call->stays = stays;
	}
}
