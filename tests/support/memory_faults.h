/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail when a test says so: malloc and its like are this
 * program's own, in front of the C library's. Linked into the programs whose
 * test includes this header (CMakeLists.txt), and into no other.
 */
#ifndef STT_TEST_MEMORY_FAULTS_H
#define STT_TEST_MEMORY_FAULTS_H

#include <stdbool.h>

/* Whether it can be done here; if not (a sanitizer owns malloc), this says so. */
bool memory_can_be_short(void);

/* After `count` more allocations one fails; those behind it succeed again, unless `for_good`. Of
 * all threads together. */
void deny_after(long count, bool for_good);

/* Interrupts that: what is left of the count, for another deny_after, or below 0 when it is done.
 */
long deny_no_more(void);

/* Ends that: whether any was denied. */
bool allow_again(void);

#endif
