/* SPDX-License-Identifier: MIT */
/*
 * Who may come in: how many connections at a time, how many of one address, how
 * many a second. The numbers of one server; all functions under its group's lock.
 */
#ifndef STT_GROUP_ADMISSION_H
#define STT_GROUP_ADMISSION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"

struct stt_settings;

struct stt_admission {
	int64_t reserved;    /* places promised to connections that are being accepted */
	int64_t tokens;	     /* thousandths of connections that may be accepted now */
	int64_t refilled_ms; /* when `tokens` was right; 0: never yet */
	struct stt_table addresses;
};

enum stt_place {
	STT_PLACE_FREE,		/* reserved, until it is used or given back */
	STT_PLACE_OVER_NUMBER,	/* there are as many connections as there may be */
	STT_PLACE_OVER_RATE,	/* too many have come of late; `again_ms` tells when one more may */
	STT_PLACE_OVER_ADDRESS, /* there are as many of its address as there may be */
	STT_PLACE_CLOSED	/* the group takes none any more */
};

/* Asks for a place beside `open` connections. */
enum stt_place stt_admission_reserve(struct stt_admission *admission,
				     const struct stt_settings *settings, int64_t open,
				     int64_t *again_ms);
/* The place was used, or is not needed: then nothing was accepted. */
void stt_admission_use(struct stt_admission *admission);
void stt_admission_give_back(struct stt_admission *admission);

/* Counts an address in: false if there are `most` of it already (-1: no limit). IPv6 counts by /64;
 * Unix sockets do not count. Without memory it is let in, and not counted. */
bool stt_admission_add(struct stt_admission *admission, const struct sockaddr_in6 *peer, int most);
/* And out. */
void stt_admission_remove(struct stt_admission *admission, const struct sockaddr_in6 *peer);

void stt_admission_fini(struct stt_admission *admission);

#endif
