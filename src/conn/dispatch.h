/* SPDX-License-Identifier: MIT */
/* Calls of a user's handlers: which ones run in a phase, in which sequence, and whose result
 * counts. By the connection's owner. */
#ifndef STT_CONN_DISPATCH_H
#define STT_CONN_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fiber.h"
#include "conn/service.h"
#include "sttcp.h"

struct stt_desk;
struct stt_strand;

/* Notes which handlers there are: to be called before anybody can find them, and after each change.
 */
void stt_dispatch_prepare(struct stt_service *service);

/* Whether anybody would be called. */
static inline bool stt_dispatch_wanted(const struct stt_handlers *handlers, enum stt_event event)
{
	return handlers->wanted & (1U << event);
}

/* How a call of user code has come out. */
enum stt_outcome {
	STT_TRUE,  /* it has returned, and that is the result that counts; or there was none */
	STT_FALSE, /* likewise */
	STT_WAITS  /* the connection is parked (strand.h): its owner lets go of it */
};

/* The universal handler, then the specific one, in a turn. Outside turns. */
enum stt_outcome stt_dispatch(struct stt_desk *desk, sttcp_conn *conn, enum stt_event event,
			      const void *data, size_t size);

/* Calls `call` as one of the connection's handlers, in a turn: STT_TASK. Outside turns. False when
 * it waits. */
bool stt_dispatch_task(struct stt_desk *desk, sttcp_conn *conn,
		       void (*call)(sttcp_conn *conn, void *argument), void *argument);

/* Goes on with the call of a parked connection, which is not parked any more. Outside turns. Once
 * it has returned, the strand is the caller's to give back. */
enum stt_outcome stt_dispatch_resume(struct stt_desk *desk, struct stt_strand *strand);

/* After user code that is followed by more than the end of its call: a child that was forked there,
 * and returns from it, stops here, because everything belongs to the parent. */
STT_APART void stt_dispatch_stop_child(void);

/* The malformed handler, if there is one, inside a handler of the same connection. */
void stt_dispatch_malformed_inside(struct stt_desk *desk, sttcp_conn *conn, int code);

/* The loop was taken over in a turn of the connection, while user code ran. */
void stt_dispatch_note_loss(sttcp_conn *conn);

/* A call of user code other than a handler has returned: the monitor sees progress. */
void stt_dispatch_count(struct stt_desk *desk);

#endif
