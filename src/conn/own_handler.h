/* SPDX-License-Identifier: MIT */
/* A connection's own handler for messages, in place of that of its service. */
#ifndef STT_CONN_OWN_HANDLER_H
#define STT_CONN_OWN_HANDLER_H

#include "conn/service.h"
#include "sttcp.h"

/* The event of a message where there is no such handler. */
static inline enum stt_event stt_message_event(const struct stt_service *service)
{
	return service->is_client ? STT_RESPONSE : STT_RECEIVE;
}

struct stt_message_handler {
	sttcp_receive_handler fn; /* NULL: the service's */
	void *context;
};

/* For the owner, at a message with the event STT_OWN_MESSAGE: who gets it. */
struct stt_message_handler stt_own_handler_get(struct sttcp_conn *conn);

/* From the next message on; a `fn` of NULL gives the service's back: 0, -ENOMEM, or what the
 * connection has ended with. Any thread. */
int stt_own_handler_set(struct sttcp_conn *conn, sttcp_receive_handler fn, void *context);

#endif
