/* SPDX-License-Identifier: MIT */
/* Sentences about messages that cannot be taken, for sttcp_conn_fail_text. Pure functions. */
#ifndef STT_CODEC_REFUSAL_H
#define STT_CODEC_REFUSAL_H

#include <stddef.h>

#include "codec/framing.h"

/* Room for every sentence. */
enum {
	STT_REFUSAL_TEXT = 128
};

/* About `code` of stt_frame_next, and what it left in `frame`. */
void stt_refusal_tell(const struct stt_framing *framing, int code, const struct stt_frame *frame,
		      char text[STT_REFUSAL_TEXT]);

/* About a message that the peer's FIN has cut: `size` bytes are there, of `whole` (0: not known).
 */
void stt_refusal_tell_cut(size_t size, size_t whole, char text[STT_REFUSAL_TEXT]);

#endif
