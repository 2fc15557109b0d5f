/* SPDX-License-Identifier: MIT */
/* Standard error may be a pipe that nobody reads any more: SIGPIPE never reaches the program on
 * behalf of the library. */
#include "base/log_print.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *word_of(enum stt_log_level level)
{
	switch (level) {
	case STT_LOG_ERROR:
		return "error";
	case STT_LOG_WARNING:
		return "warning";
	case STT_LOG_INFO:
		return "info";
	default:
		return "trace";
	}
}

/* Local time with its distance from UTC: 2026-03-01T09:30:00.123+01:00 (ISO 8601). */
static void format_time(char *text, size_t size)
{
	struct timespec now;
	struct tm at;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &at);

	int away = (int)(at.tm_gmtoff / 60);
	char sign = away < 0 ? '-' : '+';

	away = away < 0 ? -away : away;
	snprintf(text, size, "%d-%02d-%02dT%02d:%02d:%02d.%03d%c%02d:%02d", at.tm_year + 1900,
		 at.tm_mon + 1, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec,
		 (int)(now.tv_nsec / 1000000), sign, away / 60, away % 60);
}

/* write(2) without its SIGPIPE: blocked meanwhile, and taken if it came of this. */
static void write_line(const char *line, size_t size)
{
	const struct timespec at_once = {0};
	sigset_t pipe;
	sigset_t pending;
	sigset_t before;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);

	ssize_t written;

	do {
		written = write(STDERR_FILENO, line, size);
	} while (written < 0 && errno == EINTR);
	if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void stt_log_print(enum stt_log_level level, const char *text)
{
	char time[160];
	char line[768];

	format_time(time, sizeof(time));

	int size = snprintf(line, sizeof(line), "%s sttcp %s: %s\n", time, word_of(level), text);

	if (size > 0)
		write_line(line, (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1);
}
