/* SPDX-License-Identifier: MIT */
/*
 * Standard error: lines, and a status below them. A line and the status are one
 * write, so that lines of several threads never mix.
 */
#include "say.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *name = "sttcp";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under the lock: the status as it was given, and how many rows of it the terminal shows. */
static char *status;
static int nrows;

void say_name(const char *given)
{
	name = given;
}

int say_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size = {0};

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return columns && atoi(columns) > 0 ? atoi(columns) : 80;
}

static bool is_smart(FILE *stream)
{
	const char *term = getenv("TERM");

	return isatty(fileno(stream)) && term && *term && strcmp(term, "dumb") != 0;
}

bool say_has_status(void)
{
	return is_smart(stderr);
}

bool say_has_colours(FILE *stream)
{
	const char *none = getenv("NO_COLOR"); /* https://no-color.org */

	return is_smart(stream) && !(none && *none);
}

/* What is written goes to all of a descriptor, or is lost: nobody can be told that standard error
 * is closed. */
static void write_out(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDERR_FILENO, text, size);

		if (n <= 0)
			return;
		text += n;
		size -= (size_t)n;
	}
}

static void erase_rows(FILE *out)
{
	if (nrows == 0)
		return;
	fputs("\r\033[K", out);
	for (; nrows > 1; nrows--)
		fputs("\033[A\033[K", out);
	nrows = 0;
}

/* The last column stays free: a terminal may go to the next row when it is written to. */
static void draw_rows(FILE *out)
{
	int width = say_width() - 1;

	for (const char *line = status; line && *line;) {
		size_t length = strcspn(line, "\n");

		if (nrows > 0)
			fputc('\n', out);
		print_escaped(out, line, whole_size(line, length, (size_t)width), ESCAPE_NEWLINES);
		nrows++;
		line += length + (line[length] == '\n');
	}
}

static void print_line(FILE *out, const char *text, bool is_failure)
{
	if (!text)
		return;
	if (is_failure)
		fputs(say_has_colours(stderr) ? "\033[1;31m" : "", out);
	fprintf(out, "%s:", name);
	if (is_failure)
		fputs(say_has_colours(stderr) ? "\033[0m" : "", out);
	fputc(' ', out);
	print_escaped(out, text, strlen(text), ESCAPE_NEWLINES);
	fputc('\n', out);
}

static void show(const char *text, bool is_failure)
{
	char *bytes = NULL;
	size_t size = 0;
	FILE *out;

	pthread_mutex_lock(&lock);
	out = open_memstream(&bytes, &size);
	if (out) {
		erase_rows(out);
		print_line(out, text, is_failure);
		draw_rows(out);
		fclose(out);
		write_out(bytes, size);
		free(bytes);
	}
	pthread_mutex_unlock(&lock);
}

static void show_formatted(bool is_failure, const char *format, va_list values)
{
	char *text;

	if (vasprintf(&text, format, values) < 0)
		return;
	show(text, is_failure);
	free(text);
}

void say(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	show_formatted(false, format, values);
	va_end(values);
}

int fail(int exit_status, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	show_formatted(true, format, values);
	va_end(values);
	return exit_status;
}

void say_status(const char *lines)
{
	pthread_mutex_lock(&lock);
	free(status);
	status = *lines ? strdup(lines) : NULL;
	pthread_mutex_unlock(&lock);
	show(NULL, false);
}

const char *human_size(char *text, size_t cap, double bytes)
{
	static const char units[][3] = {"B", "kB", "MB", "GB", "TB"};
	size_t unit = 0;

	for (; bytes >= 999.5 && unit + 1 < sizeof(units) / sizeof(*units); unit++)
		bytes /= 1000;
	snprintf(text, cap, unit > 0 && bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return text;
}

const char *human_time(char *text, size_t cap, double seconds)
{
	long whole = (long)(seconds + 0.5);

	if (seconds < 60)
		snprintf(text, cap, seconds < 10 ? "%.3f s" : "%.1f s", seconds);
	else if (whole < 3600)
		snprintf(text, cap, "%ld:%02ld", whole / 60, whole % 60);
	else
		snprintf(text, cap, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
	return text;
}
