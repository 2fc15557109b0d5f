/* SPDX-License-Identifier: MIT */
/* Reading inside handlers: dialogues as straight functions, what is taken and what is left. */
#include "support/reading.h"

enum {
	MIB = 1024 * 1024,
	WAITING = 32
};

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options semicolons =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ";", .delimiter_size = 1);

/* ------------------------------------------------------------------- dialogues */

static bool login(struct book *book, sttcp_conn *conn)
{
	char name[64] = "";
	char password[64] = "";

	(void)book;
	sttcp_conn_send(conn, "name? ", 6);
	ignore(sttcp_conn_recv_message(conn, name, sizeof(name) - 1, DEADLINE_MS));
	sttcp_conn_send(conn, "password? ", 10);
	ignore(sttcp_conn_recv_message(conn, password, sizeof(password) - 1, DEADLINE_MS));
	sttcp_conn_sendf(conn, "%s/%s\n", name, password);
	return true;
}

static void login_at_word(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	if (is(data, size, "login"))
		login(book, conn);
	else
		sttcp_conn_send_message(conn, data, size);
}

static void log_in(int peer)
{
	assert_true(peer_expect(peer, "name? "));
	assert_true(peer_say(peer, "bob\n"));
	assert_true(peer_expect(peer, "password? "));
	assert_true(peer_say(peer, "sec\r\nnext\n"));
	assert_true(peer_expect(peer, "bob/sec\nnext\n"));
}

static const char whole_login[] = "name? password? bob/sec\nnext\n";

static void dialogue_in_a_connection_handler(void **state)
{
	struct talk talk = {0};

	(void)state;
	for (int way = 0; way < 2; way++) {
		talk.book = book_new();
		talk.book->opened = login;
		talk.book->script = login_at_word;
		talk.server = book_listen(talk.book, &lines);
		talk.peer = peer_connect(sttcp_server_port(talk.server));
		if (way == 0) {
			log_in(talk.peer);
		} else {
			assert_true(peer_say(talk.peer, "bob\nsec\nnext\n"));
			assert_true(peer_expect(talk.peer, whole_login));
		}
		talk_ends(&talk, "<next>", 0);
	}
}

/* The prompts leave although the answer before them was gathered. */
static void dialogue_in_a_receive_handler(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, login_at_word);
	assert_true(peer_say(talk.peer, "a\nlogin\n"));
	assert_true(peer_expect(talk.peer, "a\n"));
	log_in(talk.peer);
	assert_true(peer_say(talk.peer, "b\nlogin\nbob\nsec\nnext\nlogin\nbo"));
	assert_true(peer_expect(talk.peer, "b\n"));
	assert_true(peer_expect(talk.peer, whole_login));
	assert_true(peer_expect(talk.peer, "name? "));
	assert_true(peer_say(talk.peer, "b\nsec\nnext\n"));
	assert_true(peer_expect(talk.peer, "password? bob/sec\nnext\n"));
	talk_ends(&talk, "<a><login><next><b><login><next><login><next>", 0);
}

static bool answer_questions(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	texts[2][0] = is(data, size, "begin") ? 'b' : '?';
	sttcp_conn_send_message(conn, "go", 2);
	take_message(conn, 0, -1);
	take_message(conn, 1, -1);
	event_raise(&inside);
	return false;
}

static void dialogue_of_a_client(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);

	(void)state;
	begin_anew();
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, &lines);
	assert_int_equal(sttcp_client_on_response(client, answer_questions), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);
	assert_true(peer_say(peer, "begin\n"));
	assert_true(peer_expect(peer, "go\n"));
	assert_true(peer_say(peer, "one\ntwo\nthree\n"));
	assert_int_equal(peer_end(peer), 0);
	assert_true(event_wait(&inside, 1));
	assert_int_equal(texts[2][0], 'b');
	assert_string_equal(texts[0], "one");
	assert_string_equal(texts[1], "two");
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	sttcp_client_free(client);
	peer_close(listener);
}

/* -------------------------------------------------------------- taken and left */

/* A line tells how many bytes follow; then come lines again. */
static void take_body(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "body"))
		return;
	take_message(conn, 0, DEADLINE_MS);
	for (ssize_t at = 0, whole = atoi(texts[0]); at < whole && results[1] >= 0;) {
		results[1] =
			sttcp_conn_recv(conn, texts[1] + at, (size_t)(whole - at), DEADLINE_MS);
		at += results[1];
	}
	take_message(conn, 2, DEADLINE_MS);
}

