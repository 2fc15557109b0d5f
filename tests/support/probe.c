/* SPDX-License-Identifier: MIT */
/* Probes: record handler calls and check that each connection's are in order (G2, G4, G5, G7). */
#include "support/support.h"

#include <sys/socket.h>
#include <time.h>

void probe_violate(struct probe *probe, const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&probe->lock);
	if (probe->violation[0] == '\0') {
		va_start(arguments, format);
		vsnprintf(probe->violation, sizeof(probe->violation), format, arguments);
		va_end(arguments);
	}
	pthread_mutex_unlock(&probe->lock);
}

static void violate_locked(struct probe *probe, const char *what, uint64_t id, sttcp_event event)
{
	if (probe->violation[0] == '\0')
		snprintf(probe->violation, sizeof(probe->violation),
			 "%s: connection %llu, event %s", what, (unsigned long long)id,
			 sttcp_event_name(event));
}

static struct probe_conn *find_locked(struct probe *probe, uint64_t id)
{
	struct probe_conn *entry = &probe->conns[id % PROBE_CONNS];

	if (entry->id != id) {
		memset(entry, 0, sizeof(*entry));
		entry->id = id;
	}
	return entry;
}

static void note_locked(struct probe *probe, sttcp_event event, bool universal)
{
	size_t len = strlen(probe->order);

	if (universal)
		probe->universals[event]++;
	if (len + 1 < sizeof(probe->order))
		probe->order[len] = (universal ? "?crsedu" : "?CRSEDU")[event];
}

/* A probe with neither handler for CONNECTION cannot know which connections are open. */
static bool sees_opening(const struct probe *probe)
{
	unsigned both = NO_UNIVERSAL | 1u << STTCP_CONNECTION;

	return (probe->without & both) != both;
}

/* A handler begins: the contract of the calls of one connection. */
static void enter(struct probe *probe, sttcp_conn *conn, sttcp_event event, bool universal)
{
	uint64_t id = sttcp_conn_id(conn);
	bool second = !universal && (probe->without & NO_UNIVERSAL) == 0;

	pthread_mutex_lock(&probe->lock);
	struct probe_conn *entry = find_locked(probe, id);
	if (id == 0)
		violate_locked(probe, "a connection without an id", id, event);
	if (entry->busy)
		violate_locked(probe, "two handlers at the same time", id, event);
	if (second && entry->phase != (int)event)
		violate_locked(probe, "the universal handler did not come first", id, event);
	if (!second) {
		bool first = event == STTCP_CONNECTION || event == STTCP_UNCONNECTED;

		if (entry->ended)
			violate_locked(probe, "a handler after the last", id, event);
		if (first == entry->opened && (first || sees_opening(probe)))
			violate_locked(probe, first ? "two first handlers" : "not opened", id,
				       event);
		entry->opened = true;
		entry->ended = event == STTCP_DISCONNECTION || event == STTCP_UNCONNECTED;
	}
	entry->phase = second ? 0 : (int)event;
	entry->busy = true;
	probe->last_id = id;
	if (probe->keeps && !probe->kept)
		probe->kept = sttcp_conn_ref(conn);
	note_locked(probe, event, universal);
	pthread_mutex_unlock(&probe->lock);
}

/* It is about to return; only now is the call counted, so that who waits for it sees its marks. */
static void leave(struct probe *probe, sttcp_conn *conn, sttcp_event event, bool counts)
{
	uint64_t id = sttcp_conn_id(conn);

	pthread_mutex_lock(&probe->lock);
	struct probe_conn *entry = find_locked(probe, id);
	if (!entry->busy)
		violate_locked(probe, "two handlers at the same time", id, event);
	entry->busy = false;
	if (counts)
		probe->counts[event]++;
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
}

static void keep_bytes(struct probe *probe, const void *data, size_t size)
{
	pthread_mutex_lock(&probe->lock);
	size_t len = strlen(probe->text);
	size_t room = sizeof(probe->text) - 1 - len;

	memcpy(probe->text + len, data, size < room ? size : room);
	probe->total += size;
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
}

