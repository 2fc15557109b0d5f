/* SPDX-License-Identifier: MIT */
/* A connection's own handler for messages: from when on it gets them, who sees them first, and what
 * ends. While other threads set it: test_on_message_races.c. */
#include "support/book.h"

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options semicolons =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ";", .delimiter_size = 1);

/* What handlers have got, in sequence: "book:a one:b ". */
static struct {
	pthread_mutex_t lock;
	char text[4096];
	size_t len;
	atomic_int result; /* of the last call that a handler made */
} diary = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void write_down(const char *who, const void *data, size_t size)
{
	pthread_mutex_lock(&diary.lock);
	int len = snprintf(diary.text + diary.len, sizeof(diary.text) - diary.len, "%s:%.*s ", who,
			   (int)size, (const char *)data);

	if (len > 0 && diary.len + (size_t)len < sizeof(diary.text))
		diary.len += (size_t)len;
	pthread_mutex_unlock(&diary.lock);
}

static void begin(void)
{
	diary.len = 0;
	diary.text[0] = '\0';
	diary.result = 0;
}

/* A copy that lives until the next call. */
static const char *diary_text(void)
{
	static char copy[sizeof(diary.text)];

	pthread_mutex_lock(&diary.lock);
	memcpy(copy, diary.text, sizeof(copy));
	pthread_mutex_unlock(&diary.lock);
	return copy;
}

static void set(sttcp_conn *conn, sttcp_receive_handler fn, const char *context)
{
	int result = sttcp_conn_on_message(conn, fn, (void *)(uintptr_t)context);

	if (result < 0)
		diary.result = result;
}

/* Writes down; its context is its name. "back" gives back, "two" makes that its name, and "bye"
 * closes. */
static void own(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	write_down(context, data, size);
	if (is(data, size, "back"))
		set(conn, NULL, NULL);
	else if (is(data, size, "two"))
		set(conn, own, "two");
	else if (is(data, size, "bye"))
		sttcp_conn_close(conn);
}

/* A book's script: "own" hands on. */
static void hand_on(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	write_down("book", data, size);
	if (is(data, size, "own"))
		set(conn, own, "one");
	else if (is(data, size, "back"))
		set(conn, NULL, NULL);
}

static void open_with(struct talk *talk, const sttcp_options *options)
{
	begin();
	talk->book = book_new();
	talk->book->script = hand_on;
	talk_open(talk, options);
}

/* The peer says no more, and the connection ends in order; these were the messages. */
static void ends_with(struct talk *talk, const char *text)
{
	peer_shutdown(talk->peer);
	assert_true(event_wait(&talk->book->ended, 1));
	assert_string_equal(diary_text(), text);
	assert_int_equal(diary.result, 0);
	assert_int_equal(talk->book->reason, 0);
	talk_close(talk);
}

/* ------------------------------------------------------------------- from when on */

/* Also for messages that have come with the same read. */
static void own_handler_counts_from_the_next_message(void **state)
{
	static const char all[] = "a\nown\nb\ntwo\nc\nback\nd\nown\ne\nback\nback\nf\n";

	(void)state;
	for (int bytewise = 0; bytewise < 2; bytewise++) {
		struct talk talk = {0};

		open_with(&talk, &lines);
		for (size_t i = 0; bytewise && i < sizeof(all) - 1; i++)
			assert_true(peer_send(talk.peer, all + i, 1));
		if (!bytewise)
			assert_true(peer_send(talk.peer, all, sizeof(all) - 1));
		ends_with(&talk, "book:a book:own one:b one:two two:c two:back book:d book:own "
				 "one:e one:back book:back book:f ");
	}
}

static bool take_over(struct book *book, sttcp_conn *conn)
{
	(void)book;
	set(conn, own, "first");
	return true;
}

static void own_handler_of_a_connection_handler_gets_the_first_message(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	begin();
	talk.book->opened = take_over;
	talk.book->script = hand_on;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "a\nback\nb\n"));
	ends_with(&talk, "first:a first:back book:b ");
}

static void own_handler_gets_raw_bytes(void **state)
{
	static const char *const chunks[] = {"a", "own", "b", "two", "c", "back", "d"};
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		size_t len = strlen(diary_text());

		assert_true(peer_say(talk.peer, chunks[i]));
		EVENTUALLY(strlen(diary_text()) > len);
	}
	ends_with(&talk, "book:a book:own one:b one:two two:c two:back book:d ");
}

