/* SPDX-License-Identifier: MIT */
/*
 * The file of a Unix socket that listens: remembered when it is there, removed
 * at the end. By its directory and not by its path: a path may be relative, and
 * the program may go to another directory, or move that one, meanwhile. Any
 * thread.
 */
#ifndef STT_NET_SOCKET_FILE_H
#define STT_NET_SOCKET_FILE_H

#include <sys/types.h>

#include "net/address.h"

struct stt_socket_file {
	int dir; /* O_PATH; -1: there is no file */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	dev_t device;
	ino_t inode;
};

/* Remembers the file that was bound for `addr` just now, in the same working directory; for an
 * address without a file, that. 0, or -errno and there is nothing to remove. */
int stt_socket_file_note(struct stt_socket_file *file, const struct stt_addr *addr);

/* Gives the file that was bound for `addr` just now this mode. 0; -EADDRINUSE if another file has
 * taken its place; -errno. */
int stt_socket_file_set_mode(const struct stt_addr *addr, mode_t mode);

/* Removes the file if it is still the one that was noted, and forgets it. 0, or -errno: it stays,
 * as without the rights that it was made with. */
int stt_socket_file_remove(struct stt_socket_file *file);

/* The same at once, for what was bound just now and never noted. */
void stt_socket_file_discard(const struct stt_addr *addr);

#endif
