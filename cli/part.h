/* SPDX-License-Identifier: MIT */
/* FILE.part, which a transfer is written to until it is whole: who may write there, and how it gets
 * its name. */
#ifndef CLI_PART_H
#define CLI_PART_H

#include <stdbool.h>

enum part_use {
	PART_NEW,    /* there may be none */
	PART_RESUMED /* what is there is gone on with */
};

/* Opens it to read and write, with a lock on it as long as the descriptor is open. 0, or an exit
 * status with its sentence printed; then the descriptor may be open, for the end to close. */
int part_open(const char *part, enum part_use use, int *fd);

/* What is there stays until part_replace, unless a receiver writes to it: with `fd`, if it is a
 * file, there is a lock on it. 0, or an exit status as above; *is_there is false if there is none.
 */
int part_hold(const char *part, int *fd, bool *is_there);

/* A new one takes its place, and `fd` is the descriptor of that. 0 or an errno. */
int part_replace(const char *part, int *fd);

/* Gives it its name, which something else may have got meanwhile: 0 or an errno, EEXIST for that
 * unless it `replaces`. */
int part_name(const char *part, const char *path, bool replaces);

#endif
