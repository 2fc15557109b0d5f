/* SPDX-License-Identifier: MIT */
/* A folder of the test's own, with room for the file of one Unix socket. */
#ifndef STT_TEST_PLACE_H
#define STT_TEST_PLACE_H

#include <stdbool.h>

struct place {
	char dir[64];
	char path[80]; /* of the socket, which is not there yet */
	char host[96]; /* "unix:" and the path */
};

/* Before and after a case, whose state it is. */
int make_place(void **state);
int remove_place(void **state);

/* Whether there is a file, of whatever kind. */
bool exists(const char *path);

#endif
