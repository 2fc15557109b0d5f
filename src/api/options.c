/* SPDX-License-Identifier: MIT */
/* Options: their defaults, and structs of other versions. What they may be is in option_rules.c. */
#include "api/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/fiber.h"
#include "net/socket.h"

enum {
	DEFAULT_QUEUE = 1024 * 1024,
	DEFAULT_HIGH = 512 * 1024,
	DEFAULT_LOW = 128 * 1024,
	DEFAULT_PREFIX = 4,
	DEFAULT_DEAD_MS = 60000,
	DEFAULT_CONNECT_MS = 10000,
	DEFAULT_DRAIN_MS = 10000,
	DEFAULT_WRITE_MS = 30000,
	DEFAULT_LINGER_MS = 2000,
	DEFAULT_HANDSHAKE_MS = 10000,
	DEFAULT_FIBER_STACK = (int)sizeof(void *) * 16 * 1024,
	/* A larger size can only be uninitialised memory, which is not searched for zeroes. */
	LARGEST_STRUCT = 64 * 1024
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

/* A shorter struct lacks fields, which are 0; a longer one must not set fields that are unknown
 * here. */
static int copy_known(const sttcp_options *options, sttcp_options *copy,
		      struct stt_option_fault *fault)
{
	size_t known = options->size < sizeof(*copy) ? options->size : sizeof(*copy);

