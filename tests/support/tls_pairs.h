/* SPDX-License-Identifier: MIT */
/*
 * A client's and a server's session with memory between them: no socket, no
 * thread. What the wire does (how many bytes it takes and gives at a time, its
 * end, its failures) is the test's to say. Asserts.
 */
#ifndef STT_TEST_TLS_PAIRS_H
#define STT_TEST_TLS_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tls/context.h"
#include "tls/session.h"

/* One direction. */
struct tube {
	unsigned char *bytes;
	size_t size; /* in it */
	size_t room; /* what it takes at most; 0: any number */
	size_t step; /* what one call moves at most; 0: any number */
	bool fin;    /* behind its bytes */
	int code;    /* behind its bytes, or 0 */
	int refuses; /* the code for whoever writes, or 0 */
	long reads;  /* calls */
	long writes;
	size_t total; /* bytes that were ever put in */
};

struct tls_side {
	struct stt_tls_session *session;
	struct tube *in;
	struct tube *out;
	int result; /* of its last step of the handshake */
};

struct tls_pair {
	struct tube to_server;
	struct tube to_client;
	struct tls_side server;
	struct tls_side client;
};

/* `name`: whom the client asks for; NULL where it does not verify. `resumption` may be NULL. */
void tls_pair_open(struct tls_pair *pair, struct sttcp_tls *server, struct sttcp_tls *client,
		   const char *name, struct stt_resumption *resumption);
void tls_pair_close(struct tls_pair *pair);

/* Steps until both are done, or one has failed and the other has heard of it, or nothing moves. */
void tls_pair_shake(struct tls_pair *pair);

/* The same for those that have to succeed. */
void tls_pair_agree(struct tls_pair *pair);

/* One side alone, over wires of the test's own. */
extern const struct stt_tls_wire tube_wire;

/* All of it, if the wire lets it pass: what was taken. */
size_t tls_send(struct tls_side *side, const void *data, size_t size);

/* Reads until there is nothing: the sum, and why it ended in *end (0, -EAGAIN, a code). */
size_t tls_drain(struct tls_side *side, void *data, size_t size, ssize_t *end);

/* Sends on one side and expects it on the other. */
void tls_expect_passage(struct tls_side *from, struct tls_side *to, size_t size);

struct stt_tls_facts tls_facts(const struct tls_side *side);

#endif