/* No other handler may follow. */
static void mark_declined(struct probe *probe, sttcp_conn *conn)
{
	uint64_t id = sttcp_conn_id(conn);

	pthread_mutex_lock(&probe->lock);
	find_locked(probe, id)->ended = true;
	pthread_mutex_unlock(&probe->lock);
}

static bool handle_connection(sttcp_conn *conn, void *context)
{
	struct probe *probe = context;

	enter(probe, conn, STTCP_CONNECTION, false);
	bool verdict = !probe->connection || probe->connection(probe, conn);
	if (!verdict && sttcp_conn_server(conn) && sttcp_conn_reason(conn) == 0)
		mark_declined(probe, conn);
	leave(probe, conn, STTCP_CONNECTION, true);
	return verdict;
}

static bool handle_data(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
			struct probe *probe)
{
	enter(probe, conn, event, false);
	if (!data || size == 0)
		probe_violate(probe, "a data handler without data");
	keep_bytes(probe, data, size);
	bool verdict = !probe->data || probe->data(probe, conn, data, size);
	leave(probe, conn, event, true);
	return verdict;
}

static void handle_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	handle_data(STTCP_RECEIVE, conn, data, size, context);
}

static bool handle_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	return handle_data(STTCP_RESPONSE, conn, data, size, context);
}

static void handle_end(sttcp_conn *conn, void *context)
{
	struct probe *probe = context;

	enter(probe, conn, STTCP_END, false);
	if (probe->end)
		probe->end(probe, conn);
	leave(probe, conn, STTCP_END, true);
}

static void handle_last(sttcp_event event, sttcp_conn *conn, int reason, struct probe *probe)
{
	enter(probe, conn, event, false);
	if (reason != sttcp_conn_reason(conn))
		probe_violate(probe, "two reasons: %d and %d", reason, sttcp_conn_reason(conn));
	pthread_mutex_lock(&probe->lock);
	probe->reason = reason;
	snprintf(probe->fail_text, sizeof(probe->fail_text), "%s", sttcp_conn_fail_text(conn));
	snprintf(probe->address, sizeof(probe->address), "%s", sttcp_conn_address(conn));
	pthread_mutex_unlock(&probe->lock);
	if (probe->ended)
		probe->ended(probe, conn, reason);
	leave(probe, conn, event, true);
}

static void handle_disconnection(sttcp_conn *conn, int reason, void *context)
{
	handle_last(STTCP_DISCONNECTION, conn, reason, context);
}

static void handle_unconnected(sttcp_conn *conn, int reason, void *context)
{
	handle_last(STTCP_UNCONNECTED, conn, reason, context);
}

static bool handle_universal(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
			     void *context)
{
	struct probe *probe = context;
	bool has_data = event == STTCP_RECEIVE || event == STTCP_RESPONSE;
	bool alone = (probe->without & (1u << event)) != 0;

	enter(probe, conn, event, true);
	if (has_data != (data != NULL) || has_data != (size > 0))
		probe_violate(probe, "data where there should be none, or none");
	if (alone && has_data)
		keep_bytes(probe, data, size);
	if (alone && (event == STTCP_DISCONNECTION || event == STTCP_UNCONNECTED)) {
		pthread_mutex_lock(&probe->lock);
		probe->reason = sttcp_conn_reason(conn);
		pthread_mutex_unlock(&probe->lock);
	}
	bool verdict = !probe->universal || probe->universal(probe, event, conn);
	leave(probe, conn, event, alone);
	return verdict;
}

static void handle_release(void *context)
{
	struct probe *probe = context;

	if (probe->release)
		probe->release(probe);
	pthread_mutex_lock(&probe->lock);
	probe->releases++;
	/* Of several objects, others may be busy until the last one is released. */
	for (int i = 0; probe->releases == probe->objects && i < PROBE_CONNS; i++) {
		if (probe->conns[i].busy)
			violate_locked(probe, "released while a handler runs", probe->conns[i].id,
				       (sttcp_event)probe->conns[i].phase);
	}
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
}

