/* SPDX-License-Identifier: MIT */
/*
 * Finding the ends of messages in what was read, and making those of what is to
 * be sent. The peer chooses the bytes, and may send them one by one: each verdict
 * depends on the bytes alone, never on how they were cut, and no byte is searched
 * through more than a delimiter's length of times.
 */
#include "codec/framing.h"

#include <errno.h>
#include <string.h>

#include "base/parts.h"

static const unsigned char newline = '\n';

static bool is_over(const struct stt_framing *framing, uint64_t size)
{
	return size > (uint64_t)framing->max_message;
}

static int found(struct stt_frame *frame, size_t skip, size_t size, size_t total)
{
	*frame = (struct stt_frame){.skip = skip, .size = size, .total = total};
	return 1;
}

static int need_more(struct stt_frame *frame, size_t total, size_t scanned)
{
	*frame = (struct stt_frame){.total = total, .scanned = scanned};
	return 0;
}

static int refuse(struct stt_frame *frame, int code, uint64_t size)
{
	/* With 32 bits a length may be more than can be told: it is over the limit in any case. */
	size_t most = code == STTCP_ELIMIT ? 0 : SIZE_MAX;

	*frame = (struct stt_frame){.size = size < SIZE_MAX ? (size_t)size : most};
	return code;
}

int stt_framing_check(const struct stt_framing *framing)
{
	bool fine = false;

	switch (framing->kind) {
	case STTCP_FRAMING_RAW:
	case STTCP_FRAMING_LINE:
		fine = true;
		break;
	case STTCP_FRAMING_DELIMITER:
		fine = framing->delimiter_size >= 1 && framing->delimiter_size <= STT_DELIMITER_MAX;
		break;
	case STTCP_FRAMING_LENGTH:
		fine = framing->prefix_varint ||
		       (framing->prefix_size >= 1 && framing->prefix_size <= 4) ||
		       framing->prefix_size == 8;
		fine = fine && framing->prefix_offset >= 0 &&
		       framing->prefix_offset <= framing->max_message;
		break;
	case STTCP_FRAMING_FIXED:
		fine = framing->fixed_size > 0 && framing->fixed_size <= framing->max_message &&
		       (uint64_t)framing->fixed_size <= PTRDIFF_MAX;
		break;
	case STTCP_FRAMING_CUSTOM:
		fine = framing->frame_fn;
		break;
	}
	return fine && framing->max_message >= 0 ? 0 : -EINVAL;
}

/* ------------------------------------------------------------------- reading */

static int next_line(const struct stt_framing *framing, const unsigned char *bytes, size_t size,
		     size_t scanned, struct stt_frame *frame)
{
	const unsigned char *end = memchr(bytes + scanned, newline, size - scanned);
	size_t total = end ? (size_t)(end - bytes) + 1 : 0;
	size_t payload = end ? total - 1 : size;

	/* Without its end, too, a "\r" does not count yet: the "\n" may be the next byte. */
	if (payload > 0 && bytes[payload - 1] == '\r')
		payload--;
	if (is_over(framing, payload))
		return refuse(frame, STTCP_ELIMIT, end ? payload : 0);
	return end ? found(frame, 0, payload, total) : need_more(frame, 0, size);
}

/* The first place at which a delimiter may begin that is not whole yet. */
static size_t first_open_place(const struct stt_framing *framing, size_t size)
{
	return size < framing->delimiter_size ? 0 : size - framing->delimiter_size + 1;
}

/* Whether a delimiter may still begin early enough for a payload within the limit; `bytes` hold
 * no whole one. */
static bool may_end_in_time(const struct stt_framing *framing, const unsigned char *bytes,
			    size_t size)
{
	if (!is_over(framing, size))
		return true;
	for (size_t at = first_open_place(framing, size); !is_over(framing, at); at++) {
		if (memcmp(bytes + at, framing->delimiter, size - at) == 0)
			return true;
	}
	return false;
}

static int next_delimited(const struct stt_framing *framing, const unsigned char *bytes,
			  size_t size, size_t scanned, struct stt_frame *frame)
{
	const unsigned char *end = memmem(bytes + scanned, size - scanned, framing->delimiter,
					  framing->delimiter_size);

	if (!end) {
		if (!may_end_in_time(framing, bytes, size))
			return refuse(frame, STTCP_ELIMIT, 0);
		return need_more(frame, 0, first_open_place(framing, size));
	}
	size_t payload = (size_t)(end - bytes);

	if (is_over(framing, payload))
		return refuse(frame, STTCP_ELIMIT, payload);
	return found(frame, 0, payload, payload + framing->delimiter_size);
}

