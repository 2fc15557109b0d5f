/* SPDX-License-Identifier: MIT */
/*
 * Where the bytes are:
 *
 *	between turns		in conn->held, or nowhere
 *	read, nothing held	in the worker's buffer: what is whole is delivered from there
 *				without a copy, and only the rest is copied
 *	read, something held	behind it, in the same memory, which grows by doubling: it is
 *				never more than twice of what the peer has sent, whatever length
 *				its prefix promises
 *	read by a handler	never where its `data` stands: new memory is begun, and the old
 *				one goes when the handler returns
 */
#include "conn/input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/slabs.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/service.h"
#include "conn/stream.h"

enum {
	/* Memory that is larger than its content by that factor is not kept between turns. */
	SLACK = 2,
	LEAST_CAPACITY = 512
};

static struct stt_slabs small_blocks =
	STT_SLABS_INIT(sizeof(struct stt_held) + LEAST_CAPACITY, STT_SLABS_OF_HELD, STT_KEEPS_FEW);

static int64_t memory_of(const struct stt_held *held)
{
	return held && held->counted_for ? (int64_t)(sizeof(*held) + held->capacity) : 0;
}

/* No more than is asked for is used of a small block. */
static struct stt_held *allocate(size_t capacity)
{
	/* With 32 bits the sum could begin anew at 0, and no malloc gives more than this. */
	if (capacity > PTRDIFF_MAX - sizeof(struct stt_held))
		return NULL;
	return capacity <= LEAST_CAPACITY ? stt_slabs_take(&small_blocks)
					  : malloc(sizeof(struct stt_held) + capacity);
}

static void release(struct stt_held *held)
{
	if (held && held->capacity <= LEAST_CAPACITY)
		stt_slabs_give(&small_blocks, held);
	else
		free(held);
}

void stt_held_free(struct stt_held *held)
{
	if (memory_of(held))
		atomic_fetch_sub_explicit(&held->counted_for->total_queued, memory_of(held),
					  memory_order_relaxed);
	release(held);
}

/* Whether a request for memory may be refused at the cap of all connections. */
enum urgency {
	MAY_BE_REFUSED, /* it is for more of a message */
	MUST_BE_HAD
};

/* Counts memory for a message against the cap of all connections; `old` is about to be freed. False
 * if there is no room. Then the message is refused: if incomplete messages held all the memory and
 * waited for room, they would deadlock. */
static bool count(const struct stt_held *held, const struct stt_held *old, enum urgency urgency)
{
	struct stt_service *service = held->counted_for;
	int64_t size = memory_of(held);
	int64_t before = 0;

	if (!service)
		return true;
	before = atomic_fetch_add_explicit(&service->total_queued, size, memory_order_relaxed);
	if (urgency == MUST_BE_HAD || size <= memory_of(old) ||
	    size - memory_of(old) <= service->settings.total_queue_max - before)
		return true;
	atomic_fetch_sub_explicit(&service->total_queued, size, memory_order_relaxed);
	return false;
}

/* Memory in place of `old` (may be NULL), which is still there: 0 and `held`, -ENOMEM, or
 * STTCP_ELIMIT. */
static int new_held(struct stt_desk *desk, struct sttcp_conn *conn, size_t capacity,
		    const struct stt_held *old, enum urgency urgency, struct stt_held **held)
{
	struct stt_service *service = conn->service;
	int64_t cap = service->settings.total_queue_max;
	struct stt_held *made = allocate(capacity);

	if (!made)
		return -ENOMEM;
	*made = (struct stt_held){.capacity = capacity,
				  .counted_for = cap == INT64_MAX ? NULL : service};
	if (!count(made, old, urgency)) {
		release(made);
		snprintf(desk->refusal, sizeof(desk->refusal),
			 "no room for more of a message, total_queue_max is %" PRId64, cap);
		return STTCP_ELIMIT;
	}
	*held = made;
	return 0;
}

