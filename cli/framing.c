/* SPDX-License-Identifier: MIT */
/*
 * Framings of the command line: raw, line, delimiter:TEXT, length:BYTES[:little][:self],
 * length:varint[:self], fixed:BYTES.
 */
#include "options.h"

#include <string.h>

static void read_length(struct argp_state *state, char *text, sttcp_options *options)
{
	char *word = strsep(&text, ":");

	options->framing = STTCP_FRAMING_LENGTH;
	if (!word)
		return; /* four bytes, big-endian */
	if (!strcmp(word, "varint")) {
		options->prefix_varint = true;
	} else {
		options->prefix_size =
			(int32_t)read_number(state, "the size of a length", word, 1, 8);
		if (options->prefix_size > 4 && options->prefix_size < 8)
			argp_error(state, "the size of a length is 1, 2, 3, 4 or 8 bytes");
	}
	while ((word = strsep(&text, ":"))) {
		if (!strcmp(word, "little"))
			options->prefix_little_endian = true;
		else if (!strcmp(word, "self"))
			options->prefix_includes_itself = true;
		else
			argp_error(state, "after length:BYTES come :little and :self, not ':%s'",
				   word);
	}
	if (options->prefix_varint && options->prefix_little_endian)
		argp_error(state, "after length:varint comes :self, not ':little'");
}

void read_framing(struct argp_state *state, char *text, sttcp_options *options)
{
	char *kind = strsep(&text, ":");

	if (!strcmp(kind, "raw") && !text) {
		options->framing = STTCP_FRAMING_RAW;
	} else if (!strcmp(kind, "line") && !text) {
		options->framing = STTCP_FRAMING_LINE;
		options->rest_at_end = true;
	} else if (!strcmp(kind, "delimiter") && text) {
		options->framing = STTCP_FRAMING_DELIMITER;
		options->delimiter = text;
		options->delimiter_size = read_escapes(state, "the delimiter", text);
		options->rest_at_end = true;
		if (options->delimiter_size < 1 || options->delimiter_size > 16)
			argp_error(state, "a delimiter has 1 to 16 bytes");
	} else if (!strcmp(kind, "length")) {
		read_length(state, text, options);
	} else if (!strcmp(kind, "fixed") && text) {
		options->framing = STTCP_FRAMING_FIXED;
		options->fixed_size =
			read_size(state, "the size of a message", text, 1, INT64_C(1) << 30);
	} else {
		argp_error(state,
			   "a framing is raw, line, delimiter:TEXT, length:BYTES, "
			   "length:varint[:self] or fixed:BYTES, not '%s'",
			   kind);
	}
}

/* What a prefix can tell at most; 0: without a limit. */
static uint64_t prefix_max(const sttcp_options *options)
{
	int bits = 8 * (options->prefix_size ? options->prefix_size : 4);

	return options->prefix_varint || bits == 64 ? 0 : (UINT64_C(1) << bits) - 1;
}

static const char *find_end(const sttcp_options *options, const char *data, size_t size)
{
	size_t most = (size_t)options->delimiter_size;
	const char *delimiter = options->delimiter;

	if (options->framing == STTCP_FRAMING_LINE)
		return size > 0 && data[size - 1] == '\r' ? data : memchr(data, '\n', size);
	if (options->framing != STTCP_FRAMING_DELIMITER)
		return NULL;
	/* A delimiter that begins in the message and ends in the one behind it comes too early. */
	for (size_t part = 1; part < most && part <= size; part++)
		if (!memcmp(data + size - part, delimiter, part) &&
		    !memcmp(delimiter + part, delimiter, most - part))
			return data;
	return memmem(data, size, delimiter, most);
}

const char *why_no_message(const sttcp_options *options, const char *data, size_t size)
{
	uint64_t most = options->max_message > 0 ? (uint64_t)options->max_message : 1 << 20;
	uint64_t told = prefix_max(options), length = size;

	if (options->framing == STTCP_FRAMING_RAW)
		return NULL;
	if (size > most)
		return "it is larger than --max-message";
	if (options->prefix_includes_itself)
		length += (uint64_t)(options->prefix_size ? options->prefix_size : 4);
	if (options->framing == STTCP_FRAMING_LENGTH && told && length > told)
		return "its length does not fit";
	if (options->framing == STTCP_FRAMING_FIXED && (int64_t)size != options->fixed_size)
		return "it has another size";
	return find_end(options, data, size) ? "the end of a message stands in it" : NULL;
}

void drop_framing(sttcp_options *options)
{
	options->framing = STTCP_FRAMING_RAW;
	options->max_message = 0;
	options->delimiter = NULL;
	options->delimiter_size = 0;
	options->rest_at_end = false;
	options->prefix_size = 0;
	options->prefix_little_endian = false;
	options->prefix_varint = false;
	options->prefix_includes_itself = false;
	options->fixed_size = 0;
}
