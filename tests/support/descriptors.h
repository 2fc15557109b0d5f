/* SPDX-License-Identifier: MIT */
/* What the kernel says of a descriptor. */
#ifndef STT_TEST_DESCRIPTORS_H
#define STT_TEST_DESCRIPTORS_H

#include <stdbool.h>

bool is_open(int fd);
bool is_cloexec(int fd);
bool is_nonblocking(int fd);

#endif
