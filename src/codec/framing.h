/* SPDX-License-Identifier: MIT */
/*
 * How a stream of bytes is cut into messages, and what a message needs around it
 * to be found again. Pure functions over bytes that the caller owns: they keep
 * nothing, allocate nothing, block nowhere and may run on any thread at once.
 */
#ifndef STT_CODEC_FRAMING_H
#define STT_CODEC_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sttcp.h"

enum {
	STT_DELIMITER_MAX = 16,
	STT_PREFIX_MAX = 10,
	STT_RAW_MAX = 60 * 1024, /* of RAW at a time, as it is read */
	/* Bytes around the payload that a frame_fn finds, whatever max_message: headers and ends
	 * need some where payloads are tiny. */
	STT_AROUND_MAX = 64 * 1024
};

/* A framing after its defaults were filled in. All functions but stt_framing_check want one that
 * stt_framing_check has passed. */
struct stt_framing {
	uint8_t kind;		     /* sttcp_framing */
	uint8_t delimiter_size;	     /* DELIMITER: 1..16 */
	uint8_t prefix_size;	     /* LENGTH: 1, 2, 3, 4, 8 (unused with prefix_varint) */
	bool prefix_little_endian;   /* default is big endian, network byte order */
	bool prefix_varint;	     /* as protobuf's: 7 bits a byte, least significant first */
	bool prefix_includes_itself; /* the length counts the prefix too */
	bool rest_at_end; /* LINE, DELIMITER: what has no end at the peer's FIN is a message, too */
	unsigned char delimiter[STT_DELIMITER_MAX];
	int32_t prefix_offset;	 /* LENGTH: bytes of the payload in front of the prefix; else 0 */
	int32_t prefix_adjust;	 /* LENGTH: added to the length, it tells what follows the prefix */
	int64_t fixed_size;	 /* FIXED */
	int64_t max_message;	 /* of the payload; INT64_MAX: unlimited */
	sttcp_frame_fn frame_fn; /* CUSTOM */
	void *context;		 /* for frame_fn */
};

/* What stt_frame_next found. With a prefix_offset the prefix stands inside of the payload, which is
 * in one piece, and as told here, once its first prefix_offset bytes have been moved by `skip`. */
struct stt_frame {
	size_t skip;	/* bytes in front of the payload (a prefix) */
	size_t size;	/* of the payload; after STTCP_ELIMIT what it is or would be, 0 where that
			   is not known; after STTCP_EFRAME the length that is wrong, SIZE_MAX
			   where there is none; the others do not count after an error, but
			   after that of a frame_fn are what it told */
	size_t total;	/* bytes of the input that it takes altogether; with 0: how many bytes the
			   whole will take if that is known, else 0 */
	size_t scanned; /* with 0: bytes that need not be looked at again */
};

/*
 * 0, or -EINVAL for a framing that makes no sense: an unknown kind, a negative
 * max_message, a delimiter of 0 or over 16 bytes, a prefix that is not 1, 2, 3, 4
 * or 8 bytes, a prefix_offset below 0 or over max_message, a fixed_size that is not
 * above 0 or is over max_message, no frame_fn.
 */
int stt_framing_check(const struct stt_framing *framing);

/*
 * Looks for the first message in `data` (not NULL), not under CUSTOM: 1 and `frame`; 0 when more is
 * needed; STTCP_ELIMIT when its payload is over max_message; STTCP_EFRAME when it
 * is malformed. Both are told as soon as no further byte could change them; a
 * LENGTH is judged when its prefix is whole. RAW knows no limit.
 *
 * `scanned` is frame->scanned of the last look at the same message, 0 at first,
 * and makes many small reads as cheap as one large one. `size` may not be smaller
 * than at that look.
 */
int stt_frame_next(const struct stt_framing *framing, const void *data, size_t size, size_t scanned,
		   struct stt_frame *frame);

/*
 * The same for CUSTOM, which stt_frame_next does not know: asks frame_fn, and
 * passes `conn` on to it. `memory` is all 0 at the first look at a message; the
 * function keeps in it what it likes until the next one.
 *
 * 1: the message takes `total` bytes, which may be more than are there. 0: more is
 * needed; frame->total, if it is not 0, is how many bytes have to be there at the
 * next look.
 */
int stt_frame_ask(const struct stt_framing *framing, sttcp_conn *conn, const void *data,
		  size_t size, sttcp_frame *memory, struct stt_frame *frame);

/*
 * The peer has sent FIN and `size` bytes (above 0) are left that stt_frame_next
 * gave 0 for: STTCP_EFRAME, for a message that was cut is none. LINE, DELIMITER
 * with rest_at_end: 1 and `frame`, all of them are the last message, a lone "\r"
 * or a begun delimiter included; STTCP_ELIMIT when only that makes it longer than
 * max_message.
 */
int stt_frame_last(const struct stt_framing *framing, const void *data, size_t size,
		   struct stt_frame *frame);

/* What has to stand before and behind a payload on the wire; the head behind its first
 * prefix_offset bytes. */
struct stt_frame_ends {
	size_t head_size, tail_size;
	unsigned char head[STT_PREFIX_MAX];
	const unsigned char *tail; /* points into the framing or to static memory; NULL: no tail */
};

/*
 * 0 and `ends`, with which the peer's stt_frame_next gives back exactly `data`
 * (NULL is fine with a size of 0). -EMSGSIZE: over max_message or over what the
 * prefix can tell. -EINVAL: the peer would find another end (LINE: a "\n" in it,
 * or a "\r" as its end; DELIMITER: the delimiter in it, or begun in it and ended
 * by the delimiter behind it), it is not of fixed_size, it is shorter than
 * prefix_offset, or its length would be below 0. RAW and CUSTOM have no ends and are
 * not checked.
 */
int stt_frame_ends(const struct stt_framing *framing, const void *data, size_t size,
		   struct stt_frame_ends *ends);

/* The same for the bytes of all parts, together no more than PTRDIFF_MAX: as if they stood one
 * behind the other. */
int stt_frame_ends_of_parts(const struct stt_framing *framing, const struct iovec *parts, int count,
			    struct stt_frame_ends *ends);

#endif
