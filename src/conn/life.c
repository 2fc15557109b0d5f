/* SPDX-License-Identifier: MIT */
/* The memory of connections, their references, the user's data that they free, and their death. */
#include "conn/life.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/slabs.h"
#include "conn/blocking.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/dialled.h"
#include "conn/input.h"
#include "conn/own_framing.h"
#include "conn/own_handler.h"
#include "conn/rare.h"
#include "conn/secure.h"
#include "conn/service.h"
#include "conn/tasks.h"
#include "conn/watch.h"
#include "engine/engine.h"
#include "net/socket.h"

static _Atomic uint64_t last_id;
static struct stt_slabs conns =
	STT_SLABS_INIT(sizeof(struct sttcp_conn), STT_SLABS_OF_CONNS, STT_KEEPS_FEW);

struct sttcp_conn *stt_conn_new(const struct stt_conn_work *work, struct stt_service *service,
				struct stt_loop *loop, int fd, const struct stt_addr *peer)
{
	struct sttcp_conn *conn = stt_slabs_take(&conns);

	if (!conn)
		return NULL;
	memset(conn, 0, sizeof(*conn));
	conn->actor.ops = &work->ops;
	stt_alarm_init(&conn->alarm, work->ring);
	conn->loop = loop;
	conn->service = stt_service_ref(service);
	conn->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	conn->born_ms = stt_now_ms();
	atomic_init(&conn->refs, 1);
	atomic_init(&conn->handles, 1);
	conn->phase = STT_CONNECTING;
	conn->half_close = service->settings.half_close;
	if (fd >= 0)
		stt_conn_connected(conn);
	atomic_init(&conn->owner_due_ms, STT_NEVER);
	atomic_init(&conn->fd, fd);
	conn->output.is_unix =
		peer ? peer->sa.sa_family == AF_UNIX : stt_host_is_unix(service->host);
	/* A read from a Unix socket ends behind bytes that came with descriptors (unix(7)). */
	atomic_init(&conn->hangup, conn->output.is_unix);
	stt_mutex_init(&conn->output.lock);
	conn->output.receiver = -1;
	conn->output.watch = stt_watch_for(conn);
	atomic_init(&conn->framed, service->settings.framing.kind != STTCP_FRAMING_RAW ||
					   service->settings.times_input);
	atomic_init(&conn->delivers, (unsigned char)stt_message_event(service));
	stt_list_init(&conn->in_roster);
	if (peer)
		stt_conn_set_peer(conn, peer);
	stt_loop_move_in(loop);
	return conn;
}

void stt_conn_connected(struct sttcp_conn *conn)
{
	if (!conn->service->settings.tls) {
		conn->phase = STT_BORN;
		return;
	}
	conn->phase = STT_SHAKING;
	atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
}

void stt_conn_discard(struct sttcp_conn *conn)
{
	stt_loop_move_out(conn->loop);
	stt_conn_unref(conn);
}

void stt_conn_bury(struct sttcp_conn *conn)
{
	stt_alarm_cancel(conn->loop, &conn->alarm);
	stt_loop_move_out(conn->loop);
	stt_conn_unref_on_loop(conn);
}

/* With what its slab takes, a connection that is idle stays below 512 bytes (`idle` of the
 * benchmark). What few of them have goes into rare.h. */
_Static_assert(sizeof(void *) != 8 || sizeof(struct sttcp_conn) <= 480,
	       "a connection takes more memory");

static void free_rare(struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_of(conn);

	if (!rare)
		return;
	stt_tasks_discard(conn);
	stt_secure_free(conn);
	stt_dialled_free(conn);
	free(atomic_load(&rare->own_handler));
	free(atomic_load(&rare->local_name));
	free(rare);
}

static void free_conn(struct sttcp_conn *conn)
{
	stt_bytes_clear(&conn->output.queue);
	stt_mutex_fini(&conn->output.lock);
	free(atomic_load(&conn->names));
	free(atomic_load(&conn->fail_text));
	free_rare(conn);
	stt_conn_free_framings(conn);
	stt_held_free(conn->held);
	stt_service_unref(conn->service);
	stt_slabs_give(&conns, conn);
}

