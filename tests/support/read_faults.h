/* SPDX-License-Identifier: MIT */
/* A thread that stands in front of the kernel's recv(2), so that something else can happen between
 * what it has looked at and what it reads. Linked with faults.h, which is included, too. */
#ifndef STT_TEST_READ_FAULTS_H
#define STT_TEST_READ_FAULTS_H

#include <stdbool.h>

/* The next read from the descriptor, whichever thread's, stops in front of its call. One at a time;
 * the calling thread is the test's. */
void read_stop(int fd);

/* Whether it stands there, within the deadline. */
bool read_stopped(void);

void read_go_on(void);

#endif
