/* SPDX-License-Identifier: MIT */
/* Connections: their memory, references, names, and death. */
#include "conn/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/slabs.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/service.h"
#include "conn/watch.h"
#include "engine/engine.h"
#include "net/socket.h"

struct stt_names {
	char host[STT_ADDR_TEXT];
	char address[STT_ADDR_TEXT];
};

static _Atomic uint64_t last_id;
static struct stt_slabs conns = STT_SLABS_INIT(sizeof(struct sttcp_conn), STT_SLABS_OF_CONNS);

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
	conn->phase = fd < 0 ? STT_CONNECTING : STT_BORN;
	atomic_init(&conn->owner_due_ms, STT_NEVER);
	atomic_init(&conn->fd, fd);
	/* A read from a Unix socket ends behind bytes that came with descriptors (unix(7)). */
	atomic_init(&conn->hangup, stt_host_is_unix(service->host));
	stt_mutex_init(&conn->output.lock);
	conn->output.receiver = -1;
	conn->output.watch = stt_watch_for(conn);
	atomic_init(&conn->framed, service->settings.framing.kind != STTCP_FRAMING_RAW ||
					   service->settings.times_input);
	stt_list_init(&conn->in_roster);
	if (peer)
		stt_conn_set_peer(conn, peer);
	atomic_fetch_add_explicit(&loop->nconns, 1, memory_order_relaxed);
	return conn;
}

/* The loop has one connection less. */
static void leave_loop(struct sttcp_conn *conn)
{
	atomic_fetch_sub_explicit(&conn->loop->nconns, 1, memory_order_relaxed);
}

void stt_conn_discard(struct sttcp_conn *conn)
{
	leave_loop(conn);
	stt_conn_unref(conn);
}

void stt_conn_bury(struct sttcp_conn *conn)
{
	stt_alarm_cancel(conn->loop, &conn->alarm);
	leave_loop(conn);
	stt_conn_unref_on_loop(conn);
}

/* One that another thread has replaced stays until the owner has seen that: it may be reading with
 * it. `previous` is the owner's alone, once this one can be found. */
struct stt_own_framing {
	struct stt_framing framing;
	struct stt_own_framing *previous;
};

const struct stt_framing *stt_conn_framing(const struct sttcp_conn *conn)
{
	const struct stt_own_framing *own =
		atomic_load_explicit(&conn->framing, memory_order_acquire);

	return own ? &own->framing : &conn->service->settings.framing;
}

int stt_conn_copy_framing(struct sttcp_conn *conn, struct stt_framing *framing)
{
	int result = 0;

	/* In its own handler nobody else frees one. */
	if (stt_desk_conn() == conn) {
		*framing = *stt_conn_framing(conn);
		return 0;
	}
	stt_lock(&conn->output.lock);
	/* The service may be started again, with another one, once all have ended. */
	if (atomic_load(&conn->ended))
		result = stt_conn_end_code(conn);
	else
		*framing = *stt_conn_framing(conn);
	stt_unlock(&conn->output.lock);
	return result;
}

static void free_framings(struct stt_own_framing *own)
{
	while (own) {
		struct stt_own_framing *previous = own->previous;

		free(own);
		own = previous;
	}
}

void stt_conn_free_old_framings(struct sttcp_conn *conn)
{
	struct stt_own_framing *own = atomic_load_explicit(&conn->framing, memory_order_acquire);

	if (!own || !own->previous)
		return;
	stt_input_forget_framing(stt_desk_self(), conn);
	free_framings(own->previous);
	own->previous = NULL;
}

int stt_conn_set_framing(struct sttcp_conn *conn, const struct stt_framing *framing)
{
	struct stt_own_framing *own = malloc(sizeof(*own));
	/* A frame_fn that changes the framing is being called with it. */
	bool in_handler = stt_desk_conn() == conn && !stt_desk_self()->input.in_look;

	if (!own)
		return -ENOMEM;
	stt_lock(&conn->output.lock);
	/* The service may be started again, with another context, once all have ended. */
	if (atomic_load(&conn->ended)) {
		int code = stt_conn_end_code(conn);

		stt_unlock(&conn->output.lock);
		free(own);
		return code;
	}
	own->framing = *framing;
	own->framing.context = conn->service->handlers.context;
	struct stt_own_framing *previous =
		atomic_load_explicit(&conn->framing, memory_order_relaxed);

	own->previous = in_handler ? NULL : previous;
	atomic_store_explicit(&conn->framing, own, memory_order_release);
	atomic_store(&conn->framed, true);
	stt_unlock(&conn->output.lock);
	if (in_handler) {
		stt_input_forget_framing(stt_desk_self(), conn);
		free_framings(previous);
	}
	/* What has come already may be a message now; in a handler that gets one this is seen to.
	 */
	if (!in_handler || conn->held)
		stt_conn_ask(conn, STT_WISH_READ);
	return 0;
}

