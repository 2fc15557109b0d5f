/* SPDX-License-Identifier: MIT */
/*
 * Putting the error queue aside. ERR_set_mark would do for most calls, but a
 * handshake, which a key update is, too, clears the whole queue with all marks.
 * Nearly always the queue is empty, and this costs a look at it.
 */
#include "tls/errors.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

struct stt_errors {
	int count;
	struct {
		unsigned long code;
		int line;
		char *file;
		char *function;
		char *data;
	} entries[ERR_NUM_ERRORS];
};

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

struct stt_errors *stt_errors_hide(void)
{
	struct stt_errors *errors;
	const char *file, *function, *data;
	unsigned long code;
	int line, flags;

	if (!ERR_peek_error())
		return NULL;
	errors = calloc(1, sizeof(*errors));
	while ((code = ERR_get_error_all(&file, &line, &function, &data, &flags))) {
		if (!errors || errors->count == ERR_NUM_ERRORS)
			continue;
		errors->entries[errors->count].code = code;
		errors->entries[errors->count].line = line;
		errors->entries[errors->count].file = copy(file);
		errors->entries[errors->count].function = copy(function);
		errors->entries[errors->count].data = copy(flags & ERR_TXT_STRING ? data : NULL);
		errors->count++;
	}
	return errors;
}

static void raise_again(const struct stt_errors *errors, int place)
{
	unsigned long code = errors->entries[place].code;
	const char *data = errors->entries[place].data;

	ERR_new();
	ERR_set_debug(errors->entries[place].file, errors->entries[place].line,
		      errors->entries[place].function);
	if (data && *data)
		ERR_set_error(ERR_GET_LIB(code), ERR_GET_REASON(code), "%s", data);
	else
		ERR_set_error(ERR_GET_LIB(code), ERR_GET_REASON(code), NULL);
}

void stt_errors_show(struct stt_errors *errors)
{
	if (ERR_peek_error())
		ERR_clear_error();
	for (int i = 0; errors && i < errors->count; i++) {
		raise_again(errors, i);
		free(errors->entries[i].file);
		free(errors->entries[i].function);
		free(errors->entries[i].data);
	}
	free(errors);
}

static bool is_of_memory(unsigned long error)
{
	int reason = ERR_GET_REASON(error);

	return ERR_GET_LIB(error) == ERR_LIB_SYS ? reason == ENOMEM
						 : reason == ERR_R_MALLOC_FAILURE;
}

/* Much of OpenSSL takes an allocation that failed for something else, and leaves another error on
 * top, or none; there errno tells it, which was 0 when the visit began. The last error stays, for
 * whoever asks what OpenSSL says. */
bool stt_openssl_missed_memory(void)
{
	bool missed = errno == ENOMEM;
	unsigned long last = ERR_peek_last_error(), error;

	while ((error = ERR_get_error()))
		missed |= is_of_memory(error);
	if (last)
		ERR_raise(ERR_GET_LIB(last), ERR_GET_REASON(last));
	return missed;
}

const char *stt_openssl_says(const char *otherwise)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : otherwise;
}
