/* SPDX-License-Identifier: MIT */
/*
 * When a peer is taken for one that the kernel does not hear (unheard.h): the looks
 * of a loop, at times that the test chooses, and with answers of the kernel's that
 * it makes up. test_read_ahead has the real ones.
 */
#include "support/libc.h"
#include "support/support.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/hold.h"
#include "conn/output.h"
#include "conn/unheard.h"

enum {
	OUTPUT = 8 * 1024 * 1024
};

static atomic_int silence_ms; /* of the peer's, that the kernel tells of; 0: what it is */

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	int (*behind)(int, int, int, void *, socklen_t *);

	*(void **)&behind = dlsym(RTLD_NEXT, "getsockopt");

	int result = behind(fd, level, option, value, size);

	if (result == 0 && level == IPPROTO_TCP && option == TCP_INFO && silence_ms) {
		struct tcp_info *info = value;

		info->tcpi_probes = 1;
		info->tcpi_last_ack_recv = (unsigned)silence_ms;
	}
	return result;
}

/* A paused connection whose output stands still, with input that nobody reads. */
static void open_still(struct pair *pair)
{
	static const char output[OUTPUT];
	sttcp_options options = {.size = sizeof(options), .send_queue_max = 2 * OUTPUT};
	int unread = 0;

	*pair = (struct pair){0};
	pair_open(pair, &options);
	sttcp_conn_pause(pair->conn);
	assert_int_equal(sttcp_conn_send(pair->conn, output, sizeof(output)), 0);
	assert_true(peer_say(pair->peer, "unread"));
	EVENTUALLY(ioctl(sttcp_conn_fd(pair->conn), FIONREAD, &unread) == 0 && unread);
}

struct looked {
	bool asks;
	int64_t next_ms; /* from the look on */
};

/* A look so long after the output stood still. */
static struct looked look(struct pair *pair, int64_t still_ms) STT_REQUIRES(pair->conn->output.lock)
{
	int64_t now = pair->conn->output.moved_ms + still_ms;
	struct looked looked = {false, 0};

	looked.next_ms = stt_unheard_look_locked(&pair->conn->output, now, &looked.asks) - now;
	stt_release(pair->conn, STT_HOLD_AHEAD);
	return looked;
}

#define EXPECT(what, asked, in_ms)                                                                 \
	do {                                                                                       \
		struct looked found = (what);                                                      \
                                                                                                   \
		assert_int_equal(found.asks, asked);                                               \
		assert_int_equal(found.next_ms, in_ms);                                            \
	} while (0)

static void a_second_look_comes_a_second_later(void **state)
{
	struct pair pair;

	(void)state;
	open_still(&pair);
	stt_lock(&pair.conn->output.lock);
	atomic_store(&silence_ms, 5000);
	EXPECT(look(&pair, 400), false, 600);
	EXPECT(look(&pair, 1000), false, 1000);
	/* Another alarm of the connection's rings. */
	EXPECT(look(&pair, 1001), false, 999);
	EXPECT(look(&pair, 1700), false, 300);
	EXPECT(look(&pair, 2000), true, 2000);
	EXPECT(look(&pair, 2500), false, 500);
	EXPECT(look(&pair, 4000), true, 4000);
	atomic_store(&silence_ms, 0);
	stt_unlock(&pair.conn->output.lock);
	pair_close(&pair);
}

static void an_answer_makes_it_heard(void **state)
{
	struct pair pair;

	(void)state;
	open_still(&pair);
	stt_lock(&pair.conn->output.lock);
	atomic_store(&silence_ms, 5000);
	EXPECT(look(&pair, 1000), false, 1000);
	atomic_store(&silence_ms, 1499);
	EXPECT(look(&pair, 1500), false, 1500);
	atomic_store(&silence_ms, 5000);
	EXPECT(look(&pair, 2000), false, 1000);
	EXPECT(look(&pair, 3000), true, 3000);
	atomic_store(&silence_ms, 0);
	stt_unlock(&pair.conn->output.lock);
	pair_close(&pair);
}

static void a_byte_that_leaves_begins_anew(void **state)
{
	struct pair pair;

	(void)state;
	open_still(&pair);
	stt_lock(&pair.conn->output.lock);
	atomic_store(&silence_ms, 5000);
	EXPECT(look(&pair, 1000), false, 1000);
	pair.conn->output.moved_ms += 900;
	EXPECT(look(&pair, 600), false, 400);
	EXPECT(look(&pair, 1100), false, 1000);
	EXPECT(look(&pair, 2100), true, 2100);
	atomic_store(&silence_ms, 0);
	stt_unlock(&pair.conn->output.lock);
	pair_close(&pair);
}

/* Nothing is read ahead of a reader that neither rests nor is paused: it reads by itself. */
static void a_reader_that_reads_is_not_asked(void **state)
{
	struct pair pair;

	(void)state;
	open_still(&pair);
	stt_lock(&pair.conn->output.lock);
	atomic_store(&silence_ms, 5000);
	EXPECT(look(&pair, 1000), false, 1000);
	stt_unlock(&pair.conn->output.lock);
	sttcp_conn_resume(pair.conn);
	stt_lock(&pair.conn->output.lock);
	EXPECT(look(&pair, 2000), false, 2000);
	EXPECT(look(&pair, 4000), false, 4000);
	atomic_store(&silence_ms, 0);
	stt_unlock(&pair.conn->output.lock);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_second_look_comes_a_second_later),
		cmocka_unit_test(an_answer_makes_it_heard),
		cmocka_unit_test(a_byte_that_leaves_begins_anew),
		cmocka_unit_test(a_reader_that_reads_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
