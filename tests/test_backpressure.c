/* SPDX-License-Identifier: MIT */
/* Flow: reading rests between the marks, and as long as the user says so. */
#include "support/support.h"

#include <sys/socket.h>

static int64_t received(sttcp_conn *conn)
{
	sttcp_conn_counts counts;

	return sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 ? counts.bytes_in : -1;
}

/* --------------------------------------------------------------------- marks */

/* Bytes that a peer sends, and expects to come back. */
struct stream {
	int peer;
	unsigned char *bytes;
	size_t size;
	size_t sent;
	size_t back;
};

static void stream_open(struct stream *stream, int peer, size_t size)
{
	*stream = (struct stream){.peer = peer, .bytes = malloc(size), .size = size};
	assert_non_null(stream->bytes);
	fill_pattern(stream->bytes, size, 7);
}

/* Sends up to `most` bytes, as far as the socket takes them. */
static void push(struct stream *stream, size_t most)
{
	size_t left = stream->size - stream->sent < most ? stream->size - stream->sent : most;
	ssize_t now =
		send(stream->peer, stream->bytes + stream->sent, left, MSG_DONTWAIT | MSG_NOSIGNAL);

	stream->sent += now > 0 ? (size_t)now : 0;
}

static void pull(struct stream *stream, size_t most)
{
	static unsigned char got[64 * 1024];

	while (most > 0) {
		size_t part = most < sizeof(got) ? most : sizeof(got);

		assert_true(peer_recv(stream->peer, got, part));
		assert_memory_equal(got, stream->bytes + stream->back, part);
		stream->back += part;
		most -= part;
	}
}

/* Reads all that was sent, and the rest as it goes. */
static void finish(struct stream *stream)
{
	while (stream->back < stream->size) {
		size_t left = stream->sent - stream->back;

		if (left > 0)
			pull(stream, left < 4096 ? left : 4096);
		push(stream, SIZE_MAX);
	}
	free(stream->bytes);
}

/* Not read from at the high mark, and read from again only near the low one. */
static void reading_rests_between_the_marks(void **state)
{
	enum {
		HIGH = 1024 * 1024,
		LOW = 128 * 1024,
		/* What one read brings, and what the kernel's buffers hold. */
		SLACK = 384 * 1024
	};
	struct pair pair = {.probe = probe_new()};
	struct stream stream;

	(void)state;
	pair.probe->data = echo_data;
	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = 4 * HIGH, .high_water = HIGH,
					      .low_water = LOW));
	stream_open(&stream, pair.peer, (size_t)4 << 20);
	EVENTUALLY((push(&stream, SIZE_MAX), conn_queued(pair.conn) >= HIGH));
	assert_true(conn_queued(pair.conn) <= HIGH + SLACK);
	int64_t held = received(pair.conn);
	for (int i = 0; i < 20; i++) {
		push(&stream, SIZE_MAX);
		nap_ms(2);
		assert_int_equal(received(pair.conn), held);
	}
	int64_t before = conn_queued(pair.conn);
	for (int late = 0; stream.back + 4096 <= stream.sent;) {
		int64_t now = received(pair.conn);

		/* On a busy machine it may have been about to read when it seemed to rest: once or
		 * twice, and not at each of these. */
		if (now != held && (before <= LOW + SLACK || late++ == 3))
			break;
		held = now;
		before = conn_queued(pair.conn);
		/* There is always something to be read. */
		push(&stream, SIZE_MAX);
		pull(&stream, 4096);
	}
	EVENTUALLY(received(pair.conn) > held);
	assert_true(before <= LOW + SLACK);
	finish(&stream);
	EVENTUALLY(conn_queued(pair.conn) == 0);
	pair_close(&pair);
}

/* Without a high mark the queue alone is the limit; here it has none. */
static void reading_never_rests_without_a_high_mark(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct stream stream;

	(void)state;
	pair.probe->data = echo_data;
	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = -1, .high_water = -1));
	stream_open(&stream, pair.peer, (size_t)3 << 20);
	EVENTUALLY((push(&stream, SIZE_MAX), received(pair.conn) == (int64_t)stream.size));
	finish(&stream);
	pair_close(&pair);
}

/* A half of it and an eighth: the handler never waits for room. */
static void marks_shrink_with_a_small_queue(void **state)
{
	enum {
		CAP = 16 * 1024,
		PART = 1024
	};
	struct pair pair = {.probe = probe_new()};
	struct stream stream;

	(void)state;
	pair.probe->data = echo_data;
	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
	stream_open(&stream, pair.peer, (size_t)1 << 20);
	while (conn_queued(pair.conn) < CAP / 2 && stream.sent < stream.size) {
		push(&stream, PART);
		EVENTUALLY(received(pair.conn) == (int64_t)stream.sent ||
			   conn_queued(pair.conn) >= CAP / 2);
	}
	EVENTUALLY(conn_queued(pair.conn) >= CAP / 2);
	int64_t held = received(pair.conn);
	push(&stream, CAP);
	nap_ms(50);
	assert_int_equal(received(pair.conn), held);
	assert_true(conn_queued(pair.conn) <= CAP / 2 + PART);
	finish(&stream);
	pair_close(&pair);
}