/* A switch of protocols: both calls, and the rest of the same read is in the new one. */
static void switch_protocol(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	write_down(context, data, size);
	if (is(data, size, "switch")) {
		set(conn, own, "new");
		diary.result = sttcp_conn_set_framing(conn, &semicolons);
	}
}

static bool begin_old(struct book *book, sttcp_conn *conn)
{
	(void)book;
	set(conn, switch_protocol, "old");
	return true;
}

static void own_handler_stays_when_the_framing_changes(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines);
	assert_true(peer_say(talk.peer, "own\na\n"));
	EVENTUALLY(strstr(diary_text(), "one:a"));
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &semicolons), 0);
	assert_true(peer_say(talk.peer, "b\n;two;c;back;d;"));
	ends_with(&talk, "book:own one:a one:b\n one:two two:c two:back book:d ");

	begin();
	talk.book = book_new();
	talk.book->opened = begin_old;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "a\nswitch\nb;two;c;"));
	ends_with(&talk, "old:a old:switch new:b new:two two:c ");
}

/* Raw bytes before, messages after: what was delivered is not framed again. */
static void own_handler_may_begin_with_a_framing(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	begin();
	talk.book->opened = begin_old;
	talk_open(&talk, &raw);
	assert_true(peer_say(talk.peer, "switch"));
	EVENTUALLY(strstr(diary_text(), "switch"));
	assert_true(peer_say(talk.peer, "b;two;c;"));
	ends_with(&talk, "old:switch new:b new:two two:c ");
}

/* ------------------------------------------------------------------- in reads */

static void read_in(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char text[16];
	ssize_t got;

	write_down(context, data, size);
	if (!is(data, size, "read"))
		return;
	set(conn, own, "after");
	got = sttcp_conn_recv_message(conn, text, sizeof(text), DEADLINE_MS);
	write_down("read", text, got < 0 ? 0 : (size_t)got);
	got = sttcp_conn_recv(conn, text, 4, DEADLINE_MS);
	write_down("bytes", text, got < 0 ? 0 : (size_t)got);
	if (!is(data, size, "read"))
		diary.result = -EBADMSG;
}

static bool begin_reading(struct book *book, sttcp_conn *conn)
{
	(void)book;
	set(conn, read_in, "reads");
	return true;
}

/* What a handler reads is not delivered, whatever it has set before. */
static void own_handler_may_read(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	begin();
	talk.book->opened = begin_reading;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "a\nread\nb\ncd\ne\nback\nf\n"));
	ends_with(&talk, "reads:a reads:read read:b bytes:cd\ne after: after:back ");
}

static void look_on_while_reading(struct book *book, sttcp_conn *conn, const void *data,
				  size_t size)
{
	char text[16];

	write_down("book", data, size);
	if (!is(data, size, "wait"))
		return;
	event_raise(book->extra);
	ssize_t got = sttcp_conn_recv_message(conn, text, sizeof(text), DEADLINE_MS);

	write_down("read", text, got < 0 ? 0 : (size_t)got);
}

/* A message that somebody waits for is theirs: the handler that another thread sets meanwhile gets
 * the one behind it. */
static void own_handler_leaves_a_waiting_read_alone(void **state)
{
	struct event waiting = EVENT_INIT;
	struct talk talk = {.book = book_new()};

	(void)state;
	begin();
	talk.book->script = look_on_while_reading;
	talk.book->extra = &waiting;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "wait\n"));
	assert_true(event_wait(&waiting, 1));
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, own, "set"), 0);
	assert_true(peer_say(talk.peer, "a\nb\n"));
	ends_with(&talk, "book:wait read:a set:b ");
}

/* ------------------------------------------------------------------- universal handlers */

static bool see(sttcp_event event, sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	if (event != STTCP_RECEIVE && event != STTCP_RESPONSE)
		return true;
	write_down(sttcp_event_name(event), data, size);
	if (is(data, size, "own"))
		set(conn, own, "one");
	else if (is(data, size, "take"))
		set(conn, NULL, NULL);
	/* It does not count where there is another handler. */
	return !is(data, size, "no") && !is(data, size, "end");
}

static void receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)context;
	write_down("receive", data, size);
}

static bool respond(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)context;
	write_down("response", data, size);
	return !is(data, size, "end");
}

static sttcp_server *universal_server(bool specific)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &lines);

	begin();
	assert_non_null(server);
	assert_int_equal(sttcp_server_on_universal(server, see), 0);
	if (specific)
		assert_int_equal(sttcp_server_on_receive(server, receive), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	return server;
}

