/* SPDX-License-Identifier: MIT */
/* Threads of the user's that are cancelled while they are in a call of the library. Asserts. */
#ifndef STT_TEST_VICTIMS_H
#define STT_TEST_VICTIMS_H

#include "support/support.h"

enum {
	VICTIM_ROUNDS = 30,
	/* A call that is still waiting after this has not been cut short. */
	VICTIM_STAYS_MS = 30
};

/* A thread that is cancelled in `call`, which is called again and again until then if it `loops`.
 * The event's functions are no cancellation points of its own. */
struct victim {
	pthread_t thread;
	int (*call)(struct victim *victim);
	bool loops;
	sttcp_server *server;
	sttcp_client *client;
	sttcp_conn *conn;
	const char *data;
	struct event ready;
	struct event done;
	atomic_int result;
	atomic_int state; /* of cancellation, behind the call */
	atomic_int calls; /* that returned */
};

void victim_start(struct victim *victim, int (*call)(struct victim *victim));
void victim_cancel(struct victim *victim);

/* In a call that waits: the cancellation does not end it. */
void victim_cancel_waiting(struct victim *victim);

/* The call has returned with its result, and then the thread was cancelled. */
int victim_finish(struct victim *victim);

/* A random moment; the seed is printed, and STTCP_CANCEL_SEED repeats a run. */
void victims_seed(void);
void some_moment(void);

/* Every descriptor of a case's objects has gone with them. */
int victims_take_stock(void **state);
int victims_check_stock(void **state);

#define VICTIM_CASE(function)                                                                      \
	cmocka_unit_test_setup_teardown(function, victims_take_stock, victims_check_stock)

#endif