static int start_with(const sttcp_options *options)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);
	int result = sttcp_server_start(server);

	sttcp_server_free(server);
	return result;
}

static void marks_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	assert_int_equal(start_with(STTCP_OPTIONS(.high_water = 100, .low_water = 101)), -EINVAL);
	assert_int_equal(start_with(STTCP_OPTIONS(.low_water = 600 * 1024)), -EINVAL);
	assert_int_equal(start_with(STTCP_OPTIONS(.high_water = -2)), -EINVAL);
	assert_int_equal(start_with(STTCP_OPTIONS(.low_water = -2)), -EINVAL);
	assert_int_equal(start_with(STTCP_OPTIONS(.total_queue_max = -2)), -EINVAL);
	assert_int_equal(start_with(STTCP_OPTIONS(.high_water = 100, .low_water = 100)), 0);
	assert_int_equal(start_with(STTCP_OPTIONS(.high_water = 1, .low_water = -1)), 0);
	assert_int_equal(start_with(STTCP_OPTIONS(.high_water = -1, .low_water = 5 << 20)), 0);
	assert_int_equal(start_with(STTCP_OPTIONS(.send_queue_max = 1)), 0);
}

/* ----------------------------------------------------------- pause and resume */

enum {
	/* How long nothing must come. */
	WHILE_MS = 50
};

static struct event paused = EVENT_INIT;

/* Pauses at the line "pause", and goes on by itself at "both". */
static bool pause_at_line(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	if (size == 5 && memcmp(data, "pause", 5) == 0) {
		sttcp_conn_pause(conn);
		event_raise(&paused);
	}
	if (size == 4 && memcmp(data, "both", 4) == 0) {
		sttcp_conn_pause(conn);
		sttcp_conn_resume(conn);
	}
	return true;
}

static void pause_in_a_handler_holds_the_rest_of_the_read(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&paused);

	(void)state;
	pair.probe->data = pause_at_line;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "one\npause\nthree\nfour\nfi"));
	assert_true(event_wait(&paused, before + 1));
	nap_ms(WHILE_MS);
	assert_string_equal(probe_text(pair.probe), "onepause");
	/* New input does not bring it about either. */
	assert_true(peer_say(pair.peer, "ve\n"));
	nap_ms(WHILE_MS);
	assert_string_equal(probe_text(pair.probe), "onepause");
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 5));
	assert_string_equal(probe_text(pair.probe), "onepausethreefourfive");
	pair_close(&pair);
}

/* What was read already comes at the resume, without new input; one after the other. */
static void resume_delivers_what_was_read(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&paused);

	(void)state;
	pair.probe->data = pause_at_line;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "pause\npause\npause\npause\n"));
	for (int i = 1; i <= 4; i++) {
		assert_true(event_wait(&paused, before + i));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, i));
		nap_ms(10);
		assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), i);
		assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	}
	assert_true(peer_say(pair.peer, "both\nlast\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 6));
	pair_close(&pair);
}

static void pause_of_another_thread_stops_bytes_too(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0); /* nothing to resume */
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(peer_say(pair.peer, "waits"));
	nap_ms(WHILE_MS);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "goes on", 7), 0);
	assert_true(peer_expect(pair.peer, "goes on"));
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(probe_wait_bytes(pair.probe, 5));
	assert_string_equal(probe_text(pair.probe), "waits");
	pair_close(&pair);
}

static void fin_while_paused_comes_after_the_rest(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&paused);

	(void)state;
	pair.probe->data = pause_at_line;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .half_close = true));
	assert_true(peer_say(pair.peer, "pause\nrest\n"));
	peer_shutdown(pair.peer);
	assert_true(event_wait(&paused, before + 1));
	nap_ms(WHILE_MS);
	assert_string_equal(probe_order(pair.probe), "cCrR");
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(probe_wait(pair.probe, STTCP_END, 1));
	assert_string_equal(probe_order(pair.probe), "cCrRrReE");
	sttcp_conn_close(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	pair_close(&pair);
}

static void end_in_order_while_paused_is_found_after_resume(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn_pause(pair.conn);
	assert_true(peer_say(pair.peer, "bye"));
	peer_close(pair.peer);
	pair.peer = -1;
	nap_ms(WHILE_MS);
	assert_string_equal(probe_order(pair.probe), "cC");
	sttcp_conn_resume(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), 0);
	assert_string_equal(probe_text(pair.probe), "bye");
	assert_int_equal(sttcp_conn_pause(pair.conn), STTCP_ECLOSED);
	assert_int_equal(sttcp_conn_resume(pair.conn), STTCP_ECLOSED);
	pair_close(&pair);
}

