/* SPDX-License-Identifier: MIT */
/* Frame functions of protocols. */
#include "support/protocols.h"

#include <stdbool.h>
#include <string.h>

static bool is_digit(unsigned char byte)
{
	return byte >= '0' && byte <= '9';
}

/* ------------------------------------------------------ a decimal length in front */

enum {
	DIGITS_MAX = 9
};

/* "<digits><end>": the bytes that it takes and `value`; 0 while it is not whole; -1 if it is none.
 */
static int read_count(const unsigned char *bytes, size_t size, unsigned char end, size_t *value)
{
	*value = 0;
	for (size_t i = 0; i < size && i <= DIGITS_MAX; i++) {
		if (bytes[i] == end)
			return i > 0 ? (int)i + 1 : -1;
		/* A leading 0 is the only digit. */
		if (!is_digit(bytes[i]) || (i == 1 && bytes[0] == '0'))
			return -1;
		*value = *value * 10 + (size_t)(bytes[i] - '0');
	}
	return size <= DIGITS_MAX ? 0 : -1;
}

int netstring_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		    void *context)
{
	const unsigned char *bytes = data;

	(void)conn;
	(void)context;
	if (!frame->total) {
		int head = read_count(bytes, size, ':', &frame->size);

		if (head <= 0) {
			frame->size = 0;
			return head;
		}
		frame->skip = (size_t)head;
		frame->total = frame->skip + frame->size + 1;
	}
	/* The "," has to be one: so it is asked for again when that has come. */
	if (size < frame->total)
		return 0;
	return bytes[frame->total - 1] == ',' ? 1 : -1;
}

int syslog_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	int head = read_count(data, size, ' ', &frame->size);

	(void)conn;
	(void)context;
	if (head <= 0) {
		frame->size = 0;
		return head;
	}
	/* A length of 0 is none there. */
	if (!frame->size)
		return -1;
	frame->skip = (size_t)head;
	frame->total = frame->skip + frame->size;
	return 1;
}

/* -------------------------------------------------------------------- WebSocket */

enum {
	WS_FIN = 0x80,
	WS_RESERVED = 0x70,
	WS_OPCODE = 0x0f,
	WS_CONTROL = 0x08,
	WS_MASK = 0x80,
	WS_LENGTH = 0x7f,
	WS_KEY_SIZE = 4
};

/* Whether no frame can begin with these two bytes. */
static bool is_no_websocket(unsigned char first, unsigned char second)
{
	int opcode = first & WS_OPCODE;
	int length = second & WS_LENGTH;

	if (first & WS_RESERVED || (opcode > 2 && opcode < WS_CONTROL) || opcode > 10)
		return true;
	return opcode & WS_CONTROL && (!(first & WS_FIN) || length > 125);
}

int websocket_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		    void *context)
{
	const unsigned char *bytes = data;

	(void)conn;
	(void)context;
	if (size < 2) {
		frame->total = 2;
		return 0;
	}
	if (is_no_websocket(bytes[0], bytes[1]))
		return -1;
	size_t key = bytes[1] & WS_MASK ? WS_KEY_SIZE : 0;
	uint64_t length = bytes[1] & WS_LENGTH;
	size_t wide = length < 126 ? 0 : length == 126 ? 2 : 8;

	if (size < 2 + wide) {
		frame->total = 2 + wide;
		return 0;
	}
	for (size_t i = 0; i < wide; i++)
		length = (i ? length << 8 : 0) | bytes[2 + i];
	/* The most significant bit must be 0 (RFC 6455, 5.2). */
	if (length > INT64_MAX)
		return -1;
	size_t head = 2 + wide + key;

	/* Where a size has 32 bits, it is over the limit. */
	frame->size = length > SIZE_MAX - head ? SIZE_MAX : head + (size_t)length;
	frame->total = frame->size;
	return 1;
}

/* --------------------------------------------------------------------- FastCGI */

enum {
	FCGI_HEAD = 8,
	FCGI_VERSION = 1
};

int fastcgi_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		  void *context)
{
	const unsigned char *bytes = data;

	(void)conn;
	(void)context;
	if (bytes[0] != FCGI_VERSION)
		return -1;
	if (size < FCGI_HEAD) {
		frame->total = FCGI_HEAD;
		return 0;
	}
	frame->size = FCGI_HEAD + (size_t)(bytes[4] << 8 | bytes[5]);
	frame->total = frame->size + bytes[6];
	return 1;
}

/* ------------------------------------------------------------------------ RESP */

_Atomic size_t resp_looked;

/*
 * What it remembers from call to call, in the 64 bits that each message has for
 * that: where it goes on, what it expects there, and how many values are missing.
 * The parts of an array, which may be arrays themselves, only add to that number.
 */
struct resp {
	size_t at;
	unsigned expects;
	size_t missing;
};