struct probe *probe_new(void)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	assert_non_null(probe);
	pthread_mutex_init(&probe->lock, NULL);
	pthread_cond_init(&probe->changed, NULL);
	probe->reason = 1;
	return probe;
}

void probe_free(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	assert_string_equal(probe->violation, "");
	pthread_mutex_unlock(&probe->lock);
	pthread_mutex_destroy(&probe->lock);
	pthread_cond_destroy(&probe->changed);
	free(probe);
}

static bool wants(const struct probe *probe, sttcp_event event)
{
	return (probe->without & (1u << event)) == 0;
}

static void count_object(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	probe->objects++;
	pthread_mutex_unlock(&probe->lock);
}

sttcp_server *probe_server(struct probe *probe, const char *host, int port,
			   const sttcp_options *options)
{
	sttcp_server *server = sttcp_server_new(host, port, options);

	if (!server)
		return NULL;
	count_object(probe);
	assert_int_equal(sttcp_server_set_context(server, probe), 0);
	assert_int_equal(sttcp_server_on_release(server, handle_release), 0);
	if (wants(probe, STTCP_CONNECTION))
		assert_int_equal(sttcp_server_on_connection(server, handle_connection), 0);
	if (wants(probe, STTCP_RECEIVE))
		assert_int_equal(sttcp_server_on_receive(server, handle_receive), 0);
	if (wants(probe, STTCP_END))
		assert_int_equal(sttcp_server_on_end(server, handle_end), 0);
	if (wants(probe, STTCP_DISCONNECTION))
		assert_int_equal(sttcp_server_on_disconnection(server, handle_disconnection), 0);
	if ((probe->without & NO_UNIVERSAL) == 0)
		assert_int_equal(sttcp_server_on_universal(server, handle_universal), 0);
	return server;
}

sttcp_client *probe_client(struct probe *probe, const char *host, int port,
			   const sttcp_options *options)
{
	sttcp_client *client = sttcp_client_new(host, port, options);

	if (!client)
		return NULL;
	count_object(probe);
	assert_int_equal(sttcp_client_set_context(client, probe), 0);
	assert_int_equal(sttcp_client_on_release(client, handle_release), 0);
	if (wants(probe, STTCP_CONNECTION))
		assert_int_equal(sttcp_client_on_connection(client, handle_connection), 0);
	if (wants(probe, STTCP_RESPONSE))
		assert_int_equal(sttcp_client_on_response(client, handle_response), 0);
	if (wants(probe, STTCP_END))
		assert_int_equal(sttcp_client_on_end(client, handle_end), 0);
	if (wants(probe, STTCP_DISCONNECTION))
		assert_int_equal(sttcp_client_on_disconnection(client, handle_disconnection), 0);
	if (wants(probe, STTCP_UNCONNECTED))
		assert_int_equal(sttcp_client_on_unconnected(client, handle_unconnected), 0);
	if ((probe->without & NO_UNIVERSAL) == 0)
		assert_int_equal(sttcp_client_on_universal(client, handle_universal), 0);
	return client;
}

sttcp_server *probe_listen(struct probe *probe, const sttcp_options *options)
{
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, options);

	assert_non_null(server);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(sttcp_server_port(server) > 0);
	return server;
}

sttcp_server *probe_adopt(struct probe *probe, int fd, const sttcp_options *options)
{
	sttcp_server *server = probe_server(probe, NULL, -1, options);

	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_listener(server, fd), 0);
	return server;
}

sttcp_client *probe_dial(struct probe *probe, int port, const sttcp_options *options)
{
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, options);

	assert_non_null(client);
	assert_int_equal(sttcp_client_start(client), 0);
	return client;
}

sttcp_conn *client_conn(sttcp_client *client)
{
	sttcp_conn *conn = NULL;

	EVENTUALLY((conn = sttcp_client_conn(client)) != NULL);
	return conn;
}

