/* SPDX-License-Identifier: MIT */
/* A message as it goes over the wire. */
#ifndef STT_CODEC_MESSAGE_H
#define STT_CODEC_MESSAGE_H

#include <sys/uio.h>

#include "codec/framing.h"

/* Makes `part` the framed message: the caller's own bytes where the framing adds nothing, else a
 * copy. 0, -ENOMEM, or as stt_frame_ends. */
int stt_message_frame(const struct stt_framing *framing, const void *data, size_t size,
		      struct iovec *part);

/* Frees what stt_message_frame has made of `data`. */
void stt_message_free(const void *data, struct iovec *part);

#endif
