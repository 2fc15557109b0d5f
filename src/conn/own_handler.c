/* SPDX-License-Identifier: MIT */
/*
 * The owner of a connection calls its handler without a lock, so only the owner
 * changes it: at once if it is a handler of this connection that asks for it,
 * else at the next message (`next`).
 *
 * A connection that never had a handler of its own pays nothing: `delivers` is
 * loaded for each message in any case, and tells the event of the service.
 */
#include "conn/own_handler.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/rare.h"

struct stt_own_handler {
	/* Only the owner. */
	struct stt_message_handler now;
	/* Under output.lock. */
	struct stt_message_handler next;
	/* Atomic, written under output.lock: `next` is to be taken. */
	atomic_bool changed;
};

/* The next message goes to `own->now`. */
static void begin_locked(struct sttcp_conn *conn, struct stt_own_handler *own)
	STT_REQUIRES(conn->output.lock)
{
	enum stt_event event = own->now.fn ? STT_OWN_MESSAGE : stt_message_event(conn->service);

	atomic_store_explicit(&own->changed, false, memory_order_relaxed);
	atomic_store_explicit(&conn->delivers, (unsigned char)event, memory_order_relaxed);
}

/* NULL if it never had one. */
static struct stt_own_handler *own_of(const struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_of(conn);

	/* Acquire: whoever finds it finds it empty. */
	return rare ? atomic_load_explicit(&rare->own_handler, memory_order_acquire) : NULL;
}

struct stt_message_handler stt_own_handler_get(struct sttcp_conn *conn)
{
	struct stt_own_handler *own = own_of(conn);

	if (atomic_load_explicit(&own->changed, memory_order_acquire)) {
		stt_lock(&conn->output.lock);
		own->now = own->next;
		begin_locked(conn, own);
		stt_unlock(&conn->output.lock);
	}
	return own->now;
}

/* Made before the lock is taken, and kept until the connection is freed. */
static int make(struct sttcp_conn *conn)
{
	struct stt_own_handler *none = NULL;

	if (own_of(conn))
		return 0;

	struct stt_rare *rare = stt_rare_make(conn);
	struct stt_own_handler *made = rare ? calloc(1, sizeof(*made)) : NULL;

	if (!made)
		return -ENOMEM;
	if (!atomic_compare_exchange_strong(&rare->own_handler, &none, made))
		free(made);
	return 0;
}

int stt_own_handler_set(struct sttcp_conn *conn, sttcp_receive_handler fn, void *context)
{
	int result = fn ? make(conn) : 0;

	if (result < 0)
		return result;
	stt_lock(&conn->output.lock);

	struct stt_own_handler *own = own_of(conn);

	if (atomic_load_explicit(&conn->ended, memory_order_relaxed)) {
		result = stt_conn_end_code(conn);
	} else if (!own) {
		/* There is nothing to give back. */
	} else if (stt_desk_conn() == conn) {
		own->now = (struct stt_message_handler){fn, context};
		begin_locked(conn, own);
	} else {
		own->next = (struct stt_message_handler){fn, context};
		atomic_store_explicit(&own->changed, true, memory_order_release);
		/* Release: the owner that reads it finds the handler. */
		atomic_store_explicit(&conn->delivers, STT_OWN_MESSAGE, memory_order_release);
	}
	stt_unlock(&conn->output.lock);
	return result;
}