static struct stt_names *make_names(const struct stt_addr *addr)
{
	struct stt_names *names = malloc(sizeof(*names));

	if (names) {
		stt_addr_host(addr, names->host);
		stt_addr_text(addr, names->address);
	}
	return names;
}

void stt_conn_set_peer(struct sttcp_conn *conn, const struct stt_addr *peer)
{
	if (peer->sa.sa_family == AF_INET || peer->sa.sa_family == AF_INET6)
		memcpy(&conn->peer, &peer->sa,
		       peer->sa.sa_family == AF_INET ? sizeof(peer->in) : sizeof(peer->in6));
	else if (!atomic_load(&conn->names))
		/* A path does not fit into `peer`; without memory it is told as unnamed. */
		atomic_store(&conn->names, make_names(peer));
}

static void free_conn(struct sttcp_conn *conn)
{
	stt_bytes_clear(&conn->output.queue);
	stt_mutex_fini(&conn->output.lock);
	free(atomic_load(&conn->names));
	free(atomic_load(&conn->local_name));
	free(atomic_load(&conn->fail_text));
	free_framings(atomic_load(&conn->framing));
	stt_held_free(conn->held);
	stt_service_unref(conn->service);
	stt_slabs_give(&conns, conn);
}

static void free_data(struct sttcp_conn *conn)
{
	void (*free_fn)(void *) = conn->data_free;
	bool ours = stt_worker_is_ours();

	conn->data_free = NULL;
	if (free_fn)
		free_fn(conn->data);
	stt_worker_stop_child(ours);
}

/* Release and acquire: whoever frees it has seen what all others did to it. */
static bool drop_ref(struct sttcp_conn *conn)
{
	return atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) == 1;
}

void stt_conn_unref(struct sttcp_conn *conn)
{
	if (!drop_ref(conn))
		return;
	free_data(conn);
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

void stt_conn_free_on_pool(struct sttcp_conn *conn)
{
	free_data(conn);
	free_conn(conn);
}

void stt_conn_free_data_if_last(struct sttcp_conn *conn)
{
	/* It is on no roster any more, so one reference - the loop's - stays one. Acquire: what the
	 * others did with the data before they dropped theirs has happened. */
	if (atomic_load_explicit(&conn->refs, memory_order_acquire) == 1)
		free_data(conn);
}

void stt_conn_ask(struct sttcp_conn *conn, unsigned wish)
{
	if (stt_conn_wish(conn, wish))
		stt_loop_push(conn->loop, &conn->actor);
}

void stt_conn_die(struct sttcp_conn *conn)
{
	struct stt_service *service = conn->service;
	bool other_refs = atomic_load_explicit(&conn->refs, memory_order_relaxed) > 1;

	/* Its own end can still be asked for by whoever holds a reference. */
	if (other_refs)
		stt_conn_local(conn);

	stt_dispatch_unmark_slow(conn);
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
	/* First the service: the loop may be done with the connection as soon as it is on the list.
	 */
	stt_service_ref(service);
	service->calls->closed(service, conn);
	conn->phase = STT_DEAD;
	stt_loop_requeue(stt_self, conn->loop, &conn->actor);
	stt_service_unref(service);
}

static const struct stt_names *names_of(struct sttcp_conn *conn)
{
	struct stt_names *names = atomic_load_explicit(&conn->names, memory_order_acquire);

	if (names || conn->peer.sin6_family == AF_UNSPEC)
		return names;

	struct stt_addr addr = {.len = sizeof(conn->peer)};

	memcpy(&addr.in6, &conn->peer, sizeof(conn->peer));

	struct stt_names *made = make_names(&addr);

	if (made && !atomic_compare_exchange_strong(&conn->names, &names, made))
		free(made);
	else
		names = made;
	return names;
}

const char *stt_conn_host(struct sttcp_conn *conn)
{
	const struct stt_names *names = names_of(conn);

	return names ? names->host : conn->service->host;
}

const char *stt_conn_address(struct sttcp_conn *conn)
{
	const struct stt_names *names = names_of(conn);

	return names ? names->address : conn->service->given;
}

const char *stt_conn_local(struct sttcp_conn *conn)
{
	char *name = atomic_load_explicit(&conn->local_name, memory_order_acquire);
	struct stt_addr addr;
	int result = -1;

	if (name)
		return name;

	/* Under the lock the descriptor stays what it is. */
	stt_lock(&conn->output.lock);
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	if (fd >= 0)
		result = stt_socket_local(fd, &addr);
	stt_unlock(&conn->output.lock);
	if (result < 0)
		return "";

	char *made = malloc(STT_ADDR_TEXT);

	if (!made)
		return "";
	stt_addr_text(&addr, made);
	if (atomic_compare_exchange_strong(&conn->local_name, &name, made))
		return made;
	free(made);
	return name;
}
