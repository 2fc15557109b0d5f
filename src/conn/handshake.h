/* SPDX-License-Identifier: MIT */
/*
 * Handshakes of TLS. They belong to the connection's owner, who makes each step
 * in a turn and without a lock: a key in a slow module holds nobody else up.
 */
#ifndef STT_CONN_HANDSHAKE_H
#define STT_CONN_HANDSHAKE_H

#include "sttcp.h"

struct stt_desk;
struct sttcp_conn;

enum stt_shaken {
	STT_SHAKES_ON, /* more has to come from the peer */
	STT_SHAKEN,    /* it is done: the connection is born, and may have input already */
	STT_SHAKEN_OFF /* the connection has ended */
};

/* By the owner of a connection in phase SHAKING: whatever can be done now. `may_read`: there may be
 * input, or the peer's end. */
enum stt_shaken stt_handshake_act(struct stt_desk *desk, struct sttcp_conn *conn, bool may_read);

/* Whether a server's tickets wait for its first answer, to leave with that. By the owner, behind
 * STT_SHAKEN: when there was none so far, `release` lets them go. */
bool stt_handshake_holds(struct sttcp_conn *conn);
void stt_handshake_release(struct sttcp_conn *conn);

/* Whether the next read trusts that the handshake has read all that had come, which saves a
 * recv(2) that finds nothing: true until an event was taken. By the owner. */
void stt_handshake_read_all(struct sttcp_conn *conn, bool on);

/* Sets the alarm for its time limit. By the owner, in phase SHAKING. */
void stt_handshake_limit(struct sttcp_conn *conn);

/* As sttcp_conn_start_tls. */
int stt_handshake_start(struct sttcp_conn *conn, sttcp_tls *tls, const char *name);

#endif
