/* SPDX-License-Identifier: MIT */
/*
 * Objects of JSON (RFC 8259), one a line, on standard output: what --json gives
 * to programs. An object is written with one call, whole.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	char *text;
	size_t size;
	FILE *out; /* NULL: no memory, and everything is left out */
	bool has_member;
};

/* begin "event": an object whose first member is "event"; NULL: an empty one. */
void json_begin(struct json *json, const char *event);
void json_text(struct json *json, const char *key, const char *value);
void json_bytes(struct json *json, const char *key, const void *data, size_t size);
void json_int(struct json *json, const char *key, int64_t value);
void json_real(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
/* An object or an array inside: open with '{' or '[', close with its counterpart. In an array the
 * keys are NULL. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
/* Prints it, with a newline. */
void json_end(struct json *json);

#endif
