/* SPDX-License-Identifier: MIT */
/* TLS for the load generator's connections. Without OpenSSL load_tls_none.c takes the place of
 * load_tls.c, and load_tls_start says so. */
#ifndef STTCP_BENCH_LOAD_TLS_H
#define STTCP_BENCH_LOAD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct load_tls;

/* Before the first connection. With `resume` each one resumes the session of the latest ticket that
 * any of them was given, and one that cannot is broken. False: not built with TLS. */
bool load_tls_start(bool resume);

/* For a socket of load_connect. NULL for want of memory. */
struct load_tls *load_tls_new(int fd);

/* Says goodbye, too; NULL is allowed. The socket is still the caller's. */
void load_tls_free(struct load_tls *tls);

/* An event came. False: the connection is broken. */
bool load_tls_wake(struct load_tls *tls, uint32_t events);

/* As send(2) and recv(2). The handshake is done by whichever comes first: until then both say
 * EAGAIN, and have to be tried again at the next event, whichever it is. */
ssize_t load_tls_send(struct load_tls *tls, const void *data, size_t size);
ssize_t load_tls_recv(struct load_tls *tls, void *data, size_t size);

#endif
