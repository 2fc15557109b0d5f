/* SPDX-License-Identifier: MIT */
/* Parts of one run of bytes, as writev(2) takes them. */
#ifndef STT_BASE_PARTS_H
#define STT_BASE_PARTS_H

#include <stddef.h>
#include <sys/uio.h>

/* The bytes of several parts. The caller has made sure that the sum fits. */
static inline size_t stt_parts_size(const struct iovec *parts, int count)
{
	size_t size = 0;

	for (int i = 0; i < count; i++)
		size += parts[i].iov_len;
	return size;
}

#endif
