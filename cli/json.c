/* SPDX-License-Identifier: MIT */
/*
 * Writing JSON. What is not UTF-8 becomes U+FFFD: JSON has no other bytes. What a
 * terminal may not get is escaped, in a file, too: somebody will look at that.
 */
#include "json.h"

#include "escape.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void json_begin(struct json *json, const char *event)
{
	*json = (struct json){0};
	json->out = open_memstream(&json->text, &json->size);
	if (json->out)
		fputc('{', json->out);
	if (event)
		json_text(json, "event", event);
}

static void print_text(FILE *out, const char *text, size_t size)
{
	fputc('"', out);
	for (size_t i = 0, length; i < size; i += length) {
		uint32_t character = 0;

		length = read_character(text + i, size - i, &character);
		if (length == 0) {
			fputs("\\ufffd", out);
			length = 1;
		} else if (character == '"' || character == '\\') {
			fprintf(out, "\\%c", (char)character);
		} else if (!is_harmless(character)) {
			fprintf(out, "\\u%04x", (unsigned)character);
		} else {
			fwrite(text + i, 1, length, out);
		}
	}
	fputc('"', out);
}

static bool begin_member(struct json *json, const char *key)
{
	if (!json->out)
		return false;
	if (json->has_member)
		fputc(',', json->out);
	json->has_member = true;
	if (key) {
		print_text(json->out, key, strlen(key));
		fputc(':', json->out);
	}
	return true;
}

void json_bytes(struct json *json, const char *key, const void *data, size_t size)
{
	if (begin_member(json, key))
		print_text(json->out, data, size);
}

void json_text(struct json *json, const char *key, const char *value)
{
	json_bytes(json, key, value, strlen(value));
}

void json_int(struct json *json, const char *key, int64_t value)
{
	if (begin_member(json, key))
		fprintf(json->out, "%lld", (long long)value);
}

void json_real(struct json *json, const char *key, double value)
{
	if (begin_member(json, key))
		fprintf(json->out, "%.6g", isfinite(value) ? value : 0);
}

void json_bool(struct json *json, const char *key, bool value)
{
	if (begin_member(json, key))
		fputs(value ? "true" : "false", json->out);
}

void json_open(struct json *json, const char *key, char bracket)
{
	if (begin_member(json, key))
		fputc(bracket, json->out);
	json->has_member = false;
}

void json_close(struct json *json, char bracket)
{
	if (json->out)
		fputc(bracket, json->out);
	json->has_member = true;
}

void json_end(struct json *json)
{
	if (!json->out)
		return;
	fputs("}\n", json->out);
	fclose(json->out);
	output_write(json->text, json->size);
	free(json->text);
}
