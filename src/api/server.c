/* SPDX-License-Identifier: MIT */
/* What users hold as a server: its group. */
#include <string.h>

#include "api/call.h"
#include "group/addresses.h"
#include "group/all.h"
#include "group/broadcast.h"
#include "group/listening.h"
#include "group/roster.h"
#include "group/stats.h"
#include "group/stop.h"

sttcp_server *sttcp_server_new(const char *host, int port, const sttcp_options *options)
{
	return (sttcp_server *)stt_api_new_group(STT_FOR_SERVER, host, port, options);
}

int sttcp_server_add_address(sttcp_server *server, const char *host, int port)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_addresses_add_host(&server->group, host, port);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_add_listener(sttcp_server *server, int fd)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_addresses_add_listener(&server->group, fd);
	stt_call_end(cancel);
	return result;
}

static int begin_change(sttcp_server *server)
{
	return stt_api_begin_change(server ? &server->group : NULL);
}

static int end_change(sttcp_server *server, int result)
{
	return result == 0 ? stt_api_end_change(&server->group) : result;
}

int sttcp_server_on_connection(sttcp_server *server, sttcp_connection_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.connection = handler;
	return end_change(server, result);
}

int sttcp_server_on_receive(sttcp_server *server, sttcp_receive_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.receive = handler;
	return end_change(server, result);
}

int sttcp_server_on_end(sttcp_server *server, sttcp_end_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.end = handler;
	return end_change(server, result);
}

int sttcp_server_on_disconnection(sttcp_server *server, sttcp_disconnection_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.disconnection = handler;
	return end_change(server, result);
}

int sttcp_server_on_universal(sttcp_server *server, sttcp_universal_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.universal = handler;
	return end_change(server, result);
}

int sttcp_server_on_drained(sttcp_server *server, sttcp_drained_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.drained = handler;
	return end_change(server, result);
}

int sttcp_server_on_malformed(sttcp_server *server, sttcp_malformed_handler handler)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.malformed = handler;
	return end_change(server, result);
}

int sttcp_server_set_context(sttcp_server *server, void *context)
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.context = context;
	return end_change(server, result);
}

int sttcp_server_on_release(sttcp_server *server, void (*fn)(void *context))
{
	int result = begin_change(server);

	if (result == 0)
		server->group.service.handlers.release = fn;
	return end_change(server, result);
}

int sttcp_server_start(sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	/* A handler that runs already may free the server. */
	stt_group_ref(&server->group);
	result = stt_listening_start(&server->group);
	stt_group_unref(&server->group);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_port(const sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (stt_host_is_unix(server->group.service.host))
		return 0;

	if (!stt_addresses_has_own(&server->group))
		return 0;

	int bound = atomic_load(&server->group.port_bound);

	return bound ? bound : server->group.service.port;
}

const char *sttcp_server_address(const sttcp_server *server, int index)
{
	if (stt_check_group(server ? &server->group : NULL) < 0)
		return NULL;
	/* A lock is no part of what const promises. */
	return stt_addresses_text((struct stt_group *)(uintptr_t)&server->group, index);
}

const char *sttcp_server_error(const sttcp_server *server)
{
	return stt_check_group(server ? &server->group : NULL) < 0 ? NULL : server->group.error;
}

static int stop(sttcp_server *server, int timeout_ms, sttcp_stop_report *report)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_group_stop(&server->group, timeout_ms, report);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_stop_within(sttcp_server *server, int timeout_ms, sttcp_stop_report *report)
{
	return stop(server, timeout_ms, report);
}

int sttcp_server_close(sttcp_server *server)
{
	return stop(server, server ? server->group.service.settings.drain_timeout_ms : 0, NULL);
}

int sttcp_server_stop(sttcp_server *server)
{
	return sttcp_server_close(server);
}

int sttcp_server_request_stop(sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result == 0)
		stt_group_request_stop(&server->group);
	return result;
}

int sttcp_server_wait(sttcp_server *server, int timeout_ms)
{
	return stt_api_wait(server ? &server->group : NULL, timeout_ms);
}

int sttcp_server_keep_alive(sttcp_server *server)
{
	return stt_api_keep_alive(server ? &server->group : NULL);
}

void sttcp_server_free(sttcp_server *server)
{
	if (stt_check_group(server ? &server->group : NULL) < 0)
		return;

	int cancel = stt_call_begin();

	stt_group_free(&server->group);
	stt_call_end(cancel);
}

static int broadcast(sttcp_server *server, sttcp_conn *except, const void *data, size_t size,
		     enum stt_broadcast_as as)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (!stt_can_be_sent(data, size))
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_broadcast(&server->group, NULL, except, data, size, as);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_broadcast_except(sttcp_server *server, sttcp_conn *except, const void *data,
				  size_t size)
{
	return broadcast(server, except, data, size, STT_BROADCAST_BYTES);
}

int sttcp_server_broadcast_message(sttcp_server *server, sttcp_conn *except, const void *data,
				   size_t size)
{
	return broadcast(server, except, data, size, STT_BROADCAST_MESSAGE);
}

int sttcp_server_broadcast(sttcp_server *server, const void *data, size_t size)
{
	return sttcp_server_broadcast_except(server, NULL, data, size);
}

int sttcp_server_each(sttcp_server *server, void (*fn)(sttcp_conn *conn, void *argument),
		      void *argument)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	return fn ? stt_api_each(&server->group, NULL, fn, argument) : -EINVAL;
}

int sttcp_server_count(const sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	/* The lock of a roster is no part of what const promises. */
	return result < 0 ? result : stt_group_count((struct stt_group *)(uintptr_t)&server->group);
}

sttcp_conn *sttcp_server_find(sttcp_server *server, uint64_t id)
{
	if (stt_check_group(server ? &server->group : NULL) < 0)
		return NULL;
	return stt_group_find(&server->group, id);
}

int sttcp_server_stats(const sttcp_server *server, sttcp_stats *stats, size_t size)
{
	int result = stt_check_group(server ? &server->group : NULL);
	sttcp_stats all;

	if (result < 0)
		return result;
	if (!stats)
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_stats_of_group((struct stt_group *)(uintptr_t)&server->group, &all);
	stt_call_end(cancel);
	if (result < 0)
		return result;
	memset(stats, 0, size);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}
