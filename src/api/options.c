/* SPDX-License-Identifier: MIT */
/* Options: their defaults, and structs of other versions. */
#include "api/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

enum {
	DEFAULT_QUEUE = 1024 * 1024,
	DEFAULT_HIGH = 512 * 1024,
	DEFAULT_LOW = 128 * 1024,
	DEFAULT_MESSAGE = 1024 * 1024,
	DEFAULT_PREFIX = 4,
	DEFAULT_DEAD_MS = 60000,
	DEFAULT_CONNECT_MS = 10000,
	DEFAULT_DRAIN_MS = 10000,
	DEFAULT_WRITE_MS = 30000,
	DEFAULT_LINGER_MS = 2000
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
	if (!all_zero((const unsigned char *)options + known, options->size - known))
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

/* The same for a size in bytes, where -1 is unlimited. */
static int64_t bytes(int64_t given, int64_t ordinary, int *result)
{
	if (given < -1) {
		*result = -EINVAL;
		given = 0;
	}
	return given == -1 ? INT64_MAX : given ? given : ordinary;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* With a small cap the ordinary marks are a half and an eighth of it, and a high one of at least
 * one byte, for an empty queue holds nobody. */
static void read_marks(const sttcp_options *given, struct stt_settings *settings, int *result)
{
	int64_t cap = settings->send_queue_max;
	int64_t high = cap / 2 ? smaller(cap / 2, DEFAULT_HIGH) : 1;

	settings->high_water = bytes(given->high_water, high, result);
	settings->low_water =
		bytes(given->low_water, smaller(settings->high_water / 4, DEFAULT_LOW), result);
	/* Unlimited is a mark that is never reached; for the low one that makes no sense. */
	if (given->low_water > 0 && settings->low_water > settings->high_water)
		*result = -EINVAL;
	if (given->low_water == -1)
		settings->low_water = 0;
}

static int read_framing(const sttcp_options *given, struct stt_framing *framing)
{
	int result = 0;
	bool prefix_fits = given->prefix_size >= -1 && given->prefix_size <= 8;
	bool delimiter_fits = given->delimiter_size <= STT_DELIMITER_MAX &&
			      (given->delimiter || !given->delimiter_size);

	*framing = (struct stt_framing){
		.kind = (uint8_t)given->framing,
		.prefix_size = prefix_fits && given->prefix_size > 0 ? (uint8_t)given->prefix_size
								     : DEFAULT_PREFIX,
		.prefix_little_endian = given->prefix_little_endian,
		.prefix_varint = given->prefix_varint,
		.prefix_includes_itself = given->prefix_includes_itself,
		.rest_at_end = given->rest_at_end,
		.fixed_size = given->fixed_size,
		.max_message = bytes(given->max_message, DEFAULT_MESSAGE, &result),
		.frame_fn = given->frame_fn,
	};
	if (given->framing < STTCP_FRAMING_RAW || given->framing > STTCP_FRAMING_CUSTOM ||
	    !prefix_fits || !delimiter_fits)
		result = -EINVAL;
	if (delimiter_fits && given->delimiter_size) {
		memcpy(framing->delimiter, given->delimiter, given->delimiter_size);
		framing->delimiter_size = (uint8_t)given->delimiter_size;
	}
	return result < 0 ? result : stt_framing_check(framing);
}

int stt_options_copy_framing(const sttcp_options *options, struct stt_framing *framing)
{
	sttcp_options given;
	int result = options ? copy_known(options, &given) : -EINVAL;

	return result < 0 ? result : read_framing(&given, framing);
}

int stt_options_read(const sttcp_options *options, bool is_client, struct stt_settings *settings)
{
	sttcp_options given = {0};
	int result = options ? copy_known(options, &given) : 0;

	*settings = (struct stt_settings){
		.send_queue_max = bytes(given.send_queue_max, DEFAULT_QUEUE, &result),
		.total_queue_max = bytes(given.total_queue_max, INT64_MAX, &result),
		.backlog = number(given.backlog, SOMAXCONN, &result),
		.connect_timeout_ms = number(given.connect_timeout_ms, DEFAULT_CONNECT_MS, &result),
		.drain_timeout_ms =
			number(given.drain_timeout_ms, is_client ? DEFAULT_DRAIN_MS : -1, &result),
		.signal_drain_ms = number(given.drain_timeout_ms, DEFAULT_DRAIN_MS, &result),
		.write_timeout_ms = number(given.write_timeout_ms, DEFAULT_WRITE_MS, &result),
		.linger_timeout_ms = number(given.linger_timeout_ms, DEFAULT_LINGER_MS, &result),
		.first_byte_timeout_ms = number(given.first_byte_timeout_ms, -1, &result),
		.idle_timeout_ms = number(given.idle_timeout_ms, -1, &result),
		.message_timeout_ms = number(given.message_timeout_ms, -1, &result),
		.lifetime_ms = number(given.lifetime_ms, -1, &result),
		.lifetime_jitter_ms = number(given.lifetime_jitter_ms, -1, &result),
		.dead_peer_timeout_ms =
			number(given.dead_peer_timeout_ms, DEFAULT_DEAD_MS, &result),
		.max_connections = number(given.max_connections, -1, &result),
		.max_connections_per_ip = number(given.max_connections_per_ip, -1, &result),
		.accept_rate = number(given.accept_rate, -1, &result),
		.rejects = given.over_limit == STTCP_OVER_REJECT,
		.broadcast_skips = given.broadcast_skips,
		.end_idle_at_stop = given.end_idle_at_stop,
		.reuse_port = given.reuse_port,
		.ipv6_only = given.ipv6_only,
		.nagle = given.nagle,
		.half_open = given.half_open,
	};
	read_marks(&given, settings, &result);
	if (given.over_limit != STTCP_OVER_PAUSE && given.over_limit != STTCP_OVER_REJECT)
		result = -EINVAL;

	int wrong_framing = read_framing(&given, &settings->framing);

	if (wrong_framing < 0) {
		result = wrong_framing;
		settings->framing.kind = STTCP_FRAMING_RAW;
	}
	settings->limits_input = settings->first_byte_timeout_ms >= 0 ||
				 settings->idle_timeout_ms >= 0 ||
				 settings->message_timeout_ms >= 0;
	/* listen(2) cuts it to the system's limit. */
	if (settings->backlog == -1)
		settings->backlog = INT_MAX;
	return result;
}
