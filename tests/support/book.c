/* SPDX-License-Identifier: MIT */
/* Books and talks. */
#include "support/book.h"

struct book *book_new(void)
{
	struct book *book = calloc(1, sizeof(*book));
	struct event fresh = EVENT_INIT;

	assert_non_null(book);
	pthread_mutex_init(&book->lock, NULL);
	book->changed = fresh;
	book->ended = fresh;
	book->reason = 1;
	return book;
}

void book_free(struct book *book)
{
	sttcp_conn_unref(book->conn);
	pthread_mutex_destroy(&book->lock);
	free(book);
}

static uint32_t sum_of(const void *data, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + ((const unsigned char *)data)[i];
	return sum;
}

size_t book_print(char *text, size_t room, const void *data, size_t size)
{
	int len = size > 64 ? snprintf(text, room, "<%zu:%x>", size, sum_of(data, size))
			    : snprintf(text, room, "<%.*s>", (int)size, (const char *)data);

	return len > 0 && (size_t)len < room ? (size_t)len : 0;
}

static bool on_open(sttcp_conn *conn, void *context)
{
	struct book *book = context;

	pthread_mutex_lock(&book->lock);
	sttcp_conn_unref(book->conn);
	book->conn = sttcp_conn_ref(conn);
	pthread_mutex_unlock(&book->lock);
	return !book->opened || book->opened(book, conn);
}

static void on_message(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct book *book = context;

	pthread_mutex_lock(&book->lock);
	book->len += book_print(book->text + book->len, sizeof(book->text) - book->len, data, size);
	pthread_mutex_unlock(&book->lock);
	if (book->script)
		book->script(book, conn, data, size);
	event_raise(&book->changed);
}

static bool on_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	on_message(conn, data, size, context);
	return true;
}

static void on_end(sttcp_conn *conn, int reason, void *context)
{
	struct book *book = context;

	(void)conn;
	pthread_mutex_lock(&book->lock);
	book->reason = reason;
	pthread_mutex_unlock(&book->lock);
	event_raise(&book->ended);
}

const char *book_text(struct book *book)
{
	static char copy[sizeof(book->text)];

	pthread_mutex_lock(&book->lock);
	memcpy(copy, book->text, book->len + 1);
	pthread_mutex_unlock(&book->lock);
	return copy;
}

sttcp_server *book_listen(struct book *book, const sttcp_options *options)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	assert_non_null(server);
	assert_int_equal(sttcp_server_set_context(server, book), 0);
	assert_int_equal(sttcp_server_on_connection(server, on_open), 0);
	assert_int_equal(sttcp_server_on_receive(server, on_message), 0);
	assert_int_equal(sttcp_server_on_disconnection(server, on_end), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	return server;
}

sttcp_client *book_dial(struct book *book, int port, const sttcp_options *options)
{
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, options);

	assert_non_null(client);
	assert_int_equal(sttcp_client_set_context(client, book), 0);
	assert_int_equal(sttcp_client_on_connection(client, on_open), 0);
	assert_int_equal(sttcp_client_on_response(client, on_response), 0);
	assert_int_equal(sttcp_client_on_disconnection(client, on_end), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	return client;
}

int book_join(sttcp_server *server)
{
	int before = sttcp_server_count(server);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer >= 0);
	EVENTUALLY(sttcp_server_count(server) == before + 1);
	return peer;
}

void talk_open(struct talk *talk, const sttcp_options *options)
{
	if (!talk->book)
		talk->book = book_new();
	talk->server = book_listen(talk->book, options);
	talk->peer = book_join(talk->server);
}

void talk_open_with(struct talk *talk, const sttcp_options *options, script_fn *script)
{
	talk->book = book_new();
	talk->book->script = script;
	talk_open(talk, options);
}

void talk_close(struct talk *talk)
{
	peer_close(talk->peer);
	sttcp_server_free(talk->server);
	book_free(talk->book);
}

void talk_ends(struct talk *talk, const char *text, int reason)
{
	peer_shutdown(talk->peer);
	assert_true(event_wait(&talk->book->ended, 1));
	assert_string_equal(book_text(talk->book), text);
	assert_int_equal(talk->book->reason, reason);
	talk_close(talk);
}

int64_t book_bytes_in(struct book *book)
{
	sttcp_conn_counts counts;

	return sttcp_conn_stats(book->conn, &counts, sizeof(counts)) == 0 ? counts.bytes_in : -1;
}

void say_and_wait(struct talk *talk, const void *data, size_t size)
{
	int64_t then = book_bytes_in(talk->book) + (int64_t)size;

	assert_true(peer_send(talk->peer, data, size));
	EVENTUALLY(book_bytes_in(talk->book) >= then);
}

bool is(const void *data, size_t size, const char *word)
{
	return size == strlen(word) && memcmp(data, word, size) == 0;
}
