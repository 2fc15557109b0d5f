/* SPDX-License-Identifier: MIT */
/* What the tests of rooms share: a server, and peers whose connections are held. One at a time. */
#ifndef STT_TEST_HOUSE_H
#define STT_TEST_HOUSE_H

#include "support/support.h"

enum {
	MANY = 200 /* several of a walk's chunks */
};

struct house {
	struct probe *probe;
	sttcp_server *server; /* NULL when the case has freed it */
	int npeers;
	int peers[MANY];
	sttcp_conn *conns[MANY];
};

extern struct house *house;

/* The probe is made where it is NULL. All of these assert. */
void open_house(struct probe *probe, const sttcp_options *options);
void close_house(void);

/* One more peer, and the reference to its connection, which is a member. */
sttcp_conn *come_in(void);
void fill_house(int count);

/* The first ones join the room "red". */
void fill_red(int count);

int count_in(const char *room);

/* Called for each: adds one to an int. */
void count_call(sttcp_conn *conn, void *argument);

#endif
