/* SPDX-License-Identifier: MIT */
/* The log hook: one for the process, changed and read under a lock that is never held while the
 * hook runs. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mutex.h"

static struct stt_mutex lock = STT_MUTEX_INIT;
static sttcp_log_fn hook;
static void *hook_context;

void sttcp_set_log(sttcp_log_fn fn, void *context)
{
	stt_lock(&lock);
	hook = fn;
	hook_context = context;
	stt_unlock(&lock);
}

void stt_log(enum stt_log_level level, const char *format, ...)
{
	char text[256];
	va_list arguments;

	stt_lock(&lock);
	sttcp_log_fn fn = hook;
	void *context = hook_context;
	stt_unlock(&lock);
	if (!fn)
		return;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fn((int)level, text, context);
}

void stt_log_after_fork(void)
{
	stt_mutex_init(&lock);
}
