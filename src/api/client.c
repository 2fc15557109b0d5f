/* SPDX-License-Identifier: MIT */
/* What users hold as a client: its group, with one connection or attempt at a time. */
#include "api/call.h"
#include "conn/life.h"
#include "group/attempt.h"
#include "group/roster.h"
#include "group/start.h"
#include "group/stop.h"
#include "group/wait_open.h"

sttcp_client *sttcp_client_new(const char *host, int port, const sttcp_options *options)
{
	return (sttcp_client *)stt_api_new_group(STT_FOR_CLIENT, host, port, options);
}

static int begin_change(sttcp_client *client)
{
	return stt_api_begin_change(client ? &client->group : NULL);
}

static int end_change(sttcp_client *client, int result)
{
	return result == 0 ? stt_api_end_change(&client->group) : result;
}

int sttcp_client_on_connection(sttcp_client *client, sttcp_connection_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.connection = handler;
	return end_change(client, result);
}

int sttcp_client_on_response(sttcp_client *client, sttcp_response_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.response = handler;
	return end_change(client, result);
}

int sttcp_client_on_end(sttcp_client *client, sttcp_end_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.end = handler;
	return end_change(client, result);
}

int sttcp_client_on_disconnection(sttcp_client *client, sttcp_disconnection_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.disconnection = handler;
	return end_change(client, result);
}

int sttcp_client_on_unconnected(sttcp_client *client, sttcp_unconnected_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.unconnected = handler;
	return end_change(client, result);
}

int sttcp_client_on_universal(sttcp_client *client, sttcp_universal_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.universal = handler;
	return end_change(client, result);
}

int sttcp_client_on_drained(sttcp_client *client, sttcp_drained_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.drained = handler;
	return end_change(client, result);
}

int sttcp_client_on_malformed(sttcp_client *client, sttcp_malformed_handler handler)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.malformed = handler;
	return end_change(client, result);
}

int sttcp_client_set_context(sttcp_client *client, void *context)
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.context = context;
	return end_change(client, result);
}

int sttcp_client_on_release(sttcp_client *client, void (*fn)(void *context))
{
	int result = begin_change(client);

	if (result == 0)
		client->group.service.handlers.release = fn;
	return end_change(client, result);
}

/* From inside the client's own last handler: the attempt is made now, and begins when that
 * returns. */
static int start_next(struct stt_group *group)
{
	struct sttcp_conn *next = stt_attempt_new(group, false);

	if (!next)
		return -ENOMEM;

	int result = stt_group_start_next(group, next);

	if (result < 0)
		stt_attempt_discard(next);
	return result;
}

static int start_first(struct stt_group *group)
{
	int result = stt_group_begin(group);

	if (result < 0)
		return result;

	struct sttcp_conn *first = stt_attempt_new(group, false);

	if (!first) {
		stt_group_cancel(group);
		return -ENOMEM;
	}
	stt_group_run(group, first);
	return 0;
}

static int start(struct stt_group *group)
{
	int result = stt_group_check_start(group);

	if (result < 0)
		return result;

	struct sttcp_conn *running = stt_desk_conn();

	result = running && stt_group_of(running) == group ? start_next(group) : start_first(group);
	return result < 0 ? stt_group_tell_refused(group, result)
			  : stt_group_tell(group, 0, "%s", "");
}

int sttcp_client_start(sttcp_client *client)
{
	int result = stt_check_group(client ? &client->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	/* A handler that runs already may free the client. */
	stt_group_ref(&client->group);
	result = start(&client->group);
	stt_group_unref(&client->group);
	stt_call_end(cancel);
	return result;
}

int sttcp_client_close(sttcp_client *client)
{
	int result = stt_check_group(client ? &client->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_group_stop(&client->group, client->group.service.settings.drain_timeout_ms,
				NULL);
	stt_call_end(cancel);
	return result;
}

int sttcp_client_stop(sttcp_client *client)
{
	return sttcp_client_close(client);
}

int sttcp_client_wait(sttcp_client *client, int timeout_ms)
{
	return stt_api_wait(client ? &client->group : NULL, timeout_ms);
}

int sttcp_client_keep_alive(sttcp_client *client)
{
	return stt_api_keep_alive(client ? &client->group : NULL);
}

static int check_open(const sttcp_client *client, int timeout_ms)
{
	int result = stt_api_check_wait(client ? &client->group : NULL);

	return result == 0 && timeout_ms < -1 ? -EINVAL : result;
}

int sttcp_client_wait_open(sttcp_client *client, int timeout_ms)
{
	int result = check_open(client, timeout_ms);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_group_wait_open(&client->group, timeout_ms);
	stt_call_end(cancel);
	return result;
}

static int send_on_open(sttcp_client *client, const void *data, size_t size, int timeout_ms,
			int (*send)(sttcp_conn *conn, const void *data, size_t size), int too_large)
{
	struct sttcp_conn *conn;
	int result = check_open(client, timeout_ms);

	if (result < 0)
		return result;
	/* Now, and not after a wait. */
	if (!data && size)
		return -EINVAL;
	if (size > PTRDIFF_MAX)
		return too_large;

	int cancel = stt_call_begin();

	result = stt_group_wait_conn(&client->group, timeout_ms, &conn);
	if (result == 0) {
		result = send(conn, data, size);
		stt_conn_unref(conn);
	}
	stt_call_end(cancel);
	return result;
}

int sttcp_client_send(sttcp_client *client, const void *data, size_t size, int timeout_ms)
{
	return send_on_open(client, data, size, timeout_ms, sttcp_conn_send, -EINVAL);
}

int sttcp_client_send_message(sttcp_client *client, const void *data, size_t size, int timeout_ms)
{
	return send_on_open(client, data, size, timeout_ms, sttcp_conn_send_message, -EMSGSIZE);
}

static void keep_first(sttcp_conn *conn, void *argument)
{
	sttcp_conn **first = argument;

	if (!*first)
		*first = stt_conn_take_handle(conn);
}

sttcp_conn *sttcp_client_conn(sttcp_client *client)
{
	struct sttcp_conn *conn = NULL;

	if (stt_check_group(client ? &client->group : NULL) < 0)
		return NULL;
	/* Of its connections one at most is a member. */
	stt_api_each(&client->group, NULL, keep_first, &conn);
	return conn;
}

const char *sttcp_client_address(const sttcp_client *client)
{
	return stt_check_group(client ? &client->group : NULL) < 0 ? NULL
								   : client->group.service.given;
}

const char *sttcp_client_error(const sttcp_client *client)
{
	return stt_check_group(client ? &client->group : NULL) < 0 ? NULL : client->group.error;
}

void sttcp_client_free(sttcp_client *client)
{
	if (stt_check_group(client ? &client->group : NULL) < 0)
		return;

	int cancel = stt_call_begin();

	stt_group_free(&client->group);
	stt_call_end(cancel);
}
