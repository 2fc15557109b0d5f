/* SPDX-License-Identifier: MIT */
/* Files of Unix sockets. A file is ours as long as device and inode are the same: somebody else may
 * have replaced it. */
#include "net/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path of an address that was given by somebody ends in a NUL (address.c). */
static int open_directory(const char *path, size_t len)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];

	memcpy(dir, path, len);
	dir[len] = '\0';

	int fd = open(len ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* By its descriptor, so that neither a symbolic link nor a file that has taken the path meanwhile
 * gets the mode; by name where there is no /proc. */
static int change_mode(int fd, const char *path, mode_t mode)
{
	char name[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (chmod(name, mode) == 0)
		return 0;
	if (errno == ENOENT && fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return -errno;
}

int stt_socket_file_set_mode(const struct stt_addr *addr, mode_t mode)
{
	const mode_t all = S_ISUID | S_ISGID | S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO;
	const char *path = addr->un.sun_path;
	struct stat status;
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 || fstat(fd, &status) < 0 ? -errno : 0;

	if (err == 0 && !S_ISSOCK(status.st_mode))
		err = -EADDRINUSE;
	if (err == 0 && (status.st_mode & all) != mode)
		err = change_mode(fd, path, mode);
	if (fd >= 0)
		close(fd);
	return err;
}

int stt_socket_file_note(struct stt_socket_file *file, const struct stt_addr *addr)
{
	const char *path = addr->un.sun_path;
	struct stat status;

	*file = (struct stt_socket_file){.dir = -1};
	if (!stt_addr_has_file(addr))
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

int stt_socket_file_remove(struct stt_socket_file *file)
{
	struct stat status;
	int err = 0;

	if (file->dir < 0)
		return 0;
	if (fstatat(file->dir, file->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	else if (status.st_dev == file->device && status.st_ino == file->inode &&
		 unlinkat(file->dir, file->name, 0) < 0)
		err = -errno;
	close(file->dir);
	file->dir = -1;
	return err == -ENOENT ? 0 : err;
}

void stt_socket_file_discard(const struct stt_addr *addr)
{
	if (stt_addr_has_file(addr))
		(void)unlink(addr->un.sun_path);
}
