/* SPDX-License-Identifier: MIT */
/* The table of raw peers over TLS, between over_tls_wires.c, whose it is, and over_tls_peers.c,
 * which speaks on them. All of it under the lock. */
#ifndef STT_TEST_OVER_TLS_WIRES_H
#define STT_TEST_OVER_TLS_WIRES_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct wire {
	int fd;
	pid_t owner;
	SSL *ssl;
	bool settled; /* the handshake is over, one way or the other */
	bool tickets; /* some have come, of a server of TLS 1.3 */
	bool ended;   /* the socket gave its end */
	int error;    /* the socket's, or 0 */
	char *early;  /* said before the handshake was over */
	size_t early_size;
	bool finishes; /* and then the end of its bytes */
};

void wires_lock(void);
void wires_unlock(void);

/* Those that this process may speak on, or NULL. */
struct wire *wire_own(int fd);

/* Waits for the end of its handshake, without the lock meanwhile: whether it has come by then. */
bool wire_settle(int fd, int64_t until_ms);

/* Whether it is to send close_notify, where it ends; that, and then FIN. */
bool wire_says_goodbye(struct wire *wire);
void wire_finish(struct wire *wire);

/* Its close will be a reset. */
void wire_reset(int fd);

/* Takes it out of the table, and a listener; the descriptor stays open. */
void wire_forget(int fd);

#endif