/* The functions that read a prefix give the bytes that it takes, 0 while it is not whole, or
 * STTCP_EFRAME. */
static int read_varint(const unsigned char *bytes, size_t size, uint64_t *value)
{
	*value = 0;
	for (int i = 0; (size_t)i < size; i++) {
		/* Nine bytes hold 63 bits: the tenth can only be the last, and hold one more. */
		if (i == STT_PREFIX_MAX - 1 && bytes[i] > 1)
			return STTCP_EFRAME;
		*value |= (uint64_t)(bytes[i] & 0x7f) << (7 * i);
		if (bytes[i] < 0x80)
			return i + 1;
	}
	return 0;
}

static int read_prefix(const struct stt_framing *framing, const unsigned char *bytes, size_t size,
		       uint64_t *value)
{
	int width = framing->prefix_size;

	if (framing->prefix_varint)
		return read_varint(bytes, size, value);
	if (size < (size_t)width)
		return 0;
	*value = 0;
	for (int i = 0; i < width; i++)
		*value = *value << 8 | bytes[framing->prefix_little_endian ? width - 1 - i : i];
	return width;
}

/* How much a length counts besides what follows its prefix of `width` bytes; below 0 it leaves out
 * so much of that. */
static int64_t counted_besides(const struct stt_framing *framing, size_t width)
{
	return (framing->prefix_includes_itself ? (int64_t)width : 0) - framing->prefix_adjust;
}

static int next_counted(const struct stt_framing *framing, const unsigned char *bytes, size_t size,
			struct stt_frame *frame)
{
	size_t offset = (size_t)framing->prefix_offset;
	uint64_t length;

	if (size <= offset)
		return need_more(frame, 0, 0);
	int read = read_prefix(framing, bytes + offset, size - offset, &length);

	if (read < 0)
		return refuse(frame, read, SIZE_MAX);
	if (read == 0)
		return need_more(frame, 0, 0);
	/* With less than 64 bits the sums below do not overflow. */
	if (length > INT64_MAX)
		return refuse(frame, STTCP_ELIMIT, length);
	size_t skip = (size_t)read;
	int64_t besides = counted_besides(framing, skip);

	if ((int64_t)length < besides)
		return refuse(frame, STTCP_EFRAME, length);
	uint64_t payload = length - (uint64_t)besides + offset;

	/* No memory could hold more than PTRDIFF_MAX. */
	if (is_over(framing, payload) || payload > PTRDIFF_MAX - skip)
		return refuse(frame, STTCP_ELIMIT, payload);
	size_t total = skip + (size_t)payload;

	return size < total ? need_more(frame, total, 0)
			    : found(frame, skip, (size_t)payload, total);
}

static int next_fixed(const struct stt_framing *framing, size_t size, struct stt_frame *frame)
{
	size_t total = (size_t)framing->fixed_size;

	return size < total ? need_more(frame, total, 0) : found(frame, 0, total, total);
}

/* Out of line: inlined, it would have each line save the registers that only a length needs. */
__attribute__((__noinline__)) static int next_of_kind(const struct stt_framing *framing,
						      const void *data, size_t size, size_t scanned,
						      struct stt_frame *frame)
{
	if (size == 0)
		return need_more(frame, 0, 0);
	switch (framing->kind) {
	case STTCP_FRAMING_DELIMITER:
		return next_delimited(framing, data, size, scanned, frame);
	case STTCP_FRAMING_LENGTH:
		return next_counted(framing, data, size, frame);
	case STTCP_FRAMING_FIXED:
		return next_fixed(framing, size, frame);
	default:
		size = size < STT_RAW_MAX ? size : STT_RAW_MAX;
		return found(frame, 0, size, size);
	}
}

int stt_frame_next(const struct stt_framing *framing, const void *data, size_t size, size_t scanned,
		   struct stt_frame *frame)
{
	if (framing->kind == STTCP_FRAMING_LINE)
		return next_line(framing, data, size, scanned, frame);
	return next_of_kind(framing, data, size, scanned, frame);
}

/* After "more is needed": whether that can come to nothing within the limit. What of the bytes that
 * are there is payload, only the function knows; without its word all of them are. */
static bool is_hopeless(const struct stt_framing *framing, const sttcp_frame *told, size_t size)
{
	size_t beyond = told->size < size ? size - told->size : 0;

	/* A total that has come, and was not the end, tells nothing. */
	return told->total <= size && is_over(framing, beyond);
}