/* G7: first, as ever; what it sets is for the next message. */
static void universal_handler_sees_messages_first(void **state)
{
	sttcp_server *server = universal_server(true);
	int peer = book_join(server);

	(void)state;
	assert_true(peer_say(peer, "a\nown\nno\ntwo\nb\ntake\nno\n"));
	peer_shutdown(peer);
	assert_int_equal(peer_end(peer), 0);
	assert_string_equal(diary_text(), "receive:a receive:a receive:own receive:own receive:no "
					  "one:no receive:two one:two receive:b two:b "
					  "receive:take two:take receive:no receive:no ");
	assert_int_equal(diary.result, 0);
	peer_close(peer);
	sttcp_server_free(server);
}

/* G7: its result counts again when the handler is given back and there is no other one. */
static void universal_handler_counts_without_an_own_one(void **state)
{
	sttcp_server *server = universal_server(false);
	int peer = book_join(server);

	(void)state;
	assert_true(peer_say(peer, "own\nno\ntake\nend\nz\n"));
	assert_int_equal(peer_end(peer), 0);
	assert_string_equal(diary_text(), "receive:own receive:no one:no receive:take one:take "
					  "receive:end ");
	peer_close(peer);
	sttcp_server_free(server);
}

static void find_first(sttcp_conn *conn, void *argument)
{
	*(sttcp_conn **)argument = sttcp_conn_ref(conn);
}

/* The same after another thread has given it back. */
static void universal_handler_counts_after_another_thread_gave_it_back(void **state)
{
	sttcp_server *server = universal_server(false);
	int peer = book_join(server);
	sttcp_conn *conn = NULL;

	(void)state;
	assert_int_equal(sttcp_server_each(server, find_first, &conn), 1);
	assert_int_equal(sttcp_conn_on_message(conn, own, "set"), 0);
	assert_int_equal(sttcp_conn_on_message(conn, NULL, NULL), 0);
	assert_true(peer_say(peer, "end\nz\n"));
	assert_int_equal(peer_end(peer), 0);
	assert_string_equal(diary_text(), "receive:end ");
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
}

/* A server that has no handler at all. */
static void own_handler_needs_no_other_one(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &lines);
	sttcp_conn *conn = NULL;

	(void)state;
	begin();
	assert_non_null(server);
	assert_int_equal(sttcp_server_start(server), 0);

	int peer = book_join(server);

	assert_int_equal(sttcp_server_each(server, find_first, &conn), 1);
	assert_int_equal(sttcp_conn_on_message(conn, own, "alone"), 0);
	assert_true(peer_say(peer, "a\nback\nb\nback\n"));
	peer_shutdown(peer);
	assert_int_equal(peer_end(peer), 0);
	assert_string_equal(diary_text(), "alone:a alone:back ");
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
}

/* ------------------------------------------------------------------- clients */

/* A client's connection goes on behind its own handler, and ends with the response handler's false
 * when that is back. */
static void own_handler_of_a_client_lets_it_go_on(void **state)
{
	(void)state;
	for (int universal = 0; universal < 2; universal++) {
		int port;
		int listener = peer_listen(&port, 1);
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, &lines);

		begin();
		assert_non_null(client);
		assert_int_equal(sttcp_client_on_response(client, respond), 0);
		if (universal)
			assert_int_equal(sttcp_client_on_universal(client, see), 0);
		assert_int_equal(sttcp_client_start(client), 0);

		int peer = peer_accept(listener);
		sttcp_conn *conn = client_conn(client);

		assert_int_equal(sttcp_conn_on_message(conn, own, "own"), 0);
		assert_true(peer_say(peer, "a\nend\nback\nb\nend\nc\n"));
		assert_int_equal(peer_end(peer), 0);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
		assert_string_equal(
			diary_text(),
			universal ? "response:a own:a response:end own:end response:back own:back "
				    "response:b response:b response:end response:end "
				  : "own:a own:end own:back response:b response:end ");
		sttcp_conn_unref(conn);
		sttcp_client_free(client);
		peer_close(peer);
		peer_close(listener);
	}
}

/* The handler ends it itself, and with what reason. */
static void own_handler_may_end_the_connection(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines);
	assert_true(peer_say(talk.peer, "own\na\nbye\nb\n"));
	assert_int_equal(peer_end(talk.peer), 0);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(talk.book->reason, STTCP_ECLOSED);
	assert_string_equal(diary_text(), "book:own one:a one:bye ");
	talk_close(&talk);
}

/* ------------------------------------------------------------------- other callbacks */

static int frame_lines(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	const char *end = memchr(data, '\n', size);

	(void)context;
	if (!end)
		return 0;
	frame->size = (size_t)(end - (const char *)data);
	frame->total = frame->size + 1;
	if (is(data, frame->size, "mine"))
		set(conn, own, "framed");
	return 1;
}

