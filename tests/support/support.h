/* SPDX-License-Identifier: MIT */
/*
 * What the contract tests share: deadlines, events that handlers raise and
 * tests wait for, raw peers that speak to the library over plain sockets,
 * probes that record and check handler calls, and child processes.
 *
 * cmocka's assertions belong to the test's main thread alone; handlers and
 * threads record, or use CHECK in a child process.
 */
#ifndef STT_TEST_SUPPORT_H
#define STT_TEST_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "sttcp.h"
#include "support/over_tls.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/* How long a test waits for what must come. Reaching it is a failure. */
#define DEADLINE_MS 20000

int64_t now_ms(void);
void nap_ms(int ms);

/* Waits until `condition` holds, for things that raise no event. */
#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		bool holds_ = (condition);                                                         \
		for (int64_t until_ = now_ms() + DEADLINE_MS; !holds_ && now_ms() < until_;) {     \
			nap_ms(2);                                                                 \
			holds_ = (condition);                                                      \
		}                                                                                  \
		if (!holds_)                                                                       \
			fail_msg("it never came to this: %s", #condition);                         \
	} while (0)

/* Open descriptors and threads of this process. */
int count_fds(void);
int count_threads(void);

/* Whether this thread of the process sleeps; 0 is none yet. */
bool thread_sleeps(int tid);

/* Whether bytes_in_use tells what malloc and the library's slabs have given out; if not (the
 * malloc of a sanitizer or of valgrind, or that of a C library without mallinfo2) it is 0, and this
 * says so. */
bool memory_is_measured(void);
size_t bytes_in_use(void);

/* For results that a case is not about: any will do. */
static inline void ignore(ssize_t result)
{
	(void)result;
}

/* Bytes that differ from place to place and from seed to seed. */
void fill_pattern(void *data, size_t size, uint32_t seed);

/* xorshift; a state of 0 is made 1. */
uint32_t next_random(uint32_t *state);

/* Another one in each run, which is printed: STTCP_TEST_SEED=number repeats a run. */
uint32_t test_seed(void);

/* Waits until all threads but the calling one sleep; then nothing may move for a second (G15).
 * Not under the thread sanitizer, whose own thread never sleeps. */
void expect_silence(void);

/* -------------------------------------------------------------------- events */

/* A counter that only grows, and can be waited for. */
struct event {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	long count;
};

#define EVENT_INIT                                                                                 \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                             \
	}

void event_raise(struct event *event);
long event_count(struct event *event);

/* Whether it came to `count` before the deadline. */
bool event_wait(struct event *event, long count);
bool event_wait_ms(struct event *event, long count, int ms);

/* --------------------------------------------------------------------- peers */

/* Descriptors are blocking and close-on-exec; -1, or false, after a deadline or an error. In a run
 * over TLS they speak TLS, see over_tls.h. */
int peer_connect(int port);
int peer_connect_to(const char *host, int port);
int peer_connect_from(const char *source, int port);
int peer_connect_unix(const char *path);

/* With small buffers: a peer that does not read is soon full. */
int peer_connect_narrow(int port);
bool peer_connect_with(int fd, int port);
int peer_listen(int *port, int backlog);
int peer_accept(int listener);
int peer_port(int fd);
bool peer_send(int fd, const void *data, size_t size);
bool peer_say(int fd, const char *text);

/* Whether it gets back what it says. Closes it; it may be -1 before. */
bool peer_is_answered(int fd);

/* Up to 64 KiB of zeros that the library does not read for now: whether they stand in the kernel's
 * queue on its side. */
bool peer_send_unread(int fd, size_t size);

/* Exactly `size` bytes. */
bool peer_recv(int fd, void *data, size_t size);
bool peer_expect(int fd, const char *text);

/* Drops what comes until the end: 0 for FIN, -ECONNRESET, -ETIMEDOUT. */
int peer_end(int fd);

/* The same, and counts the bytes. */
int peer_drain(int fd, size_t *bytes);

/* Whether nothing comes and nothing ends within `ms`. */
bool peer_quiet(int fd, int ms);
void peer_reset(int fd);
void peer_close(int fd);
void peer_shutdown(int fd);

/* A port on which nobody listens, held so that nobody else gets it. A server may be started on it
 * while it is held: who lets go of it first may find that another program has it. */
int peer_refuse(int *port);

/* A port that nobody has on any address, below those that the kernel chooses from: another program
 * might have taken one of these by the time that it is used. No other test is given the same one
 * while this one runs. For that it holds descriptors, which count_fds leaves out. */
int free_port(void);
int free_port_fds(void);

/* A port that drops every SYN: a listener whose queue is full. */
struct blackhole {
	int port;
	int listener;
	int fill; /* in its queue */
};

bool blackhole_open(struct blackhole *hole);
void blackhole_close(struct blackhole *hole);

/* Whether the kernel tries to connect to it (proc(5)). */
bool blackhole_has_an_attempt(const struct blackhole *hole);

/* Whether this machine has ::1. */
bool have_ipv6(void);

/* -------------------------------------------------------------------- probes */

#define PROBE_CONNS 4096

/* What a probe leaves out: 1u << event for a specific handler, and this one. */
#define NO_UNIVERSAL 1u

/*
 * The context of one server or client. Records every handler call and checks
 * the order of calls for each connection; the scripts, all optional, say what
 * the handlers do.
 */
