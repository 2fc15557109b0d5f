/* SPDX-License-Identifier: MIT */
/*
 * TLS on a socket, as an event loop that is written by hand would have it: for
 * the epoll loop that the library is measured against, and for the load
 * generator. One thread, non-blocking sockets, nothing of the library.
 *
 * OpenSSL's BIO is one of our own. It reads from the socket into OpenSSL's
 * buffer, and knows from a short read that the socket is empty. What OpenSSL
 * writes is gathered until wire_flush: a whole turn of one connection leaves
 * with one system call.
 */
#ifndef STTCP_BENCH_WIRE_H
#define STTCP_BENCH_WIRE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	WIRE_RECORD = 16 * 1024, /* bytes of the largest record: RFC 8446, 5.1 */
	WIRE_SEND = 4 * WIRE_RECORD
};

struct wire {
	SSL *ssl;
	char *rest; /* what the kernel did not take */
	uint32_t rest_at, rest_len;
	int fd;
	bool dry;   /* the socket has nothing until the next event */
	bool hup;   /* there is an end to read behind what has come */
	bool ended; /* and it was read */
	bool deaf;  /* nothing can be sent any more */
};

/* The settings of the library: TLS 1.3, tickets, no renegotiation, buffers released when they are
 * empty. `pem` has a server's certificate and its key; NULL for a client, which checks no
 * certificate. Ends the program on failure. */
SSL_CTX *wire_context(const char *pem);

/* TLS for a connected socket, or one that connects, as server or client like the context. False for
 * want of memory. */
bool wire_open(struct wire *wire, SSL_CTX *context, int fd);

/* Sends a close_notify if there can be one, and frees all but the socket. */
void wire_close(struct wire *wire);

/* An event came. False: the connection is broken. */
bool wire_wake(struct wire *wire, uint32_t events);

/* As recv(2) and send(2), the handshake included: 0 is the peer's end, with or without a
 * close_notify, and -1 with EAGAIN waits for an event. wire_recv gives one record at most.
 * wire_send takes all, up to WIRE_SEND bytes. Before another connection's turn: wire_flush. */
ssize_t wire_recv(struct wire *wire, void *data, size_t size);
ssize_t wire_send(struct wire *wire, const void *data, size_t size);

/* False: the connection is broken. What the kernel did not take is `rest`. */
bool wire_flush(struct wire *wire);

/* Whether another wire_recv would be in vain before the next event. */
bool wire_is_empty(const struct wire *wire);

#endif
