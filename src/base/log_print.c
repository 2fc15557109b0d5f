/* SPDX-License-Identifier: MIT */
/*
 * Standard error may be a pipe that nobody reads any more: SIGPIPE never reaches
 * the program on behalf of the library. And it may have been closed: then the next
 * descriptor has its number, which is a connection, or a database of the program's.
 */
#include "base/log_print.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
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

/* Around localtime_r(3), whose lock of the C library's would be held for ever in a child that is
 * forked meanwhile: a fork waits for this one. */
static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void lock_clock(void)
{
	pthread_mutex_lock(&clock_lock);
}

static void unlock_clock(void)
{
	pthread_mutex_unlock(&clock_lock);
}

static void watch_forks(void)
{
	pthread_atfork(lock_clock, unlock_clock, unlock_clock);
}

static void local_time(time_t seconds, struct tm *at)
{
	pthread_once(&fork_once, watch_forks);
	lock_clock();
	localtime_r(&seconds, at);
	unlock_clock();
}

/* Local time with its distance from UTC: 2026-03-01T09:30:00.123+01:00 (ISO 8601). */
static void format_time(char *text, size_t size)
{
	struct timespec now;
	struct tm at;

	clock_gettime(CLOCK_REALTIME, &now);
	local_time(now.tv_sec, &at);

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

struct stt_log_file stt_log_file_now(void)
{
	struct stat status;

	if (fstat(STDERR_FILENO, &status) < 0)
		return (struct stt_log_file){.open = false};
	return (struct stt_log_file){true, status.st_dev, status.st_ino};
}

/* That one, or what can only be written to: so is what standard error is redirected to, as a rule,
 * but no socket, eventfd or database. For the moment: a program may close it before the line is
 * written. */
static bool is_there(const struct stt_log_file *file)
{
	struct stt_log_file now = stt_log_file_now();

	if (file->open && now.open && now.device == file->device && now.number == file->number)
		return true;
	int flags = fcntl(STDERR_FILENO, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_WRONLY;
}

void stt_log_print(const struct stt_log_file *file, enum stt_log_level level, const char *text)
{
	char time[160];
	char line[768];

	if (!is_there(file))
		return;
	format_time(time, sizeof(time));

	int size = snprintf(line, sizeof(line), "%s sttcp %s: %s\n", time, word_of(level), text);

	if (size > 0)
		write_line(line, (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1);
}
