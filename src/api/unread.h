/* SPDX-License-Identifier: MIT */
/* What the Python extension, which is one shared object with the library, needs beside <sttcp.h>.
 */
#ifndef STT_API_UNREAD_H
#define STT_API_UNREAD_H

#include <stddef.h>

#include "sttcp.h"

/* Gives back bytes that a handler was called with: they come before all that nobody has read. Where
 * sttcp_conn_recv may be called, and with its codes; or -ENOMEM, and nothing has changed. */
int stt_conn_unread(sttcp_conn *conn, const void *data, size_t size);

#endif
