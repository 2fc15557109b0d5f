/* SPDX-License-Identifier: MIT */
/*
 * Standard input, and files that are read like it.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stddef.h>
#include <sys/types.h>

/* read(2), but it waits where somebody else has made the descriptor non-blocking. 0 at the end,
 * or -errno. */
ssize_t input_read(int fd, void *data, size_t size);

#endif
