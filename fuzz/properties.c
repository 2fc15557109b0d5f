/* SPDX-License-Identifier: MIT */
/*
 * The properties of every framing. Each look gets its bytes in a block of exactly
 * their size, so that AddressSanitizer sees a read too far.
 */
#include "properties.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/refusal.h"

#define HOLDS(condition) check_that((condition), #condition, __LINE__)

/* Byte by byte, each byte of an input is copied as often as there are bytes behind it. */
enum {
	BYTE_BY_BYTE_MAX = 256,
	NMESSAGES_MAX = 4096
};

static void check_that(bool holds, const char *text, int line)
{
	if (holds)
		return;
	fprintf(stderr, "properties.c:%d: does not hold: %s\n", line, text);
	abort();
}

uint8_t take_byte(struct input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

int64_t take_limit(struct input *input)
{
	uint8_t byte = take_byte(input);

	return byte == UINT8_MAX ? INT64_MAX : byte;
}

/* ------------------------------------------------------------------- reading */

struct message {
	size_t at;
	size_t size;
	size_t total;
};

/* What was read of one input, and what the connection's reader keeps between two looks. */
struct reader {
	const struct stt_framing *framing;
	struct input input;
	size_t done; /* bytes that messages took */
	size_t scanned;
	size_t announced;   /* what the message at `done` will take, or 0 */
	sttcp_frame memory; /* of a frame function */
	size_t wanted;	    /* before it is to be asked again */
	bool told;	    /* it is not to be asked again */
	int verdict;	    /* of the last look; 1: stt_frame_last made a message of the rest */
	size_t nmessages;
	struct message messages[NMESSAGES_MAX];
};

/* stt_frame_next, or where there is `memory` stt_frame_ask. */
static int look(const struct stt_framing *framing, const void *data, size_t size, size_t scanned,
		sttcp_frame *memory, struct stt_frame *frame)
{
	void *copy = malloc(size);

	HOLDS(copy != NULL);
	memcpy(copy, data, size);
	int answer = memory ? stt_frame_ask(framing, NULL, copy, size, memory, frame)
			    : stt_frame_next(framing, copy, size, scanned, frame);

	free(copy);
	if (answer == 0) {
		HOLDS(frame->scanned <= size);
		HOLDS(frame->total == 0 || frame->total > size);
		return 0;
	}
	if (answer < 0) {
		char text[STT_REFUSAL_TEXT] = "";

		HOLDS(answer == STTCP_EFRAME || answer == STTCP_ELIMIT);
		stt_refusal_tell(framing, answer, frame, text);
		HOLDS(text[0] && strlen(text) < sizeof(text) - 1); /* not cut off */
		return answer;
	}
	HOLDS(answer == 1);
	HOLDS(frame->total > 0 && (memory || frame->total <= size));
	HOLDS(frame->size <= frame->total && frame->skip <= frame->total - frame->size);
	HOLDS(frame->size <= (uint64_t)framing->max_message);
	return 1;
}

static void begin_message(struct reader *reader)
{
	reader->scanned = 0;
	reader->announced = 0;
	reader->memory = (sttcp_frame){0};
	reader->wanted = 0;
	reader->told = false;
}

/* As the connection's reader asks a frame function. */
static int ask(struct reader *reader, const void *data, size_t size, struct stt_frame *frame)
{
	if (!reader->told && size >= reader->wanted) {
		int answer = look(reader->framing, data, size, 0, &reader->memory, frame);

		if (answer < 0)
			return answer;
		reader->told = answer == 1;
		reader->wanted = frame->total;
	}
	*frame = (struct stt_frame){.skip = reader->memory.skip,
				    .size = reader->memory.size,
				    .total = reader->told ? reader->memory.total : 0};
	return reader->told && size >= reader->wanted;
}

static void take_message(struct reader *reader, const struct stt_frame *frame)
{
	HOLDS(reader->announced == 0 || frame->total == reader->announced);
	if (reader->nmessages < NMESSAGES_MAX)
		reader->messages[reader->nmessages++] =
			(struct message){reader->done + frame->skip, frame->size, frame->total};
	reader->done += frame->total;
	begin_message(reader);
}

/* The first `size` bytes of the input have arrived. */
static void read_up_to(struct reader *reader, size_t size)
{
	while (reader->verdict == 0 && reader->done < size) {
		struct stt_frame frame = {0};

		const uint8_t *data = reader->input.data + reader->done;

		reader->verdict = reader->framing->kind == STTCP_FRAMING_CUSTOM
					  ? ask(reader, data, size - reader->done, &frame)
					  : look(reader->framing, data, size - reader->done,
						 reader->scanned, NULL, &frame);
		if (reader->verdict < 0)
			return;
		if (reader->verdict == 0) {
			HOLDS(reader->announced == 0 || frame.total == reader->announced);
			reader->announced = frame.total;
			reader->scanned = frame.scanned;
			return;
		}
		take_message(reader, &frame);
		reader->verdict = 0;
	}
}

/* The rest has arrived, and FIN. */
static void read_last(struct reader *reader)
{
	size_t rest;
	struct stt_frame frame = {0};
	struct stt_framing framing = *reader->framing;

	read_up_to(reader, reader->input.size);
	rest = reader->input.size - reader->done;
	if (reader->verdict < 0 || rest == 0)
		return;
	framing.rest_at_end = false;
	HOLDS(stt_frame_last(&framing, reader->input.data + reader->done, rest, &frame) ==
	      STTCP_EFRAME);
	framing.rest_at_end = true;
	reader->verdict = stt_frame_last(&framing, reader->input.data + reader->done, rest, &frame);
	if (reader->verdict == 1) {
		HOLDS(frame.skip == 0 && frame.size == rest && frame.total == rest);
		HOLDS(rest <= (uint64_t)reader->framing->max_message);
		take_message(reader, &frame);
	}
}

static void begin_reading(struct reader *reader, const struct stt_framing *framing,
			  struct input input)
{
	reader->framing = framing;
	reader->input = input;
	reader->done = 0;
	reader->verdict = 0;
	reader->nmessages = 0;
	begin_message(reader);
}

static void check_same(const struct reader *one, const struct reader *other)
{
	/* A function that looks at all that is there may see what is wrong beyond the limit. */
	HOLDS(one->verdict == other->verdict || (one->framing->kind == STTCP_FRAMING_CUSTOM &&
						 one->verdict < 0 && other->verdict < 0));
	HOLDS(one->done == other->done);
	HOLDS(one->nmessages == other->nmessages);
	HOLDS(memcmp(one->messages, other->messages, one->nmessages * sizeof(*one->messages)) == 0);
}

static void check_cuts(const struct stt_framing *framing, struct input input, size_t cut)
{
	static struct reader whole; /* too large for a stack */
	static struct reader parts;

	begin_reading(&whole, framing, input);
	read_last(&whole);
	begin_reading(&parts, framing, input);
	read_up_to(&parts, cut % (input.size + 1));
	read_last(&parts);
	check_same(&whole, &parts);
	if (input.size > BYTE_BY_BYTE_MAX)
		return;
	begin_reading(&parts, framing, input);
	for (size_t size = 1; size < input.size; size++)
		read_up_to(&parts, size);
	read_last(&parts);
	check_same(&whole, &parts);
}

/* ------------------------------------------------------------------- sending */

/* Whether a payload between these ends is what the peer reads first; a byte stands behind it. */
static bool comes_back(const struct stt_framing *framing, struct input payload,
		       const struct stt_frame_ends *ends)
{
	size_t total = ends->head_size + payload.size + ends->tail_size;
	size_t offset = (size_t)framing->prefix_offset;
	struct stt_frame frame = {0};
	unsigned char *wire = malloc(total + 1);

	HOLDS(wire != NULL);
	if (offset > 0)
		memcpy(wire, payload.data, offset);
	memcpy(wire + offset, ends->head, ends->head_size);
	if (payload.size > offset)
		memcpy(wire + offset + ends->head_size, payload.data + offset,
		       payload.size - offset);
	if (ends->tail_size > 0)
		memcpy(wire + ends->head_size + payload.size, ends->tail, ends->tail_size);
	wire[total] = '\n';
	bool is_same = look(framing, wire, total + 1, 0, NULL, &frame) == 1 &&
		       frame.skip == ends->head_size && frame.size == payload.size &&
		       frame.total == total;

	free(wire);
	return is_same;
}

/* In three parts it has the same ends. */
static void check_ends_of_parts(const struct stt_framing *framing, struct input payload, size_t cut,
				const struct stt_frame_ends *whole, int answer)
{
	unsigned char *bytes = (unsigned char *)(uintptr_t)payload.data;
	size_t first = cut % (payload.size + 1);
	size_t second = (payload.size - first) / 2;
	const struct iovec parts[] = {{bytes, first},
				      {bytes + first, second},
				      {bytes + first + second, payload.size - first - second}};
	struct stt_frame_ends ends;

	HOLDS(stt_frame_ends_of_parts(framing, parts, 3, &ends) == answer);
	HOLDS(answer < 0 ||
	      (ends.head_size == whole->head_size && ends.tail_size == whole->tail_size &&
	       memcmp(ends.head, whole->head, ends.head_size) == 0));
}

static void check_ends(const struct stt_framing *framing, struct input payload, size_t cut)
{
	struct stt_frame_ends ends;
	int answer = stt_frame_ends(framing, payload.data, payload.size, &ends);

	if (payload.size)
		check_ends_of_parts(framing, payload, cut, &ends, answer);

	if (framing->kind == STTCP_FRAMING_RAW || framing->kind == STTCP_FRAMING_CUSTOM) {
		HOLDS(answer == 0 && ends.head_size == 0 && ends.tail_size == 0);
		return;
	}
	HOLDS(answer == 0 || answer == -EINVAL || answer == -EMSGSIZE);
	HOLDS(answer == -EMSGSIZE || payload.size <= (uint64_t)framing->max_message);
	if (answer == 0) {
		HOLDS(comes_back(framing, payload, &ends));
	} else if (framing->kind == STTCP_FRAMING_LENGTH) {
		HOLDS(answer == -EMSGSIZE || framing->prefix_offset || framing->prefix_adjust > 0);
	} else if (answer == -EINVAL && framing->kind != STTCP_FRAMING_FIXED) {
		ends = (struct stt_frame_ends){.tail_size = 1, .tail = (const unsigned char *)"\n"};
		if (framing->kind == STTCP_FRAMING_DELIMITER) {
			ends.tail_size = framing->delimiter_size;
			ends.tail = framing->delimiter;
		}
		HOLDS(!comes_back(framing, payload, &ends));
	}
}

void check_properties(const struct stt_framing *framing, struct input input, size_t cut)
{
	if (stt_framing_check(framing) != 0)
		return;
	check_cuts(framing, input, cut);
	check_ends(framing, input, cut);
}
