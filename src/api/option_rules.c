/* SPDX-License-Identifier: MIT */
/*
 * An option without effect is a mistake: a delimiter whose framing was
 * forgotten, a jitter without a lifetime. So the value of each option is
 * checked, and whether it has an effect beside the others. The first fault is
 * reported, in a sentence that names the option.
 */
#include "api/option_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/options.h"
#include "base/host_name.h"
#include "tls/context.h"

/* How an option is read, and what it may be. */
enum kind {
	BYTES,	 /* int64_t */
	TIME,	 /* int32_t */
	LONGEST, /* int32_t: of a time that grows */
	NUMBER,	 /* int32_t */
	WIDTH,	 /* int32_t: 1, 2, 3, 4, 8 */
	OFFSET,	 /* int32_t */
	ANY,	 /* int32_t */
	MESSAGE_SIZE,
	FRAMING,    /* sttcp_framing */
	OVER,	    /* sttcp_over */
	MODE,	    /* int32_t: permissions */
	STACK_SIZE, /* int32_t */
	PORT,	    /* int32_t */
	TEXT,	    /* const char * */
	TLS,	    /* sttcp_tls * */
	FLAG,
	DATA, /* a pointer */
	FUNCTION,
	DATA_SIZE /* size_t */
};

enum {
	EVERYBODY = STT_FOR_SERVER | STT_FOR_CLIENT | STT_FOR_DIAL,
	FRAMES = EVERYBODY | STT_FOR_FRAMING,
	ANY_FRAMING = ~0
};

#define ONLY(framing) (1 << STTCP_FRAMING_##framing)

