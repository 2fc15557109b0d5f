/* SPDX-License-Identifier: MIT */
/*
 * Who flushes the sends that were coalesced for a connection:
 *
 *	its worker	is in a handler that blocks	flushed by
 *	owns a loop	and loses it in a take-over	the next owner: it is the loop's `current`
 *	owns no loop	for longer than a look of	the connection's loop, to which it is
 *			the monitor			lent (lend.c)
 *	either		no				the worker, at the end
 *
 * Whoever does it also clears the flag in the output: later sends of the blocked
 * handler leave at once. Doing it twice is harmless.
 *
 * The tickets of a TLS handshake that wait for the first answer are flushed the same
 * way, but that they do not wait at all where a worker owns no loop.
 */
#include "conn/gather.h"

#include "conn/conn.h"
#include "conn/life.h"
#include "conn/output.h"
#include "engine/lend.h"
#include "engine/loop.h"

bool stt_gather_begin(struct stt_worker *worker, struct sttcp_conn *conn)
{
	if (worker->loop) {
		/* Without a reference: the loop has one. */
		worker->loop->current = &conn->actor;
		stt_output_gather(conn);
		return true;
	}
	if (!stt_lend_may_begin(worker))
		return false;
	/* The flag first, so that a loop that is asked finds it. */
	stt_output_gather(conn);
	stt_conn_ref(conn);
	stt_lend_begin(worker, conn->loop, &conn->actor);
	return true;
}

void stt_gather_end(struct stt_worker *worker, struct sttcp_conn *conn)
{
	if (worker->loop)
		worker->loop->current = NULL;
	else if (stt_lend_end(worker, &conn->actor))
		/* Never the last one: the loop has its own, and this worker owns the connection. */
		stt_conn_unref(conn);
	stt_output_stop_gathering(conn);
}

bool stt_gather_begin_hold(struct stt_worker *worker, struct sttcp_conn *conn)
{
	if (!worker->loop)
		return false;
	worker->loop->current = &conn->actor;
	return true;
}

void stt_gather_end_hold(struct stt_worker *worker)
{
	if (worker->loop)
		worker->loop->current = NULL;
}

void stt_gather_lost(struct stt_worker *worker, struct stt_actor *actor)
{
	(void)worker;
	stt_output_stop_gathering(stt_container_of(actor, struct sttcp_conn, actor));
}

void stt_gather_lent(struct stt_worker *worker, struct stt_actor *actor)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	(void)worker;
	stt_output_stop_gathering(conn);
	stt_conn_unref_on_loop(conn);
}
