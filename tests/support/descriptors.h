/* SPDX-License-Identifier: MIT */
/* What the kernel says of a descriptor, and what happens when it gives no more. */
#ifndef STT_TEST_DESCRIPTORS_H
#define STT_TEST_DESCRIPTORS_H

#include "sttcp.h"

#include <stdbool.h>

bool is_open(int fd);
bool is_cloexec(int fd);
bool is_nonblocking(int fd);

/* sttcp_server_start while every descriptor has to be below the lowest free one plus `more`: 0 lets
 * none be opened. */
int start_with_fds(sttcp_server *server, int more);

#endif
