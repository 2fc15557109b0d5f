/* SPDX-License-Identifier: MIT */
/* Options: their defaults, and structs of other versions. */
#include "api/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

enum {
	DEFAULT_QUEUE = 1024 * 1024,
	DEFAULT_CONNECT_MS = 10000,
	DEFAULT_DRAIN_MS = 10000,
	DEFAULT_WRITE_MS = 30000
};

void sttcp_options_init(sttcp_options *options, size_t size)
{
	if (!options || size < sizeof(options->size))
		return;
	memset(options, 0, size);
	options->size = size;
}

static bool all_zero(const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* A shorter struct lacks what it does not know, which is 0; a longer one must not ask for what we
 * do not know. */
static int copy_known(const sttcp_options *options, sttcp_options *copy)
{
	size_t known = options->size < sizeof(*copy) ? options->size : sizeof(*copy);

	*copy = (sttcp_options){0};
	if (options->size < sizeof(options->size))
		return -EINVAL;
	memcpy(copy, options, known);
	if (!all_zero((const unsigned char *)options + known, options->size - known) ||
	    !all_zero(copy->reserved, sizeof(copy->reserved)))
		return -EINVAL;
	return 0;
}

/* 0 is the default, -1 off; anything below is wrong. */
static int number(int64_t given, int64_t ordinary, int *result)
{
	if (given < -1) {
		*result = -EINVAL;
		given = 0;
	}
	return (int)(given ? given : ordinary);
}

int stt_options_read(const sttcp_options *options, bool is_client, struct stt_settings *settings)
{
	sttcp_options given = {0};
	int result = options ? copy_known(options, &given) : 0;

	if (given.send_queue_max < -1)
		result = -EINVAL;
	*settings = (struct stt_settings){
		.send_queue_max = given.send_queue_max == -1 ? INT64_MAX
				  : given.send_queue_max     ? given.send_queue_max
							     : DEFAULT_QUEUE,
		.backlog = number(given.backlog, SOMAXCONN, &result),
		.connect_timeout_ms = number(given.connect_timeout_ms, DEFAULT_CONNECT_MS, &result),
		.drain_timeout_ms =
			number(given.drain_timeout_ms, is_client ? DEFAULT_DRAIN_MS : -1, &result),
		.signal_drain_ms = number(given.drain_timeout_ms, DEFAULT_DRAIN_MS, &result),
		.write_timeout_ms = number(given.write_timeout_ms, DEFAULT_WRITE_MS, &result),
		.reuse_port = given.reuse_port,
		.ipv6_only = given.ipv6_only,
		.nagle = given.nagle,
		.half_open = given.half_open,
	};
	/* listen(2) cuts it to the system's limit. */
	if (settings->backlog == -1)
		settings->backlog = INT_MAX;
	return result;
}
