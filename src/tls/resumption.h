/* SPDX-License-Identifier: MIT */
/* The last session of a client, for its next connection: one handshake in a third of the time. Its
 * lock is taken under any other, and nothing is taken under it. Any thread. */
#ifndef STT_TLS_RESUMPTION_H
#define STT_TLS_RESUMPTION_H

struct stt_resumption;

struct stt_resumption *stt_resumption_new(void);	     /* NULL when out of memory */
void stt_resumption_free(struct stt_resumption *resumption); /* NULL is fine */

#endif