void stt_input_take(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	struct stt_held *held = conn->held;

	if (!held)
		return;
	conn->held = NULL;
	in->memory = held;
	in->at = held->bytes + held->start;
	in->size = held->size;
	in->scanned = held->scanned;
	in->looked = held->looked;
	in->whole = held->whole;
	in->told = held->told;
	desk->frame = held->frame;
	in->framing = held->framing;
}

bool stt_input_is_in_hand(const struct stt_desk *desk)
{
	return desk->input.memory || desk->input.size;
}

/* Frees memory, if it is not what the running handler's data stands in. */
static void let_go_of(struct stt_input *in, struct stt_held *memory)
{
	if (memory != in->pinned)
		stt_held_free(memory);
}

/* Fills in what the memory that is kept knows. */
static void note_held(const struct stt_desk *desk, struct stt_held *held)
{
	const struct stt_input *in = &desk->input;

	held->start = (size_t)(in->at - held->bytes);
	held->size = in->size;
	held->scanned = in->scanned;
	held->looked = in->looked;
	held->whole = in->whole;
	held->told = in->told;
	held->frame = desk->frame;
	held->framing = in->framing;
}

int stt_input_keep(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	struct stt_held *held = in->memory;
	int result = 0;

	if (in->size && (!held || held->capacity > LEAST_CAPACITY + SLACK * in->size)) {
		struct stt_held *old = held;

		result = new_held(desk, conn, in->size < LEAST_CAPACITY ? LEAST_CAPACITY : in->size,
				  old, in->waits ? MAY_BE_REFUSED : MUST_BE_HAD, &held);
		if (result == 0) {
			memcpy(held->bytes, in->at, in->size);
			held->began_ms = old ? old->began_ms : 0;
			stt_held_free(old);
			in->at = held->bytes;
		} else if (old) {
			result = 0;
		}
	} else if (!in->size) {
		stt_held_free(held);
		held = NULL;
	}
	if (held) {
		if (!in->waits)
			held->began_ms = 0;
		else if (!held->began_ms && conn->service->settings.message_timeout_ms >= 0)
			held->began_ms = stt_now_ms();
		note_held(desk, held);
	}
	conn->held = held;
	*in = (struct stt_input){0};
	return result;
}

int stt_input_park(struct stt_desk *desk, struct sttcp_conn *conn, struct stt_held **pinned)
{
	struct stt_input *in = &desk->input;
	struct stt_held *held = in->memory;

	*pinned = in->pinned;
	/* Handlers that are not about input have left it where it was. */
	if (conn->held)
		return 0;
	if (in->size &&
	    (!held || (held != in->pinned && held->capacity > LEAST_CAPACITY + SLACK * in->size))) {
		size_t capacity = in->size < LEAST_CAPACITY ? LEAST_CAPACITY : in->size;
		struct stt_held *made;

		if (new_held(desk, conn, capacity, held, MUST_BE_HAD, &made) == 0) {
			memcpy(made->bytes, in->at, in->size);
			made->began_ms = held ? held->began_ms : 0;
			stt_held_free(held);
			in->at = made->bytes;
			held = made;
		} else if (!held) {
			return -ENOMEM;
		}
	} else if (!in->size) {
		if (held != in->pinned)
			stt_held_free(held);
		held = NULL;
	}
	if (held)
		note_held(desk, held);
	conn->held = held;
	*in = (struct stt_input){0};
	return 0;
}

static void forget_look(struct stt_input *in)
{
	in->scanned = 0;
	in->looked = 0;
	in->whole = 0;
}

/* As stt_frame_ask, but what has been looked at is not looked at again for nothing: a peer that
 * sends byte by byte would choose how often a frame_fn, which may be slow, sees the same bytes. */
static int ask(struct stt_desk *desk, struct sttcp_conn *conn, const struct stt_framing *framing,
	       struct stt_frame *frame)
{
	struct stt_input *in = &desk->input;

