/* SPDX-License-Identifier: MIT */
/*
 * Frame functions of protocols whose messages no length prefix finds, as users of
 * the library may write them: they need nothing but its header, and no context.
 */
#ifndef STT_TEST_PROTOCOLS_H
#define STT_TEST_PROTOCOLS_H

#include <stdatomic.h>

#include "sttcp.h"

/* "3:abc,", of which "abc" is delivered; at most nine digits, none of them a leading 0. */
int netstring_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		    void *context);

/* "3 abc" (RFC 6587, 3.4.1), of which "abc" is delivered. */
int syslog_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		 void *context);

/* A frame of RFC 6455, 5.2, delivered whole: what it means and how it is masked stands in its
 * header. */
int websocket_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		    void *context);

/* A record of FastCGI, 3.3: header and content are delivered, the padding is not. */
int fastcgi_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		  void *context);

/* A command or an answer of RESP (2 or 3), or an inline command, delivered whole. However many
 * parts it has and however it comes, each byte is looked at a few times at most. */
int resp_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context);

/* How many bytes resp_frame has looked at. */
extern _Atomic size_t resp_looked;

#endif
