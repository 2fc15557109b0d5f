/* SPDX-License-Identifier: MIT */
/*
 * Samples: bytes, and the messages that a framing finds in them. Each is read
 * whole, in two parts cut at each place, and byte by byte.
 */
#ifndef STT_TEST_SAMPLES_H
#define STT_TEST_SAMPLES_H

#include "support/frames.h"

enum ending {
	WHOLE = 0, /* no byte is left */
	RESTS = 1, /* what is left is the last message at the peer's FIN, with rest_at_end */
	WAITS = 2, /* what is left is part of one: STTCP_EFRAME at the peer's FIN */
	/* A length that 64 bits of memory could hold. */
	WAITS_WHERE_64_BITS = sizeof(size_t) > 4 ? WAITS : STTCP_ELIMIT
};

struct sample {
	const char *name;
	struct stt_framing framing;
	struct bytes input;
	int ending; /* or the code that it ends with */
	struct bytes messages[8];
};

/* Asserts, also of all that holds of each look (frames.h). */
void read_samples(const struct sample *samples, size_t count);

#endif
