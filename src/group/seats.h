/* SPDX-License-Identifier: MIT */
/*
 * The seats of a room: who is in it, in the order of their coming. Seats have
 * numbers that are never given twice, so a walk goes on behind the last number
 * that it has seen, whoever has come or left meanwhile, and keeps nothing here.
 * They stand in an array: a walk over many reads memory from one end to the
 * other, and touches of each connection only its reference count.
 *
 * The caller locks. Zeroed ones are empty.
 */
#ifndef STT_GROUP_SEATS_H
#define STT_GROUP_SEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sttcp_conn;

struct stt_seat {
	uint64_t number;
	struct sttcp_conn *conn; /* NULL: it has left. No reference: it leaves before it dies. */
};

struct stt_seats {
	struct stt_seat *all;
	size_t cap;
	size_t nseats;	 /* with those that were left */
	size_t count;	 /* those that are taken */
	size_t promised; /* memory is there for so many more */
	uint64_t last_number;
};

void stt_seats_fini(struct stt_seats *seats);

/* Memory for one more: 0 or -ENOMEM. A promise is kept, or taken back. */
int stt_seats_promise(struct stt_seats *seats);
void stt_seats_take_back(struct stt_seats *seats);

/* Takes a seat that was promised, and returns its number, which is above 0. */
uint64_t stt_seats_take(struct stt_seats *seats, struct sttcp_conn *conn);
void stt_seats_leave(struct stt_seats *seats, uint64_t number);

/* A walk over the seats that are taken when it begins. */
struct stt_seat_walk {
	uint64_t at;  /* the number of the last seat that was looked at */
	uint64_t end; /* that of the last one when the walk began */
	bool more;    /* there is something behind `at` */
};

struct stt_seat_walk stt_seats_walk_begin(const struct stt_seats *seats);

/* Looks at the next few seats, `most` at most: references to those who sit there, and how many,
 * which may be 0. */
int stt_seats_walk(const struct stt_seats *seats, struct stt_seat_walk *walk,
		   struct sttcp_conn **chunk, int most);

#endif