static void free_data(struct sttcp_conn *conn)
{
	void (*free_fn)(void *) = conn->data_free;
	bool ours = stt_worker_is_ours();

	conn->data_free = NULL;
	stt_desk_stay();
	if (free_fn)
		free_fn(conn->data);
	stt_desk_stay_no_more();
	stt_worker_stop_child(ours);
}

/* Release and acquire: whoever frees it has seen what all others did to it. */
static bool drop_ref(struct sttcp_conn *conn)
{
	return atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) == 1;
}

/* Release and acquire, likewise for the data. */
void stt_conn_leave_data(struct sttcp_conn *conn)
{
	if (atomic_fetch_sub_explicit(&conn->handles, 1, memory_order_acq_rel) == 1)
		free_data(conn);
}

void stt_conn_drop_handle(struct sttcp_conn *conn)
{
	unsigned forks = conn->service->fork_count;

	stt_conn_leave_data(conn);
	/* A child that was forked in free_fn has no business with it. */
	if (!stt_forked_since(forks))
		stt_conn_unref(conn);
}

bool stt_conn_visit(struct sttcp_conn *conn, void (*fn)(struct sttcp_conn *conn, void *argument),
		    void *argument)
{
	unsigned forks = conn->service->fork_count;
	int handles = atomic_load_explicit(&conn->handles, memory_order_relaxed);

	do {
		if (!handles)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&conn->handles, &handles, handles + 1, memory_order_relaxed, memory_order_relaxed));
	fn(conn, argument);
	if (!stt_forked_since(forks))
		stt_conn_leave_data(conn);
	return true;
}

void stt_conn_unref(struct sttcp_conn *conn)
{
	if (!drop_ref(conn))
		return;
	free_data(conn);
	/* In a child that was forked there it is what the parent is about to free. */
	if (!stt_forked_since(conn->service->fork_count))
		free_conn(conn);
}

void stt_conn_unref_on_loop(struct sttcp_conn *conn)
{
	if (!drop_ref(conn))
		return;
	if (conn->data_free)
		/* The thread's engine, and not the connection's, which it may have outlived. */
		stt_pool_push(&stt_self->engine->pool, &conn->actor);
	else
		free_conn(conn);
}

void stt_conn_unref_anywhere(struct sttcp_conn *conn)
{
	if (stt_worker_is_ours())
		stt_conn_unref_on_loop(conn);
	else
		stt_conn_unref(conn);
}

void stt_conn_free_on_pool(struct sttcp_conn *conn)
{
	free_data(conn);
	free_conn(conn);
}

void stt_conn_set_data(struct sttcp_conn *conn, void *data, void (*free_fn)(void *data))
{
	stt_lock(&conn->output.lock);
	void *old = conn->data;
	void (*free_old)(void *) = conn->data_free;

	conn->data = data;
	conn->data_free = free_fn;
	stt_unlock(&conn->output.lock);
	stt_desk_stay();
	if (free_old)
		free_old(old);
	stt_desk_stay_no_more();
}

void *stt_conn_data(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	void *data = conn->data;

	stt_unlock(&conn->output.lock);
	return data;
}

void stt_conn_die(struct sttcp_conn *conn)
{
	struct stt_service *service = conn->service;
	bool other_refs = atomic_load_explicit(&conn->refs, memory_order_relaxed) > 1;

	/* Holders of a reference may still ask for its local address. */
	if (other_refs)
		stt_conn_local(conn);

	stt_blocking_unmark(conn);
	stt_lock(&conn->output.lock);
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	stt_output_die_locked(&conn->output);
	atomic_store(&conn->fd, -1);
	if (fd >= 0) {
		stt_poller_remove(conn->loop->poller, fd);
		if (conn->fin_seen && conn->output.fin_sent)
			stt_socket_close(fd);
		else
			stt_socket_end(fd);
	}
	stt_unlock(&conn->output.lock);

	stt_held_free(conn->held);
	conn->held = NULL;
	/* The service first: the loop may be done with the connection as soon as it is on the list.
	 */
	stt_service_ref(service);
	service->calls->closed(service, conn);
	conn->phase = STT_DEAD;
	stt_loop_push(conn->loop, &conn->actor);
	stt_service_unref(service);
}
