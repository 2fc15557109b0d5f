/* SPDX-License-Identifier: MIT */
/* The library's codes, their names and their sentences. The public functions sttcp_strerror,
 * sttcp_error_name, sttcp_event_name and sttcp_version are defined in error.c and version.c: they
 * need nothing of the layers above. */
#ifndef STT_BASE_ERROR_H
#define STT_BASE_ERROR_H

#include <stdbool.h>

#include "sttcp.h"

/* The kernel's ETIMEDOUT, after keepalive or retransmissions, becomes STTCP_EDEAD_PEER, so that
 * -ETIMEDOUT from a waiting call is the call's own. Every other code is returned as it is. */
int stt_error_of_peer(int code);

/* Whether an end with this code is explained, in the log and by sttcp_conn_fail_text: it is one of
 * the library's own, and this side has not asked for it. */
bool stt_error_is_told(int code);

#endif
