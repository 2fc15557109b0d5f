/* SPDX-License-Identifier: MIT */
/*
 * The suite over TLS. With STTCP_TEST_TLS=1 in the environment every server and
 * every client that a test makes has TLS, and every raw peer speaks TLS 1.3
 * through OpenSSL (TLS 1.2 with STTCP_TEST_TLS=12), on a descriptor as ever: the
 * tests are the same. What only has a meaning without TLS is listed, with its
 * reason, in tests/plain_only.txt.
 *
 * A peer's handshake goes on beside the test, on a thread of its own, for a test
 * does not know that there is one: its peer may do nothing more than wait. Where
 * a peer ends it sends close_notify first; a FIN without one is no end in order,
 * for either side. Reading and writing wait for the handshake.
 *
 * One certificate serves them all. The first process makes it and leaves it to
 * its children, so clients can verify whom they talk to.
 */
#ifndef STT_TEST_OVER_TLS_H
#define STT_TEST_OVER_TLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "sttcp.h"

bool over_tls(void);

/* Threads of this process that are there for it alone. */
int over_tls_threads(void);

/* Whether this thread works for a peer: what a test denies to the library is not denied to that. */
bool over_tls_is_inside(void);

/* --------------------------------------------------------------------- peers */

/* From now on this descriptor is a peer: it begins a handshake, or answers one. It stays blocking.
 * Without TLS a peer is its descriptor, and the functions below are those of the system. */
void over_tls_begin(int fd, bool answers);

/* From now on this listener's peers are accepted and answered at once, as far as they can tell, and
 * over_tls_accept gives one after another; -1 after the deadline. */
void over_tls_listen(int fd);
bool over_tls_listens(int fd);
int over_tls_accept(int fd, int64_t until_ms);

/* Whether its handshake has ended by then, in whatever way; true without TLS. */
bool over_tls_settle(int fd, int64_t until_ms);

/* Whether bytes are there that no poll(2) tells of. */
bool over_tls_pending(int fd);

/* As recv(2) and send(2), for MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL and MSG_TRUNC. 0 is an end in
 * order, or any in the handshake, where what was sent may make a FIN a reset; EPROTO an end without
 * close_notify, or no TLS. What is sent before the handshake is over is kept, as the kernel would.
 */
ssize_t over_tls_recv(int fd, void *data, size_t size, int flags);
ssize_t over_tls_send(int fd, const void *data, size_t size, int flags);

/* The end of its own bytes, then of all. Unread bytes make it a reset, as without TLS. */
void over_tls_shutdown(int fd);
void over_tls_close(int fd);

/* Lets go of a peer or a listener without a word; the descriptor stays open. */
void over_tls_forget(int fd);

/* ------------------------------------------------------------------- objects */

/* As the functions of the library, with TLS where the options say nothing of it. */
sttcp_server *over_tls_server_new(const char *host, int port, const sttcp_options *options);
sttcp_client *over_tls_client_new(const char *host, int port, const sttcp_options *options);

sttcp_conn *over_tls_dial(const char *host, int port, const sttcp_options *options, int *code);

/* A file in PEM: the key and the certificate of this run. */
const char *over_tls_file(void);

/* The listener is the library's. */
int over_tls_server_add_listener(sttcp_server *server, int fd);

#define sttcp_server_add_listener(...) over_tls_server_add_listener(__VA_ARGS__)
#define sttcp_server_new(...) over_tls_server_new(__VA_ARGS__)
#define sttcp_client_new(...) over_tls_client_new(__VA_ARGS__)
#define sttcp_dial(...) over_tls_dial(__VA_ARGS__)
#define recv(fd, data, size, flags) over_tls_recv(fd, data, size, flags)
#define send(fd, data, size, flags) over_tls_send(fd, data, size, flags)

/* --------------------------------------------------------------------- cases */

#ifndef CMOCKA_H /* tests/small, where no OpenSSL is */
/* Runs those that are not plain only, and tells of the others. */
int over_tls_run_tests(const char *group, const struct CMUnitTest *tests, size_t count,
		       CMFixtureFunction setup, CMFixtureFunction teardown);

#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
	over_tls_run_tests(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#endif

#endif