static const struct rule {
	const char *name;
	size_t offset;
	enum kind kind;
	int users;
	int framings; /* with which it has an effect */
	bool is_off;  /* by default: -1 says nothing then */
} rules[] = {
#define RULE(option, ...)                                                                          \
	{                                                                                          \
		.name = #option, .offset = offsetof(sttcp_options, option), __VA_ARGS__            \
	}
#define OF_ALL(option, kind) RULE(option, kind, EVERYBODY, ANY_FRAMING, false)
#define OFF_OF_ALL(option, kind) RULE(option, kind, EVERYBODY, ANY_FRAMING, true)
#define OF_GROUPS(option, kind)                                                                    \
	RULE(option, kind, STT_FOR_SERVER | STT_FOR_CLIENT, ANY_FRAMING, false)
#define OF_CLIENTS(option, kind)                                                                   \
	RULE(option, kind, STT_FOR_CLIENT | STT_FOR_DIAL, ANY_FRAMING, false)
#define OF_RECONNECT(option, kind) RULE(option, kind, STT_FOR_CLIENT, ANY_FRAMING, false)
#define OFF_OF_CLIENTS(option, kind)                                                               \
	RULE(option, kind, STT_FOR_CLIENT | STT_FOR_DIAL, ANY_FRAMING, true)
#define OFF_OF_RECONNECT(option, kind) RULE(option, kind, STT_FOR_CLIENT, ANY_FRAMING, true)
#define OF_SERVERS(option, kind) RULE(option, kind, STT_FOR_SERVER, ANY_FRAMING, false)
#define OFF_OF_SERVERS(option, kind) RULE(option, kind, STT_FOR_SERVER, ANY_FRAMING, true)
#define OF_FRAMING(option, kind, framings) RULE(option, kind, FRAMES, framings, false)
	OF_FRAMING(framing, FRAMING, ANY_FRAMING),
	OF_FRAMING(max_message, BYTES, ~ONLY(RAW)),
	OF_FRAMING(delimiter, DATA, ONLY(DELIMITER)),
	OF_FRAMING(delimiter_size, DATA_SIZE, ONLY(DELIMITER)),
	OF_FRAMING(prefix_size, WIDTH, ONLY(LENGTH)),
	OF_FRAMING(prefix_little_endian, FLAG, ONLY(LENGTH)),
	OF_FRAMING(prefix_varint, FLAG, ONLY(LENGTH)),
	OF_FRAMING(prefix_includes_itself, FLAG, ONLY(LENGTH)),
	OF_FRAMING(prefix_offset, OFFSET, ONLY(LENGTH)),
	OF_FRAMING(prefix_adjust, ANY, ONLY(LENGTH)),
	OF_FRAMING(fixed_size, MESSAGE_SIZE, ONLY(FIXED)),
	OF_FRAMING(frame_fn, FUNCTION, ONLY(CUSTOM)),
	OF_FRAMING(rest_at_end, FLAG, ONLY(LINE) | ONLY(DELIMITER)),
	OF_ALL(send_queue_max, BYTES),
	OF_ALL(high_water, BYTES),
	OF_ALL(low_water, BYTES),
	OFF_OF_ALL(total_queue_max, BYTES),
	OF_GROUPS(drain_timeout_ms, TIME),
	OF_ALL(write_timeout_ms, TIME),
	OF_ALL(linger_timeout_ms, TIME),
	OFF_OF_ALL(first_byte_timeout_ms, TIME),
	OFF_OF_ALL(idle_timeout_ms, TIME),
	OFF_OF_ALL(message_timeout_ms, TIME),
	OFF_OF_ALL(lifetime_ms, TIME),
	OFF_OF_ALL(lifetime_jitter_ms, TIME),
	OF_ALL(dead_peer_timeout_ms, TIME),
	OF_ALL(nagle, FLAG),
	OF_GROUPS(half_close, FLAG),
	OF_GROUPS(fibers, FLAG),
	OF_GROUPS(fiber_stack_size, STACK_SIZE),
	OF_ALL(tls, TLS),
	OF_ALL(tls_handshake_timeout_ms, TIME),
	OF_CLIENTS(connect_timeout_ms, TIME),
	OFF_OF_RECONNECT(reconnect_ms, TIME),
	OF_RECONNECT(reconnect_max_ms, LONGEST),
	OFF_OF_RECONNECT(reconnect_tries, NUMBER),
	OF_CLIENTS(local_host, TEXT),
	OFF_OF_CLIENTS(local_port, PORT),
	OF_CLIENTS(tls_name, TEXT),
	OF_SERVERS(backlog, NUMBER),
	OFF_OF_SERVERS(max_connections, NUMBER),
	OFF_OF_SERVERS(max_connections_per_ip, NUMBER),
	OFF_OF_SERVERS(accept_rate, NUMBER),
	OF_SERVERS(over_limit, OVER),
	OF_SERVERS(end_idle_at_stop, FLAG),
	OF_SERVERS(broadcast_skips, FLAG),
	OF_SERVERS(reuse_port, FLAG),
	OF_SERVERS(ipv6_only, FLAG),
	OF_SERVERS(unix_mode, MODE),
};

