/* SPDX-License-Identifier: MIT */
/* Files of Unix sockets. A file is ours as long as device and inode are the same: somebody else may
 * have replaced it. */
#include "net/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_file(const struct stt_addr *addr)
{
	return addr->sa.sa_family == AF_UNIX && addr->un.sun_path[0] != '\0';
}

/* The path of an address that was given by somebody ends in a NUL (address.c). */
static int open_directory(const char *path, size_t len)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];

	memcpy(dir, path, len);
	dir[len] = '\0';

	int fd = open(len ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int stt_socket_file_note(struct stt_socket_file *file, const struct stt_addr *addr)
{
	const char *path = addr->un.sun_path;
	struct stat status;

	*file = (struct stt_socket_file){.dir = -1};
	if (!has_file(addr))
		return 0;

	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + 1 : 0;
	int dir = open_directory(path, len);

	if (dir < 0)
		return dir;
	memcpy(file->name, path + len, strlen(path + len));
	if (fstatat(dir, file->name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		int err = -errno;

		close(dir);
		return err;
	}
	file->dir = dir;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	return 0;
}

void stt_socket_file_remove(struct stt_socket_file *file)
{
	struct stat status;

	if (file->dir < 0)
		return;
	if (fstatat(file->dir, file->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    status.st_dev == file->device && status.st_ino == file->inode)
		(void)unlinkat(file->dir, file->name, 0);
	close(file->dir);
	file->dir = -1;
}

void stt_socket_file_discard(const struct stt_addr *addr)
{
	if (has_file(addr))
		(void)unlink(addr->un.sun_path);
}
