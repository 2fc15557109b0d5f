/* SPDX-License-Identifier: MIT */
/*
 * What has been read from a connection and not been delivered yet. While a
 * worker has the connection it stands in the worker's own buffer, or in memory
 * of the connection's (`held`) that exists only while a message is not whole or
 * may not be delivered: an idle connection holds none. Only the connection's
 * owner.
 */
#ifndef STT_CONN_INPUT_H
#define STT_CONN_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sttcp.h"

struct sttcp_conn;
struct stt_frame;
struct stt_framing;
struct stt_service;
struct stt_desk;

struct stt_held {
	/* What is kept from turn to turn; in between the desk's struct stt_input has it. */
	size_t start;
	size_t size;
	size_t scanned;
	size_t looked;
	size_t whole;
	bool told;
	sttcp_frame frame;
	const struct stt_framing *framing; /* that these were found with: only to compare */
	int64_t began_ms; /* when the first byte of a message that is not whole came; 0: none */
	struct stt_service *counted_for; /* it is in its total_queued; NULL: there is no such cap */
	size_t capacity;
	unsigned char bytes[];
};

/* On the desk; all zero while it has no input in hand. */
struct stt_input {
	unsigned char *at; /* the next byte */
	size_t size;
	/* Of the message at `at`: what the last look has found. */
	size_t scanned;			   /* for stt_frame_next */
	size_t looked;			   /* how many bytes it saw; 0: there was none */
	size_t whole;			   /* how many the message will take; 0: not known */
	const struct stt_framing *framing; /* that these were found with: only to compare */
	struct stt_held *memory;	   /* that `at` points into; NULL: the desk's buffer */
	struct stt_held *pinned;	   /* that the running handler's data stands in, or NULL */
	bool in_look;			   /* the framing is in use: a frame_fn may run */
	bool told;	 /* if it was looked at: its frame_fn has said where it ends */
	bool in_handler; /* a handler reads: the worker's buffer may have its data */
	bool waits;	 /* the message at `at` is not whole, or has not begun */
	bool emptied;	 /* the last read has told so (stream.h) */
};

/* A message, borrowed until the next call. */
struct stt_message {
	const void *data;
	size_t size;
};

/* Takes over what the connection holds. */
void stt_input_take(struct stt_desk *desk, struct sttcp_conn *conn);

/* Whether there is anything to be given back: in memory, or in the buffer of the desk. */
bool stt_input_is_in_hand(const struct stt_desk *desk);

/* Gives back what is left: 0; or it is lost, for -ENOMEM, or for STTCP_ELIMIT and then
 * desk->refusal says why. */
int stt_input_keep(struct stt_desk *desk, struct sttcp_conn *conn);

/* The same inside a handler, before its call is left, while its data may be pinned: 0, and the desk
 * has no input in hand; or -ENOMEM, and nothing has changed. */
int stt_input_park(struct stt_desk *desk, struct sttcp_conn *conn, struct stt_held **pinned);

/* Whether the peer may send more. When not, a rest counts as the framing says. */
enum stt_more {
	STT_MORE_MAY_COME,
	STT_NO_MORE
};

/* Finds the next message of `conn` under `framing`: 1 and `frame`, 0 when more has to be read,
 * STTCP_EFRAME or STTCP_ELIMIT, and then desk->refusal says what is wrong. */
int stt_input_find(struct stt_desk *desk, struct sttcp_conn *conn,
		   const struct stt_framing *framing, enum stt_more more, struct stt_frame *frame);

/* Takes what stt_input_find has found off the front. */
void stt_input_take_message(struct stt_desk *desk, const struct stt_framing *framing,
			    const struct stt_frame *frame, struct stt_message *message);

/* Both. */
int stt_input_next(struct stt_desk *desk, struct sttcp_conn *conn,
		   const struct stt_framing *framing, enum stt_more more,
		   struct stt_message *message);

/* Takes `size` bytes off the front, not as a message. */
void stt_input_skip(struct stt_desk *desk, size_t size);

/* Puts bytes in front of what is there: 0, or -ENOMEM. */
int stt_input_unread(struct stt_desk *desk, struct sttcp_conn *conn, const void *data, size_t size);

/* Forgets how far was looked with a framing that is about to be freed. In a handler. */
void stt_input_forget_framing(struct stt_desk *desk, struct sttcp_conn *conn);

/* Reads once, behind what is there: how many bytes, 0 at the peer's FIN, or a code. STTCP_ELIMIT:
 * there may be no more memory for the message (desk->refusal). */
ssize_t stt_input_read(struct stt_desk *desk, struct sttcp_conn *conn);

/* Around a handler that gets a message: its data stays where it is. */
void stt_input_pin(struct stt_desk *desk);
void stt_input_unpin(struct stt_desk *desk);

void stt_held_free(struct stt_held *held); /* NULL is fine */

#endif
