/* SPDX-License-Identifier: MIT */
/*
 * A reader that rests while the kernel drops what its peer answers (unheard.h).
 * It takes a receive buffer that is smaller than the window that the peer was told
 * of, and a small segment that finds no room in it: then Linux 6.17 and later take
 * no acknowledgement of the peer's any more, until some input is read. Older ones
 * do, and leave nothing to be done here.
 */
#include "support/support.h"

#include "conn/conn.h"
#include "conn/hold.h"
#include "net/socket.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	OUTPUT = 8 * 1024 * 1024,
	MIB = 1024 * 1024,
	/* Less than 1 KiB: the kernel lets a peer go so far beyond a window. */
	SAID = 1000,
	UNANSWERED_MS = 300,
	HANDLER_MOST = 60 * 1024,
	DEAF_MS = 3500 /* three looks, and one after each that is in doubt */
};

static const sttcp_options large_queue = {.size = sizeof(large_queue),
					  .send_queue_max = 2 * OUTPUT,
					  .high_water = 64 * 1024,
					  .low_water = 16 * 1024};

static char output[OUTPUT];

/* What the peer says, byte by byte: so nothing can be lost, or come twice. */
static char said_at(size_t at)
{
	return (char)('0' + at % 10);
}

struct story {
	size_t heard;
	size_t ends; /* of a message, that are not delivered */
	bool pauses;
	atomic_bool rests;
};

/* The first message makes the reader rest; the others are checked. */
static bool hear(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct story *story = probe->extra;
	const char *text = data;

	if (text[0] == '?') {
		bool done = story->pauses || sttcp_conn_send(conn, output, sizeof(output)) == 0;

		if (story->pauses)
			sttcp_conn_pause(conn);
		atomic_store(&story->rests, true);
		return done;
	}
	if (atomic_load(&story->rests))
		probe_violate(probe, "delivered while the reader rested");
	if (size > HANDLER_MOST)
		probe_violate(probe, "%zu bytes at once", size);
	for (size_t i = 0; i < size; i++)
		if (text[i] != said_at(story->heard + i))
			probe_violate(probe, "byte %zu is another one", story->heard + i);
	story->heard += size + story->ends;
	return true;
}

static bool is_answered(int fd, int ms)
{
	int64_t until = now_ms() + ms;
	int left;

	while (ioctl(fd, TIOCOUTQ, &left) == 0 && left && now_ms() < until)
		nap_ms(1);
	return !left;
}

/* Says so much that the kernel of the other side has no more memory for it: how many bytes. With
 * framing each part is a line. */
static size_t fill(struct pair *pair, bool lines)
{
	const int size = 32 * 1024;
	char text[SAID];
	size_t said = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = said_at(i);
	if (lines)
		text[sizeof(text) - 1] = '\n';
	assert_int_equal(
		setsockopt(sttcp_conn_fd(pair->conn), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)),
		0);
	assert_true(is_answered(pair->peer, DEADLINE_MS));
	do {
		assert_int_equal(send(pair->peer, text, sizeof(text), 0), sizeof(text));
		said += sizeof(text);
	} while (is_answered(pair->peer, UNANSWERED_MS));
	return said;
}

static void read_output(struct pair *pair)
{
	static char data[64 * 1024];
	size_t got = 0;

	while (got < OUTPUT) {
		ssize_t size = recv(pair->peer, data, sizeof(data), 0);

		assert_true(size > 0);
		got += (size_t)size;
	}
}

/* Output of a connection whose reader rests: it leaves, and all input is delivered afterwards. */
static void run_story(bool pauses, enum sttcp_framing framing)
{
	struct story story = {.ends = framing == STTCP_FRAMING_LINE, .pauses = pauses};
	struct pair pair = {.probe = probe_new()};
	sttcp_options options = large_queue;

	options.framing = (int32_t)framing;
	pair.probe->data = hear;
	pair.probe->extra = &story;
	pair_open(&pair, &options);
	assert_true(peer_say(pair.peer, story.ends ? "?\n" : "?"));
	EVENTUALLY(atomic_load(&story.rests));
	if (pauses)
		assert_int_equal(sttcp_conn_send(pair.conn, output, sizeof(output)), 0);
	size_t said = fill(&pair, story.ends);

	if (!pauses) /* from the middle of the output on the reader goes on */
		atomic_store(&story.rests, false);
	read_output(&pair);
	if (pauses) {
		atomic_store(&story.rests, false);
		sttcp_conn_resume(pair.conn);
	}
	if (story.ends)
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, (long)(said / SAID) + 1));
	else
		assert_true(probe_wait_bytes(pair.probe, said + 1));
	assert_string_equal(pair.probe->violation, "");
	pair_close(&pair);
}