	*copy = (sttcp_options){0};
	if (options->size < sizeof(options->size) || options->size > LARGEST_STRUCT)
		return stt_option_wrong(
			fault, "size is %zu: STTCP_OPTIONS or sttcp_options_init has to set it",
			options->size);
	memcpy(copy, options, known);
	if (!all_zero((const unsigned char *)options + known, options->size - known))
		return stt_option_wrong(fault,
					"size is %zu: behind the first %zu bytes stands an option "
					"that this version of the library does not know",
					options->size, known);
	return 0;
}

/* 0 is the default; -1, which is off, stays. */
static int number(int32_t given, int ordinary)
{
	return given ? given : ordinary;
}

int64_t stt_options_bytes(int64_t given, int64_t ordinary)
{
	return given == -1 ? INT64_MAX : given ? given : ordinary;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* With a small cap the default marks are a half and an eighth of it. The high one is at least one
 * byte, because an empty queue never stops reading. */
struct stt_marks stt_options_marks(const sttcp_options *given)
{
	int64_t cap = stt_options_bytes(given->send_queue_max, DEFAULT_QUEUE);
	int64_t ordinary = cap / 2 ? smaller(cap / 2, DEFAULT_HIGH) : 1;
	int64_t high = stt_options_bytes(given->high_water, ordinary);
	int64_t low = stt_options_bytes(given->low_water, smaller(high / 4, DEFAULT_LOW));

	/* An unlimited high mark is never reached; for the low mark that makes no sense. */
	return (struct stt_marks){cap, high, given->low_water == -1 ? 0 : low};
}

static void read_framing(const sttcp_options *given, struct stt_framing *framing)
{
	*framing = (struct stt_framing){
		.kind = (uint8_t)given->framing,
		.delimiter_size = (uint8_t)given->delimiter_size,
		.prefix_size = (uint8_t)number(given->prefix_size, DEFAULT_PREFIX),
		.prefix_little_endian = given->prefix_little_endian,
		.prefix_varint = given->prefix_varint,
		.prefix_includes_itself = given->prefix_includes_itself,
		.prefix_offset = given->prefix_offset,
		.prefix_adjust = given->prefix_adjust,
		.rest_at_end = given->rest_at_end,
		.fixed_size = given->fixed_size,
		.max_message = stt_options_bytes(given->max_message, STT_DEFAULT_MESSAGE),
		.frame_fn = given->frame_fn,
	};
	if (given->delimiter_size)
		memcpy(framing->delimiter, given->delimiter, given->delimiter_size);
}

int stt_options_read_framing(const sttcp_options *options, struct stt_framing *framing,
			     struct stt_option_fault *fault)
{
	sttcp_options given;
	int result = copy_known(options, &given, fault);

	if (result == 0)
		result = stt_options_check(&given, STT_FOR_FRAMING, fault);
	if (result == 0)
		read_framing(&given, framing);
	return result;
}

int stt_options_read(const sttcp_options *options, enum stt_option_user user,
		     struct stt_settings *settings, struct stt_option_fault *fault)
{
	sttcp_options given = {0};
	int result = options ? copy_known(options, &given, fault) : 0;

	if (result == 0)
		result = stt_options_check(&given, user, fault);
	/* It can never be started; the zeroed settings are only there to be read. */
	if (result < 0)
		given = (sttcp_options){0};

	struct stt_marks marks = stt_options_marks(&given);

	*settings = (struct stt_settings){
		.send_queue_max = marks.cap,
		.high_water = marks.high,
		.low_water = marks.low,
		.total_queue_max = stt_options_bytes(given.total_queue_max, INT64_MAX),
		/* listen(2) cuts it to the system's limit. */
		.backlog = given.backlog == -1 ? INT_MAX : number(given.backlog, STT_BACKLOG),
		.local_host = given.local_host && *given.local_host ? given.local_host : NULL,
		.local_port = given.local_port == -1 ? 0 : given.local_port,
		.connect_timeout_ms = number(given.connect_timeout_ms, DEFAULT_CONNECT_MS),
		.reconnect_ms = number(given.reconnect_ms, -1),
		.reconnect_max_ms = number(given.reconnect_max_ms, STT_DEFAULT_RECONNECT_MAX_MS),
		.reconnect_tries = number(given.reconnect_tries, -1),
		.drain_timeout_ms = number(given.drain_timeout_ms,
					   user == STT_FOR_SERVER ? -1 : DEFAULT_DRAIN_MS),
		.signal_drain_ms = number(given.drain_timeout_ms, DEFAULT_DRAIN_MS),
		.write_timeout_ms = number(given.write_timeout_ms, DEFAULT_WRITE_MS),
		.linger_timeout_ms = number(given.linger_timeout_ms, DEFAULT_LINGER_MS),
		.first_byte_timeout_ms = number(given.first_byte_timeout_ms, -1),
		.idle_timeout_ms = number(given.idle_timeout_ms, -1),
		.message_timeout_ms = number(given.message_timeout_ms, -1),
		.lifetime_ms = number(given.lifetime_ms, -1),
		.lifetime_jitter_ms = number(given.lifetime_jitter_ms, -1),
		.dead_peer_timeout_ms = number(given.dead_peer_timeout_ms, DEFAULT_DEAD_MS),
		.max_connections = number(given.max_connections, -1),
		.max_connections_per_ip = number(given.max_connections_per_ip, -1),
		.accept_rate = number(given.accept_rate, -1),
		.unix_mode = given.unix_mode,
		.rejects = given.over_limit == STTCP_OVER_REJECT,
		.broadcast_skips = given.broadcast_skips,
		.end_idle_at_stop = given.end_idle_at_stop,
		.reuse_port = given.reuse_port,
		.ipv6_only = given.ipv6_only,
		.nagle = given.nagle,
		.half_close = given.half_close,
		.fibers = given.fibers && stt_fibers_are_there(),
		.fiber_stack_size =
			stt_stack_size((size_t)number(given.fiber_stack_size, DEFAULT_FIBER_STACK)),
		.tls = given.tls,
		.tls_handshake_timeout_ms =
			number(given.tls_handshake_timeout_ms, DEFAULT_HANDSHAKE_MS),
		.tls_name = given.tls_name && *given.tls_name ? given.tls_name : NULL,
	};
	read_framing(&given, &settings->framing);
	settings->times_input = settings->first_byte_timeout_ms >= 0 ||
				settings->idle_timeout_ms >= 0 || settings->message_timeout_ms >= 0;
	return result;
}