int stt_frame_ask(const struct stt_framing *framing, sttcp_conn *conn, const void *data,
		  size_t size, sttcp_frame *memory, struct stt_frame *frame)
{
	if (size == 0)
		return need_more(frame, 0, 0);

	int answer = framing->frame_fn(conn, data, size, memory, framing->context);
	size_t payload = memory->size ? memory->size : memory->total;
	size_t around = memory->total > memory->size ? memory->total - memory->size : 0;

	if (answer < 0)
		return refuse(frame, STTCP_EFRAME, SIZE_MAX);
	*frame = (struct stt_frame){
		.skip = memory->skip, .size = memory->size, .total = memory->total};
	if (answer > 0 && (!frame->total || frame->size > frame->total ||
			   frame->skip > frame->total - frame->size))
		return STTCP_EFRAME;
	if (is_over(framing, payload))
		return refuse(frame, STTCP_ELIMIT, payload);
	/* What stands around the payload is held with it until the message is whole: who reads
	 * bytes in between, or sets another framing, still gets it. Nor could any memory hold more.
	 */
	if ((is_over(framing, around) && around > STT_AROUND_MAX) || frame->total > PTRDIFF_MAX)
		return refuse(frame, STTCP_ELIMIT, frame->total);
	if (answer > 0)
		return 1;
	if (is_hopeless(framing, memory, size))
		return refuse(frame, STTCP_ELIMIT, 0);
	return need_more(frame, frame->total > size ? frame->total : 0, 0);
}

int stt_frame_last(const struct stt_framing *framing, const void *data, size_t size,
		   struct stt_frame *frame)
{
	bool has_ends =
		framing->kind == STTCP_FRAMING_LINE || framing->kind == STTCP_FRAMING_DELIMITER;

	(void)data;
	if (!has_ends || !framing->rest_at_end)
		return STTCP_EFRAME;
	/* stt_frame_next let a "\r" or a begun delimiter pass that now is payload. */
	if (is_over(framing, size))
		return refuse(frame, STTCP_ELIMIT, size);
	return found(frame, 0, size, size);
}

/* ------------------------------------------------------------------- sending */

static int end_line(const unsigned char *bytes, size_t size, struct stt_frame_ends *ends)
{
	if (size > 0 && (bytes[size - 1] == '\r' || memchr(bytes, newline, size)))
		return -EINVAL;
	ends->tail = &newline;
	ends->tail_size = 1;
	return 0;
}

static int end_line_of_parts(const struct iovec *parts, int count, struct stt_frame_ends *ends)
{
	unsigned char last = 0;

	for (int i = 0; i < count; i++) {
		const unsigned char *bytes = parts[i].iov_base;

		if (!parts[i].iov_len)
			continue;
		if (memchr(bytes, newline, parts[i].iov_len))
			return -EINVAL;
		last = bytes[parts[i].iov_len - 1];
	}
	return end_line(&last, 1, ends);
}

/* The bytes around the place where two parts meet. */
struct seam {
	size_t size;
	unsigned char bytes[2 * STT_DELIMITER_MAX];
};

/* Keeps the last `most` bytes of all, with `part` as the last one, whose first `added` bytes stand
 * in the seam already. */
static void keep_last(struct seam *seam, const struct iovec *part, size_t added, size_t most)
{
	const unsigned char *bytes = part->iov_base;

	if (added < part->iov_len) {
		memcpy(seam->bytes, bytes + part->iov_len - most, most);
		seam->size = most;
	} else if (seam->size > most) {
		memmove(seam->bytes, seam->bytes + seam->size - most, most);
		seam->size = most;
	}
}

/* Whether the delimiter stands in the parts as one text, which may have it across several of them.
 * `seam` are the last bytes then. */
static bool has_delimiter(const struct stt_framing *framing, const struct iovec *parts, int count,
			  struct seam *seam)
{
	const unsigned char *delimiter = framing->delimiter;
	size_t most = framing->delimiter_size - 1U;

	seam->size = 0;
	for (int i = 0; i < count; i++) {
		size_t size = parts[i].iov_len;
		size_t added = size < most ? size : most;

		if (!size)
			continue;
		memcpy(seam->bytes + seam->size, parts[i].iov_base, added);
		seam->size += added;
		if (memmem(seam->bytes, seam->size, delimiter, most + 1) ||
		    memmem(parts[i].iov_base, size, delimiter, most + 1))
			return true;
		keep_last(seam, &parts[i], added, most);
	}
	return false;
}

