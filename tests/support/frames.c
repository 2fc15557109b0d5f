/* SPDX-License-Identifier: MIT */
/* Framings and guarded looks. */
#include "support/frames.h"

#include <sys/mman.h>
#include <unistd.h>

int netstring_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		  void *context)
{
	const unsigned char *bytes = data;
	size_t count = 0;

	(void)conn;
	(void)context;
	for (size_t i = 0; i < size && i < 4; i++) {
		if (bytes[i] == ':') {
			frame->size = frame->total = i + 1 + count;
			return i > 0 ? 1 : -1;
		}
		if (bytes[i] < '0' || bytes[i] > '9')
			return -1;
		count = count * 10 + (size_t)(bytes[i] - '0');
	}
	return size < 4 ? 0 : -1;
}

struct stt_framing line_framing(int64_t max_message)
{
	return (struct stt_framing){.kind = STTCP_FRAMING_LINE, .max_message = max_message};
}

struct stt_framing delimiter_framing(const char *delimiter, size_t size, int64_t max_message)
{
	struct stt_framing framing = {.kind = STTCP_FRAMING_DELIMITER,
				      .delimiter_size = (uint8_t)size,
				      .max_message = max_message};

	memcpy(framing.delimiter, delimiter, size);
	return framing;
}

const unsigned char *payload_of(const struct stt_framing *framing, const void *bytes,
				const struct stt_frame *frame)
{
	static unsigned char payload[4096];
	const unsigned char *from = bytes;
	size_t offset = (size_t)framing->prefix_offset;

	assert_true(frame->size <= sizeof(payload) && offset <= frame->size);
	memcpy(payload, from, offset);
	memcpy(payload + offset, from + offset + frame->skip, frame->size - offset);
	return payload;
}

ssize_t frame_payload(const struct stt_framing *framing, const void *payload, size_t size,
		      void *wire, size_t room)
{
	const unsigned char *from = payload;
	unsigned char *to = wire;
	size_t offset = (size_t)framing->prefix_offset;
	struct stt_frame_ends ends;
	int answer = look_ends(framing, payload, size, &ends);

	if (answer != 0)
		return answer;
	size_t total = ends.head_size + size + ends.tail_size;

	assert_true(ends.head_size <= STT_PREFIX_MAX && total <= room);
	memcpy(to, from, offset);
	memcpy(to + offset, ends.head, ends.head_size);
	memcpy(to + offset + ends.head_size, from + offset, size - offset);
	if (ends.tail_size > 0)
		memcpy(to + ends.head_size + size, ends.tail, ends.tail_size);
	return (ssize_t)total;
}

/* -------------------------------------------------------------- guarded looks */

static struct {
	unsigned char *begin; /* of the readable bytes, between two unmapped pages */
	size_t size;
} guarded;

int map_guarded(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *map = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (map == MAP_FAILED || mprotect(map + page, page, PROT_READ | PROT_WRITE) != 0)
		return -1;
	guarded.begin = map + page;
	guarded.size = page;
	return 0;
}

int unmap_guarded(void **state)
{
	(void)state;
	return munmap(guarded.begin - guarded.size, 3 * guarded.size);
}

int ask(const struct stt_framing *framing, const void *data, size_t size, sttcp_frame *memory,
	struct stt_frame *frame)
{
	sttcp_frame other_memory = *memory;
	struct stt_frame other = {0};
	unsigned char *at_end = guarded.begin + guarded.size - size;

	assert_true(size <= guarded.size);
	*frame = (struct stt_frame){0};
	memcpy(guarded.begin, data, size);
	int answer = stt_frame_ask(framing, NULL, guarded.begin, size, &other_memory, &other);

	memmove(at_end, data, size);
	assert_int_equal(stt_frame_ask(framing, NULL, at_end, size, memory, frame), answer);
	assert_memory_equal(frame, &other, sizeof(other));
	assert_memory_equal(memory, &other_memory, sizeof(other_memory));
	if (answer == 1) {
		assert_true(frame->total > 0 && frame->skip + frame->size <= frame->total);
		assert_true(frame->size <= (uint64_t)framing->max_message);
	} else if (answer == 0) {
		assert_true(frame->total == 0 || frame->total > size);
	} else {
		assert_true(answer == STTCP_EFRAME || answer == STTCP_ELIMIT);
	}
	return answer;
}

int look(const struct stt_framing *framing, const void *data, size_t size, size_t scanned,
	 struct stt_frame *frame)
{
	struct stt_frame other = {0};
	unsigned char *at_end = guarded.begin + guarded.size - size;

	if (framing->kind == STTCP_FRAMING_CUSTOM) {
		sttcp_frame memory = {0};
		int told = ask(framing, data, size, &memory, frame);

		return told == 1 && frame->total > size ? 0 : told;
	}
	assert_true(size <= guarded.size);
	*frame = (struct stt_frame){0};
	memcpy(guarded.begin, data, size);
	int answer = stt_frame_next(framing, guarded.begin, size, scanned, &other);

	memmove(at_end, data, size);
	assert_int_equal(stt_frame_next(framing, at_end, size, scanned, frame), answer);
	assert_memory_equal(frame, &other, sizeof(other));
	if (answer == 1) {
		assert_true(frame->skip + frame->size <= frame->total);
		assert_in_range(frame->total, 1, size);
		if (framing->kind != STTCP_FRAMING_RAW)
			assert_true(frame->size <= (uint64_t)framing->max_message);
	} else if (answer == 0) {
		assert_true(frame->scanned <= size);
		assert_true(frame->total == 0 || frame->total > size);
	} else {
		assert_true(answer == STTCP_EFRAME || answer == STTCP_ELIMIT);
	}
	return answer;
}

int look_last(const struct stt_framing *framing, const void *data, size_t size,
	      struct stt_frame *frame)
{
	struct stt_frame other = {0};
	unsigned char *at_end = guarded.begin + guarded.size - size;

	assert_true(size <= guarded.size);
	*frame = (struct stt_frame){0};
	memcpy(guarded.begin, data, size);
	int answer = stt_frame_last(framing, guarded.begin, size, &other);

	memmove(at_end, data, size);
	assert_int_equal(stt_frame_last(framing, at_end, size, frame), answer);
	assert_memory_equal(frame, &other, sizeof(other));
	return answer;
}

int look_ends(const struct stt_framing *framing, const void *data, size_t size,
	      struct stt_frame_ends *ends)
{
	struct stt_frame_ends other;

	if (!data || size > guarded.size)
		return stt_frame_ends(framing, data, size, ends);
	unsigned char *at_end = guarded.begin + guarded.size - size;

	memcpy(guarded.begin, data, size);
	int answer = stt_frame_ends(framing, guarded.begin, size, &other);

	memmove(at_end, data, size);
	assert_int_equal(stt_frame_ends(framing, at_end, size, ends), answer);
	return answer;
}