struct probe {
	/* Set before start. */
	unsigned without;
	bool (*connection)(struct probe *probe, sttcp_conn *conn);
	bool (*data)(struct probe *probe, sttcp_conn *conn, const void *data, size_t size);
	void (*end)(struct probe *probe, sttcp_conn *conn);
	void (*ended)(struct probe *probe, sttcp_conn *conn, int reason);
	bool (*universal)(struct probe *probe, sttcp_event event, sttcp_conn *conn);
	void (*release)(struct probe *probe);
	void *extra;
	bool keeps; /* a reference to its first connection, for pair_open */

	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	long counts[STTCP_UNCONNECTED + 1];
	long universals[STTCP_UNCONNECTED + 1];
	long objects; /* servers and clients that report to it */
	long releases;
	int reason;
	uint64_t last_id;
	sttcp_conn *kept;
	size_t total;
	char text[4096];
	char order[256];
	char fail_text[256];
	char address[128];
	char violation[160];
	struct probe_conn {
		uint64_t id;
		bool busy;
		bool opened;
		bool ended;
		int phase; /* the event the universal handler saw last */
	} conns[PROBE_CONNS];
};

struct probe *probe_new(void);

/* Asserts that nothing was violated. */
void probe_free(struct probe *probe);

sttcp_server *probe_server(struct probe *probe, const char *host, int port,
			   const sttcp_options *options);
sttcp_client *probe_client(struct probe *probe, const char *host, int port,
			   const sttcp_options *options);

/* On 127.0.0.1 and a free port, started; asserts. */
sttcp_server *probe_listen(struct probe *probe, const sttcp_options *options);

/* Without an address of its own, with this listening socket, not started; it echoes. Asserts. */
sttcp_server *probe_adopt(struct probe *probe, int fd, const sttcp_options *options);

/* To 127.0.0.1, started; asserts. */
sttcp_client *probe_dial(struct probe *probe, int port, const sttcp_options *options);

/* A reference to its connection, which may come a moment after its connection handler. */
sttcp_conn *client_conn(sttcp_client *client);

/* Bytes that wait in its send queue; -1 when nobody can tell. */
int64_t conn_queued(const sttcp_conn *conn);

long probe_count(struct probe *probe, sttcp_event event);
bool probe_wait(struct probe *probe, sttcp_event event, long count);
bool probe_wait_bytes(struct probe *probe, size_t total);
int probe_reason(struct probe *probe);

/* Whether the release function has been called, and once. */
bool probe_is_released(struct probe *probe);
uint64_t probe_last_id(struct probe *probe);

/* One letter per call: c connection, r receive, s response, e end, d disconnection, u
 * unconnected; small for the universal handler, capital for the specific one. The texts are
 * copies that live until the calling thread's next call. */
const char *probe_order(struct probe *probe);
const char *probe_text(struct probe *probe);
const char *probe_fail_text(struct probe *probe);
const char *probe_address(struct probe *probe);
void probe_violate(struct probe *probe, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/* A server, a raw peer, and a reference to the connection between them. */
struct pair {
	struct probe *probe; /* made by pair_open where it is NULL */
	sttcp_server *server;
	sttcp_conn *conn;
	int peer;
};

/* The connection is there also where a limit has ended it meanwhile. */
void pair_open(struct pair *pair, const sttcp_options *options);

/* The same with small buffers on both sides. */
void pair_open_narrow(struct pair *pair, const sttcp_options *options);
void pair_close(struct pair *pair);

/* A script for data: sends it back. */
bool echo_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size);

/* A script for connection: a small buffer to send from on this side, too. Not one to receive into:
 * the peer has been told of a larger window, and where the kernel then drops what is sent into that
 * (from Linux 6.17 on with the acknowledgement in it), two ends that rest wait for each other. */
bool narrow(struct probe *probe, sttcp_conn *conn);

/* The same: limits on the peer rest until the test resumes it, however long that takes. */
bool start_paused(struct probe *probe, sttcp_conn *conn);

/* ------------------------------------------------------------------ children */

/*
 * A child process is this executable again, with the name of a function as its
 * argument: a fresh process, without the threads of its parent.
 */
struct child {
	const char *name;
	int (*run)(void);
};

struct process {
	pid_t pid;
	int out; /* the child's standard output */
};

/* In main: runs the child of that name, the last entry's name is NULL. */
int child_main(const struct child *children, const char *name);

bool process_start(struct process *process, const char *name);
bool process_line(struct process *process, char *line, size_t size);

/* The number behind `word` in the next line: "port 1234"; -1 when there is none. */
int process_number(struct process *process, const char *word);

/* Its exit status, 128 + signal, or -1 when it had to be killed at the deadline. */
int process_wait(struct process *process);
int process_wait_pid(pid_t pid);

/* fork(2), for a process with threads. The address sanitizer's allocator leaves its locks held in
 * the child when another thread is just allocating, and its first malloc never returns: so there it
 * waits until all others are asleep. */
pid_t process_fork(void);
int process_run(const char *name);

/* For children, where cmocka is not: says what failed and leaves with status 99. */
#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
void check_that(bool holds, const char *text, const char *file, int line);

/* There, as EVENTUALLY. */
#define COMES(condition)                                                                           \
	for (int64_t until_ = now_ms() + DEADLINE_MS; !(condition); nap_ms(1))                     \
	CHECK(now_ms() < until_)

/* A child's line to its parent. */
void tell(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

#endif
