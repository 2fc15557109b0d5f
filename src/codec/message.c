/* SPDX-License-Identifier: MIT */
/* One piece of memory for a framed message, for sends to many. */
#include "codec/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int stt_message_frame(const struct stt_framing *framing, const void *data, size_t size,
		      struct iovec *part)
{
	struct stt_frame_ends ends;
	int result = stt_frame_ends(framing, data, size, &ends);

	*part = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	if (result < 0 || !(ends.head_size + ends.tail_size))
		return result;

	size_t front = (size_t)framing->prefix_offset; /* no more than size */
	unsigned char *framed = malloc(ends.head_size + size + ends.tail_size);

	if (!framed)
		return -ENOMEM;
	if (front)
		memcpy(framed, data, front);
	memcpy(framed + front, ends.head, ends.head_size);
	if (size > front)
		memcpy(framed + front + ends.head_size, (const char *)data + front, size - front);
	if (ends.tail_size)
		memcpy(framed + ends.head_size + size, ends.tail, ends.tail_size);
	*part = (struct iovec){framed, ends.head_size + size + ends.tail_size};
	return 0;
}

void stt_message_free(const void *data, struct iovec *part)
{
	if (part->iov_base != data)
		free(part->iov_base);
}
