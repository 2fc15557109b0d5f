/* SPDX-License-Identifier: MIT */
/* A log function that writes down what it gets. */
#include "support/lines.h"

static struct book {
	pthread_mutex_t lock;
	int count;
	struct {
		int level;
		char text[256];
	} lines[200];
} book = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void write_down(int level, const char *text, void *context)
{
	struct book *into = context;

	pthread_mutex_lock(&into->lock);
	if (into->count < 200) {
		into->lines[into->count].level = level;
		snprintf(into->lines[into->count++].text, 256, "%s", text);
	}
	pthread_mutex_unlock(&into->lock);
}

int lines_with(int level, const char *text)
{
	int found = 0;

	pthread_mutex_lock(&book.lock);
	for (int i = 0; i < book.count; i++)
		found += book.lines[i].level == level && strstr(book.lines[i].text, text);
	pthread_mutex_unlock(&book.lock);
	return found;
}

void lines_in_order(int count, const char *const *texts)
{
	int next = 0;

	pthread_mutex_lock(&book.lock);
	for (int i = 0; i < book.count && next < count; i++)
		next += !strcmp(book.lines[i].text, texts[next]);
	pthread_mutex_unlock(&book.lock);
	if (next < count)
		fail_msg("not told, or not in its place: %s", texts[next]);
}

int lines_open(void **state)
{
	(void)state;
	pthread_mutex_lock(&book.lock);
	book.count = 0;
	pthread_mutex_unlock(&book.lock);
	sttcp_log_level(4);
	sttcp_set_log(write_down, &book);
	return 0;
}

int lines_close(void **state)
{
	(void)state;
	sttcp_set_log(NULL, NULL);
	return 0;
}
