/* SPDX-License-Identifier: MIT */
/* Seats that are left stay empty until half of them are; then the others move up, in the same
 * order. So each who leaves pays for the move of one other, and a seat is found by its number in a
 * binary search. */
#include "group/seats.h"

#include <errno.h>
#include <stdlib.h>

#include "conn/conn.h"

enum {
	FEWEST_SEATS = 4
};

void stt_seats_fini(struct stt_seats *seats)
{
	free(seats->all);
	*seats = (struct stt_seats){0};
}

/* False when out of memory; then nothing has changed. */
static bool resize(struct stt_seats *seats, size_t cap)
{
	struct stt_seat *all = realloc(seats->all, cap * sizeof(*all));

	if (!all)
		return false;
	seats->all = all;
	seats->cap = cap;
	return true;
}

int stt_seats_promise(struct stt_seats *seats)
{
	if (seats->nseats + seats->promised == seats->cap &&
	    !resize(seats, seats->cap ? seats->cap * 2 : FEWEST_SEATS))
		return -ENOMEM;
	seats->promised++;
	return 0;
}

void stt_seats_take_back(struct stt_seats *seats)
{
	seats->promised--;
}

uint64_t stt_seats_take(struct stt_seats *seats, struct sttcp_conn *conn)
{
	uint64_t number = ++seats->last_number;

	seats->all[seats->nseats++] = (struct stt_seat){.number = number, .conn = conn};
	seats->promised--;
	seats->count++;
	return number;
}

/* The index of the first seat whose number is above this one. */
static size_t seat_behind(const struct stt_seats *seats, uint64_t number)
{
	size_t low = 0;
	size_t high = seats->nseats;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (seats->all[middle].number <= number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Memory that a crowd has needed is freed after it. At a quarter: between growing and shrinking, as
 * many must come and go as there are. */
static void shrink(struct stt_seats *seats)
{
	size_t needed = seats->nseats + seats->promised;
	size_t cap = needed * 2 < FEWEST_SEATS ? FEWEST_SEATS : needed * 2;

	if (cap <= seats->cap / 2)
		(void)resize(seats, cap);
}

static void close_gaps(struct stt_seats *seats)
{
	size_t kept = 0;

	for (size_t i = 0; i < seats->nseats; i++) {
		if (seats->all[i].conn)
			seats->all[kept++] = seats->all[i];
	}
	seats->nseats = kept;
	shrink(seats);
}

void stt_seats_leave(struct stt_seats *seats, uint64_t number)
{
	seats->all[seat_behind(seats, number) - 1].conn = NULL;
	seats->count--;
	if (seats->count <= seats->nseats / 2)
		close_gaps(seats);
}

struct stt_seat_walk stt_seats_walk_begin(const struct stt_seats *seats)
{
	return (struct stt_seat_walk){.end = seats->last_number, .more = seats->nseats > 0};
}

int stt_seats_walk(const struct stt_seats *seats, struct stt_seat_walk *walk,
		   struct sttcp_conn **chunk, int most)
{
	size_t i = seat_behind(seats, walk->at);
	int count = 0;

	for (int looked = 0; looked < most && i < seats->nseats; looked++, i++) {
		const struct stt_seat *seat = &seats->all[i];

		if (seat->number > walk->end)
			break;
		walk->at = seat->number;
		if (seat->conn)
			chunk[count++] = stt_conn_ref(seat->conn);
	}
	walk->more = i < seats->nseats && seats->all[i].number <= walk->end;
	return count;
}