static void bytes_and_messages_may_alternate(void **state)
{
	static const char text[] = "body\n7\nb\no\nd\r\nafter\nnext\n";

	(void)state;
	for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
		struct talk talk = {0};

		open_with(&talk, &lines, take_body);
		say_and_wait(&talk, text, cut < 5 ? cut : 5);
		if (cut > 5)
			assert_true(peer_send(talk.peer, text + 5, cut - 5));
		size_t from = cut < 5 ? 5 : cut;
		assert_true(cut >= 5 || peer_send(talk.peer, text + cut, 5 - cut));
		assert_true(peer_send(talk.peer, text + from, sizeof(text) - 1 - from));
		talk_ends(&talk, "<body><next>", 0);
		assert_string_equal(texts[1], "b\no\nd\r\n");
		assert_string_equal(texts[2], "after");
	}
}

/* Reads far more than any buffer holds; what the handler was called with stays. */
static void read_a_lot(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char message[MIB];
	char copy[64];

	(void)book;
	if (size > sizeof(copy))
		return;
	memcpy(copy, data, size);
	for (int i = 0; i < 4 && results[0] >= 0; i++) {
		results[0] = sttcp_conn_recv_message(conn, message, sizeof(message), DEADLINE_MS);
		for (ssize_t at = 0; at < results[0]; at++)
			results[1] += message[at] != 'm';
	}
	results[2] = memcmp(copy, data, size);
}

static void data_of_the_handler_stays_valid(void **state)
{
	static char message[MIB + 1];

	(void)state;
	memset(message, 'm', MIB);
	message[MIB] = '\n';
	for (size_t cut = 1; cut <= 6; cut++) {
		struct talk talk = {0};

		open_with(&talk, &lines, read_a_lot);
		say_and_wait(&talk, "first\n", cut);
		assert_true(peer_send(talk.peer, &"first\n"[cut], 6 - cut));
		assert_true(peer_send(talk.peer, message + MIB - 10, 11));
		for (int i = 0; i < 3; i++)
			assert_true(peer_send(talk.peer, message, sizeof(message)));
		talk_ends(&talk, "<first>", 0);
		assert_int_equal(results[0], MIB);
		assert_int_equal(results[1], 0);
		assert_int_equal(results[2], 0);
	}
}

static void read_in_new_framings(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	ignore(sttcp_conn_set_framing(conn, &lines));
	take_message(conn, 0, DEADLINE_MS);
	/* Not a whole line: what was looked through is looked through again for another end. */
	take_message(conn, 1, 0);
	ignore(sttcp_conn_set_framing(conn, &semicolons));
	take_message(conn, 2, 0);
	ignore(sttcp_conn_set_framing(conn, &raw));
	take_bytes(conn, 3, 2, 0);
	take_message(conn, 4, 0); /* as it comes */
}

static void framing_may_change_between_reads(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, read_in_new_framings);
	say_and_wait(&talk, "go", 2);
	assert_true(peer_say(talk.peer, "line\nab;cd;e"));
	assert_true(event_wait(&talk.book->changed, 1));
	assert_string_equal(texts[0], "line");
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_string_equal(texts[2], "ab");
	assert_string_equal(texts[3], "cd");
	assert_string_equal(texts[4], ";e");
	assert_true(peer_say(talk.peer, "raw\n"));
	talk_ends(&talk, "<go><raw\n>", 0);
}

static void take_with_small_buffers(struct book *book, sttcp_conn *conn, const void *data,
				    size_t size)
{
	char small[3];

	(void)book;
	if (!is(data, size, "go"))
		return;
	results[0] = sttcp_conn_recv_message(conn, small, sizeof(small), DEADLINE_MS);
	results[1] = sttcp_conn_recv_message(conn, NULL, 0, 0);
	take_message(conn, 2, 0);
	take_message(conn, 3, 0); /* an empty one */
	results[4] = sttcp_conn_recv_message(conn, small, sizeof(small), 0);
}

static void message_over_the_buffer_stays_to_be_read(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, take_with_small_buffers);
	assert_true(peer_say(talk.peer, "go\nfour\n\nlast message\nb\n"));
	talk_ends(&talk, "<go><last message><b>", 0);
	assert_int_equal(results[0], -EMSGSIZE);
	assert_int_equal(results[1], -EMSGSIZE);
	assert_int_equal(results[2], 4);
	assert_string_equal(texts[2], "four");
	assert_int_equal(results[3], 0);
	assert_int_equal(results[4], -EMSGSIZE);
}

static void take_with_no_buffer(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	results[0] = sttcp_conn_recv_message(conn, NULL, 0, 0);
	results[1] = sttcp_conn_send(conn, "?", 1);
	results[2] = sttcp_conn_recv_message(conn, NULL, 0, DEADLINE_MS);
	results[3] = sttcp_conn_recv_message(conn, texts[3], sizeof(texts[3]) - 1, 0);
	results[4] = sttcp_conn_recv_message(conn, NULL, 0, DEADLINE_MS);
}