static void close_while_paused_works(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&paused);

	(void)state;
	pair.probe->data = pause_at_line;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "pause\nlost\n"));
	assert_true(event_wait(&paused, before + 1));
	assert_int_equal(sttcp_conn_send(pair.conn, "bye", 3), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_true(peer_expect(pair.peer, "bye"));
	assert_int_equal(peer_end(pair.peer), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 1);
	pair_close(&pair);
}

static void stop_while_paused_ends_at_its_deadline(void **state)
{
	struct pair pair = {0};
	sttcp_stop_report report;

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn_pause(pair.conn);
	assert_true(peer_say(pair.peer, "unread"));
	assert_int_equal(sttcp_server_stop_within(pair.server, 100, &report), 0);
	assert_int_equal(report.forced + report.running, 1);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ESTOPPED);
	pair_close(&pair);
}

/* A peer that is gone is found though nothing is read from it: what it sent before is lost, as
 * nothing could be answered. */
static void reset_while_paused_ends_it(void **state)
{
	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.framing = framed ? STTCP_FRAMING_LINE
								 : STTCP_FRAMING_RAW));
		sttcp_conn_pause(pair.conn);
		assert_true(peer_say(pair.peer, "unread\n"));
		peer_reset(pair.peer);
		pair.peer = -1;
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(pair.probe), -ECONNRESET);
		assert_string_equal(probe_order(pair.probe), "cCdD");
		pair_close(&pair);
	}
}

/* A server that only sends, and reads from nobody. */
static void failed_send_while_paused_ends_it(void **state)
{
	struct pair pair = {0};
	int code = 0;

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn_pause(pair.conn);
	peer_close(pair.peer); /* orderly: the first bytes are answered by a reset */
	pair.peer = -1;
	EVENTUALLY((code = sttcp_conn_send(pair.conn, "news", 4)) != 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_true(probe_reason(pair.probe) == -EPIPE || probe_reason(pair.probe) == -ECONNRESET);
	pair_close(&pair);
}

static bool pause_first(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_pause(conn) == 0;
}

static bool answer_at_length(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static const char answer[100];

	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_send(conn, answer, sizeof(answer));
	return true;
}

/* G5: answers that nobody takes any more reset the connection, behind the peer's FIN: what came
 * before that is delivered, though reading rests at the high-water mark. */
static void what_came_before_fin_is_delivered_at_the_high_mark(void **state)
{
	enum {
		LINES = 5000
	};
	static char text[2 * LINES + 1];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->connection = pause_first;
	pair.probe->data = answer_at_length;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .high_water = 1000));
	for (int i = 0; i < LINES; i++)
		memcpy(text + (size_t)2 * (size_t)i, "x\n", 2);
	assert_true(peer_say(pair.peer, text));
	peer_close(pair.peer);
	pair.peer = -1;
	sttcp_conn_resume(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), LINES);
	pair_close(&pair);
}

static void *toggle(void *argument)
{
	sttcp_conn *conn = argument;

	for (int i = 0; i < 3000; i++) {
		sttcp_conn_pause(conn);
		sttcp_conn_resume(conn);
	}
	return NULL;
}

/* No wake-up gets lost, whoever pauses and resumes how often. */
static void pausing_and_resuming_loses_nothing(void **state)
{
	enum {
		BYTES = 1 << 20
	};
	struct pair pair = {.probe = probe_new()};
	struct stream stream;
	pthread_t threads[2];

	(void)state;
	pair.probe->data = echo_data;
	pair_open(&pair, NULL);
	stream_open(&stream, pair.peer, BYTES);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, toggle, pair.conn), 0);
	finish(&stream);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(peer_say(pair.peer, "still"));
	assert_true(peer_expect(pair.peer, "still"));
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_rests_between_the_marks),
		cmocka_unit_test(reading_never_rests_without_a_high_mark),
		cmocka_unit_test(marks_shrink_with_a_small_queue),
		cmocka_unit_test(marks_that_make_no_sense_are_refused),
		cmocka_unit_test(pause_in_a_handler_holds_the_rest_of_the_read),
		cmocka_unit_test(resume_delivers_what_was_read),
		cmocka_unit_test(pause_of_another_thread_stops_bytes_too),
		cmocka_unit_test(fin_while_paused_comes_after_the_rest),
		cmocka_unit_test(end_in_order_while_paused_is_found_after_resume),
		cmocka_unit_test(close_while_paused_works),
		cmocka_unit_test(stop_while_paused_ends_at_its_deadline),
		cmocka_unit_test(reset_while_paused_ends_it),
		cmocka_unit_test(failed_send_while_paused_ends_it),
		cmocka_unit_test(what_came_before_fin_is_delivered_at_the_high_mark),
		cmocka_unit_test(pausing_and_resuming_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