int64_t conn_queued(const sttcp_conn *conn)
{
	sttcp_conn_counts counts;

	return sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 ? counts.queued : -1;
}

long probe_count(struct probe *probe, sttcp_event event)
{
	pthread_mutex_lock(&probe->lock);
	long count = probe->counts[event];
	pthread_mutex_unlock(&probe->lock);
	return count;
}

static bool wait_locked(struct probe *probe)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_MS / 1000;
	return pthread_cond_timedwait(&probe->changed, &probe->lock, &until) != ETIMEDOUT;
}

bool probe_wait(struct probe *probe, sttcp_event event, long count)
{
	pthread_mutex_lock(&probe->lock);
	while (probe->counts[event] < count && wait_locked(probe))
		;
	bool reached = probe->counts[event] >= count;
	pthread_mutex_unlock(&probe->lock);
	return reached;
}

bool probe_wait_bytes(struct probe *probe, size_t total)
{
	pthread_mutex_lock(&probe->lock);
	while (probe->total < total && wait_locked(probe))
		;
	bool reached = probe->total >= total;
	pthread_mutex_unlock(&probe->lock);
	return reached;
}

int probe_reason(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	int reason = probe->reason;
	pthread_mutex_unlock(&probe->lock);
	return reason;
}

bool probe_is_released(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	bool released = probe->releases == 1;
	pthread_mutex_unlock(&probe->lock);
	return released;
}

uint64_t probe_last_id(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	uint64_t id = probe->last_id;
	pthread_mutex_unlock(&probe->lock);
	return id;
}

static const char *copy_text(struct probe *probe, const char *text)
{
	static _Thread_local char copy[sizeof(probe->text)];

	pthread_mutex_lock(&probe->lock);
	snprintf(copy, sizeof(copy), "%s", text);
	pthread_mutex_unlock(&probe->lock);
	return copy;
}

const char *probe_order(struct probe *probe)
{
	return copy_text(probe, probe->order);
}

const char *probe_text(struct probe *probe)
{
	return copy_text(probe, probe->text);
}

const char *probe_fail_text(struct probe *probe)
{
	return copy_text(probe, probe->fail_text);
}

const char *probe_address(struct probe *probe)
{
	return copy_text(probe, probe->address);
}

bool echo_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	sttcp_conn_send(conn, data, size);
	return true;
}

bool narrow(struct probe *probe, sttcp_conn *conn)
{
	const int size = 32 * 1024;

	(void)probe;
	setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return true;
}

bool start_paused(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_pause(conn);
	return true;
}

static sttcp_conn *kept_conn(struct probe *probe)
{
	pthread_mutex_lock(&probe->lock);
	sttcp_conn *conn = probe->kept;
	pthread_mutex_unlock(&probe->lock);
	return conn;
}

static void open_pair(struct pair *pair, const sttcp_options *options, int (*connect)(int port))
{
	pair->probe->keeps = true;
	pair->server = probe_listen(pair->probe, options);
	pair->peer = connect(sttcp_server_port(pair->server));
	assert_true(pair->peer >= 0);
	EVENTUALLY((pair->conn = kept_conn(pair->probe)) != NULL);
	EVENTUALLY(sttcp_server_count(pair->server) == 1 ||
		   probe_count(pair->probe, STTCP_DISCONNECTION) == 1);
}

void pair_open(struct pair *pair, const sttcp_options *options)
{
	if (!pair->probe)
		pair->probe = probe_new();
	open_pair(pair, options, peer_connect);
}

void pair_open_narrow(struct pair *pair, const sttcp_options *options)
{
	if (!pair->probe)
		pair->probe = probe_new();
	pair->probe->connection = narrow;
	open_pair(pair, options, peer_connect_narrow);
}

void pair_close(struct pair *pair)
{
	sttcp_conn_unref(pair->conn);
	peer_close(pair->peer);
	sttcp_server_free(pair->server);
	probe_free(pair->probe);
}
