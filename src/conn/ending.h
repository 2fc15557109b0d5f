/* SPDX-License-Identifier: MIT */
/*
 * How a connection comes to its end, whoever decides it. The first end sets the
 * reason; later ones change nothing, but that a reset cuts a flush short, and
 * that a failure wins over a close in the same call of a handler. Any thread,
 * with no lock held.
 */
#ifndef STT_CONN_ENDING_H
#define STT_CONN_ENDING_H

#include <stdbool.h>

#include "sttcp.h"

struct sttcp_conn;

enum stt_end_how {
	STT_END_FLUSH, /* what was sent goes out, then FIN */
	STT_END_FORCE, /* the same, but the last handler does not wait for it */
	STT_END_RESET, /* RST */
	STT_END_ABORT, /* RST. This and FORCE are ends by force, which also end every wait of the
			  connection's handlers (wait.h) */
	STT_END_AGED /* ABORT, but that it takes no answer from a connection that has ended before,
			all of whose output is the kernel's by now */
};

/* True if this was the end that counts. Where the reason is about an option, the text for
 * sttcp_conn_fail_text names it (reasons.h). */
bool stt_conn_end(struct sttcp_conn *conn, int reason, enum stt_end_how how);

/* The same with a text that says more than the reason: "a message of 70000 bytes, max_message is
 * 65536". */
bool stt_conn_end_with(struct sttcp_conn *conn, int reason, enum stt_end_how how,
		       const char *format, ...) STTCP_PRINTF(4, 5);

/* Its stream has failed with a code, which a read has returned. By the owner. */
void stt_conn_end_by_stream(struct sttcp_conn *conn, int code);

/* The same for a handler's failure, of which the first counts and later ones do nothing. `text`
 * (may be NULL) is the connection's now. */
bool stt_conn_fail(struct sttcp_conn *conn, int reason, enum stt_end_how how, char *text);

/* The end of a connection whose handler has returned false. By its owner. */
void stt_conn_wave_off(struct sttcp_conn *conn);

/* Whether this side wanted the end: by one of its calls, or by a handler's false. What the peer,
 * the network or an option ends is not wanted. By the owner, after the end. */
bool stt_conn_end_is_wanted(struct sttcp_conn *conn);

/* As sttcp_conn_shutdown: FIN behind what is queued, and no more sends. 0, or what the connection
 * has ended with. */
int stt_conn_shutdown(struct sttcp_conn *conn);

/* As sttcp_conn_set_half_close. */
int stt_conn_set_half_close(struct sttcp_conn *conn, bool on);

/* As sttcp_conn_detach: the descriptor, which is the caller's, or a code. */
int stt_conn_detach(struct sttcp_conn *conn);

/* The same by its owner. */
int stt_conn_detach_owned(struct sttcp_conn *conn);

#endif
