/* SPDX-License-Identifier: MIT */
/*
 * A book writes down the messages that handlers get, and a talk is a server with
 * a book and one raw peer. Unlike a probe it knows empty messages.
 */
#ifndef STT_TEST_BOOK_H
#define STT_TEST_BOOK_H

#include "support/support.h"

struct book;

typedef void script_fn(struct book *book, sttcp_conn *conn, const void *data, size_t size);

/* The context of one server or client. */
struct book {
	/* Set before start; both are optional. */
	bool (*opened)(struct book *book, sttcp_conn *conn);
	script_fn *script;
	void *extra;

	pthread_mutex_t lock;
	char text[32768]; /* "<one><two>"; a message over 64 bytes as "<its size:a sum>" */
	size_t len;
	struct event changed; /* raised when a script has returned */
	struct event ended;
	_Atomic(sttcp_conn *) conn; /* a reference to the last one */
	long asked;		    /* for frame functions */
	atomic_int reason;
};

struct book *book_new(void);
void book_free(struct book *book);

/* A copy that lives until the next call. */
const char *book_text(struct book *book);
size_t book_print(char *text, size_t room, const void *data, size_t size);

/* Started on a free port, or connecting there. */
sttcp_server *book_listen(struct book *book, const sttcp_options *options);
sttcp_client *book_dial(struct book *book, int port, const sttcp_options *options);

/* A raw peer that the server counts as a member. */
int book_join(sttcp_server *server);

struct talk {
	struct book *book; /* made by talk_open where it is NULL */
	sttcp_server *server;
	int peer;
};

void talk_open(struct talk *talk, const sttcp_options *options);

/* With a new book whose script this is. */
void talk_open_with(struct talk *talk, const sttcp_options *options, script_fn *script);
void talk_close(struct talk *talk);

/* The peer says no more; what came in all, and why it ended. Closes the talk. */
void talk_ends(struct talk *talk, const char *text, int reason);

int64_t book_bytes_in(struct book *book);

/* Until the library has read it all: so what comes next is a read of its own. */
void say_and_wait(struct talk *talk, const void *data, size_t size);

/* Whether the message is this word. */
bool is(const void *data, size_t size, const char *word);

/* A string literal with NULs, and its size. */
#define WIRE(bytes) bytes, sizeof(bytes) - 1

/* Options in tables and at file scope. */
#define FRAMED(...)                                                                                \
	{                                                                                          \
		.size = sizeof(sttcp_options), __VA_ARGS__                                         \
	}

#endif