enum {
	VALUE,	   /* the first byte of a value */
	LINE_END,  /* the rest of a line, whatever is in it */
	BLOCK_END, /* "\r\n" behind a block of known size */

	NUMBER_MAX = 20,
	AT_BITS = 40,
	EXPECTS_BITS = 2,
	MISSING_BITS = 64 - AT_BITS - EXPECTS_BITS
};

static struct resp unpack(uint64_t state)
{
	return (struct resp){.at = (size_t)(state & ((UINT64_C(1) << AT_BITS) - 1)),
			     .expects = (unsigned)(state >> AT_BITS & ((1U << EXPECTS_BITS) - 1)),
			     .missing = (size_t)(state >> (AT_BITS + EXPECTS_BITS))};
}

/* False where that does not fit. */
static bool pack(const struct resp *resp, uint64_t *state)
{
	if ((uint64_t)resp->at >> AT_BITS || (uint64_t)resp->missing >> MISSING_BITS)
		return false;
	*state = (uint64_t)resp->at | (uint64_t)resp->expects << AT_BITS |
		 (uint64_t)resp->missing << (AT_BITS + EXPECTS_BITS);
	return true;
}

/* "<number>\r\n": the bytes that it takes, 0 while it is not whole, or -1. The number may be -1. */
static int read_number(const unsigned char *bytes, size_t size, int64_t *value)
{
	bool negative = size > 0 && bytes[0] == '-';
	size_t i = negative ? 1 : 0;
	size_t first = i;

	for (*value = 0; i < size && is_digit(bytes[i]); i++) {
		if (i == NUMBER_MAX || *value > (INT64_MAX - 9) / 10)
			return -1;
		*value = *value * 10 + (bytes[i] - '0');
	}
	atomic_fetch_add(&resp_looked, i + 1);
	if (negative)
		*value = -*value;
	if (i == size)
		return 0;
	if (i == first || bytes[i] != '\r' || *value < -1)
		return -1;
	if (i + 1 == size)
		return 0;
	return bytes[i + 1] == '\n' ? (int)i + 2 : -1;
}

/* The header of a value that is a block or a number of values; as read_number. */
static int take_header(struct resp *resp, const unsigned char *bytes, size_t size)
{
	unsigned char type = bytes[0];
	int64_t number;
	int read = read_number(bytes + 1, size - 1, &number);

	if (read <= 0)
		return read;
	resp->missing--;
	resp->at += 1 + (size_t)read;
	if (type == '$' || type == '=' || type == '!') {
		if (number > (INT64_C(1) << (AT_BITS - 1)))
			return -1;
		if (number >= 0) {
			resp->at += (size_t)number;
			resp->expects = BLOCK_END;
		}
	} else if (number > 0) {
		if (number > INT32_MAX / 2)
			return -1;
		/* A map has pairs. */
		resp->missing += (size_t)(type == '%' ? 2 * number : number);
	}
	return read;
}

/* The end of what it is in: 1, 0 while it is not there, or -1. */
static int take_end(struct resp *resp, const unsigned char *bytes, size_t size)
{
	const unsigned char *from = bytes + resp->at;
	size_t left = size - resp->at;

	if (resp->expects == BLOCK_END) {
		atomic_fetch_add(&resp_looked, 2);
		if (from[0] != '\r' || (left > 1 && from[1] != '\n'))
			return -1;
		if (left < 2)
			return 0;
		resp->at += 2;
	} else {
		const unsigned char *end = memchr(from, '\n', left);

		atomic_fetch_add(&resp_looked, end ? (size_t)(end - from) + 1 : left);
		resp->at = end ? (size_t)(end - bytes) + 1 : size;
		if (!end)
			return 0;
	}
	resp->expects = VALUE;
	return 1;
}

/* One step on: above 0, 0 while more is needed for that, or -1. */
static int step(struct resp *resp, const unsigned char *bytes, size_t size)
{
	if (resp->expects != VALUE)
		return take_end(resp, bytes, size);
	atomic_fetch_add(&resp_looked, 1);
	if (strchr("*$=!%~>", bytes[resp->at]) && bytes[resp->at])
		return take_header(resp, bytes + resp->at, size - resp->at);
	/* Simple values, and inline commands where nothing has begun, are lines. */
	resp->missing--;
	resp->expects = LINE_END;
	return 1;
}

int resp_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	struct resp resp = unpack(frame->state);

	(void)conn;
	(void)context;
	if (!frame->state)
		resp.missing = 1;
	while (resp.missing || resp.expects != VALUE) {
		int result = resp.at < size ? step(&resp, data, size) : 0;

		if (result < 0 || !pack(&resp, &frame->state))
			return -1;
		if (result == 0) {
			/* Up to the next header nothing can be told. */
			frame->total = resp.at + 1;
			return 0;
		}
	}
	frame->size = frame->total = resp.at;
	return 1;
}
