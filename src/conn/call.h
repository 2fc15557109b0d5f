/* SPDX-License-Identifier: MIT */
/* The record of a call of user code for a connection: what this code does to the connection, and
 * who asks on its thread, is told by it. It stands on the desk while the code runs. */
#ifndef STT_CONN_CALL_H
#define STT_CONN_CALL_H

#include <stdbool.h>

#include "conn/service.h"

struct stt_strand;
struct sttcp_conn;

struct stt_call {
	struct sttcp_conn *conn;   /* NULL while none runs */
	enum stt_event event;	   /* that it is about */
	struct stt_strand *strand; /* whose stack it runs on; NULL: the thread's */
	bool ended_conn;	   /* it has closed or aborted `conn`, */
	bool failed_conn;	   /* or failed it: these two stay as they are behind the call */
};

#endif