int stt_option_wrong(struct stt_option_fault *fault, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* The option as a number; 0 for what was not given. */
static int64_t value_of(const struct rule *rule, const sttcp_options *given)
{
	const char *at = (const char *)given + rule->offset;

	switch (rule->kind) {
	case BYTES:
	case MESSAGE_SIZE:
		return *(const int64_t *)(const void *)at;
	case FLAG:
		return *(const unsigned char *)at != 0;
	case DATA:
		return given->delimiter != NULL;
	case TEXT:
		return *(const char *const *)(const void *)at != NULL &&
		       **(const char *const *)(const void *)at != '\0';
	case TLS:
		return given->tls != NULL;
	case FUNCTION:
		return given->frame_fn != NULL;
	case DATA_SIZE:
		return given->delimiter_size > INT_MAX ? INT_MAX : (int64_t)given->delimiter_size;
	default:
		return *(const int32_t *)(const void *)at;
	}
}

static bool may_be(enum kind kind, int64_t value)
{
	switch (kind) {
	case BYTES:
	case TIME:
	case LONGEST:
	case NUMBER:
		return value >= -1;
	case WIDTH:
		return (value >= 0 && value <= 4) || value == 8;
	case OFFSET:
		return value >= 0;
	case MESSAGE_SIZE:
		return value >= 0 && (uint64_t)value <= PTRDIFF_MAX;
	case FRAMING:
		return value >= STTCP_FRAMING_RAW && value <= STTCP_FRAMING_CUSTOM;
	case OVER:
		return value == STTCP_OVER_PAUSE || value == STTCP_OVER_REJECT;
	case MODE:
		return value >= 0 && value <= 0777;
	case STACK_SIZE:
		return value == 0 || value >= STT_LEAST_FIBER_STACK;
	case PORT:
		return value >= -1 && value <= UINT16_MAX;
	case DATA_SIZE:
		return value <= STT_DELIMITER_MAX;
	default:
		return true;
	}
}

static const char *domain_of(enum kind kind)
{
	switch (kind) {
	case BYTES:
		return "-1 (unlimited), 0 (default) or a number of bytes";
	case TIME:
		return "-1 (off), 0 (default) or a number of milliseconds";
	case LONGEST:
		return "-1 (unlimited), 0 (default) or a number of milliseconds";
	case NUMBER:
		return "-1 (unlimited), 0 (default) or a number above it";
	case WIDTH:
		return "0 (default: 4), 1, 2, 3, 4 or 8";
	case OFFSET:
		return "0 (default) or a number of bytes above it";
	case MESSAGE_SIZE:
		return "a number of bytes from 1 on";
	case FRAMING:
		return "STTCP_FRAMING_RAW (0) to STTCP_FRAMING_CUSTOM (5)";
	case OVER:
		return "STTCP_OVER_PAUSE (0) or STTCP_OVER_REJECT (1)";
	case PORT:
		return "-1 or 0 (default: any) or 1 to 65535";
	case STACK_SIZE:
		return "0 (default) or a number of bytes from 16384 on";
	case MODE:
		return "0 (default: as the umask leaves it) or 01 to 0777, which is 511";
	default:
		return "1 to 16";
	}
}

static const char *framing_name(int framing)
{
	static const char *const names[] = {"RAW",    "LINE",  "DELIMITER",
					    "LENGTH", "FIXED", "CUSTOM"};

	return names[framing];
}

/* The option by itself. The framing is the first in the table, so that it is known to be one. */
static int check_one(const struct rule *rule, const sttcp_options *given, enum stt_option_user user,
		     struct stt_option_fault *fault)
{
	int64_t value = value_of(rule, given);

	if (!may_be(rule->kind, value))
		return stt_option_wrong(fault, "%s is %" PRId64 ": it may be %s", rule->name, value,
					domain_of(rule->kind));
	if (!value || (value == -1 && rule->is_off))
		return 0;
	if (!(rule->users & (int)user) && user == STT_FOR_DIAL && (rule->users & STT_FOR_CLIENT))
		return stt_option_wrong(fault, "%s has no effect with sttcp_dial", rule->name);
	if (!(rule->users & (int)user))
		return stt_option_wrong(fault, "%s is an option of a %s", rule->name,
					user == STT_FOR_SERVER ? "client" : "server");
	if (!(rule->framings & 1 << given->framing))
		return stt_option_wrong(fault, "%s has no effect with STTCP_FRAMING_%s", rule->name,
					framing_name(given->framing));
	return 0;
}

static int too_large(const char *name, int64_t value, int64_t largest,
		     struct stt_option_fault *fault)
{
	return stt_option_wrong(fault,
				"%s is %" PRId64 ": max_message is %" PRId64
				", and no message may be larger",
				name, value, largest);
}

static int check_framing(const sttcp_options *given, struct stt_option_fault *fault)
{
	int64_t largest = stt_options_bytes(given->max_message, STT_DEFAULT_MESSAGE);

	if (given->framing == STTCP_FRAMING_DELIMITER &&
	    (!given->delimiter || !given->delimiter_size))
		return stt_option_wrong(fault, "STTCP_FRAMING_DELIMITER needs delimiter and "
					       "delimiter_size, of 1 to 16 bytes");
	if (given->framing == STTCP_FRAMING_FIXED && !given->fixed_size)
		return stt_option_wrong(fault, "STTCP_FRAMING_FIXED needs fixed_size");
	if (given->framing == STTCP_FRAMING_CUSTOM && !given->frame_fn)
		return stt_option_wrong(fault, "STTCP_FRAMING_CUSTOM needs frame_fn");
	if (given->fixed_size > largest)
		return too_large("fixed_size", given->fixed_size, largest, fault);
	if (given->prefix_offset > largest)
		return too_large("prefix_offset", given->prefix_offset, largest, fault);
	if (given->prefix_varint && (given->prefix_size || given->prefix_little_endian))
		return stt_option_wrong(fault, "%s has no effect with prefix_varint",
					given->prefix_size ? "prefix_size"
							   : "prefix_little_endian");
	return 0;
}

static int check_marks(const sttcp_options *given, struct stt_option_fault *fault)
{
	struct stt_marks marks = stt_options_marks(given);

	if (given->high_water > marks.cap)
		return stt_option_wrong(fault,
					"high_water is %" PRId64 ": it may not be over "
					"send_queue_max, which is %" PRId64,
					given->high_water, marks.cap);
	if (given->low_water > marks.high)
		return stt_option_wrong(fault,
					"low_water is %" PRId64 ": it may not be over high_water, "
					"which is %" PRId64,
					given->low_water, marks.high);
	return 0;
}

static int check_limits(const sttcp_options *given, struct stt_option_fault *fault)
{
	if (given->over_limit && given->max_connections <= 0 && given->accept_rate <= 0)
		return stt_option_wrong(
			fault, "over_limit has no effect without max_connections or accept_rate");
	if (given->lifetime_jitter_ms > 0 && given->lifetime_ms <= 0)
		return stt_option_wrong(fault,
					"lifetime_jitter_ms has no effect without lifetime_ms");
	if (given->fiber_stack_size && !given->fibers)
		return stt_option_wrong(fault, "fiber_stack_size has no effect without fibers");
	return 0;
}

static int check_reconnect(const sttcp_options *given, struct stt_option_fault *fault)
{
	int32_t most_ms = given->reconnect_max_ms;

	if (given->reconnect_ms <= 0) {
		if (!most_ms && given->reconnect_tries <= 0)
			return 0;
		return stt_option_wrong(fault, "%s has no effect without reconnect_ms",
					most_ms ? "reconnect_max_ms" : "reconnect_tries");
	}
	if (!most_ms)
		most_ms = STT_DEFAULT_RECONNECT_MAX_MS;
	if (most_ms != -1 && most_ms < given->reconnect_ms)
		return stt_option_wrong(fault,
					"reconnect_max_ms is %" PRId32
					"%s: it may not be below reconnect_ms, which is %" PRId32,
					most_ms, given->reconnect_max_ms ? "" : " by default",
					given->reconnect_ms);
	return 0;
}

/* Who begins a handshake is a matter of the object's kind. */
static int check_tls(const sttcp_options *given, enum stt_option_user user,
		     struct stt_option_fault *fault)
{
	bool for_client = user != STT_FOR_SERVER;

	if (given->tls_name && *given->tls_name && !stt_is_host_name(given->tls_name))
		return stt_option_wrong(
			fault,
			"tls_name is \"%.64s\": it may be a DNS name or an address, "
			"without a port",
			given->tls_name);
	if (!given->tls || stt_tls_is_server(given->tls) != for_client)
		return 0;
	return stt_option_wrong(fault, "tls is an object of a %s: it may be one of sttcp_tls_%s",
				for_client ? "server" : "client", for_client ? "client" : "server");
}

int stt_options_check(const sttcp_options *given, enum stt_option_user user,
		      struct stt_option_fault *fault)
{
	int result = 0;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		/* In sttcp_conn_set_framing only framing options count. */
		if (user == STT_FOR_FRAMING && !(rules[i].users & STT_FOR_FRAMING))
			continue;
		result = check_one(&rules[i], given, user, fault);
		if (result < 0)
			return result;
	}
	result = check_framing(given, fault);
	if (result < 0 || user == STT_FOR_FRAMING)
		return result;
	result = check_marks(given, fault);
	if (result == 0)
		result = check_reconnect(given, fault);
	if (result == 0)
		result = check_tls(given, user, fault);
	return result < 0 ? result : check_limits(given, fault);
}