/* Without framing, too, it is about bytes that are there. */
static void no_buffer_waits_for_bytes(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, take_with_no_buffer);
	assert_true(peer_say(talk.peer, "go"));
	assert_true(peer_expect(talk.peer, "?"));
	assert_true(peer_say(talk.peer, "bytes"));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[2], -EMSGSIZE);
	assert_int_equal(results[3], 5);
	assert_string_equal(texts[3], "bytes");
	assert_int_equal(results[4], -ENODATA);
}

/* Its length is still where it was. */
static void length_inside_the_payload_stays_until_it_is_read(void **state)
{
	static const sttcp_options typed =
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1, .prefix_offset = 2);
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &typed, take_with_small_buffers);
	assert_true(peer_send(talk.peer, WIRE("go\0fo\2urxy\0la\13st messagesb.\0")));
	talk_ends(&talk, "<go><last messages><b.>", 0);
	assert_int_equal(results[0], -EMSGSIZE);
	assert_int_equal(results[1], -EMSGSIZE);
	assert_int_equal(results[2], 4);
	assert_string_equal(texts[2], "four");
	assert_string_equal(texts[3], "xy");
	assert_int_equal(results[4], -EMSGSIZE);
}

/* What was read beyond the message, when the connection has ended in the same handler. */
static struct {
	atomic_int peer;
	int (*end)(sttcp_conn *conn);
} leaver;

static void leave_bytes(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	ignore(sttcp_conn_set_framing(conn, &lines));
	/* From here, so that nobody waits for it: the thread keeps its loop. */
	peer_say(atomic_load(&leaver.peer), "one\nleft\nbehi");
	take_message(conn, 0, DEADLINE_MS);
	leaver.end(conn);
}

static int fail_conn(sttcp_conn *conn)
{
	return sttcp_conn_fail(conn, -EIO, "no more");
}

/* Bytes stay with their connection: its end is theirs, and the next ones on the same loop never see
 * them, framed from the start or from their own first handler on. */
static void bytes_left_behind_go_to_nobody(void **state)
{
	int (*const ends[])(sttcp_conn *) = {sttcp_conn_close, sttcp_conn_abort, fail_conn};

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct talk talk = {0};
		struct talk others[4] = {0};

		leaver.end = ends[round];
		open_with(&talk, &raw, leave_bytes);
		atomic_store(&leaver.peer, talk.peer);
		for (int i = 0; i < 4; i++)
			talk_open(&others[i], &lines);
		assert_true(peer_say(talk.peer, "go"));
		assert_true(event_wait(&talk.book->ended, 1));
		for (int i = 0; i < 4; i++)
			assert_true(peer_say(others[i].peer, "own\n"));
		for (int i = 0; i < 4; i++)
			talk_ends(&others[i], "<own>", 0);
		assert_string_equal(texts[0], "one");
		assert_string_equal(book_text(talk.book), "<go>");
		talk_close(&talk);
	}
}

static void ask_and_wait(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char name[64];

	(void)book;
	sttcp_conn_send_message(conn, data, size);
	if (is(data, size, "login"))
		ignore(sttcp_conn_recv_message(conn, name, sizeof(name), -1));
}

static void waiting_handlers_hold_nobody_up(void **state)
{
	struct talk talk = {0};
	int peers[WAITING];

	(void)state;
	open_with(&talk, &lines, ask_and_wait);
	for (int i = 0; i < WAITING; i++) {
		peers[i] = book_join(talk.server);
		assert_true(peer_say(peers[i], "login\n"));
		assert_true(peer_expect(peers[i], "login\n"));
	}
	for (int i = 0; i < 10; i++) {
		assert_true(peer_say(talk.peer, "quick\n"));
		assert_true(peer_expect(talk.peer, "quick\n"));
	}
	assert_int_equal(sttcp_server_stop_within(talk.server, 0, NULL), 0);
	for (int i = 0; i < WAITING; i++) {
		peer_end(peers[i]);
		peer_close(peers[i]);
	}
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogue_in_a_connection_handler),
		cmocka_unit_test(dialogue_in_a_receive_handler),
		cmocka_unit_test(dialogue_of_a_client),
		cmocka_unit_test(bytes_and_messages_may_alternate),
		cmocka_unit_test(data_of_the_handler_stays_valid),
		cmocka_unit_test(framing_may_change_between_reads),
		cmocka_unit_test(message_over_the_buffer_stays_to_be_read),
		cmocka_unit_test(no_buffer_waits_for_bytes),
		cmocka_unit_test(length_inside_the_payload_stays_until_it_is_read),
		cmocka_unit_test(bytes_left_behind_go_to_nobody),
		cmocka_unit_test(waiting_handlers_hold_nobody_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
