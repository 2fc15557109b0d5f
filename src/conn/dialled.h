/* SPDX-License-Identifier: MIT */
/*
 * A dialled connection: one without handlers, which the program reads with calls.
 * Who reads is its owner meanwhile, on whatever thread that is, with input of the
 * connection's own; between two reads the input stands in conn->held, as ever. So
 * its loop reads nothing. It makes the connection, runs its tasks, and ends it:
 * serve_dialled.c.
 *
 *	state	who		does			then
 *	NOBODY	a reader	owns, by its word	NOBODY
 *	NOBODY	a reader	finds an owner		WANTED, then it wishes (STT_WISH_RECV)
 *	WANTED	a reader	owns by its wish	NOBODY
 *	WANTED	a reader	finds an owner		WANTED: its loop looks in the queue
 *	WANTED	the owner	has that wish		GRANTED: the reader is the owner
 *	WANTED	the loop	finds it in the queue	GRANTED, likewise
 *	WANTED	a reader	waits no longer		NOBODY
 *	GRANTED	a reader	finds that		NOBODY
 */
#ifndef STT_CONN_DIALLED_H
#define STT_CONN_DIALLED_H

#include <stdbool.h>
#include <stdint.h>

#include "sttcp.h"

struct stt_desk;
struct sttcp_conn;

/* Makes a new connection a dialled one, with one handle of the user's: 0 or -ENOMEM. */
int stt_dialled_init(struct sttcp_conn *conn);

/* With the connection's memory. */
void stt_dialled_free(struct sttcp_conn *conn);

/* The handles that the user has, which are not the library's references: false when that was the
 * last one. */
void stt_dialled_take_handle(struct sttcp_conn *conn);
bool stt_dialled_drop_handle(struct sttcp_conn *conn);

/* Waits until it is open: 0, what it has ended with, or why the handler that waits is not to go on
 * (wait.h). */
int stt_dialled_wait_open(struct sttcp_conn *conn);

/* Around a read, outside the connection's own tasks. begin: 0 and the desk to read with, -EBUSY
 * while somebody else reads, -ETIMEDOUT, or as stt_wait. */
int stt_dialled_begin(struct sttcp_conn *conn, int64_t until_ms, struct stt_desk **desk);
void stt_dialled_end(struct sttcp_conn *conn);

/* In between, as stt_wait_for_stream for input. The limits for input run in such a wait alone: they
 * are the peer's, and what nobody waits for cannot be late. */
int stt_dialled_wait(struct stt_desk *desk, struct sttcp_conn *conn, int64_t until_ms);

/* On its loop, for the owner: puts it into the pool's queue, for a task. A reader does not wait
 * there for a thread, for it may have the last one: it is given the connection, and the task
 * follows the read. */
void stt_dialled_give_to_pool(struct sttcp_conn *conn);

/* On its loop: the same where it stands in the queue already. */
void stt_dialled_look_in_queue(struct sttcp_conn *conn);

/* For the owner that has taken STT_WISH_RECV: true if a reader is the owner now. */
bool stt_dialled_grant(struct sttcp_conn *conn);

#endif
