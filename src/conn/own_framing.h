/* SPDX-License-Identifier: MIT */
/* The framing of a connection: its own, which any thread may set, or that of its service. */
#ifndef STT_CONN_OWN_FRAMING_H
#define STT_CONN_OWN_FRAMING_H

struct stt_desk;
struct stt_framing;
struct sttcp_conn;

/* The framing of what comes in, for the owner. */
const struct stt_framing *stt_conn_framing(const struct sttcp_conn *conn);

/* The framing of what goes out, copied: 0, or what the connection has ended with. Any thread. */
int stt_conn_copy_framing(struct sttcp_conn *conn, struct stt_framing *framing)
	__attribute__((__warn_unused_result__));

/* For the owner, which reads with that desk: frees framings of its own that other threads have
 * replaced. */
void stt_conn_free_old_framings(struct stt_desk *desk, struct sttcp_conn *conn);

/* 0, -ENOMEM, or what the connection has ended with. Any thread. */
int stt_conn_set_framing(struct sttcp_conn *conn, const struct stt_framing *framing);

/* At the connection's end. */
void stt_conn_free_framings(struct sttcp_conn *conn);

#endif
