/* SPDX-License-Identifier: MIT */
/* What a walk over connections owes to one of them, and how often it has come. */
#ifndef STT_TEST_VISITS_H
#define STT_TEST_VISITS_H

#include <stdbool.h>

/* Since the walk began. One that is neither due nor late may be seen or not. */
struct visits {
	bool due;  /* it is to be seen */
	bool late; /* it was not there then, and is not to be seen */
	int seen;
};

/* Asserts that it was seen as it had to be, and never twice; returns how often it was. */
int visits_check(const struct visits *visits);

#endif
