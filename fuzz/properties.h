/* SPDX-License-Identifier: MIT */
/*
 * What the targets share: how an input is taken apart, and what has to hold of
 * every framing whatever the bytes. A property that does not hold aborts, for
 * libFuzzer and replay.c alike. One target is one file with LLVMFuzzerTestOneInput.
 */
#ifndef STT_FUZZ_PROPERTIES_H
#define STT_FUZZ_PROPERTIES_H

#include <stddef.h>
#include <stdint.h>

#include "codec/framing.h"

/* The first bytes of an input choose the framing, the others are what the peer sends. */
struct input {
	const uint8_t *data;
	size_t size;
};

/* 0 when there are no more. */
uint8_t take_byte(struct input *input);

/* A limit of one byte; 255 is none. */
int64_t take_limit(struct input *input);

/*
 * Reads `input` whole, cut in two at `cut` (modulo its size), and if it is short
 * byte by byte: the messages and the verdict have to be the same, and each answer
 * consistent in itself. Then takes it as a payload: what stt_frame_ends makes of
 * it has to be read back, and what it refuses would not have been; and it is the
 * same for the payload in parts.
 */
void check_properties(const struct stt_framing *framing, struct input input, size_t cut);

/* libFuzzer's name for the target. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
