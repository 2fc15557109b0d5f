/* SPDX-License-Identifier: MIT */
/*
 * What the tests of net/socket.h share: sockets against the kernel itself, on
 * the loopback, with ports that the kernel chooses and files in a folder of the
 * test's own. All of it asserts.
 */
#ifndef STT_TEST_SOCKETS_H
#define STT_TEST_SOCKETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "net/socket.h"
#include "support/descriptors.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define POLL_DEADLINE_MS 10000

extern const struct stt_listen_options plain;

struct stt_addr address_of(const char *host);
int listen_on(const char *host, const struct stt_listen_options *options);
int connect_to(const char *host, int *fd);

/* Waits for one of `events`, and fails the case when none comes. */
void await(int fd, short events);
ssize_t await_recv(int fd, void *data, size_t size);
ssize_t send_text(int fd, const char *text);

int option_of(int fd, int level, int option);
void assert_nonblocking_and_cloexec(int fd);
bool has_ipv6(void);

/* The number that the next descriptor will have: the same before and after when none has leaked. */
int next_fd(void);

/* A connection with both of its ends. */
struct socket_pair {
	int listener;
	int client;
	int server;
	struct stt_addr peer; /* as accept told */
};

/* The client connects to `target` when it is another host than the listener's. */
void open_pair(struct socket_pair *pair, const char *host, const char *target);
void close_pair(struct socket_pair *pair);

/* A folder for socket files, its path in *state; and "unix:FOLDER/socket" as the usual host. */
struct folder {
	char path[64];
	char host[STT_ADDR_TEXT];
	const char *file; /* the path in host */
};

int make_folder(void **state);
int remove_folder(void **state);

#define unix_test(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

#endif