/* A frame_fn runs before the message that it finds is handled. */
static void own_handler_set_by_a_frame_fn_gets_that_message(void **state)
{
	static const sttcp_options framed =
		FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_lines);
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &framed);
	assert_true(peer_say(talk.peer, "a\nmine\nb\nback\nc\n"));
	ends_with(&talk, "book:a framed:mine framed:b framed:back book:c ");
}

/* G8: others go on while it blocks. */
static void block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct event *go = context;

	(void)conn;
	write_down("blocks", data, size);
	event_wait(go, 1);
	write_down("goes", data, size);
}

static void own_handler_may_block(void **state)
{
	struct event go = EVENT_INIT;
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines);
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, block, &go), 0);
	assert_true(peer_say(talk.peer, "a\nb\n"));
	EVENTUALLY(strstr(diary_text(), "blocks:a"));

	int other = book_join(talk.server);

	assert_true(peer_say(other, "c\n"));
	EVENTUALLY(strstr(diary_text(), "book:c"));
	assert_string_equal(diary_text(), "blocks:a book:c ");
	event_raise(&go);
	EVENTUALLY(strstr(diary_text(), "goes:b"));
	peer_close(other);
	assert_true(event_wait(&talk.book->ended, 1));
	peer_shutdown(talk.peer);
	assert_true(event_wait(&talk.book->ended, 2));
	assert_string_equal(diary_text(), "blocks:a book:c goes:a blocks:b goes:b ");
	talk_close(&talk);
}

/* ------------------------------------------------------------------- codes */

static void own_handler_is_refused_after_the_end(void **state)
{
	struct talk talk = {0};

	(void)state;
	assert_int_equal(sttcp_conn_on_message(NULL, own, NULL), -EINVAL);
	open_with(&talk, &lines);
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, NULL, NULL), 0);
	peer_shutdown(talk.peer);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, own, NULL), STTCP_ECLOSED);
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, NULL, NULL), STTCP_ECLOSED);
	talk_close(&talk);
	open_with(&talk, &lines);
	sttcp_conn_fail(talk.book->conn, -EBADMSG, "no");
	assert_int_equal(sttcp_conn_on_message(talk.book->conn, own, NULL), -EBADMSG);
	assert_true(event_wait(&talk.book->ended, 1));
	talk_close(&talk);
}

/* ------------------------------------------------------------------- other threads */

/* What is sent after the call has returned is handled by its handler. */
static void own_handler_of_another_thread_counts_when_the_call_returns(void **state)
{
	struct talk talk = {0};
	char expected[4096] = "";
	size_t len = 0;

	(void)state;
	open_with(&talk, &lines);
	for (int i = 0; i < 100; i++) {
		const char *name = i % 3 == 0 ? "one" : i % 3 == 1 ? "two" : NULL;
		size_t before = len;

		assert_int_equal(sttcp_conn_on_message(talk.book->conn, name ? own : NULL,
						       (void *)(uintptr_t)name),
				 0);
		len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s:a ",
					name ? name : "book");
		assert_true(peer_say(talk.peer, "a\n"));
		EVENTUALLY(strlen(diary_text()) > before);
		assert_string_equal(diary_text(), expected);
	}
	ends_with(&talk, expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_handler_counts_from_the_next_message),
		cmocka_unit_test(own_handler_of_a_connection_handler_gets_the_first_message),
		cmocka_unit_test(own_handler_gets_raw_bytes),
		cmocka_unit_test(own_handler_stays_when_the_framing_changes),
		cmocka_unit_test(own_handler_may_begin_with_a_framing),
		cmocka_unit_test(own_handler_may_read),
		cmocka_unit_test(own_handler_leaves_a_waiting_read_alone),
		cmocka_unit_test(universal_handler_sees_messages_first),
		cmocka_unit_test(universal_handler_counts_without_an_own_one),
		cmocka_unit_test(universal_handler_counts_after_another_thread_gave_it_back),
		cmocka_unit_test(own_handler_needs_no_other_one),
		cmocka_unit_test(own_handler_of_a_client_lets_it_go_on),
		cmocka_unit_test(own_handler_may_end_the_connection),
		cmocka_unit_test(own_handler_set_by_a_frame_fn_gets_that_message),
		cmocka_unit_test(own_handler_may_block),
		cmocka_unit_test(own_handler_is_refused_after_the_end),
		cmocka_unit_test(own_handler_of_another_thread_counts_when_the_call_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