static void g13_output_leaves_while_the_queue_holds_the_reader(void **state)
{
	(void)state;
	run_story(false, STTCP_FRAMING_RAW);
}

static void g13_output_leaves_while_the_reader_is_paused(void **state)
{
	(void)state;
	run_story(true, STTCP_FRAMING_RAW);
}

static void g13_output_leaves_while_messages_are_held(void **state)
{
	(void)state;
	run_story(true, STTCP_FRAMING_LINE);
	run_story(false, STTCP_FRAMING_LINE);
}

static int64_t bytes_in(sttcp_conn *conn)
{
	sttcp_conn_counts counts = {0};

	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	return counts.bytes_in;
}

/* Its kernel answers each probe, however long that goes on. */
static void a_peer_that_does_not_read_is_heard(void **state)
{
	struct story story = {0};
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = hear;
	pair.probe->extra = &story;
	pair_open(&pair, &large_queue);
	assert_true(peer_say(pair.peer, "?"));
	EVENTUALLY(atomic_load(&story.rests));
	assert_true(peer_say(pair.peer, "0123456789"));
	for (int64_t until = now_ms() + DEAF_MS; now_ms() < until; nap_ms(10))
		assert_int_equal(bytes_in(pair.conn), 1);
	atomic_store(&story.rests, false);
	pair_close(&pair);
}

static bool has_unread(sttcp_conn *conn)
{
	int unread = 0;

	ioctl(sttcp_conn_fd(conn), FIONREAD, &unread);
	return unread > 0;
}

/* As the loop does when the peer is not heard. */
static void have_it_read_ahead(sttcp_conn *conn)
{
	EVENTUALLY(has_unread(conn));
	stt_hold(conn, STT_HOLD_AHEAD);
	stt_conn_ask(conn, STT_WISH_READ);
}

/* What has been read ahead is delivered before the peer's end is told. */
static void read_ahead_to_the_end(bool pauses)
{
	struct story story = {.pauses = pauses};
	struct pair pair = {.probe = probe_new()};

	pair.probe->data = hear;
	pair.probe->extra = &story;
	pair_open(&pair, &large_queue);
	assert_true(peer_say(pair.peer, "?"));
	EVENTUALLY(atomic_load(&story.rests));
	assert_true(peer_say(pair.peer, "01234"));
	have_it_read_ahead(pair.conn);
	EVENTUALLY(bytes_in(pair.conn) == 6);
	assert_true(peer_say(pair.peer, "56789"));
	peer_shutdown(pair.peer);
	have_it_read_ahead(pair.conn);
	EVENTUALLY(bytes_in(pair.conn) == 11);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 1);

	atomic_store(&story.rests, false);
	if (pauses)
		sttcp_conn_resume(pair.conn);
	else
		read_output(&pair);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(story.heard, 10);
	assert_int_equal(probe_reason(pair.probe), 0);
	assert_string_equal(pair.probe->violation, "");
	pair_close(&pair);
}

static void the_end_comes_behind_what_was_read_ahead(void **state)
{
	(void)state;
	read_ahead_to_the_end(false);
	read_ahead_to_the_end(true);
}

/* However often it is asked for: half of SO_RCVBUF, or 1 MiB, and the last read. */
static void g13_what_is_read_ahead_is_bounded(void **state)
{
	static char flood[64 * 1024];
	struct story story = {.pauses = true};
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = hear;
	pair.probe->extra = &story;
	pair_open(&pair, &large_queue);
	assert_true(peer_say(pair.peer, "?"));
	EVENTUALLY(atomic_load(&story.rests));
	int64_t until = now_ms() + DEADLINE_MS;

	/* Until it has come far, and then often enough to come too far. */
	for (int i = 0; i < 100; i += bytes_in(pair.conn) >= MIB / 2) {
		assert_true(now_ms() < until);
		while (send(pair.peer, flood, sizeof(flood), MSG_DONTWAIT) > 0)
			;
		have_it_read_ahead(pair.conn);
		nap_ms(2);
	}

	size_t half = stt_socket_memory(sttcp_conn_fd(pair.conn)) / 2;
	size_t most = half > MIB ? half : MIB;

	assert_in_range(bytes_in(pair.conn), MIB / 2, most + HANDLER_MOST);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g13_output_leaves_while_the_queue_holds_the_reader),
		cmocka_unit_test(g13_output_leaves_while_the_reader_is_paused),
		cmocka_unit_test(g13_output_leaves_while_messages_are_held),
		cmocka_unit_test(a_peer_that_does_not_read_is_heard),
		cmocka_unit_test(the_end_comes_behind_what_was_read_ahead),
		cmocka_unit_test(g13_what_is_read_ahead_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