/* Whether the delimiter behind `bytes` would be found too early, because their last bytes are its
 * beginning and its own beginning is its end: "xa" before "aa" is read as "x", "aa" and an "a". */
static bool overlaps_delimiter(const struct stt_framing *framing, const unsigned char *bytes,
			       size_t size)
{
	const unsigned char *delimiter = framing->delimiter;

	for (size_t shared = 1; shared < framing->delimiter_size && shared <= size; shared++) {
		if (memcmp(bytes + size - shared, delimiter, shared) == 0 &&
		    memcmp(delimiter + shared, delimiter, framing->delimiter_size - shared) == 0)
			return true;
	}
	return false;
}

static int end_delimited(const struct stt_framing *framing, const struct iovec *parts, int count,
			 struct stt_frame_ends *ends)
{
	struct seam seam;

	if (has_delimiter(framing, parts, count, &seam) ||
	    overlaps_delimiter(framing, seam.bytes, seam.size))
		return -EINVAL;
	ends->tail = framing->delimiter;
	ends->tail_size = framing->delimiter_size;
	return 0;
}

static size_t varint_size(uint64_t value)
{
	size_t size = 1;

	while ((value >>= 7) > 0)
		size++;
	return size;
}

/* The length that a prefix of `width` bytes tells before `follows` bytes; below 0: there is none.
 */
static int64_t length_of(const struct stt_framing *framing, uint64_t follows, size_t width)
{
	return (int64_t)follows + counted_besides(framing, width);
}

static int write_varint(const struct stt_framing *framing, uint64_t follows,
			struct stt_frame_ends *ends)
{
	size_t width = 1;

	/* A wider one may count enough of itself for a sum of 0, but is not what makes the message
	 * long enough: the least width decides. */
	if (length_of(framing, follows, width) < 0)
		return -EINVAL;
	/* Where it counts itself it may become longer by that, once: 127 needs two bytes. */
	while (varint_size((uint64_t)length_of(framing, follows, width)) > width)
		width++;

	int64_t length = length_of(framing, follows, width);

	for (size_t i = 0; i < width; i++, length >>= 7)
		ends->head[i] = (unsigned char)((length & 0x7f) | (i + 1 < width ? 0x80 : 0));
	ends->head_size = width;
	return 0;
}

static int begin_counted(const struct stt_framing *framing, uint64_t size,
			 struct stt_frame_ends *ends)
{
	size_t width = framing->prefix_size;

	if (size < (uint64_t)framing->prefix_offset)
		return -EINVAL;
	/* No memory could hold so much, and the sums do not overflow. */
	if (size > INT64_MAX / 2)
		return -EMSGSIZE;
	size -= (uint64_t)framing->prefix_offset;
	if (framing->prefix_varint)
		return write_varint(framing, size, ends);

	int64_t length = length_of(framing, size, width);

	if (length < 0)
		return -EINVAL;
	uint64_t value = (uint64_t)length;

	if (width < sizeof(value) && value >> (8 * width) != 0)
		return -EMSGSIZE;
	for (size_t i = 0; i < width; i++, value >>= 8)
		ends->head[framing->prefix_little_endian ? i : width - 1 - i] =
			(unsigned char)value;
	ends->head_size = width;
	return 0;
}

int stt_frame_ends_of_parts(const struct stt_framing *framing, const struct iovec *parts, int count,
			    struct stt_frame_ends *ends)
{
	size_t size = stt_parts_size(parts, count);

	ends->head_size = 0;
	ends->tail_size = 0;
	ends->tail = NULL;
	if (framing->kind == STTCP_FRAMING_RAW || framing->kind == STTCP_FRAMING_CUSTOM)
		return 0;
	if (is_over(framing, size))
		return -EMSGSIZE;
	switch (framing->kind) {
	case STTCP_FRAMING_LINE:
		return end_line_of_parts(parts, count, ends);
	case STTCP_FRAMING_DELIMITER:
		return end_delimited(framing, parts, count, ends);
	case STTCP_FRAMING_LENGTH:
		return begin_counted(framing, size, ends);
	default:
		return size == (uint64_t)framing->fixed_size ? 0 : -EINVAL;
	}
}

int stt_frame_ends(const struct stt_framing *framing, const void *data, size_t size,
		   struct stt_frame_ends *ends)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	/* The most frequent one, and a walk over one part would cost it 28 instructions. */
	if (framing->kind == STTCP_FRAMING_LINE && !is_over(framing, size)) {
		ends->head_size = 0;
		return end_line(data, size, ends);
	}
	return stt_frame_ends_of_parts(framing, &part, 1, ends);
}