	if (!in->looked) {
		in->told = false;
		desk->frame = (sttcp_frame){0};
	}
	if (!in->told) {
		if (in->size == in->looked)
			return 0;
		in->in_look = true;
		stt_desk_stay();
		/* A dialled connection is read by a thread of the program's, too. */
		bool ours = stt_self;
		int answer = stt_frame_ask(framing, conn, in->at, in->size, &desk->frame, frame);

		/* The child would go on with the parent's socket. */
		stt_worker_stop_child(ours);
		stt_desk_stay_no_more();
		in->in_look = false;
		if (answer < 0)
			return answer;
		in->looked = in->size;
		in->whole = frame->total;
		in->told = answer == 1;
	}
	*frame = (struct stt_frame){
		.skip = desk->frame.skip, .size = desk->frame.size, .total = desk->frame.total};
	return in->told && in->size >= in->whole;
}

/* These are inlined where messages are delivered: that must not pay with calls for what a handler
 * that reads needs in two steps. */
static inline __attribute__((__always_inline__)) int look(struct stt_desk *desk,
							  struct sttcp_conn *conn,
							  const struct stt_framing *framing,
							  struct stt_frame *frame)
{
	struct stt_input *in = &desk->input;

	if (in->size < in->whole)
		return 0;
	if (framing->kind == STTCP_FRAMING_CUSTOM)
		return ask(desk, conn, framing, frame);
	if (in->size == in->looked)
		return 0;

	int found = stt_frame_next(framing, in->at, in->size, in->scanned, frame);

	if (!found) {
		in->looked = in->size;
		in->scanned = frame->scanned;
		in->whole = frame->total;
	}
	return found;
}

void stt_input_skip(struct stt_desk *desk, size_t size)
{
	desk->input.at += size;
	desk->input.size -= size;
	forget_look(&desk->input);
}

/* How many bytes the message at hand will take, 0 if that is not known: what a frame_fn waits for
 * may be less. */
static size_t whole_of(const struct stt_input *in, const struct stt_framing *framing)
{
	return framing->kind == STTCP_FRAMING_CUSTOM && !in->told ? 0 : in->whole;
}

static inline __attribute__((__always_inline__)) int
find(struct stt_desk *desk, struct sttcp_conn *conn, const struct stt_framing *framing,
     enum stt_more more, struct stt_frame *frame)
{
	struct stt_input *in = &desk->input;

	in->waits = !in->size;
	if (in->waits)
		return 0;
	/* Another framing finds its ends elsewhere. */
	if (in->framing != framing) {
		in->framing = framing;
		forget_look(in);
	}

	int found = look(desk, conn, framing, frame);
	bool cut = !found && more == STT_NO_MORE;

	if (cut)
		found = stt_frame_last(framing, in->at, in->size, frame);
	in->waits = !found;
	if (found < 0) {
		if (cut && found == STTCP_EFRAME)
			stt_refusal_tell_cut(in->size, whole_of(in, framing), desk->refusal);
		else
			stt_refusal_tell(framing, found, frame, desk->refusal);
	}
	return found;
}

static inline __attribute__((__always_inline__)) void take(struct stt_desk *desk,
							   const struct stt_framing *framing,
							   const struct stt_frame *frame,
							   struct stt_message *message)
{
	struct stt_input *in = &desk->input;

	/* The bytes in front of a prefix close the gap that it leaves, over it. */
	if (framing->prefix_offset)
		memmove(in->at + frame->skip, in->at, (size_t)framing->prefix_offset);
	*message = (struct stt_message){in->at + frame->skip, frame->size};
	in->at += frame->total;
	in->size -= frame->total;
	forget_look(in);
	/* The next one has not begun. */
	if (in->memory)
		in->memory->began_ms = 0;
}

int stt_input_find(struct stt_desk *desk, struct sttcp_conn *conn,
		   const struct stt_framing *framing, enum stt_more more, struct stt_frame *frame)
{
	return find(desk, conn, framing, more, frame);
}

void stt_input_take_message(struct stt_desk *desk, const struct stt_framing *framing,
			    const struct stt_frame *frame, struct stt_message *message)
{
	take(desk, framing, frame, message);
}

int stt_input_next(struct stt_desk *desk, struct sttcp_conn *conn,
		   const struct stt_framing *framing, enum stt_more more,
		   struct stt_message *message)
{
	struct stt_frame frame;
	int found = find(desk, conn, framing, more, &frame);

