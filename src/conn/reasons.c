/* SPDX-License-Identifier: MIT */
/* The sentences of ends that are about one option. An end that knows more, as that of a message
 * which is too large, brings its own (stt_conn_end_with). */
#include "conn/reasons.h"

#include <stdio.h>

#include "conn/service.h"

/* A size as the user gave it. */
static long long as_given(int64_t size)
{
	return size == INT64_MAX ? -1 : size;
}

static int format_slow(char **text, const struct stt_settings *settings)
{
	long long one = as_given(settings->send_queue_max);
	long long all = as_given(settings->total_queue_max);

	if (all == -1)
		return asprintf(text, "the queue has no room, send_queue_max is %lld", one);
	return asprintf(text,
			"the queue has no room, send_queue_max is %lld, total_queue_max is %lld",
			one, all);
}

/* Of a server's forced stop. */
static int format_stopped(char **text, const struct stt_settings *settings, int after_ms)
{
	if (after_ms < 0)
		return -1;
	if (!after_ms)
		return asprintf(text, "the server was stopped at once");
	/* A limit of sttcp_server_stop_within is no option. */
	if (after_ms != settings->drain_timeout_ms && after_ms != settings->signal_drain_ms)
		return asprintf(text, "not at its end %d ms after the stop", after_ms);
	return asprintf(text, "not at its end %d ms after the stop, drain_timeout_ms is %d",
			after_ms, after_ms);
}

/* The length of the text, or below 0 without one. */
static int format_text(char **text, struct stt_service *service, int reason)
{
	const struct stt_settings *settings = &service->settings;
	int limit;

	switch (reason) {
	case STTCP_ESLOW:
		return format_slow(text, settings);
	case STTCP_ETIME_FIRST_BYTE:
		limit = settings->first_byte_timeout_ms;
		return asprintf(text, "no first byte for %d ms, first_byte_timeout_ms is %d", limit,
				limit);
	case STTCP_ETIME_IDLE:
		limit = settings->idle_timeout_ms;
		return asprintf(text, "no byte for %d ms, idle_timeout_ms is %d", limit, limit);
	case STTCP_ETIME_MESSAGE:
		limit = settings->message_timeout_ms;
		return asprintf(text, "a message not whole after %d ms, message_timeout_ms is %d",
				limit, limit);
	case STTCP_ETIME_WRITE:
		limit = settings->write_timeout_ms;
		return asprintf(text, "the peer took no byte for %d ms, write_timeout_ms is %d",
				limit, limit);
	case STTCP_ETIME_LIFETIME:
		if (settings->lifetime_jitter_ms > 0)
			return asprintf(text,
					"open for long enough, lifetime_ms is %d, "
					"lifetime_jitter_ms is %d",
					settings->lifetime_ms, settings->lifetime_jitter_ms);
		limit = settings->lifetime_ms;
		return asprintf(text, "open for %d ms, lifetime_ms is %d", limit, limit);
	case STTCP_ETIME_HANDSHAKE:
		limit = settings->tls_handshake_timeout_ms;
		return asprintf(text,
				"no TLS handshake after %d ms, tls_handshake_timeout_ms is %d",
				limit, limit);
	case STTCP_ESTOPPED:
		return format_stopped(text, settings, atomic_load(&service->forced_after_ms));
	case STTCP_EDEAD_PEER:
		limit = settings->dead_peer_timeout_ms;
		return asprintf(text, "no answer from the peer, dead_peer_timeout_ms is %d", limit);
	}
	return -1;
}

char *stt_reason_text(struct stt_service *service, int reason)
{
	char *text;

	return format_text(&text, service, reason) < 0 ? NULL : text;
}