	if (found == 1)
		take(desk, framing, &frame, message);
	return found;
}

/* In front of `at` the running handler's data may stand: they have memory of their own. */
int stt_input_unread(struct stt_desk *desk, struct sttcp_conn *conn, const void *data, size_t size)
{
	struct stt_input *in = &desk->input;
	struct stt_held *old = in->memory;
	size_t all = in->size + size;
	struct stt_held *memory;

	if (new_held(desk, conn, all < LEAST_CAPACITY ? LEAST_CAPACITY : all, old, MUST_BE_HAD,
		     &memory) < 0)
		return -ENOMEM;
	memcpy(memory->bytes, data, size);
	if (in->size)
		memcpy(memory->bytes + size, in->at, in->size);
	in->at = memory->bytes;
	in->size = all;
	in->memory = memory;
	let_go_of(in, old);
	forget_look(in);
	return 0;
}

void stt_input_forget_framing(struct stt_desk *desk, struct sttcp_conn *conn)
{
	desk->input.framing = NULL;
	if (conn->held)
		conn->held->framing = NULL;
}

/* Makes room for `*more` bytes behind what is there, in memory that no handler's data stands in. At
 * the cap of all connections `*more` becomes what this message alone still needs. */
static int make_room(struct stt_desk *desk, struct sttcp_conn *conn, size_t *more)
{
	struct stt_input *in = &desk->input;
	struct stt_held *old = in->memory;
	size_t used = old ? (size_t)(in->at - old->bytes) + in->size : 0;

	if (old && old != in->pinned && old->capacity - used >= *more)
		return 0;
	if (old && old != in->pinned && old->capacity - in->size >= *more) {
		memmove(old->bytes, in->at, in->size);
		in->at = old->bytes;
		return 0;
	}

	const struct stt_held *instead = old != in->pinned ? old : NULL;
	size_t capacity = in->size + (*more > in->size ? *more : in->size);
	struct stt_held *memory;
	/* A handler that begins to read needs a place for that, as a loop has one. */
	int result = new_held(desk, conn, capacity, instead,
			      in->size ? MAY_BE_REFUSED : MUST_BE_HAD, &memory);

	if (result == STTCP_ELIMIT) {
		size_t least = in->whole > in->size ? in->whole - in->size : in->size;

		if (least < *more)
			*more = least;
		result = new_held(desk, conn, in->size + *more, instead, MAY_BE_REFUSED, &memory);
	}
	if (result < 0)
		return result;
	if (in->size)
		memcpy(memory->bytes, in->at, in->size);
	memory->began_ms = old ? old->began_ms : 0;
	in->at = memory->bytes;
	in->memory = memory;
	let_go_of(in, old);
	return 0;
}

ssize_t stt_input_read(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	size_t want = STT_READ_SIZE;
	unsigned char *place = (unsigned char *)desk->buffer;

	if (in->size || in->in_handler) {
		/* A message that is known to be long is read in large parts. */
		if (in->whole > in->size + want && in->size > want)
			want = in->whole - in->size < in->size ? in->whole - in->size : in->size;

		int result = make_room(desk, conn, &want);

		if (result < 0)
			return result;
		place = in->memory->bytes + (in->at - in->memory->bytes) + in->size;
	} else {
		stt_held_free(in->memory);
		in->memory = NULL;
		in->at = place;
	}

	ssize_t size = stt_stream_recv(conn, place, want, &in->emptied);

	if (size == 0)
		return stt_output_end_of_input(conn);
	if (size > 0) {
		stt_counter_add(&conn->bytes_in, size);
		in->size += (size_t)size;
	}
	return size;
}

void stt_input_pin(struct stt_desk *desk)
{
	desk->input.pinned = desk->input.memory;
}

void stt_input_unpin(struct stt_desk *desk)
{
	struct stt_input *in = &desk->input;

	if (in->pinned != in->memory)
		stt_held_free(in->pinned);
	in->pinned = NULL;
}
